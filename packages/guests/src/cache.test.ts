/** The cache folder: where it is, and that it is filled once and completely. */
import { mkdtemp, readdir, readFile, rm, utimes, writeFile, mkdir } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { defaultCacheFolder, fillOnce } from './cache.js';

let cache: string;
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'visorkit-cache-'));
});
afterEach(() => rm(cache, { recursive: true, force: true }));

describe('defaultCacheFolder', () => {
  test('goes by VISORKIT_CACHE, then XDG_CACHE_HOME, then the home folder', () => {
    expect(defaultCacheFolder({ VISORKIT_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
    expect(defaultCacheFolder({ XDG_CACHE_HOME: '/b' })).toBe('/b/visorkit');
    expect(defaultCacheFolder({})).toBe(join(homedir(), '.cache/visorkit'));
  });
});

describe('fillOnce', () => {
  const target = (): string => join(cache, 'a', 'b');

  test('puts the folder in place when it is whole', async () => {
    await fillOnce(cache, target(), (folder) => writeFile(join(folder, 'x'), '1'));
    expect(await readdir(target())).toEqual(['x']);
    expect(await readdir(cache)).toEqual(['a']);
  });

  test('leaves nothing behind when filling fails', async () => {
    const failing = fillOnce(cache, target(), async (folder) => {
      await writeFile(join(folder, 'x'), '1');
      throw new Error('interrupted');
    });
    await expect(failing).rejects.toThrow('interrupted');
    expect(await readdir(cache)).toEqual([]);
  });

  test('of several at the same time one wins and all succeed', async () => {
    await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        fillOnce(cache, target(), (folder) => writeFile(join(folder, 'x'), `${index}`)),
      ),
    );
    expect(await readFile(join(target(), 'x'), 'utf8')).toMatch(/^[0-7]$/);
    expect(await readdir(cache)).toEqual(['a']);
  });

  test('removes work that was abandoned more than a day ago, and no other', async () => {
    for (const name of ['work-old', 'work-new']) await mkdir(join(cache, name));
    const longAgo = Date.now() / 1000 - 2 * 24 * 3600;
    await utimes(join(cache, 'work-old'), longAgo, longAgo);
    await fillOnce(cache, target(), (folder) => writeFile(join(folder, 'x'), '1'));
    expect((await readdir(cache)).sort()).toEqual(['a', 'work-new']);
  });

  test('says which folder cannot be written', async () => {
    await writeFile(join(cache, 'file'), '');
    await expect(fillOnce(join(cache, 'file'), target(), async () => {})).rejects.toMatchObject({
      code: 'GUEST_CACHE',
      message: expect.stringMatching(/VISORKIT_CACHE/),
    });
  });
});
