/** Listings are files, commands give what the pages say they give, links lead somewhere. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fences, pages, root } from './pages.js';

const PROGRAM = new Set(['ts', 'js', 'json']);
const all = pages.flatMap(fences);

describe('listings', () => {
  it('are there', () => {
    expect(all.filter(({ file }) => file !== undefined).length).toBeGreaterThan(8);
  });

  it.each(
    all.filter(({ language }) => PROGRAM.has(language)).map((fence) => [`${fence.page}:${fence.line}`, fence] as const),
  )('%s is a file', (_where, { file, text }) => {
    expect(file, 'a comment with the name of its file on the line before').toBeDefined();
    expect(`${text}\n`).toBe(readFileSync(join(root, file!), 'utf8'));
  });

  it('lead somewhere, where they are links', () => {
    const dead = pages.flatMap((page) =>
      [...readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1])
        .filter((target) => !existsSync(join(root, dirname(page), target)))
        .map((target) => `${page}: ${target}`),
    );
    expect(dead).toEqual([]);
  });
});

/** Commands with what they print: fences `console`, each command after `$ `, tried in a copy of docs/examples outside the repository. */
describe('commands', () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-docs-'));
  cpSync(join(root, 'docs/examples'), folder, {
    recursive: true,
    filter: (path) => !/node_modules|dist$|\.tsbuildinfo$/.test(path),
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const built =
    existsSync(join(root, 'apps/visorkit/dist/main.js')) && existsSync(join(root, 'packages/engine/build/engine.wasm'));

  const consoles = all.filter(({ language }) => language === 'console');
  it.skipIf(!built).each(consoles.map((fence) => [`${fence.page}:${fence.line}`, fence] as const))(
    '%s prints what it says (needs a build)',
    (_where, { text }) => {
      const env: NodeJS.ProcessEnv = {
        ...process.env,
        PATH: `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH}`,
      };
      for (const part of text.split(/^\$ /m).slice(1)) {
        const [command, ...expected] = part.replace(/\n$/, '').split('\n');
        const { stdout } = spawnSync('sh', ['-c', `(${command.replace(/\bnpx (-- )?visorkit\b/g, 'visorkit')}) 2>&1`], {
          cwd: folder,
          env,
          encoding: 'utf8',
          input: '',
        });
        expect(`$ ${command}\n${stdout.trimEnd()}`).toBe(
          `$ ${command}\n${expected.join('\n')}`.trimEnd() + (expected.length === 0 ? '\n' : ''),
        );
      }
    },
    60_000,
  );

  it.skipIf(!built)("README.md: the VMM of one's own, built, prints what the page says (needs a build)", () => {
    const { stdout } = spawnSync(process.execPath, [join(root, 'docs/examples/dist/my-vmm.js')], { encoding: 'utf8' });
    expect(stdout).not.toBe('');
    expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(`\`\`\`\n${stdout}\`\`\`\n`);
  });
});
