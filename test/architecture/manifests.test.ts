/** What people see of a package before they use it: every public package.json says the same things in the same way. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { workspaceFolders } from '../../scripts/steps.mjs';
import { faultsOf, filesOf } from '../../scripts/tarballs.mjs';

const root = resolve(import.meta.dirname, '../..');
const REPOSITORY = 'https://github.com/visorkit/visorkit';

type Manifest = Record<string, unknown> & { name: string; private?: boolean };
const read = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest;

const packages = (workspaceFolders('package.json', ['packages', 'plugins', 'apps']) as string[])
  .map((folder) => ({ folder, manifest: read(folder) }))
  .filter(({ manifest }) => manifest.private !== true);

describe('every public package.json', () => {
  it('is found', () => expect(packages.length).toBeGreaterThan(25));

  it.each(packages)('$folder says licence, author, repository, homepage, bugs, keywords and Node', (room) => {
    const { folder, manifest } = room;
    expect(manifest).toMatchObject({
      homepage: `${REPOSITORY}/tree/main/${folder}#readme`,
      bugs: { url: `${REPOSITORY}/issues` },
      repository: { type: 'git', url: `git+${REPOSITORY}.git`, directory: folder },
      license: 'MIT',
      author: 'The visorkit authors',
      engines: { node: '>=20.19' },
    });
    const keywords = manifest.keywords as string[];
    expect(keywords).toEqual([...new Set(keywords)]);
    expect(keywords.slice(0, 1)).toEqual(['visorkit']);
    expect(keywords.length).toBeGreaterThan(3);
    if (folder.startsWith('plugins/')) expect(keywords).toContain('visorkit-plugin');
  });

  it.each(packages)('$folder packs the sources that its source maps refer to', ({ manifest }) => {
    expect(manifest.files).toEqual(expect.arrayContaining(['dist', 'src', '!src/**/*.test.ts']));
  });
});

describe('a package as it is packed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-pack-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('has licence, README, sources and no tests; no source map leads out of it', (context) => {
    const { packageManager } = read('.');
    const { status, stderr } = spawnSync(
      'npx',
      ['-y', String(packageManager), '--dir', join(root, 'plugins/boot/flat'), 'pack', '--pack-destination', folder],
      {
        encoding: 'utf8',
        shell: process.platform === 'win32',
        env: { ...process.env, npm_config_prefer_offline: 'true' },
      },
    );
    if (status !== 0 && /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT/.test(stderr)) {
      const reason = `nothing is packed, since npx cannot fetch ${String(packageManager)}`;
      console.warn(`manifests.test.ts: ${reason}`);
      return context.skip(reason);
    }
    expect(status, stderr).toBe(0);
    const files = filesOf(join(folder, readdirSync(folder)[0])) as Map<string, Buffer>;
    expect(faultsOf(files)).toEqual([]);
    expect([...files.keys()]).toEqual(expect.arrayContaining(['dist/index.js', 'dist/index.js.map', 'src/index.ts']));
    expect(files.get('LICENSE')?.toString()).toBe(readFileSync(join(root, 'LICENSE'), 'utf8'));
  });

  it('is refused when something is missing, or too much', () => {
    const map = Buffer.from('{"sources":["../src/a.ts"]}');
    expect(
      faultsOf(
        new Map([
          ['package.json', Buffer.of()],
          ['dist/a.js.map', map],
          ['src/b.test.ts', Buffer.of()],
        ]),
      ),
    ).toEqual([
      'README.md is missing',
      'LICENSE is missing',
      'src/b.test.ts is a test',
      'dist/a.js.map refers to src/a.ts, which is not in the package',
    ]);
  });
});
