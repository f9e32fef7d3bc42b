/** A release: `npm run version` in a copy of the repository makes changelogs and versions, and the documentation follows. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { root, workspaceFolders } from '../../scripts/steps.mjs';
import { currentVersion, documents, withRanges } from '../../scripts/version.mjs';

const copy = mkdtempSync(join(tmpdir(), 'visorkit-version-'));
afterAll(() => rmSync(copy, { recursive: true, force: true }));

it('the documentation names the present version', () => {
  const wrong = (documents() as string[]).filter((file) => {
    const text = readFileSync(file, 'utf8');
    return withRanges(text, currentVersion()) !== text;
  });
  expect(wrong, 'ranges in these files are not ^ and the version of the packages').toEqual([]);
});

it('every public package gets the same version and a changelog, and the documentation that version', () => {
  // Sources do not matter here; what is installed is only linked
  const skip = /\/(node_modules|dist|build|\.git|\.cache|data)$/;
  cpSync(root, copy, { recursive: true, filter: (path) => !skip.test(path) });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  writeFileSync(
    join(copy, '.changeset/of-the-test.md'),
    '---\n"@visorkit/core": patch\n---\n\nA change of the test.\n',
  );
  const before = currentVersion();
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, 'scripts/version.mjs')], {
    encoding: 'utf8',
  });
  expect(status, `${stdout}${stderr}`).toBe(0);
  const version = currentVersion(copy) as string;
  expect(version).not.toBe(before);
  for (const folder of workspaceFolders('package.json', ['packages', 'plugins', 'apps']) as string[]) {
    const manifest = JSON.parse(readFileSync(join(copy, folder, 'package.json'), 'utf8')) as {
      version: string;
      private?: boolean;
    };
    if (manifest.private === true) continue;
    expect([folder, manifest.version]).toEqual([folder, version]);
    expect(readFileSync(join(copy, folder, 'CHANGELOG.md'), 'utf8')).toContain(`\n## ${version}\n`);
  }
  expect(readFileSync(join(copy, 'packages/core/src/version.ts'), 'utf8')).toContain(`= '${version}'`);
  expect(readFileSync(join(copy, 'packages/core/CHANGELOG.md'), 'utf8')).toContain('A change of the test.');
  expect(readFileSync(join(copy, 'docs/plugin-guide.md'), 'utf8')).toContain(`"@visorkit/core": "^${version}"`);
}, 60_000);
