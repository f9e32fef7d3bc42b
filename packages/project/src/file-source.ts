/** A file of which parts are read, as introspection wants it. */
import { closeSync, fstatSync, openSync, readFileSync, readSync, constants as flags } from 'node:fs';
import type { ByteSource } from '@visorkit/vmi';

/** Sources that nobody uses any more are closed. */
const unreferenced = new FinalizationRegistry((descriptor: number) => closeSync(descriptor));

/** Closed by `close`, and otherwise with its object. */
export class FileSource implements ByteSource {
  readonly length: number;
  readonly #descriptor: number;
  readonly #whole: Uint8Array | undefined;
  #isOpen = true;

  /** Throws what Node throws where there is no such file; a folder or a pipe is refused. */
  constructor(readonly path: string) {
    // A pipe without a writer is refused below, instead of waited for
    this.#descriptor = openSync(path, flags.O_RDONLY | (flags.O_NONBLOCK ?? 0));
    unreferenced.register(this, this.#descriptor, this);
    try {
      const stat = fstatSync(this.#descriptor);
      if (!stat.isFile()) throw new Error(`${path} is not a file`);
      // Files of procfs say that they have no bytes
      this.#whole = stat.size === 0 ? readFileSync(this.#descriptor) : undefined;
      this.length = this.#whole?.length ?? stat.size;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(at: number, target: Uint8Array): void {
    if (this.#whole !== undefined) {
      if (at + target.length > this.length) throw new Error(`${this.path} ends after ${this.length} bytes`);
      target.set(this.#whole.subarray(at, at + target.length));
      return;
    }
    for (let done = 0; done < target.length; ) {
      const got = readSync(this.#descriptor, target, done, target.length - done, at + done);
      if (got === 0) throw new Error(`${this.path} ends after ${at + done} bytes`);
      done += got;
    }
  }

  /** All of it. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    this.read(0, bytes);
    return bytes;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    unreferenced.unregister(this);
    closeSync(this.#descriptor);
  }
}
