/** Opens memory dumps and saved VMs by path. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { VisorkitError, fail } from '@visorkit/core';
import { layoutMemory } from '@visorkit/machine';
import { SavedVmMemory, openDump } from '@visorkit/vmi';
import type { ByteSource, KnownOfGuest, PhysicalMemory } from '@visorkit/vmi';
import { SAVED_MAGIC, readSavedVm } from './saved-file.js';

export interface OpenDump extends Disposable {
  /** `elf-core`, `lime`, `raw`, …, or `saved-vm`. */
  readonly format: string;
  readonly memory: PhysicalMemory;
  /** What the file says of the guest besides. */
  readonly known: KnownOfGuest;
}

/** Recognises the file by its content. Throws `FILE_UNREADABLE`, `VMI_DUMP`, and for a saved VM `SAVED_FILE`. */
export async function openDumpFile(path: string): Promise<OpenDump> {
  const file = new DiskFile(path);
  try {
    const start = Buffer.alloc(Math.min(SAVED_MAGIC.length, file.length));
    file.read(0, start);
    if (!start.equals(SAVED_MAGIC))
      return { ...openDump(file), known: {}, [Symbol.dispose]: () => file[Symbol.dispose]() };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
  file[Symbol.dispose]();
  const saved = await readSavedVm(path);
  const ranges = layoutMemory(saved.state.composition.memory).map(({ gpa, size }) => ({ start: gpa, end: gpa + size }));
  return { format: 'saved-vm', memory: new SavedVmMemory(saved, ranges), known: {}, [Symbol.dispose]() {} };
}

/** A file, read by need. */
class DiskFile implements ByteSource, Disposable {
  readonly length: number;
  readonly #descriptor: number;

  constructor(private readonly path: string) {
    let descriptor: number;
    try {
      descriptor = openSync(path, 'r');
    } catch (error) {
      throw unreadable(path, error);
    }
    this.#descriptor = descriptor;
    const kind = fstatSync(descriptor);
    this.length = kind.size;
    if (kind.isFile()) return;
    closeSync(descriptor);
    fail(
      'FILE_UNREADABLE',
      `"${path}" is no file: a memory dump is read here and there, not from its start to its end.`,
      {
        path,
      },
    );
  }

  read(at: number, target: Uint8Array): void {
    try {
      for (let done = 0; done < target.length; ) {
        const got = readSync(this.#descriptor, target, done, target.length - done, at + done);
        if (got === 0) throw new Error(`it ends at ${at + done}`);
        done += got;
      }
    } catch (error) {
      throw unreadable(this.path, error);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}

function unreadable(path: string, error: unknown): VisorkitError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'it may not be read' : message;
  return new VisorkitError('FILE_UNREADABLE', `"${path}" cannot be read: ${why}.`, { path }, error);
}
