/** Permissions, owners, times, sizes by name; extended attributes, of which there are none. */
import { AT_FDCWD, FilePages, formats, resolveArgument } from '@visorkit/linux-abi';
import type { SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, isDirectory, raise } from '@visorkit/sandbox-fs';
import type { FileTimes, FsNode } from '@visorkit/sandbox-fs';
import { IN, watchesOf } from './file-watches.js';
import { group } from './group.js';
import { nodeOf } from './open-files.js';
import { atFlags } from './status.js';

const { descriptor, directory, int, octal, offset, path, pointer, size } = formats;

const NOFOLLOW = 0x100;
const EMPTY_PATH = 0x1000;

function onPath(
  call: SystemCall,
  directoryAt: number,
  pathAt: number,
  at: number,
  change: (node: FsNode) => void,
  event: number = IN.ATTRIB,
): number {
  const watches = watchesOf(call.process.options);
  if ((at & EMPTY_PATH) !== 0 && call.memory.readString(call.u64(pathAt)) === '') {
    const file = call.process.files.get(call.i32(directoryAt));
    change(nodeOf(file));
    watches.about(file, event);
    return 0;
  }
  const found = resolveArgument(call, directoryAt, pathAt, (at & NOFOLLOW) === 0);
  try {
    if (found.node === undefined) raise('ENOENT');
    if (found.node.readOnly) raise('EROFS');
    change(found.node);
    watches.atPath(found.names, found.node, event);
    return 0;
  } finally {
    found.close();
  }
}

function onFile(call: SystemCall, change: (node: FsNode) => void): number {
  const file = call.process.files.get(call.i32(0)),
    node = nodeOf(file);
  if (node.readOnly) return -Errno.EROFS;
  change(node);
  watchesOf(call.process.options).about(file, IN.ATTRIB);
  return 0;
}

const UTIME_NOW = 0x3fff_ffff;
const UTIME_OMIT = 0x3fff_fffe;

/** Two `struct timespec` for utimensat(2); no pointer means now. */
function readTimes(call: SystemCall, address: number): FileTimes {
  const now = call.process.realTime;
  if (address === 0) return { atime: now, mtime: now };
  const one = (at: number): bigint | undefined => {
    const nanoseconds = call.memory.readI64(at + 8);
    if (nanoseconds === UTIME_NOW) return now;
    if (nanoseconds === UTIME_OMIT) return undefined;
    if (nanoseconds < 0 || nanoseconds > 999_999_999) raise('EINVAL');
    return BigInt(call.memory.readI64(at)) * 1_000_000_000n + BigInt(nanoseconds);
  };
  return { atime: one(address), mtime: one(address + 16) };
}

/** Two `struct timeval`, or `struct utimbuf` with `whole` seconds. */
function readOldTimes(call: SystemCall, address: number, whole: boolean): FileTimes {
  if (address === 0) return readTimes(call, 0);
  const one = (at: number): bigint =>
    BigInt(call.memory.readI64(at)) * 1_000_000_000n + (whole ? 0n : BigInt(call.memory.readI64(at + 8)) * 1000n);
  return { atime: one(address), mtime: one(address + (whole ? 8 : 16)) };
}

function utimensat(call: SystemCall): number {
  const times = readTimes(call, call.u64(2));
  if (call.u64(1) === 0) return onFile(call, (node) => node.utimes(times)); // futimens
  return onPath(call, 0, 1, call.u32(3), (node) => node.utimes(times));
}

function truncate(call: SystemCall): number {
  const length = call.i64(1);
  if (length < 0) return -Errno.EINVAL;
  const change = (node: FsNode): void => {
    if (isDirectory(node)) raise('EISDIR');
    const handle = node.open(OpenFlag.WRONLY);
    try {
      handle.truncate(length);
      call.process.options.pages.of(() => FilePages.key(handle.stat()))?.truncate(length);
    } finally {
      handle.close();
    }
  };
  return onPath(call, AT_FDCWD, 0, 0, change, IN.MODIFY);
}

/** Numbers are unsigned but for -1, which leaves one as it is. */
const owner = (call: SystemCall, index: number): [uid: number, gid: number] => [id(call, index), id(call, index + 1)];
const id = (call: SystemCall, index: number): number => (call.i32(index) === -1 ? -1 : call.u32(index));

/** Checks the path, then says that there are no extended attributes. */
const setsNoAttribute = (call: SystemCall, follow: boolean): number =>
  onPath(call, AT_FDCWD, 0, follow ? 0 : NOFOLLOW, () => raise('EOPNOTSUPP'));
const emptyList = (call: SystemCall, follow: boolean): number => {
  const found = resolveArgument(call, AT_FDCWD, 0, follow);
  found.close();
  return found.node === undefined ? -Errno.ENOENT : 0;
};
/** Asking is no change: a file that may not be written answers, too. */
const noAttribute = (call: SystemCall, follow: boolean): number => emptyList(call, follow) || -Errno.EOPNOTSUPP;

const definitions: SystemCallDefinition[] = [
  {
    name: 'chmod',
    args: [path, octal],
    serve: (call) => onPath(call, AT_FDCWD, 0, 0, (node) => node.chmod(call.u32(1) & 0o7777)),
  },
  {
    name: 'fchmod',
    args: [descriptor, octal],
    serve: (call) => onFile(call, (node) => node.chmod(call.u32(1) & 0o7777)),
  },
  {
    name: 'fchmodat',
    args: [directory, path, octal],
    serve: (call) => onPath(call, 0, 1, 0, (node) => node.chmod(call.u32(2) & 0o7777)),
  },
  {
    name: 'chown',
    args: [path, int, int],
    serve: (call) => onPath(call, AT_FDCWD, 0, 0, (node) => node.chown(...owner(call, 1))),
  },
  {
    name: 'lchown',
    args: [path, int, int],
    serve: (call) => onPath(call, AT_FDCWD, 0, NOFOLLOW, (node) => node.chown(...owner(call, 1))),
  },
  {
    name: 'fchown',
    args: [descriptor, int, int],
    serve: (call) => onFile(call, (node) => node.chown(...owner(call, 1))),
  },
  {
    name: 'fchownat',
    args: [directory, path, int, int, atFlags],
    serve: (call) => onPath(call, 0, 1, call.u32(4), (node) => node.chown(...owner(call, 2))),
  },
  { name: 'utimensat', args: [directory, path, pointer, atFlags], serve: utimensat },
  {
    name: 'utime',
    args: [path, pointer],
    serve(call) {
      const times = readOldTimes(call, call.u64(1), true);
      return onPath(call, AT_FDCWD, 0, 0, (node) => node.utimes(times));
    },
  },
  {
    name: 'utimes',
    args: [path, pointer],
    serve(call) {
      const times = readOldTimes(call, call.u64(1), false);
      return onPath(call, AT_FDCWD, 0, 0, (node) => node.utimes(times));
    },
  },
  {
    name: 'futimesat',
    args: [directory, path, pointer],
    serve(call) {
      const times = readOldTimes(call, call.u64(2), false);
      return onPath(call, 0, 1, 0, (node) => node.utimes(times));
    },
  },
  { name: 'truncate', args: [path, offset], serve: truncate },
  {
    name: 'umask',
    args: [octal],
    result: 'octal',
    serve(call) {
      const before = call.process.umask;
      call.process.umask = call.u32(0) & 0o777;
      return before;
    },
  },
  { name: 'getxattr', args: [path, path, pointer, size], serve: (call) => noAttribute(call, true) },
  { name: 'lgetxattr', args: [path, path, pointer, size], serve: (call) => noAttribute(call, false) },
  ...(['setxattr', 'removexattr'] as const).map(
    (name): SystemCallDefinition => ({
      name,
      args: [path, path, pointer, size],
      serve: (call) => setsNoAttribute(call, true),
    }),
  ),
  ...(['lsetxattr', 'lremovexattr'] as const).map(
    (name): SystemCallDefinition => ({
      name,
      args: [path, path, pointer, size],
      serve: (call) => setsNoAttribute(call, false),
    }),
  ),
  ...(['fgetxattr', 'fsetxattr', 'fremovexattr'] as const).map(
    (name): SystemCallDefinition => ({
      name,
      args: [descriptor, path, pointer, size],
      serve: (call) => (call.process.files.get(call.i32(0)), -Errno.EOPNOTSUPP),
    }),
  ),
  { name: 'listxattr', args: [path, pointer, size], serve: (call) => emptyList(call, true) },
  { name: 'llistxattr', args: [path, pointer, size], serve: (call) => emptyList(call, false) },
  { name: 'flistxattr', args: [descriptor, pointer, size], serve: (call) => (call.process.files.get(call.i32(0)), 0) },
];

export const attributes = () => group('attributes', definitions);
