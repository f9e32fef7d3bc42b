/** What a file system is made of. Names and paths are text of Latin-1: one character for each byte, so that any bytes pass. */

/** File types in `st_mode` (stat(2), inode(7)). */
export const FileMode = {
  TYPE: 0o170000,
  SOCKET: 0o140000,
  SYMLINK: 0o120000,
  REGULAR: 0o100000,
  BLOCK: 0o060000,
  DIRECTORY: 0o040000,
  CHARACTER: 0o020000,
  FIFO: 0o010000,
} as const;

/** Flags of open(2) on x86-64. */
export const OpenFlag = {
  ACCESS: 3,
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECT: 0o40000,
  LARGEFILE: 0o100000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  NOATIME: 0o1000000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
  TMPFILE: 0o20200000,
} as const;

/** What stat(2) tells. */
export interface FileStat {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Device number of a device. */
  readonly rdev: bigint;
  /** Bytes. */
  readonly size: number;
  readonly blockSize: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  /** Nanoseconds since 1970. */
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
}

/** What statfs(2) tells. */
export interface FileSystemStat {
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: number;
  readonly free: number;
  readonly available: number;
  readonly files: number;
  readonly filesFree: number;
}

/** An open file with contents: reads and writes at positions. Errors are {@link LinuxError} or those of Node. */
export interface FileHandle {
  /** False for devices without a position. */
  readonly seekable: boolean;
  /** Where the first read begins, for a file that was open before; 0 when nothing is said. */
  readonly start?: number;
  stat(): FileStat;
  /** Bytes read into `target`, 0 at the end. */
  read(target: Uint8Array, position: number): number;
  /** Bytes written; at the end of the file with `append`. */
  write(bytes: Uint8Array, position: number, append: boolean): number;
  truncate(size: number): void;
  sync(): void;
  /** Sets permissions, owner, times as the node's methods do. */
  readonly node: FsNode;
  close(): void;
}

export type NodeKind = 'file' | 'directory' | 'symlink' | 'device' | 'descriptor' | 'other';

/** Times for utimensat(2) in nanoseconds; `undefined` leaves one as it is. */
export interface FileTimes {
  readonly atime?: bigint;
  readonly mtime?: bigint;
}

/** A file of any kind, found by its name. A handle: whoever got it closes it. */
export interface FsNode {
  readonly kind: NodeKind;
  /** True when it came from a mount that may not be written. */
  readonly readOnly: boolean;
  stat(): FileStat;
  statfs(): FileSystemStat;
  /** The target of a symbolic link. */
  readlink(): string;
  /** Opens a file or device; `flags` as for open(2). */
  open(flags: number): FileHandle;
  chmod(mode: number): void;
  chown(uid: number, gid: number): void;
  utimes(times: FileTimes): void;
  close(): void;
  /** Kind `file`: what it stands for has another path (`/proc/self/exe`). */
  readonly standsFor?: string;
  /** Kind `descriptor`: the open file of the process it stands for (`/dev/stdin`). */
  readonly descriptor?: number;
}

export interface DirectoryEntry {
  readonly name: string;
  /** File type in the place of `FileMode`. */
  readonly mode: number;
  /** Asked only when it is needed: it may cost a call. */
  ino(): bigint;
}

/** A directory. `name` is always a single component: neither empty, nor `.`, nor `..`, without `/`. */
export interface Directory extends FsNode {
  readonly kind: 'directory';
  lookup(name: string): FsNode | undefined;
  list(): DirectoryEntry[];
  /** Creates and opens a regular file. Throws EEXIST. `mode` is final: nothing is taken from it. */
  create(name: string, mode: number, flags: number): FileHandle;
  makeDirectory(name: string, mode: number): void;
  makeSymlink(name: string, target: string): void;
  makeFifo(name: string, mode: number): void;
  unlink(name: string): void;
  removeDirectory(name: string): void;
  /** Throws EXDEV when the other directory is of another file system. */
  rename(name: string, to: Directory, toName: string): void;
  link(name: string, to: Directory, toName: string): void;
}

export function isDirectory(node: FsNode): node is Directory {
  return node.kind === 'directory';
}
