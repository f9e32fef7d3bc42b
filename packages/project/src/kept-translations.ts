/** Translated guest code in a file, for the next run of the same guest. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { definePlugin, fail, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { TranslationsToken } from '@visorkit/machine';

/** What such files begin with: no other one is ever replaced. */
const BEGINNING = Buffer.from('visorkit translations\n');
const CHECKSUM_BYTES = 32;
/** It has pieces of the guest's code in it. */
const OWNER_ALONE = 0o600;
const checksumOf = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest();

/**
 * Keeps what a backend translates in the file at `path`: the next run of the same guest, or of one with much of the same code, has it from the beginning. Nothing is kept on
 * backends that translate nothing. A file that is not there, not whole or of another version is as none, and is written anew when the VM is disposed of, if anything is
 * new; where that cannot be done a warning says why. Throws `TRANSLATIONS_FILE` where something else is at `path`, which is left as it is. As with all code, a file that was
 * altered on purpose may do anything to the guest.
 */
export function keepTranslations(path: string): Plugin {
  const earlier = readKept(path);
  return definePlugin({
    name: 'keep-translations',
    uses: { translations: optional(TranslationsToken) },
    apply({ onDispose, logger }, { translations }) {
      if (translations === undefined) return;
      translations.keep(earlier);
      onDispose(() => {
        const kept = translations.kept();
        if (kept === undefined) return;
        try {
          writeWhole(path, kept);
        } catch (error) {
          logger.warn(`Translated code could not be kept in ${path}: ${(error as Error).message}`);
        }
      });
    },
  });
}

function readKept(path: string): Uint8Array | undefined {
  let file: Buffer | undefined;
  try {
    if (statSync(path).isFile()) file = readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : refuse(path, message, error);
  }
  if (file === undefined) return refuse(path, 'it is no regular file');
  if (file.length === 0) return undefined;
  if (!file.subarray(0, BEGINNING.length).equals(BEGINNING)) return refuse(path, 'it has something else in it');
  const checksum = file.subarray(BEGINNING.length, BEGINNING.length + CHECKSUM_BYTES),
    data = file.subarray(BEGINNING.length + CHECKSUM_BYTES);
  return checksumOf(data).equals(checksum) ? data : undefined;
}
function refuse(path: string, why: string, cause?: unknown): never {
  return fail(
    'TRANSLATIONS_FILE',
    `Translated code cannot be kept in ${path}: ${why}. Name a file that was made for it, or one that does not exist.`,
    { path },
    cause,
  );
}
/** Of several processes the last one wins, and nobody reads half a file. */
function writeWhole(path: string, data: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const written = `${path}.${process.pid}`;
  try {
    writeFileSync(written, Buffer.concat([BEGINNING, checksumOf(data), data]), { mode: OWNER_ALONE });
    renameSync(written, path);
  } catch (error) {
    rmSync(written, { force: true });
    throw error;
  }
}
