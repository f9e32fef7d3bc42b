/**
 * Makes a release of what lies in .changeset/: `changeset version` writes the versions (one for all packages) and each CHANGELOG.md, and the
 * kernel's own version and the ranges that the documentation names follow. Publishing is a step of its own. Usage: npm run version
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeVersion } from './build.mjs';
import { filesUnder, root, run } from './steps.mjs';

/** The version of all packages. */
export function currentVersion(folder = root) {
  return JSON.parse(readFileSync(join(folder, 'packages/core/package.json'), 'utf8')).version;
}

/** Ranges of visorkit's packages in a page or an example: `kernel: '^1.2.3'`, `"@visorkit/core": "^1.2.3"`. */
const RANGE = /(kernel: '|"@visorkit\/[\w-]+": ")\^\d+\.\d+\.\d+(?=['"])/g;

/** A text with every such range made to begin at a version. */
export function withRanges(text, version) {
  return text.replace(RANGE, (_range, before) => `${before}^${version}`);
}

/** Every page and example in which a range may stand. */
export function documents() {
  return filesUnder(['README.md', 'docs', 'packages', 'plugins', 'apps']).filter(
    (file) => file.endsWith('.md') || file.startsWith(join(root, 'docs')),
  );
}

if (process.argv[1] === import.meta.filename) {
  run('Versions and changelogs', process.execPath, [join(root, 'node_modules/@changesets/cli/bin.js'), 'version']);
  writeVersion();
  for (const file of documents()) {
    const text = readFileSync(file, 'utf8');
    const changed = withRanges(text, currentVersion());
    if (changed !== text) writeFileSync(file, changed);
  }
}
