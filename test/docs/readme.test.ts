/** The README leaves nothing out: every package, every option of the command line, every exit status. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '@visorkit/core';
import { workspaceFolders } from '../../scripts/steps.mjs';
import { root } from './pages.js';

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const packages = workspaceFolders('package.json', ['packages', 'plugins', 'apps']) as string[];

describe('README.md', () => {
  it('has a row for every package, with the description of its package.json', () => {
    const rows = packages.map((folder) => {
      const { name, description } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as {
        name: string;
        description: string;
      };
      return `| [\`${name}\`](${folder}) | ${description} |`;
    });
    expect(rows.filter((row) => !readme.includes(`${row}\n`))).toEqual([]);
  });

  it('has every option of visorkit run', () => {
    const source = readFileSync(join(root, 'apps/visorkit/src/main.ts'), 'utf8');
    const run = source.slice(source.indexOf(".command('run')"), source.indexOf('runCommand(flags)'));
    const options = [...run.matchAll(/\.option\('(--[\w-]+)/g)].map((match) => match[1]);
    expect(options.length).toBeGreaterThan(15);
    expect(options.filter((option) => !new RegExp(`\`${option}[ \`]`).test(readme))).toEqual([]);
  });

  it('has every exit status', () => {
    expect(Object.values(EXIT_STATUS).filter((status) => !readme.includes(`\n| ${status} | `))).toEqual([]);
  });
});

it('every package and plugin says what it is in a README', () => {
  expect(packages.filter((folder) => !existsSync(join(root, folder, 'README.md')))).toEqual([]);
});

it('no page names a path or host of the machine it was written on', () => {
  const pages = [
    'README.md',
    'ARCHITECTURE.md',
    ...['docs', '.changeset'].flatMap((folder) =>
      readdirSync(join(root, folder))
        .filter((name) => name.endsWith('.md'))
        .map((name) => `${folder}/${name}`),
    ),
    ...packages.map((folder) => `${folder}/README.md`),
  ];
  const wrong = pages.filter(
    (page) =>
      existsSync(join(root, page)) &&
      /(^|[\s`("'])\/(root|home|work|tmp|Users)\//m.test(readFileSync(join(root, page), 'utf8')),
  );
  expect(wrong).toEqual([]);
});
