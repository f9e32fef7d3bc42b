/** Translated guest code in a file, for the next run of the same guest. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { definePlugin, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { TranslationsToken } from '@visorkit/machine';

const CHECKSUM_BYTES = 32;
/** It has pieces of the guest's code in it. */
const OWNER_ALONE = 0o600;
const checksumOf = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest();

/**
 * Keeps what a backend translates in the file at `path`: the next run of the same guest, or of one with much of the same code, has it from the beginning. Nothing is kept on
 * backends that translate nothing. A file that is not there, not whole or of another version is as none, and is written anew when the VM is disposed of, if anything is
 * new; where that cannot be done a warning says why. As with all code, a file that was altered on purpose may do anything to the guest.
 */
export function keepTranslations(path: string): Plugin {
  return definePlugin({
    name: 'keep-translations',
    uses: { translations: optional(TranslationsToken) },
    apply({ onDispose, logger }, { translations }) {
      if (translations === undefined) return;
      translations.keep(readWhole(path));
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

function readWhole(path: string): Uint8Array | undefined {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return undefined;
  }
  const data = file.subarray(CHECKSUM_BYTES);
  return checksumOf(data).equals(file.subarray(0, CHECKSUM_BYTES)) ? data : undefined;
}
/** Of several processes the last one wins, and nobody reads half a file. */
function writeWhole(path: string, data: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const written = `${path}.${process.pid}`;
  try {
    writeFileSync(written, Buffer.concat([checksumOf(data), data]), { mode: OWNER_ALONE });
    renameSync(written, path);
  } catch (error) {
    rmSync(written, { force: true });
    throw error;
  }
}
