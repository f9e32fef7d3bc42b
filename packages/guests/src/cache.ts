/** The folder in which fetched packages are kept. */
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fail } from '@visorkit/core';

/** Where fetched packages are kept: `VISORKIT_CACHE`, or `~/.cache/visorkit` (`XDG_CACHE_HOME` counts). */
export function defaultCacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment.VISORKIT_CACHE) return environment.VISORKIT_CACHE;
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'visorkit');
}

const DAY_MS = 24 * 3600 * 1000;
const WORK_PREFIX = 'work-';

/**
 * Fills `target`, a folder in the cache, all at once: `fill` works in a folder of its own, which is renamed to `target` when
 * it is whole. Whoever is interrupted leaves nothing at `target`; of several at the same time the first one wins and the
 * others take its result.
 * @throws VisorkitError GUEST_CACHE when the cache cannot be written
 */
export async function fillOnce(cache: string, target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const work = await workFolder(cache);
  try {
    const folder = join(work, 'content');
    await mkdir(folder);
    await fill(folder);
    await mkdir(dirname(target), { recursive: true });
    try {
      await rename(folder, target);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Removes what stands where something new is to be put. */
export async function clear(cache: string, target: string): Promise<void> {
  try {
    await rm(target, { recursive: true, force: true });
  } catch (cause) {
    unusable(cache, cause);
  }
}

function unusable(cache: string, cause: unknown): never {
  return fail(
    'GUEST_CACHE',
    `The cache folder "${cache}" cannot be written; set VISORKIT_CACHE to a folder that can.`,
    { cache },
    cause,
  );
}

/** One level at a time: Node's own recursive mkdir never ends below a folder of procfs. */
async function makeFolder(path: string): Promise<void> {
  if (await exists(path)) return;
  await makeFolder(dirname(path));
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

/** A new folder for work in progress. Those that others left behind more than a day ago are removed. */
async function workFolder(cache: string): Promise<string> {
  try {
    await makeFolder(cache);
    await removeAbandoned(cache);
    return await mkdtemp(join(cache, WORK_PREFIX));
  } catch (cause) {
    return unusable(cache, cause);
  }
}

async function removeAbandoned(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith(WORK_PREFIX)) continue;
    const folder = join(cache, name);
    const age =
      Date.now() -
      (await stat(folder).then(
        (status) => status.mtimeMs,
        () => Date.now(),
      ));
    if (age > DAY_MS) await rm(folder, { recursive: true, force: true });
  }
}

/** Whether there is a file or folder at the path. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
