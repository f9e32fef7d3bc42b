/** Where the command line keeps translated code from run to run: a file for each image, in the cache. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from '@visorkit/core';
import type { BootOptions } from '@visorkit/machine';
import { keepTranslations } from '@visorkit/project';

/** What is started from an image of this size is an operating system; others run too little code for it to be worth a file. */
const LARGE_IMAGE = 1 << 20;
/** So many bytes at an image's beginning, and its length, tell it from others: a kernel's version is there. Two that share a file do each other no harm. */
const TELLING_BYTES = 1 << 16;
const NOWHERE = 'off';
/** Images that have files; of more the one that was written first goes. */
const MOST_FILES = 16;

/**
 * The plugin for `--translations`, which is a file or `off`; unless given, operating systems have a file in the cache. Where `--translate` asks for something
 * other than the usual nothing is kept but in a file that is named.
 */
export async function keptTranslations(
  boot: BootOptions | undefined,
  { translations, translate = 'on' }: { translations?: string; translate?: string } = {},
): Promise<Plugin[]> {
  if (translations === NOWHERE) return [];
  if (translations !== undefined) return [keepTranslations(translations)];
  if (translate !== 'on' || boot === undefined || boot.image.length < LARGE_IMAGE) return [];
  const { defaultCacheFolder } = await import('@visorkit/guests'); // not loaded for small guests, which are to start soon
  const folder = join(defaultCacheFolder(), 'translations'),
    file = join(folder, fileNameOf(boot.image));
  if (!existsSync(file)) makeRoom(folder);
  try {
    return [keepTranslations(file)];
  } catch {
    // what is in the cache stops no run: the next one makes it anew
    rmSync(file, { recursive: true, force: true });
    return [];
  }
}

/** In the cache. */
export function fileNameOf(image: Uint8Array): string {
  const hash = createHash('sha256').update(String(image.length)).update(image.subarray(0, TELLING_BYTES));
  return hash.digest('hex').slice(0, 32);
}

/** For one more file. What cannot be removed stays: it is not needed. */
function makeRoom(folder: string): void {
  try {
    const files = readdirSync(folder).map((name) => join(folder, name));
    const byTime = files.map((file) => ({ file, time: statSync(file).mtimeMs })).sort((a, b) => b.time - a.time);
    for (const { file } of byTime.slice(MOST_FILES - 1)) rmSync(file, { force: true });
  } catch {
    // there is no such folder yet
  }
}
