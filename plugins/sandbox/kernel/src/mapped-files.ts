/** Files of the host that programs have mapped: the guest kernel keeps their pages, and asks for them one by one. */
import { FilePages, FileTable } from '@visorkit/linux-abi';
import type { MappedPages, OpenFile } from '@visorkit/linux-abi';
import type { GuestMemory } from '@visorkit/core';
import { Errno, FileMode, OpenFlag, errorResult } from '@visorkit/sandbox-fs';
import { HANDLE_READ_ONLY, MAP_PRIVATE, Prot } from './abi.js';
import { ENTRIES, LEVELS, frameAt, pageAt } from './page-tables.js';

const PAGE = 4096;
/** Of mmap(2). */
const MAP_TYPE = 3;

interface Mapped {
  /** What a file is known by; undefined for one that is no regular file, of which every mapping is its own. */
  readonly key: string | undefined;
  /** For reading, and for writing when something opened for that was mapped. */
  readonly file: OpenFile;
  writable: OpenFile | undefined;
  /** The guest kernel has it. */
  taken: boolean;
}

/** Every method returns what the guest kernel gets: a count, the number of a file, or a negative error number. */
export class MappedFiles {
  readonly #files = new Map<number, Mapped>();
  readonly #numbers = new Map<string, number>();
  #next = 1;

  /** `pages` is told which files have pages in memory; `cut` tells the guest kernel that the file whose tree is at `root` ends at `size` now. */
  constructor(
    private readonly ram: GuestMemory,
    private readonly pages: FilePages,
    private readonly cut: (root: number, size: number) => void,
  ) {}

  /** Keeps an open file for a mapping with mmap's protection and flags, and gives it a number: the same for the same file. */
  open(file: OpenFile | undefined, protection: number, flags: number): number {
    if (file === undefined) return -Errno.EBADF;
    if (!file.readable) return -Errno.EACCES;
    const shared = (flags & MAP_TYPE) !== MAP_PRIVATE;
    if (shared && (protection & Prot.WRITE) !== 0 && !file.writable) return -Errno.EACCES;
    if (file.readAt(new Uint8Array(0), 0) !== 0) return -Errno.ENODEV;
    const stat = file.stat();
    const key = (stat.mode & FileMode.TYPE) === FileMode.REGULAR ? FilePages.key(stat) : undefined;
    const known = key === undefined ? undefined : this.#numbers.get(key);
    const number = known ?? this.#keep(key, file);
    const mapped = this.#files.get(number)!;
    if (shared && file.writable && mapped.writable === undefined) {
      mapped.writable = file;
      file.references++;
    }
    return shared && !file.writable ? number + HANDLE_READ_ONLY : number;
  }

  #keep(key: string | undefined, file: OpenFile): number {
    const number = this.#next++;
    file.references++;
    this.#files.set(number, { key, file, writable: undefined, taken: false });
    if (key !== undefined) this.#numbers.set(key, number);
    return number;
  }

  /** The guest kernel keeps the file's pages in the tree at `root` from now on. */
  hasPages(number: number, root: number): void {
    const mapped = this.#files.get(number);
    if (mapped === undefined) return;
    const { key } = mapped;
    mapped.taken = true;
    if (key !== undefined) this.pages.set(key, new PageTree(this.ram, root, this.cut));
  }

  /** Reads a page at `offset` of the file to guest-physical memory. */
  read(number: number, offset: number, gpa: number): number {
    return this.#access(number, ({ file }) => {
      const bytes = new Uint8Array(PAGE),
        count = file.readAt(bytes, offset);
      if (count > 0) this.ram.write(gpa, bytes.subarray(0, count));
      return count;
    });
  }

  /** Writes a page back; what lies behind the end of the file is not written. */
  write(number: number, offset: number, gpa: number): number {
    return this.#access(number, ({ writable }) => {
      if (writable === undefined) return -Errno.EBADF;
      const length = Math.min(PAGE, writable.stat().size - offset);
      if (length <= 0) return 0;
      const { flags } = writable;
      writable.flags &= ~OpenFlag.APPEND; // a page has its place
      try {
        return writable.writeAt(this.ram.read(gpa, length), offset);
      } finally {
        writable.flags = flags;
      }
    });
  }

  /** The name of a file, for `/proc/self/maps`. */
  name(number: number): string {
    return this.#files.get(number)?.file.name ?? '';
  }
  inode(number: number): bigint {
    return this.#files.get(number)?.file.stat().ino ?? 0n;
  }

  close(number: number): void {
    const mapped = this.#files.get(number);
    if (mapped === undefined) return;
    this.#files.delete(number);
    if (mapped.key !== undefined) {
      this.#numbers.delete(mapped.key);
      this.pages.delete(mapped.key);
    }
    FileTable.release(mapped.file);
    if (mapped.writable !== undefined) FileTable.release(mapped.writable);
  }

  /** Closes what was opened and never mapped: a program that could not be started. */
  closeUntaken(): void {
    for (const [number, { taken }] of this.#files) if (!taken) this.close(number);
  }

  closeAll(): void {
    for (const number of [...this.#files.keys()]) this.close(number);
  }

  #access(number: number, access: (file: Mapped) => number): number {
    const mapped = this.#files.get(number);
    if (mapped === undefined) return -Errno.EBADF;
    try {
      return access(mapped);
    } catch (error) {
      return errorResult(error);
    }
  }
}

/** The pages of a file in the guest's memory: a tree in the form of page tables, by page number (guest/objects.c). */
export class PageTree implements MappedPages {
  constructor(
    private readonly ram: GuestMemory,
    private readonly root: number,
    private readonly cut: (root: number, size: number) => void,
  ) {}

  read(target: Uint8Array, position: number): void {
    this.#parts(target.length, position, (gpa, from, to) => this.ram.readInto(gpa, target.subarray(from, to)));
  }

  write(bytes: Uint8Array, position: number): void {
    this.#parts(bytes.length, position, (gpa, from, to) => this.ram.write(gpa, bytes.subarray(from, to)));
  }

  truncate(size: number): void {
    this.#clear(this.root, LEVELS - 1, 0, size);
    this.cut(this.root, size);
  }

  /** Visits the pages that are there in a range: where, and which part of the range. */
  #parts(length: number, position: number, visit: (gpa: number, from: number, to: number) => void): void {
    for (let done = 0; done < length; ) {
      const at = position + done,
        part = Math.min(length - done, PAGE - (at % PAGE)),
        frame = pageAt(this.ram, this.root, Math.floor(at / PAGE));
      if (frame >= 0) visit(frame + (at % PAGE), done, done + part);
      done += part;
    }
  }

  #clear(table: number, level: number, firstPage: number, size: number): void {
    const pages = ENTRIES ** level;
    for (let i = 0; i < ENTRIES; i++) {
      const page = firstPage + i * pages,
        end = (page + pages) * PAGE,
        next = end <= size ? -1 : frameAt(this.ram, table, i);
      if (next < 0) continue;
      if (level > 0) this.#clear(next, level - 1, page, size);
      else {
        const kept = Math.max(0, size - page * PAGE);
        this.ram.write(next + kept, new Uint8Array(PAGE - kept));
      }
    }
  }
}
