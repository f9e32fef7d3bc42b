/** Open files and the table of descriptors. */
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import type { SystemCall } from './call.js';

/** Events of poll(2). */
export const Poll = { IN: 1, PRI: 2, OUT: 4, ERR: 8, HUP: 16, NVAL: 32 } as const;

/** An open file description: what descriptors point to. Its methods return results, negative error numbers or BLOCKED. */
export abstract class OpenFile {
  /** Descriptors that point here. */
  references = 0;
  /** Gives back what belongs to it beyond itself, such as locks; called before it is closed. */
  release: (() => void) | undefined;
  /** Who is told of events as they come (epoll with EPOLLET). */
  watchers: Set<(events: number) => void> | undefined;

  /** `flags` as given to open(2); F_SETFL changes some of them. */
  constructor(public flags: number) {}

  /** What `/proc/self/fd/N` shows: a path, or `pipe:[7]`. */
  abstract readonly name: string;
  abstract stat(): FileStat;
  /** Reads at the file's position. */
  read(_target: Uint8Array, _call: SystemCall): number {
    return -Errno.EINVAL;
  }
  write(_bytes: Uint8Array, _call: SystemCall): number {
    return -Errno.EINVAL;
  }
  readAt(_target: Uint8Array, _position: number): number {
    return -Errno.ESPIPE;
  }
  writeAt(_bytes: Uint8Array, _position: number): number {
    return -Errno.ESPIPE;
  }
  seek(_offset: number, _whence: number): number {
    return -Errno.ESPIPE;
  }
  /** Which of {@link Poll} hold now. */
  poll(): number {
    return Poll.IN | Poll.OUT;
  }
  ioctl(_call: SystemCall, _request: number): number {
    return -Errno.ENOTTY;
  }
  truncate(_size: number): number {
    return -Errno.EINVAL;
  }
  sync(): number {
    return -Errno.EINVAL;
  }
  /** Whether it says by {@link notify} each time that something came or went; else it is only looked at. */
  get notifies(): boolean {
    return false;
  }
  /** Something arrived, or room came to be: which of {@link Poll}; 0 for all. Who came last hears of it first, as in Linux's wait queues. */
  notify(events: number): void {
    if (this.watchers !== undefined) for (const watcher of [...this.watchers].reverse()) watcher(events);
  }
  /** The last descriptor is gone. */
  close(): void {}

  get readable(): boolean {
    return (this.flags & OpenFlag.ACCESS) !== OpenFlag.WRONLY && (this.flags & OpenFlag.PATH) === 0;
  }
  get writable(): boolean {
    return (this.flags & OpenFlag.ACCESS) !== OpenFlag.RDONLY && (this.flags & OpenFlag.PATH) === 0;
  }
  get nonblocking(): boolean {
    return (this.flags & OpenFlag.NONBLOCK) !== 0;
  }
}

/** Open files that are on their way from one process to another, in no table (SCM_RIGHTS). */
export class FilesInFlight {
  readonly #files = new Map<OpenFile, number>();
  /** With one that is on its way twice counted twice. */
  size = 0;

  add(files: readonly OpenFile[]): void {
    for (const file of files) this.#files.set(file, this.of(file) + 1);
    this.size += files.length;
  }
  remove(files: readonly OpenFile[]): void {
    for (const file of files) {
      const left = this.of(file) - 1;
      if (left > 0) this.#files.set(file, left);
      else this.#files.delete(file);
    }
    this.size -= files.length;
  }
  /** How often a file is on its way. */
  of(file: OpenFile): number {
    return this.#files.get(file) ?? 0;
  }
  /** Closes what is left at the end of a sandbox: nobody will receive it. */
  closeAll(): void {
    for (const [file, count] of [...this.#files]) for (let i = 0; i < count; i++) FileTable.release(file);
    this.#files.clear();
    this.size = 0;
  }
  /** Those to which no descriptor leads. */
  unheld(): OpenFile[] {
    return [...this.#files].filter(([file, count]) => file.references === count).map(([file]) => file);
  }
}

interface Slot {
  file: OpenFile;
  closeOnExec: boolean;
}

/** Descriptors of a process. */
export class FileTable {
  #slots: (Slot | undefined)[] = [];
  /** Processes that have this table. */
  #users = 1;
  /** Told when one of its descriptors is closed. */
  onClose: ((file: OpenFile) => void) | undefined;

  /** RLIMIT_NOFILE. */
  constructor(public limit = 1024) {}

  /** The same table for one process more (CLONE_FILES). */
  share(): this {
    this.#users++;
    return this;
  }

  /** A table of its own with the same open files, for a new process. */
  copy(): FileTable {
    const copy = new FileTable(this.limit);
    copy.#slots = this.#slots.map((slot) => slot && { ...slot });
    for (const slot of copy.#slots) if (slot !== undefined) slot.file.references++;
    return copy;
  }

  /** One process less: with the last one everything is closed. */
  leave(): void {
    if (--this.#users <= 0) this.closeAll();
  }

  /** The table for a process that starts another program: its own, without what is not passed on. */
  afterExec(): FileTable {
    let own: FileTable = this;
    if (this.#users > 1) {
      own = this.copy();
      this.leave();
    }
    for (const descriptor of own.list()) if (own.closeOnExec(descriptor)) own.close(descriptor);
    return own;
  }

  /** Throws LinuxError EBADF. */
  get(descriptor: number): OpenFile {
    return (this.#slots[descriptor] ?? raise('EBADF')).file;
  }

  find(descriptor: number): OpenFile | undefined {
    return this.#slots[descriptor]?.file;
  }

  /** Puts a file at the lowest free descriptor from `least` on. Throws EMFILE; the file is closed then if nobody else has it. */
  add(file: OpenFile, closeOnExec = false, least = 0): number {
    let descriptor = least;
    while (this.#slots[descriptor] !== undefined) descriptor++;
    if (descriptor >= this.limit) {
      if (file.references === 0) file.close();
      raise('EMFILE');
    }
    this.#put(descriptor, file, closeOnExec);
    return descriptor;
  }

  /** Puts a file at a descriptor, closing what was there. Throws EBADF for a descriptor above the limit. */
  set(descriptor: number, file: OpenFile, closeOnExec: boolean): void {
    if (descriptor < 0 || descriptor >= this.limit) raise('EBADF');
    file.references++;
    if (this.#slots[descriptor] !== undefined) this.close(descriptor);
    file.references--;
    this.#put(descriptor, file, closeOnExec);
  }

  #put(descriptor: number, file: OpenFile, closeOnExec: boolean): void {
    file.references++;
    this.#slots[descriptor] = { file, closeOnExec };
  }

  closeOnExec(descriptor: number): boolean {
    return (this.#slots[descriptor] ?? raise('EBADF')).closeOnExec;
  }

  setCloseOnExec(descriptor: number, value: boolean): void {
    (this.#slots[descriptor] ?? raise('EBADF')).closeOnExec = value;
  }

  /** Throws EBADF. */
  close(descriptor: number): void {
    const { file } = this.#slots[descriptor] ?? raise('EBADF');
    this.#slots[descriptor] = undefined;
    this.onClose?.(file);
    FileTable.release(file);
  }

  /** One reference less, as a mapping of the file gives it back too. */
  static release(file: OpenFile): void {
    if (--file.references > 0) return;
    file.release?.();
    file.close();
  }

  /** Descriptors in use, ascending. */
  list(): number[] {
    return [...this.#slots.keys()].filter((descriptor) => this.#slots[descriptor] !== undefined);
  }

  closeAll(): void {
    for (const descriptor of this.list()) {
      try {
        this.close(descriptor);
      } catch {
        // the end of the process closes what it can
      }
    }
  }
}
