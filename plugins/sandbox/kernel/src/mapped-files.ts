/** Files of the host that the program has mapped: the guest kernel asks for them page by page. */
import { FileTable } from '@visorkit/linux-abi';
import type { OpenFile } from '@visorkit/linux-abi';
import type { GuestMemory } from '@visorkit/core';
import { Errno, errnoOf } from '@visorkit/sandbox-fs';

const PAGE = 4096;
/** Of mmap(2). */
const MAP_TYPE = 3,
  MAP_PRIVATE = 2,
  PROT_WRITE = 2;

/** Every method returns what the guest kernel gets: a count, the number of a file, or a negative error number. */
export class MappedFiles {
  readonly #files = new Map<number, OpenFile>();
  #next = 1;

  constructor(private readonly ram: GuestMemory) {}

  /** Keeps an open file for a mapping with mmap's protection and flags, and gives it a number. */
  open(file: OpenFile | undefined, protection: number, flags: number): number {
    if (file === undefined) return -Errno.EBADF;
    if (!file.readable) return -Errno.EACCES;
    if ((flags & MAP_TYPE) !== MAP_PRIVATE && (protection & PROT_WRITE) !== 0 && !file.writable) return -Errno.EACCES;
    if (file.readAt(new Uint8Array(0), 0) !== 0) return -Errno.ENODEV;
    file.references++;
    this.#files.set(this.#next, file);
    return this.#next++;
  }

  /** Reads a page at `offset` of the file to guest-physical memory. */
  read(number: number, offset: number, gpa: number): number {
    return this.#access(number, (file) => {
      const bytes = new Uint8Array(PAGE),
        count = file.readAt(bytes, offset);
      if (count > 0) this.ram.write(gpa, bytes.subarray(0, count));
      return count;
    });
  }

  /** Writes up to `most` bytes back; what lies behind the end of the file is not written. */
  write(number: number, offset: number, gpa: number, most: number): number {
    return this.#access(number, (file) => {
      const length = Math.min(most, file.stat().size - offset);
      return length <= 0 ? 0 : file.writeAt(this.ram.read(gpa, length), offset);
    });
  }

  close(number: number): void {
    const file = this.#files.get(number);
    if (file === undefined) return;
    this.#files.delete(number);
    FileTable.release(file);
  }

  closeAll(): void {
    for (const number of [...this.#files.keys()]) this.close(number);
  }

  #access(number: number, access: (file: OpenFile) => number): number {
    const file = this.#files.get(number);
    if (file === undefined) return -Errno.EBADF;
    try {
      return access(file);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 0) throw error;
      return -errno;
    }
  }
}
