/**
 * Folders of the host. The rules that keep a program inside:
 *
 * - A directory is a descriptor opened with O_PATH; a file in it is only ever named as `/proc/self/fd/N/NAME` with one
 *   component, which the kernel resolves from the directory itself, wherever that has been moved meanwhile.
 * - Nothing is followed: every such opening has O_NOFOLLOW, and calls that would follow go through a descriptor that is open
 *   already. Symbolic links are read and resolved by the namespace, in the program's own view of paths.
 * - What a name is, is asked of the descriptor that was opened, never of the name again.
 * - Only regular files are opened. Devices, sockets and FIFOs of the host can be seen, not used; nor can procfs, whose
 *   files reach into this process.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lchownSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  statfsSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
  lstatSync,
  fchmodSync,
} from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { fail } from '@visorkit/core';
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

const PROC_MAGIC = 0x9fa0;
const FIND = OpenFlag.PATH | constants.O_NOFOLLOW;

/** A path for Node's functions: the same bytes. */
function bytes(path: string): string | Buffer {
  for (let i = 0; i < path.length; i++) if (path.charCodeAt(i) > 0x7f) return Buffer.from(path, 'latin1');
  return path;
}

const link = (descriptor: number): string => `/proc/self/fd/${descriptor}`;
const within = (descriptor: number, name: string): string | Buffer => bytes(`/proc/self/fd/${descriptor}/${name}`);

export function statOf(stat: BigIntStats): FileStat {
  return {
    dev: stat.dev,
    ino: stat.ino,
    mode: Number(stat.mode),
    nlink: Number(stat.nlink),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    rdev: stat.rdev,
    size: Number(stat.size),
    blockSize: Number(stat.blksize),
    blocks: Number(stat.blocks),
    atime: stat.atimeNs,
    mtime: stat.mtimeNs,
    ctime: stat.ctimeNs,
  };
}

/** What all nodes of one mount share. */
interface Origin {
  readonly readOnly: boolean;
  /** Permission bits that this process's umask takes away. */
  readonly umask: number;
  /** What the program may write. */
  readonly quota?: WriteQuota;
  readonly times: ExactTimes;
}

/** Files whose times are remembered at most. */
const MOST_TIMES = 65_536;

/**
 * Node sets times to the microsecond. What a program set is remembered to the nanosecond, and shown for as long as the file has the time that
 * the host made of it.
 */
class ExactTimes {
  readonly #known = new Map<string, { readonly wanted: Required<FileTimes>; readonly stored: Required<FileTimes> }>();

  set(stored: FileStat, wanted: Required<FileTimes>): void {
    if (this.#known.size >= MOST_TIMES) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(`${stored.dev}:${stored.ino}`, { wanted, stored });
  }

  exact(stat: FileStat): FileStat {
    const known = this.#known.size === 0 ? undefined : this.#known.get(`${stat.dev}:${stat.ino}`);
    if (known === undefined) return stat;
    const { wanted, stored } = known;
    return {
      ...stat,
      atime: stat.atime === stored.atime ? wanted.atime : stat.atime,
      mtime: stat.mtime === stored.mtime ? wanted.mtime : stat.mtime,
    };
  }
}

abstract class HostEntry implements FsNode {
  abstract readonly kind: NodeKind;
  #open: boolean;

  /** `owned`: closing this closes the descriptor. */
  constructor(
    readonly descriptor: number,
    readonly origin: Origin,
    owned = true,
  ) {
    this.#open = owned;
  }

  get readOnly(): boolean {
    return this.origin.readOnly;
  }
  stat(): FileStat {
    return this.origin.times.exact(statOf(fstatSync(this.descriptor, { bigint: true })));
  }

  statfs(): FileSystemStat {
    const { type, bsize, blocks, bfree, bavail, files, ffree } = statfsSync(link(this.descriptor));
    return { type, blockSize: bsize, blocks, free: bfree, available: bavail, files, filesFree: ffree };
  }

  readlink(): string {
    return raise('EINVAL');
  }
  open(_flags: number): FileHandle {
    return raise('EACCES');
  }

  chmod(mode: number): void {
    this.writable();
    chmodSync(link(this.descriptor), mode);
  }

  chown(uid: number, gid: number): void {
    this.writable();
    const { uid: oldUid, gid: oldGid } = this.stat();
    chownSync(link(this.descriptor), uid === -1 ? oldUid : uid, gid === -1 ? oldGid : gid);
  }

  utimes(times: FileTimes): void {
    this.writable();
    const { atime, mtime } = this.stat(),
      wanted = { atime: times.atime ?? atime, mtime: times.mtime ?? mtime };
    utimesSync(link(this.descriptor), seconds(wanted.atime), seconds(wanted.mtime));
    this.origin.times.set(statOf(fstatSync(this.descriptor, { bigint: true })), wanted);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.descriptor);
  }

  writable(): void {
    if (this.origin.readOnly) raise('EROFS');
  }
}

const seconds = (ns: bigint): number => Number(ns) / 1e9;

class HostFile extends HostEntry {
  readonly kind = 'file';

  override open(flags: number): FileHandle {
    if (((flags & OpenFlag.ACCESS) !== OpenFlag.RDONLY || (flags & OpenFlag.TRUNC) !== 0) && this.readOnly)
      raise('EROFS');
    const kept = flags & (OpenFlag.ACCESS | OpenFlag.TRUNC | OpenFlag.APPEND);
    return new HostFileHandle(
      openSync(link(this.descriptor), kept | constants.O_NONBLOCK),
      this.origin,
      (flags & OpenFlag.APPEND) !== 0,
    );
  }
}

/** Devices, sockets, FIFOs. */
class HostOther extends HostEntry {
  readonly kind = 'other';
}

/** A symbolic link keeps its directory and name: a link cannot be changed through a descriptor. */
class HostSymlink extends HostEntry {
  readonly kind = 'symlink';

  constructor(
    descriptor: number,
    origin: Origin,
    private readonly target: string,
    private readonly inDirectory: number,
    private readonly name: string,
  ) {
    super(descriptor, origin);
  }

  override readlink(): string {
    return this.target;
  }
  override open(): FileHandle {
    return raise('ELOOP');
  }
  override chmod(): void {
    raise('EOPNOTSUPP');
  }

  override chown(uid: number, gid: number): void {
    this.writable();
    const { uid: oldUid, gid: oldGid } = this.stat();
    lchownSync(within(this.inDirectory, this.name), uid === -1 ? oldUid : uid, gid === -1 ? oldGid : gid);
  }

  override utimes(times: FileTimes): void {
    this.writable();
    const { atime, mtime } = this.stat(),
      wanted = { atime: times.atime ?? atime, mtime: times.mtime ?? mtime };
    lutimesSync(within(this.inDirectory, this.name), seconds(wanted.atime), seconds(wanted.mtime));
    this.origin.times.set(statOf(fstatSync(this.descriptor, { bigint: true })), wanted);
  }
}

export class HostDirectory extends HostEntry implements Directory {
  readonly kind = 'directory';

  lookup(name: string): FsNode | undefined {
    let descriptor: number;
    try {
      descriptor = openSync(within(this.descriptor, name), FIND);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      return this.#entry(descriptor, name);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  #entry(descriptor: number, name: string): FsNode {
    const stat = fstatSync(descriptor, { bigint: true });
    switch (Number(stat.mode) & FileMode.TYPE) {
      case FileMode.REGULAR:
        refuseProc(descriptor);
        return new HostFile(descriptor, this.origin);
      case FileMode.DIRECTORY:
        refuseProc(descriptor);
        return new HostDirectory(descriptor, this.origin);
      case FileMode.SYMLINK: {
        // Read by name, which may be another link by now: it is text for the namespace to resolve, whatever it says.
        const target = readlinkSync(within(this.descriptor, name), { encoding: 'buffer' }).toString('latin1');
        return new HostSymlink(descriptor, this.origin, target, this.descriptor, name);
      }
      default:
        return new HostOther(descriptor, this.origin);
    }
  }

  list(): DirectoryEntry[] {
    const descriptor = this.descriptor;
    return readdirSync(link(descriptor), { withFileTypes: true, encoding: 'buffer' }).map((entry) => {
      const name = (entry.name as unknown as Buffer).toString('latin1');
      return {
        name,
        mode: entry.isFile()
          ? FileMode.REGULAR
          : entry.isDirectory()
            ? FileMode.DIRECTORY
            : entry.isSymbolicLink()
              ? FileMode.SYMLINK
              : entry.isCharacterDevice()
                ? FileMode.CHARACTER
                : entry.isBlockDevice()
                  ? FileMode.BLOCK
                  : entry.isFIFO()
                    ? FileMode.FIFO
                    : entry.isSocket()
                      ? FileMode.SOCKET
                      : 0,
        ino: () => {
          try {
            return lstatSync(within(descriptor, name), { bigint: true }).ino;
          } catch {
            return 1n; // gone since the listing
          }
        },
      };
    });
  }

  create(name: string, mode: number, flags: number): FileHandle {
    this.#mayMake();
    const kept = flags & (OpenFlag.ACCESS | OpenFlag.APPEND);
    const descriptor = openSync(
      within(this.descriptor, name),
      kept | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      mode,
    );
    this.origin.quota?.spendFile();
    if ((mode & this.origin.umask) !== 0) fchmodSync(descriptor, mode);
    return new HostFileHandle(descriptor, this.origin, (flags & OpenFlag.APPEND) !== 0);
  }

  makeDirectory(name: string, mode: number): void {
    this.#mayMake();
    mkdirSync(within(this.descriptor, name), mode);
    this.origin.quota?.spendFile();
    if ((mode & this.origin.umask) === 0) return;
    const made = this.lookup(name);
    if (made?.kind === 'directory') made.chmod(mode);
    made?.close();
  }

  makeSymlink(name: string, target: string): void {
    this.#mayMake();
    symlinkSync(bytes(target), within(this.descriptor, name));
    this.origin.quota?.spendFile();
  }

  makeFifo(): void {
    this.writable();
    raise('EPERM'); // a FIFO on the host is a way to other processes
  }

  unlink(name: string): void {
    this.writable();
    unlinkSync(within(this.descriptor, name));
  }

  removeDirectory(name: string): void {
    this.writable();
    rmdirSync(within(this.descriptor, name));
  }

  rename(name: string, to: Directory, toName: string): void {
    if (!(to instanceof HostDirectory) || to.origin !== this.origin) raise('EXDEV');
    this.writable();
    renameSync(within(this.descriptor, name), within(to.descriptor, toName));
  }

  link(name: string, to: Directory, toName: string): void {
    if (!(to instanceof HostDirectory) || to.origin !== this.origin) raise('EXDEV');
    this.#mayMake();
    linkSync(within(this.descriptor, name), within(to.descriptor, toName));
    this.origin.quota?.spendFile();
  }

  /** Throws EROFS, or EDQUOT when the program has made as many files as it may. */
  #mayMake(): void {
    this.writable();
    this.origin.quota?.checkFile();
  }

  /** Another handle on the same directory. */
  duplicate(): HostDirectory {
    return new HostDirectory(openSync(link(this.descriptor), OpenFlag.PATH | constants.O_DIRECTORY), this.origin);
  }
}

class HostFileHandle implements FileHandle {
  readonly seekable = true;
  /** Permissions and times go through the descriptor of the open file. */
  readonly node: FsNode;
  readonly #descriptor: number;
  /** The same file without O_APPEND: with it the host puts everything at the end, wherever it is said to go. */
  #placed: number | undefined;
  #open = true;

  /** `appends`: the descriptor was opened with O_APPEND, so that the host finds the end itself. */
  constructor(
    descriptor: number,
    private readonly origin: Origin,
    private readonly appends: boolean,
  ) {
    this.#descriptor = descriptor;
    this.node = new HostFile(descriptor, origin, false);
  }

  stat(): FileStat {
    return this.origin.times.exact(statOf(fstatSync(this.#descriptor, { bigint: true })));
  }
  read(target: Uint8Array, position: number): number {
    return readSync(this.#descriptor, target, 0, target.length, position);
  }

  write(data: Uint8Array, position: number, append: boolean): number {
    const at = !append ? position : this.appends ? null : Number(fstatSync(this.#descriptor).size);
    const { quota } = this.origin;
    let descriptor = this.#descriptor;
    if (this.appends && !append)
      descriptor = this.#placed ??= openSync(link(this.#descriptor), constants.O_WRONLY | constants.O_NONBLOCK);
    const done = writeSync(descriptor, data, 0, quota?.room(data.length) ?? data.length, at);
    quota?.spend(done);
    return done;
  }

  truncate(size: number): void {
    const { quota } = this.origin;
    const growth = quota === undefined ? 0 : Math.max(0, size - Number(fstatSync(this.#descriptor).size));
    quota?.checkGrowth(growth);
    ftruncateSync(this.#descriptor, size);
    quota?.spend(growth);
  }
  sync(): void {
    fdatasyncSync(this.#descriptor);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
    if (this.#placed !== undefined) closeSync(this.#placed);
  }
}

/** procfs has links and files that reach into this process; it stays outside, whatever was mounted. */
function refuseProc(descriptor: number): void {
  if (statfsSync(link(descriptor)).type === PROC_MAGIC) raise('EACCES');
}

/** Opens a folder of the host for a mount; what is written to it counts against `quota`. Throws SANDBOX_MOUNT. */
export function openHostFolder(path: string, readOnly: boolean, quota?: WriteQuota): HostDirectory {
  if (process.platform !== 'linux')
    fail(
      'SANDBOX_MOUNT',
      `Mounts need a Linux host: paths are kept inside by /proc/self/fd, which ${process.platform} does not have.`,
      { path },
    );
  let descriptor: number;
  try {
    descriptor = openSync(path, OpenFlag.PATH | constants.O_DIRECTORY);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT'
        ? 'there is no such folder'
        : code === 'ENOTDIR'
          ? 'it is not a folder'
          : code === 'EACCES'
            ? 'it may not be entered'
            : (error as Error).message;
    return fail('SANDBOX_MOUNT', `The folder ${path} cannot be mounted: ${why}.`, { path }, error);
  }
  if (statfsSync(link(descriptor)).type === PROC_MAGIC) {
    closeSync(descriptor);
    fail(
      'SANDBOX_MOUNT',
      `The folder ${path} cannot be mounted: it is a proc file system, whose files reach into this process.`,
      { path },
    );
  }
  return new HostDirectory(descriptor, {
    readOnly,
    umask: process.umask(),
    times: new ExactTimes(),
    ...(quota === undefined ? {} : { quota }),
  });
}

/** Opens one file of the host for reading, such as the program's own. Throws what Node throws. */
export function openHostFile(path: string): FsNode {
  return new HostFile(openSync(path, OpenFlag.PATH), { readOnly: true, umask: 0, times: new ExactTimes() });
}

/** A file of the host that is open already, such as standard input, and stands at `start`. The descriptor stays open. */
export function hostFileHandle(descriptor: number, start: number): FileHandle {
  return Object.assign(new HostFileHandle(descriptor, { readOnly: false, umask: 0, times: new ExactTimes() }, false), {
    start,
    close() {},
  });
}
