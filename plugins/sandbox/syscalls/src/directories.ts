/** Directories and names: listing, making, removing, renaming, links, the working directory. */
import { AT_FDCWD, formats, resolveArgument } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, isDirectory, raise } from '@visorkit/sandbox-fs';
import type { DirectoryEntry, Resolved } from '@visorkit/sandbox-fs';
import { watchesOf } from './file-watches.js';
import { group } from './group.js';
import { DirectoryFile } from './open-files.js';
import { atFlags } from './status.js';

const { descriptor, directory, flags, octal, path, pointer, size } = formats;

/** Runs something on what a path leads to, and closes it. */
function at<Result>(
  call: SystemCall,
  directoryAt: number,
  pathAt: number,
  follow: boolean,
  run: (found: Resolved) => Result,
): Result {
  const found = resolveArgument(call, directoryAt, pathAt, follow);
  try {
    return run(found);
  } finally {
    found.close();
  }
}

/** `struct linux_dirent64` (getdents(2)) or the old `linux_dirent`, whose type comes last. */
function packEntry(entry: DirectoryEntry, next: number, old: boolean): Uint8Array {
  const name = Buffer.from(entry.name, 'latin1');
  const length = (name.length + (old ? 20 : 20) + 7) & ~7;
  const view = new DataView(new ArrayBuffer(length)),
    bytes = new Uint8Array(view.buffer);
  view.setBigUint64(0, entry.ino(), true);
  view.setBigInt64(8, BigInt(next), true);
  view.setUint16(16, length, true);
  const type = entry.mode >> 12;
  bytes.set(name, old ? 18 : 19);
  bytes[old ? length - 1 : 18] = type;
  return bytes;
}

function getdents(call: SystemCall, old: boolean): number {
  const file = call.process.files.get(call.i32(0));
  if (!(file instanceof DirectoryFile)) return -Errno.ENOTDIR;
  const room = Math.min(call.u32(2), 1 << 20),
    entries = file.entries();
  call.memory.prepare(call.u64(1), room, true);
  let filled = 0,
    next = file.next;
  for (; next < entries.length; next++) {
    const packed = packEntry(entries[next], next + 1, old);
    if (filled + packed.length > room) break;
    call.memory.write(call.u64(1) + filled, packed);
    filled += packed.length;
  }
  if (filled === 0 && next < entries.length) return -Errno.EINVAL;
  file.next = next;
  return filled;
}

function makeDirectory(call: SystemCall, directoryAt: number, pathAt: number): number {
  return at(call, directoryAt, pathAt, false, ({ parent, name, node }) => {
    if (node !== undefined || parent === undefined) return -Errno.EEXIST;
    parent.makeDirectory(name, call.u32(pathAt + 1) & 0o1777 & ~call.process.umask);
    watchesOf(call.process.options).created(parent, name, true);
    return 0;
  });
}

function makeNode(call: SystemCall, directoryAt: number, pathAt: number): number {
  const mode = call.u32(pathAt + 1);
  return at(call, directoryAt, pathAt, false, ({ parent, name, node }) => {
    if (node !== undefined || parent === undefined) return -Errno.EEXIST;
    switch (mode & FileMode.TYPE) {
      case 0:
      case FileMode.REGULAR:
        parent.create(name, mode & 0o7777 & ~call.process.umask, 2).close();
        watchesOf(call.process.options).created(parent, name);
        return 0;
      case FileMode.FIFO:
        parent.makeFifo(name, mode & 0o7777 & ~call.process.umask);
        return 0;
      default:
        return -Errno.EPERM;
    }
  });
}

function removeDirectory(call: SystemCall, { parent, name, node, isMount }: Resolved, path: string): number {
  if (isMount) return -Errno.EBUSY;
  if (parent === undefined)
    return /(^|\/)\.\/*$/.test(path) ? -Errno.EINVAL : /\.\.\/*$/.test(path) ? -Errno.ENOTEMPTY : -Errno.EBUSY;
  if (node === undefined) return -Errno.ENOENT;
  if (!isDirectory(node)) return -Errno.ENOTDIR;
  watchesOf(call.process.options).removing(parent, name, node, () => parent.removeDirectory(name));
  return 0;
}

function unlink(call: SystemCall, { parent, name, node, mustBeDirectory }: Resolved): number {
  if (parent === undefined) return -Errno.EISDIR;
  if (node === undefined) return -Errno.ENOENT;
  if (isDirectory(node)) return -Errno.EISDIR;
  if (mustBeDirectory) return -Errno.ENOTDIR;
  watchesOf(call.process.options).removing(parent, name, node, () => parent.unlink(name));
  return 0;
}

const RENAME_NOREPLACE = 1;

function rename(call: SystemCall, from: readonly [number, number], to: readonly [number, number], how: number): number {
  if ((how & ~RENAME_NOREPLACE) !== 0) return -Errno.EINVAL;
  return at(call, ...from, false, (source) =>
    at(call, ...to, false, (target) => {
      if (source.parent === undefined || target.parent === undefined || source.isMount || target.isMount)
        return -Errno.EBUSY;
      if (source.node === undefined) return -Errno.ENOENT;
      if (!isDirectory(source.node) && target.mustBeDirectory) return -Errno.ENOTDIR;
      if (target.node !== undefined && (how & RENAME_NOREPLACE) !== 0) return -Errno.EEXIST;
      if (source.parent.readOnly || target.parent.readOnly) return -Errno.EROFS;
      if (target.node !== undefined && isDirectory(target.node) && !isDirectory(source.node)) return -Errno.EISDIR;
      const { parent, name } = source,
        to = target.parent;
      watchesOf(call.process.options).renaming(
        { folder: parent, name, node: source.node },
        { folder: to, name: target.name, node: target.node },
        () => parent.rename(name, to, target.name),
      );
      return 0;
    }),
  );
}

const AT_SYMLINK_FOLLOW = 0x400;

function link(call: SystemCall, from: readonly [number, number], to: readonly [number, number], how: number): number {
  if ((how & ~AT_SYMLINK_FOLLOW) !== 0) return -Errno.EINVAL;
  return at(call, ...from, (how & AT_SYMLINK_FOLLOW) !== 0, (source) =>
    at(call, ...to, false, (target) => {
      if (source.node === undefined) return -Errno.ENOENT;
      if (source.parent === undefined || isDirectory(source.node)) return -Errno.EPERM;
      if (target.node !== undefined || target.parent === undefined) return -Errno.EEXIST;
      if (target.mustBeDirectory) return -Errno.ENOENT;
      source.parent.link(source.name, target.parent, target.name);
      watchesOf(call.process.options).linked(source.node, target.parent, target.name);
      return 0;
    }),
  );
}

function symlink(call: SystemCall, targetAt: number, directoryAt: number, pathAt: number): number {
  const text = call.memory.readString(call.u64(targetAt));
  if (text === '') return -Errno.ENOENT;
  return at(call, directoryAt, pathAt, false, ({ parent, name, node, mustBeDirectory }) => {
    if (node !== undefined || parent === undefined) return -Errno.EEXIST;
    if (mustBeDirectory) return -Errno.ENOENT;
    parent.makeSymlink(name, text);
    watchesOf(call.process.options).created(parent, name);
    return 0;
  });
}

function getcwd(call: SystemCall): number {
  const bytes = Buffer.from(`/${call.process.cwd.join('/')}\0`, 'latin1');
  call.process.space.openDirectory(call.process.cwd).close(); // ENOENT when it has been removed
  if (call.u64(1) < bytes.length) return -Errno.ERANGE;
  call.memory.prepare(call.u64(0), bytes.length, true);
  call.memory.write(call.u64(0), bytes);
  return bytes.length;
}

function chdir(call: SystemCall): number {
  return at(call, AT_FDCWD, 0, true, ({ node, names }) => {
    if (node === undefined) return -Errno.ENOENT;
    if (!isDirectory(node)) return -Errno.ENOTDIR;
    call.process.cwd = names;
    return 0;
  });
}

const AT_REMOVEDIR = 0x200;
const renameFlags = flags({ RENAME_NOREPLACE: 1, RENAME_EXCHANGE: 2, RENAME_WHITEOUT: 4 });

const definitions: SystemCallDefinition[] = [
  { name: 'getdents64', args: [descriptor, pointer, size], serve: (call) => getdents(call, false) },
  { name: 'getdents', args: [descriptor, pointer, size], serve: (call) => getdents(call, true) },
  { name: 'mkdir', args: [path, octal], serve: (call) => makeDirectory(call, -1, 0) },
  { name: 'mkdirat', args: [directory, path, octal], serve: (call) => makeDirectory(call, 0, 1) },
  { name: 'mknod', args: [path, octal, pointer], serve: (call) => makeNode(call, -1, 0) },
  { name: 'mknodat', args: [directory, path, octal, pointer], serve: (call) => makeNode(call, 0, 1) },
  {
    name: 'rmdir',
    args: [path],
    serve: (call) =>
      at(call, -1, 0, false, (found) => removeDirectory(call, found, call.memory.readString(call.u64(0)))),
  },
  { name: 'unlink', args: [path], serve: (call) => at(call, -1, 0, false, (found) => unlink(call, found)) },
  {
    name: 'unlinkat',
    args: [directory, path, atFlags],
    serve(call) {
      if ((call.u32(2) & ~AT_REMOVEDIR) !== 0) return -Errno.EINVAL;
      return at(call, 0, 1, false, (found) =>
        call.u32(2) === 0 ? unlink(call, found) : removeDirectory(call, found, call.memory.readString(call.u64(1))),
      );
    },
  },
  { name: 'rename', args: [path, path], serve: (call) => rename(call, [-1, 0], [-1, 1], 0) },
  { name: 'renameat', args: [directory, path, directory, path], serve: (call) => rename(call, [0, 1], [2, 3], 0) },
  {
    name: 'renameat2',
    args: [directory, path, directory, path, renameFlags],
    serve: (call) => rename(call, [0, 1], [2, 3], call.u32(4)),
  },
  { name: 'link', args: [path, path], serve: (call) => link(call, [-1, 0], [-1, 1], 0) },
  {
    name: 'linkat',
    args: [directory, path, directory, path, atFlags],
    serve: (call) => link(call, [0, 1], [2, 3], call.u32(4)),
  },
  { name: 'symlink', args: [path, path], serve: (call) => symlink(call, 0, -1, 1) },
  { name: 'symlinkat', args: [path, directory, path], serve: (call) => symlink(call, 0, 1, 2) },
  {
    name: 'getcwd',
    args: [(call, i, result) => (result < 0 ? pointer(call, i, result) : path(call, i, result)), size],
    serve: getcwd,
  },
  { name: 'chdir', args: [path], serve: chdir },
  {
    name: 'fchdir',
    args: [descriptor],
    serve(call) {
      const file = call.process.files.get(call.i32(0));
      if (!(file instanceof DirectoryFile)) raise('ENOTDIR');
      call.process.cwd = file.names;
      return 0;
    },
  },
];

export const directories = () => group('directories', definitions);
