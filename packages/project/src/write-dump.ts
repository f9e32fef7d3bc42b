/** Files of memory dumps, written. */
import { VisorkitError, isVisorkitError } from '@visorkit/core';
import { writeDump } from '@visorkit/vmi';
import type { DumpHints, PhysicalMemory, WrittenFormat } from '@visorkit/vmi';
import { messageOf, writeWhole } from './whole-file.js';

/**
 * Writes memory as a dump. The file is there whole or not at all; stretches of zeros take no room where the file system has sparse files. `hints` are for "elf-core". Throws `DUMP_FILE`
 * when it cannot be written.
 */
export async function writeDumpFile(
  path: string,
  memory: PhysicalMemory,
  format: WrittenFormat,
  hints: Pick<DumpHints, 'cpus' | 'vmcoreinfo'> = {},
): Promise<void> {
  const pieces = writeDump(memory, format, hints);
  try {
    await writeWhole(path, async (file) => {
      let end = 0;
      for (const { at, bytes } of pieces) {
        end = at + bytes.length;
        for (let from = 0; from < bytes.length; from += ZEROS.length) {
          const part = bytes.subarray(from, from + ZEROS.length);
          if (ZEROS.compare(part, 0, part.length, 0, part.length) === 0) continue;
          for (let done = 0; done < part.length; )
            done += (await file.write(part, done, part.length - done, at + from + done)).bytesWritten;
        }
      }
      await file.truncate(end);
    });
  } catch (error) {
    if (isVisorkitError(error)) throw error;
    throw new VisorkitError(
      'DUMP_FILE',
      `The memory could not be written to ${path}: ${messageOf(error)}.`,
      { path },
      error,
    );
  }
}

/** Stretches of zeros that are left out are such long ones. */
const ZEROS = Buffer.alloc(64 << 10);
