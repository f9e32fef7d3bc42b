/** The house style: every file is formatted and linted by biome, with the rules of biome.json, and begins by saying what it is for. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { filesUnder, root } from '../../scripts/steps.mjs';

it('is kept in every file (if not: npx biome check --write .)', () => {
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  const { status, stdout, stderr } = spawnSync(process.execPath, [biome, 'check', '--error-on-warnings', '.'], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(status, `${stdout}${stderr}`).toBe(0);
});

/** Whether a file begins with a comment of the form that editors show, behind the line of a script for the shell. */
const hasHeader = (text: string): boolean => /^(#!.*\n)?\/\*\*[ \n]/.test(text);

it('every source begins with a block /** … */ that says what it is for', () => {
  const files = (filesUnder(['packages', 'plugins', 'apps', 'scripts', 'test']) as string[]).filter(
    (file) => /\.([cm]?ts|[cm]?js)$/.test(file) && !file.includes('packages/engine/assembly/'),
  );
  expect(files.length).toBeGreaterThan(300);
  const without = files.filter((file) => !hasHeader(readFileSync(file, 'utf8')));
  expect(without.map((file) => relative(root, file))).toEqual([]);
});
