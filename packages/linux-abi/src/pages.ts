/** Files that have pages in the sandbox's memory, because something maps them: reads and writes go through those pages too. */
import type { FileStat } from '@visorkit/sandbox-fs';

/** The pages of one file. */
export interface MappedPages {
  /** Puts what they hold over bytes that were read from the file at `position`. */
  read(target: Uint8Array, position: number): void;
  /** Bytes that were written to the file at `position`. */
  write(bytes: Uint8Array, position: number): void;
  /** The file ends at `size` now: what lies behind is zero. */
  truncate(size: number): void;
}

export class FilePages {
  readonly #files = new Map<string, MappedPages>();

  /** What a file is known by. */
  static key({ dev, ino }: Pick<FileStat, 'dev' | 'ino'>): string {
    return `${dev}:${ino}`;
  }

  set(key: string, pages: MappedPages): void {
    this.#files.set(key, pages);
  }
  delete(key: string): void {
    this.#files.delete(key);
  }

  /** The pages of a file; it is asked what it is known by only when any file has some. */
  of(key: () => string): MappedPages | undefined {
    return this.#files.size === 0 ? undefined : this.#files.get(key());
  }
}
