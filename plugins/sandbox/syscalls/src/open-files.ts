/** Open files of the file system: regular files, devices, directories. */
import { FilePages, OpenFile } from '@visorkit/linux-abi';
import type { MappedPages, ProcessOptions } from '@visorkit/linux-abi';
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { Base, Directory, DirectoryEntry, FileHandle, FileStat, FsNode } from '@visorkit/sandbox-fs';

import { IN, watchesOf } from './file-watches.js';
import type { FileWatches } from './file-watches.js';

const SEEK = { SET: 0, CUR: 1, END: 2 } as const;

/** A regular file or a device. */
export class ContentFile extends OpenFile {
  position: number;
  #key: string | undefined;
  readonly #pages: FilePages | undefined;
  readonly #watches: FileWatches | undefined;

  /** `sandbox`: where pages of mapped files are, and who is told of what happens to files. */
  constructor(
    flags: number,
    readonly handle: FileHandle,
    readonly name: string,
    sandbox?: ProcessOptions,
  ) {
    super(flags);
    this.position = handle.start ?? 0;
    this.#pages = sandbox?.pages;
    this.#watches = sandbox === undefined ? undefined : watchesOf(sandbox);
    this.#watches?.opened(this);
  }

  stat(): FileStat {
    return this.handle.stat();
  }

  override read(target: Uint8Array): number {
    const count = this.readAt(target, this.position);
    if (this.handle.seekable) this.position += count;
    return count;
  }

  override write(bytes: Uint8Array): number {
    const append = (this.flags & OpenFlag.APPEND) !== 0;
    const count = this.writeAt(bytes, this.position);
    if (this.handle.seekable) this.position = append ? this.handle.stat().size : this.position + count;
    return count;
  }

  override readAt(target: Uint8Array, position: number): number {
    const count = this.handle.read(target, position);
    if (count > 0) {
      this.mapped()?.read(target.subarray(0, count), position);
      this.#watches?.about(this, IN.ACCESS);
    }
    return count;
  }

  override writeAt(bytes: Uint8Array, position: number): number {
    const append = (this.flags & OpenFlag.APPEND) !== 0;
    const count = this.handle.write(bytes, position, append);
    const mapped = count > 0 ? this.mapped() : undefined;
    mapped?.write(bytes.subarray(0, count), append ? this.handle.stat().size - count : position);
    if (count > 0) this.#watches?.about(this, IN.MODIFY);
    return count;
  }

  /** The file's pages that are mapped. */
  mapped(): MappedPages | undefined {
    return this.handle.seekable ? this.#pages?.of(() => (this.#key ??= FilePages.key(this.stat()))) : undefined;
  }

  override seek(offset: number, whence: number): number {
    if (!this.handle.seekable) return 0;
    let target: number;
    switch (whence) {
      case SEEK.SET:
        target = offset;
        break;
      case SEEK.CUR:
        target = this.position + offset;
        break;
      case SEEK.END:
        target = this.handle.stat().size + offset;
        break;
      case 3: // SEEK_DATA: a file without holes
        if (offset >= this.handle.stat().size) return -Errno.ENXIO;
        target = offset;
        break;
      case 4: // SEEK_HOLE
        if (offset >= this.handle.stat().size) return -Errno.ENXIO;
        target = this.handle.stat().size;
        break;
      default:
        return -Errno.EINVAL;
    }
    if (target < 0 || target > Number.MAX_SAFE_INTEGER) return -Errno.EINVAL;
    return (this.position = target);
  }

  override truncate(size: number): number {
    this.handle.truncate(size);
    this.mapped()?.truncate(size);
    this.#watches?.about(this, IN.MODIFY);
    return 0;
  }

  override sync(): number {
    this.handle.sync();
    return 0;
  }

  override close(): void {
    this.#watches?.closing(this);
    this.handle.close();
  }
}

/** What O_PATH opens: a name for a file, not its contents. */
export class PathFile extends OpenFile {
  constructor(
    flags: number,
    readonly node: FsNode,
    readonly name: string,
  ) {
    super(flags | OpenFlag.PATH);
  }
  stat(): FileStat {
    return this.node.stat();
  }
  override read(): number {
    return -Errno.EBADF;
  }
  override write(): number {
    return -Errno.EBADF;
  }
  override ioctl(): number {
    return -Errno.EBADF;
  }
  override seek(): number {
    return -Errno.EBADF;
  }
  override close(): void {
    this.node.close();
  }
}

/** A directory. */
export class DirectoryFile extends OpenFile {
  /** The entries as they were at the first read, and how many of them have been read. */
  #entries: DirectoryEntry[] | undefined;
  next = 0;

  constructor(
    flags: number,
    readonly directory: Directory,
    readonly names: readonly string[],
    private readonly sandbox: ProcessOptions,
  ) {
    super(flags);
    if ((flags & OpenFlag.PATH) === 0) watchesOf(sandbox).opened(this);
  }

  get name(): string {
    return `/${this.names.join('/')}`;
  }
  get base(): Base {
    return { names: this.names, directory: this.directory };
  }
  stat(): FileStat {
    return this.directory.stat();
  }
  override read(): number {
    return -Errno.EISDIR;
  }
  override write(): number {
    return -Errno.EBADF;
  }

  /** `.`, `..`, then what is there, with the mounts below. */
  entries(): readonly DirectoryEntry[] {
    watchesOf(this.sandbox).about(this, IN.ACCESS);
    if (this.#entries !== undefined) return this.#entries;
    const self = this.directory.stat();
    const dot = (name: string): DirectoryEntry => ({ name, mode: 0o040000, ino: () => self.ino });
    const listed = this.directory.list();
    const known = new Set(listed.map(({ name }) => name));
    const mounts = this.sandbox.space
      .mountsIn(this.names)
      .filter((name) => !known.has(name))
      .map(dot);
    return (this.#entries = [dot('.'), dot('..'), ...listed, ...mounts]);
  }

  override seek(offset: number, whence: number): number {
    const target = whence === SEEK.SET ? offset : whence === SEEK.CUR ? this.next + offset : -1;
    if (target < 0) return -Errno.EINVAL;
    if (target === 0) this.#entries = undefined; // rewinddir looks again
    return (this.next = target);
  }

  override sync(): number {
    return 0;
  }
  override close(): void {
    if ((this.flags & OpenFlag.PATH) === 0) watchesOf(this.sandbox).closing(this);
    this.directory.close();
  }
}

/** The node behind an open file, for what changes permissions, owners and times. Throws EBADF where there is none. */
export function nodeOf(file: OpenFile): FsNode {
  if (file instanceof ContentFile) return file.handle.node;
  if (file instanceof DirectoryFile) return file.directory;
  if (file instanceof PathFile) return file.node;
  return raise('EPERM');
}
