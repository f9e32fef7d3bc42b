/** A file system in memory: the root of what a program sees, with `/dev`, `/proc` and `/tmp`. It ends with the program. */
import { raise } from './errno.js';
import type { WriteQuota } from './quota.js';
import { FileMode, OpenFlag } from './types.js';
import type {
  Directory,
  DirectoryEntry,
  FileHandle,
  FileStat,
  FileSystemStat,
  FileTimes,
  FsNode,
  NodeKind,
} from './types.js';

const TMPFS_MAGIC = 0x01021994;
const BLOCK = 4096;

export interface MemoryFsOptions {
  /** Bytes that files may take together. */
  readonly limit: number;
  /** Names in all directories; 65,536 by default. Each costs the host some memory, however empty its file is. */
  readonly maxNames?: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since 1970. */
  readonly now: () => bigint;
}

const MAX_NAMES = 65_536;

/** What all nodes of one file system share. */
export class MemoryFs {
  used = 0;
  /** What the program may write, counted from when this is set. */
  quota: WriteQuota | undefined;
  #names = 0;
  #nextInode = 2n;
  readonly root: MemoryDirectory;

  constructor(readonly options: MemoryFsOptions) {
    this.root = new MemoryDirectory(this, 0o755);
  }

  inode(): bigint {
    return this.#nextInode++;
  }

  /** Takes or gives back room. Throws ENOSPC. */
  grow(count: number): void {
    if (count > 0 && this.used + count > this.options.limit) raise('ENOSPC');
    this.used += count;
  }

  /** Takes room for a name. Throws ENOSPC. */
  addName(): void {
    if (this.#names >= this.maxNames) raise('ENOSPC');
    this.#names++;
  }

  /** Gives it back. */
  dropName(): void {
    this.#names--;
  }

  get maxNames(): number {
    return this.options.maxNames ?? MAX_NAMES;
  }

  stat(): FileSystemStat {
    const blocks = Math.floor(this.options.limit / BLOCK),
      free = Math.floor((this.options.limit - this.used) / BLOCK);
    return {
      type: TMPFS_MAGIC,
      blockSize: BLOCK,
      blocks,
      free,
      available: free,
      files: this.maxNames,
      filesFree: this.maxNames - this.#names,
    };
  }
}

abstract class MemoryNode implements FsNode {
  abstract readonly kind: NodeKind;
  readonly readOnly: boolean = false;
  readonly ino: bigint;
  nlink = 1;
  uid: number;
  gid: number;
  atime: bigint;
  mtime: bigint;
  ctime: bigint;

  constructor(
    readonly fs: MemoryFs,
    public mode: number,
  ) {
    this.ino = fs.inode();
    this.uid = fs.options.uid;
    this.gid = fs.options.gid;
    this.atime = this.mtime = this.ctime = fs.options.now();
  }

  get size(): number {
    return 0;
  }

  stat(): FileStat {
    return {
      dev: 0x22n,
      ino: this.ino,
      mode: this.mode,
      nlink: this.nlink,
      uid: this.uid,
      gid: this.gid,
      rdev: this.rdev,
      size: this.size,
      blockSize: BLOCK,
      blocks: Math.ceil(this.size / BLOCK) * 8,
      atime: this.atime,
      mtime: this.mtime,
      ctime: this.ctime,
    };
  }

  get rdev(): bigint {
    return 0n;
  }
  statfs(): FileSystemStat {
    return this.fs.stat();
  }
  readlink(): string {
    return raise('EINVAL');
  }
  open(_flags: number): FileHandle {
    return raise('EACCES');
  }

  chmod(mode: number): void {
    this.mode = (this.mode & FileMode.TYPE) | (mode & 0o7777);
    this.ctime = this.fs.options.now();
  }

  chown(uid: number, gid: number): void {
    if (uid !== -1) this.uid = uid;
    if (gid !== -1) this.gid = gid;
    this.ctime = this.fs.options.now();
  }

  utimes({ atime, mtime }: FileTimes): void {
    this.atime = atime ?? this.atime;
    this.mtime = mtime ?? this.mtime;
    this.ctime = this.fs.options.now();
  }

  touch(): void {
    this.mtime = this.ctime = this.fs.options.now();
  }
  /** What is in memory stays until nobody refers to it. */
  close(): void {}
}

class MemoryFile extends MemoryNode {
  readonly kind = 'file';
  #data = new Uint8Array(0);
  #size = 0;
  #opens = 0;

  constructor(fs: MemoryFs, mode: number) {
    super(fs, FileMode.REGULAR | mode);
  }

  override get size(): number {
    return this.#size;
  }

  override open(flags: number): FileHandle {
    if ((flags & OpenFlag.TRUNC) !== 0) this.truncate(0);
    this.#opens++;
    return new MemoryFileHandle(this);
  }

  read(target: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.#size - position));
    if (count > 0) target.set(this.#data.subarray(position, position + count));
    return count;
  }

  write(bytes: Uint8Array, position: number): number {
    if (bytes.length === 0) return 0; // not even the size changes
    const { quota } = this.fs;
    const part = quota === undefined ? bytes : bytes.subarray(0, quota.room(bytes.length));
    const end = position + part.length;
    if (end > this.#size) this.#resize(end);
    this.#data.set(part, position);
    quota?.spend(part.length);
    this.touch();
    return part.length;
  }

  truncate(size: number): void {
    const growth = size - this.#size;
    if (growth > 0) {
      this.fs.quota?.checkGrowth(growth);
      this.#resize(size);
      this.fs.quota?.spend(growth);
    } else {
      this.fs.grow(size - this.#size);
      this.#data.fill(0, size, this.#size);
      this.#size = size;
    }
    this.touch();
  }

  #resize(size: number): void {
    this.fs.grow(size - this.#size);
    if (size > this.#data.length) {
      const larger = new Uint8Array(Math.max(size, Math.min(this.#data.length * 2, this.fs.options.limit), 1024));
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#size = size;
  }

  /** Its room is free again when the last name is gone and nobody has it open. */
  release(): void {
    if (this.nlink > 0 || this.#opens > 0) return;
    this.fs.grow(-this.#size);
    this.#size = 0;
    this.#data = new Uint8Array(0);
  }

  /** One of its handles was closed. */
  closed(): void {
    this.#opens--;
    this.release();
  }
}

class MemoryFileHandle implements FileHandle {
  readonly seekable = true;
  #open = true;
  constructor(readonly node: MemoryFile) {}
  stat(): FileStat {
    return this.node.stat();
  }
  read(target: Uint8Array, position: number): number {
    return this.node.read(target, position);
  }
  write(bytes: Uint8Array, position: number, append: boolean): number {
    return this.node.write(bytes, append ? this.node.size : position);
  }
  truncate(size: number): void {
    this.node.truncate(size);
  }
  sync(): void {}
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.node.closed();
  }
}

class MemorySymlink extends MemoryNode {
  readonly kind = 'symlink';
  constructor(
    fs: MemoryFs,
    private readonly target: string,
  ) {
    super(fs, FileMode.SYMLINK | 0o777);
  }
  override get size(): number {
    return this.target.length;
  }
  override readlink(): string {
    return this.target;
  }
  override open(): FileHandle {
    return raise('ELOOP');
  }
}

/** A device, or a file whose contents are made when it is opened. */
export class SpecialNode extends MemoryNode {
  constructor(
    fs: MemoryFs,
    readonly kind: 'device' | 'file' | 'descriptor',
    mode: number,
    private readonly special: {
      rdev?: bigint;
      open?: (node: SpecialNode, flags: number) => FileHandle;
      descriptor?: number;
      size?: () => number;
    },
  ) {
    super(fs, mode);
  }
  get descriptor(): number | undefined {
    return this.special.descriptor;
  }
  override get rdev(): bigint {
    return this.special.rdev ?? 0n;
  }
  override get size(): number {
    return this.special.size?.() ?? 0;
  }
  override open(flags: number): FileHandle {
    return this.special.open?.(this, flags) ?? raise('EACCES');
  }
}

/** A symbolic link whose target is asked each time. */
export class LiveSymlink extends MemoryNode {
  readonly kind = 'symlink';
  constructor(
    fs: MemoryFs,
    private readonly target: () => string,
  ) {
    super(fs, FileMode.SYMLINK | 0o777);
  }
  override readlink(): string {
    return this.target();
  }
}

export class MemoryDirectory extends MemoryNode implements Directory {
  readonly kind = 'directory';
  readonly #entries = new Map<string, MemoryNode | FsNode>();
  #removed = false;

  constructor(fs: MemoryFs, mode: number) {
    super(fs, FileMode.DIRECTORY | mode);
    this.nlink = 2;
  }

  lookup(name: string): FsNode | undefined {
    return this.#entries.get(name);
  }

  list(): DirectoryEntry[] {
    return [...this.#entries].map(([name, node]) => ({
      name,
      mode: node.stat().mode & FileMode.TYPE,
      ino: () => node.stat().ino,
    }));
  }

  /** Puts a node in as it is. */
  put(name: string, node: FsNode): void {
    if (this.#removed) raise('ENOENT');
    if (this.#entries.has(name)) raise('EEXIST');
    this.fs.addName();
    this.#entries.set(name, node);
    if (node.kind === 'directory') this.nlink++;
    this.touch();
  }

  create(name: string, mode: number): FileHandle {
    const file = new MemoryFile(this.fs, mode);
    this.#make(name, file);
    return file.open(0);
  }

  makeDirectory(name: string, mode: number): void {
    this.#make(name, new MemoryDirectory(this.fs, mode));
  }
  makeSymlink(name: string, target: string): void {
    this.#make(name, new MemorySymlink(this.fs, target));
  }

  /** Puts a node in on behalf of the program. */
  #make(name: string, node: FsNode): void {
    const { quota } = this.fs;
    if (!this.#entries.has(name)) quota?.checkFile();
    this.put(name, node);
    quota?.spendFile();
  }
  makeFifo(): void {
    raise('EPERM');
  }

  unlink(name: string): void {
    const node = this.#entries.get(name) ?? raise('ENOENT');
    if (node.kind === 'directory') raise('EISDIR');
    this.#entries.delete(name);
    this.fs.dropName();
    if (node instanceof MemoryNode) {
      node.ctime = this.fs.options.now();
      node.nlink--;
      if (node instanceof MemoryFile) node.release();
    }
    this.touch();
  }

  removeDirectory(name: string): void {
    const node = this.#entries.get(name) ?? raise('ENOENT');
    if (!(node instanceof MemoryDirectory)) raise('ENOTDIR');
    if (node.#entries.size > 0) raise('ENOTEMPTY');
    node.#removed = true;
    this.#entries.delete(name);
    this.fs.dropName();
    this.nlink--;
    this.touch();
  }

  rename(name: string, to: Directory, toName: string): void {
    if (!(to instanceof MemoryDirectory) || to.fs !== this.fs) raise('EXDEV');
    const node = this.#entries.get(name) ?? raise('ENOENT');
    const there = to.#entries.get(toName);
    if (there === node) return;
    if (node instanceof MemoryDirectory && node.contains(to)) raise('EINVAL');
    if (there !== undefined) {
      if (node.kind === 'directory') {
        if (there.kind !== 'directory') raise('ENOTDIR');
        to.removeDirectory(toName);
      } else to.unlink(toName);
    }
    this.#entries.delete(name);
    this.fs.dropName();
    if (node.kind === 'directory') this.nlink--;
    to.put(toName, node);
    this.touch();
  }

  link(name: string, to: Directory, toName: string): void {
    if (!(to instanceof MemoryDirectory) || to.fs !== this.fs) raise('EXDEV');
    const node = this.#entries.get(name) ?? raise('ENOENT');
    if (node.kind === 'directory') raise('EPERM');
    to.#make(toName, node);
    if (node instanceof MemoryNode) node.nlink++;
  }

  /** Whether a directory is this one or below it. */
  private contains(other: Directory): boolean {
    if (other === this) return true;
    for (const node of this.#entries.values()) if (node instanceof MemoryDirectory && node.contains(other)) return true;
    return false;
  }
}

/** A file that cannot be changed, such as a program that was given as bytes. */
export function bytesFile(fs: MemoryFs, bytes: Uint8Array): FsNode {
  return new SpecialNode(fs, 'file', FileMode.REGULAR | 0o555, {
    size: () => bytes.length,
    open: (node, flags) =>
      (flags & OpenFlag.ACCESS) === OpenFlag.RDONLY ? bytesHandle(node, bytes) : raise('ETXTBSY'),
  });
}

/** A file handle over text, or bytes, that are made once, at opening: what procfs does. */
export function textHandle(node: FsNode, text: string | Uint8Array): FileHandle {
  return bytesHandle(node, typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
}

function bytesHandle(node: FsNode, data: Uint8Array): FileHandle {
  return {
    node,
    seekable: true,
    stat: () => node.stat(),
    read(target, position) {
      const part = data.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
    write: () => raise('EACCES'),
    truncate: () => raise('EACCES'),
    sync() {},
    close() {},
  };
}
