/** The pages leave nothing out: every package, every option of the command line, every exit status; and their links lead somewhere. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '@visorkit/core';
import { workspaceFolders } from '../../scripts/steps.mjs';
import { root } from './pages.js';

const read = (page: string): string => readFileSync(join(root, page), 'utf8');
const packages = workspaceFolders('package.json', ['packages', 'plugins', 'apps']) as string[];

/** Every page for people. */
const all = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  ...['docs', '.changeset'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`),
  ),
  ...packages.map((folder) => `${folder}/README.md`),
];

const existing = (page: string): boolean => existsSync(join(root, page));

describe('README.md', () => {
  it('can be read in one sitting: at most 150 lines, with a drawing of the house', () => {
    const lines = read('README.md').split('\n');
    expect(lines.length).toBeLessThanOrEqual(151);
    expect(lines.slice(lines.indexOf('## The house')).indexOf('```')).toBeGreaterThan(0);
  });

  it('leads to every page of the documentation', () => {
    const pages = all.filter((page) => page.startsWith('docs/') || page === 'CONTRIBUTING.md');
    expect(pages.filter((page) => !read('README.md').includes(`](${page})`))).toEqual([]);
  });
});

describe('docs/packages.md', () => {
  it('has a row for every package, with the description of its package.json', () => {
    const rows = packages.map((folder) => {
      const { name, description } = JSON.parse(read(`${folder}/package.json`)) as { name: string; description: string };
      return `| [\`${name}\`](../${folder}) | ${description} |`;
    });
    expect(rows.filter((row) => !read('docs/packages.md').includes(`${row}\n`))).toEqual([]);
  });
});

describe('docs/command-line.md', () => {
  const page = read('docs/command-line.md');
  const main = read('apps/visorkit/src/main.ts');
  const from = main.indexOf('function addExec(');

  it.each([
    ['run', read('apps/visorkit/src/run-flags.ts')],
    ['trace', read('apps/visorkit/src/trace-flags.ts')],
    ['exec', main.slice(from, main.indexOf('.action(', from))],
  ])('has every option of visorkit %s', (command, source) => {
    const options = [...source.matchAll(/\.option\(\s*'(--[\w-]+)/g)].map((match) => match[1]);
    expect(options.length).toBeGreaterThan(10);
    const begin = page.indexOf(`## visorkit ${command}`);
    const section = page.slice(begin, page.indexOf('\n## ', begin + 1));
    expect(options.filter((option) => !new RegExp(`\n\\| .*\`${option}[ \`]`).test(section))).toEqual([]);
  });

  it('has every exit status', () => {
    expect(Object.values(EXIT_STATUS).filter((status) => !page.includes(`\n| ${status} | `))).toEqual([]);
  });
});

/** Headings as the usual hosts name them in links. */
const anchors = (page: string): string[] =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

it('every link within the repository leads somewhere, also to a heading', () => {
  const wrong = all.filter(existing).flatMap((page) =>
    [...read(page).matchAll(/\]\(([^)\s]+)\)/g)]
      .filter(([, link]) => !/^[a-z]+:/.test(link))
      .filter(([, link]) => {
        const [path, anchor] = link.split('#');
        const target = path === '' ? page : join(page, '..', path);
        return !existing(target) || (anchor !== undefined && !anchors(target).includes(anchor));
      })
      .map(([, link]) => `${page}: ${link}`),
  );
  expect(wrong).toEqual([]);
});

it('every package and plugin says what it is in a README', () => {
  expect(packages.filter((folder) => !existsSync(join(root, folder, 'README.md')))).toEqual([]);
});

it('no page names a path or host of the machine it was written on', () => {
  const wrong = all.filter((page) => existing(page) && /(^|[\s`("'])\/(root|home|work|tmp|Users)\//m.test(read(page)));
  expect(wrong).toEqual([]);
});
