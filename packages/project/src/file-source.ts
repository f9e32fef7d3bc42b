/** A file of which parts are read, as introspection wants it: a dump, or one of symbols and types. */
import { closeSync, fstatSync, openSync, readFileSync, readSync, constants as flags } from 'node:fs';
import { VisorkitError } from '@visorkit/core';
import type { ByteSource } from '@visorkit/vmi';

/** Files that nobody uses any more are closed. */
const unreferenced = new FinalizationRegistry((descriptor: number) => closeSync(descriptor));

/** Closed by its disposal, and otherwise with the object. */
export class FileSource implements ByteSource, Disposable {
  readonly length: number;
  readonly #descriptor: number;
  readonly #whole: Uint8Array | undefined;
  #isOpen = true;

  /** Throws `FILE_UNREADABLE` where there is no such file, or what is there is none. */
  constructor(readonly path: string) {
    try {
      // A pipe without a writer is refused below, instead of waited for
      this.#descriptor = openSync(path, flags.O_RDONLY | (flags.O_NONBLOCK ?? 0));
    } catch (error) {
      throw unreadable(path, error);
    }
    unreferenced.register(this, this.#descriptor, this);
    try {
      const stat = fstatSync(this.#descriptor);
      if (!stat.isFile()) throw new Error('it is no file, which is read here and there, not from its start to its end');
      // Files of procfs say that they have no bytes
      this.#whole = stat.size === 0 ? readFileSync(this.#descriptor) : undefined;
      this.length = this.#whole?.length ?? stat.size;
    } catch (error) {
      this[Symbol.dispose]();
      throw unreadable(path, error);
    }
  }

  read(at: number, target: Uint8Array): void {
    try {
      // Its descriptor may be another file's by now
      if (!this.#isOpen) throw new Error('it was closed');
      if (this.#whole !== undefined && at + target.length <= this.length) {
        target.set(this.#whole.subarray(at, at + target.length));
        return;
      }
      for (let done = 0; done < target.length; ) {
        const got = readSync(this.#descriptor, target, done, target.length - done, at + done);
        if (got === 0) throw new Error(`it ends at ${at + done}`);
        done += got;
      }
    } catch (error) {
      throw unreadable(this.path, error);
    }
  }

  /** All of it. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    this.read(0, bytes);
    return bytes;
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    unreferenced.unregister(this);
    closeSync(this.#descriptor);
  }
}

function unreadable(path: string, error: unknown): VisorkitError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'it may not be read' : message;
  return new VisorkitError('FILE_UNREADABLE', `"${path}" cannot be read: ${why}.`, { path }, error);
}
