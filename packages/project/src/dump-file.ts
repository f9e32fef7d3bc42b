/** Files of memory dumps: opened, with the other file of a pair beside them, and written. */
import { closeSync, constants as flags, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import { VisorkitError, isVisorkitError } from '@visorkit/core';
import { layoutMemory } from '@visorkit/machine';
import { SavedVmMemory, openDump, writeDump } from '@visorkit/vmi';
import type { ByteSource, Dump, DumpFormat, DumpHints, PhysicalMemory, WrittenFormat } from '@visorkit/vmi';
import { isSavedVm, readSavedVm } from './saved-file.js';
import { messageOf, writeWhole } from './whole-file.js';

/** A dump whose file is open until it is disposed of. */
export interface OpenDump extends Dump, Disposable {}

/** VMware's files that belong together, by the ends of their names. */
const BESIDE: readonly [RegExp, readonly string[]][] = [
  [/\.vmem$/i, ['.vmss', '.vmsn']],
  [/\.vms[sn]$/i, ['.vmem']],
];

/**
 * Opens a memory dump of any format of `@visorkit/vmi`, or a VM that this project saved (format "saved-vm"). The format is recognised by content; what VMware keeps in a
 * second file is looked for beside the first. Dispose of it to close the files: what was not read before can then not be read. Throws `DUMP_FILE`
 * for a file that cannot be read, `VMI_DUMP` for one whose headers make no sense, `SAVED_FILE` for a saved VM that is damaged.
 */
export async function openDumpFile(path: string, formats?: readonly DumpFormat[]): Promise<OpenDump> {
  const open: DescriptorSource[] = [];
  const close = (): void => {
    for (const file of open.splice(0)) file.close();
  };
  try {
    const file = new DescriptorSource(path);
    open.push(file);
    if (isSavedVm(file)) {
      close();
      return await openSavedVm(path);
    }
    const other = besideOf(path);
    const beside = other === undefined ? undefined : new DescriptorSource(other);
    if (beside !== undefined) open.push(beside);
    const dump = openDump(file, { inflate, ...(beside && { beside }), ...(formats && { formats }) });
    return { ...dump, [Symbol.dispose]: close };
  } catch (error) {
    close();
    if (!isVisorkitError(error) || error.code !== 'VMI_DUMP') throw error;
    throw new VisorkitError('VMI_DUMP', `${path}: ${error.message}`, { path }, error);
  }
}

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

/** Node's zlib is 1.6 times as fast as portable code. Its default chunks are larger than a page. */
const inflate = (bytes: Uint8Array, length: number): Uint8Array =>
  inflateSync(bytes, { chunkSize: Math.max(length, 64), maxOutputLength: length });

async function openSavedVm(path: string): Promise<OpenDump> {
  const saved = await readSavedVm(path);
  const ranges = layoutMemory(saved.state.composition.memory).map(({ gpa, size }) => ({ start: gpa, end: gpa + size }));
  // Its file is closed when nobody has a piece of it any more
  return { format: 'saved-vm', memory: new SavedVmMemory(saved, ranges), hints: {}, [Symbol.dispose]: () => undefined };
}

function besideOf(path: string): string | undefined {
  for (const [end, others] of BESIDE)
    for (const other of others)
      if (end.test(path) && existsSync(path.replace(end, other))) return path.replace(end, other);
  return undefined;
}

/** Bytes of an open file. */
class DescriptorSource implements ByteSource {
  readonly length: number;
  readonly #descriptor: number;
  #closed = false;

  constructor(private readonly path: string) {
    try {
      // A pipe without a writer is refused below, instead of waited for
      this.#descriptor = openSync(path, flags.O_RDONLY | (flags.O_NONBLOCK ?? 0));
    } catch (error) {
      throw this.#unreadable(error);
    }
    const stat = fstatSync(this.#descriptor);
    this.length = stat.size;
    if (stat.isFile()) return;
    this.close();
    throw this.#unreadable(new Error('it is not a file'));
  }

  read(at: number, target: Uint8Array): void {
    try {
      if (this.#closed) throw new Error('it was closed by dispose');
      for (let done = 0; done < target.length; ) {
        const got = readSync(this.#descriptor, target, done, target.length - done, at + done);
        if (got === 0) throw new Error(`it ends after ${at + done} bytes`);
        done += got;
      }
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  close(): void {
    if (!this.#closed) closeSync(this.#descriptor);
    this.#closed = true;
  }

  #unreadable(error: unknown): VisorkitError {
    const { path } = this;
    return new VisorkitError('DUMP_FILE', `The dump ${path} cannot be read: ${messageOf(error)}.`, { path }, error);
  }
}
