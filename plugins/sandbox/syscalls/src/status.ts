/** What files are: the stat family, access, readlink, statfs. */
import { AT_FDCWD, formats, resolveArgument } from '@visorkit/linux-abi';
import type { Identity, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, raise } from '@visorkit/sandbox-fs';
import type { FileStat, FileSystemStat } from '@visorkit/sandbox-fs';
import { group } from './group.js';

const { descriptor, directory, flags, path, pointer, size } = formats;

const AT = {
  SYMLINK_NOFOLLOW: 0x100,
  EACCESS: 0x200,
  NO_AUTOMOUNT: 0x800,
  EMPTY_PATH: 0x1000,
  STATX_SYNC: 0x6000,
} as const;
export const atFlags = flags({
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_EACCESS: 0x200,
  AT_REMOVEDIR: 0x200,
  AT_SYMLINK_FOLLOW: 0x400,
  AT_NO_AUTOMOUNT: 0x800,
  AT_EMPTY_PATH: 0x1000,
});

/** `struct stat` of x86-64, 144 bytes. */
export function packStat(stat: FileStat): Uint8Array {
  const view = new DataView(new ArrayBuffer(144));
  view.setBigUint64(0, stat.dev, true);
  view.setBigUint64(8, stat.ino, true);
  view.setBigUint64(16, BigInt(stat.nlink), true);
  view.setUint32(24, stat.mode, true);
  view.setUint32(28, stat.uid, true);
  view.setUint32(32, stat.gid, true);
  view.setBigUint64(40, stat.rdev, true);
  view.setBigInt64(48, BigInt(stat.size), true);
  view.setBigInt64(56, BigInt(stat.blockSize), true);
  view.setBigInt64(64, BigInt(stat.blocks), true);
  [stat.atime, stat.mtime, stat.ctime].forEach((time, i) => {
    view.setBigInt64(72 + 16 * i, time / 1_000_000_000n, true);
    view.setBigInt64(80 + 16 * i, time % 1_000_000_000n, true);
  });
  return new Uint8Array(view.buffer);
}

const STATX_BASIC = 0x7ff;

/** `struct statx`, 256 bytes. */
function packStatx(stat: FileStat): Uint8Array {
  const view = new DataView(new ArrayBuffer(256));
  view.setUint32(0, STATX_BASIC, true);
  view.setUint32(4, stat.blockSize, true);
  view.setUint32(16, stat.nlink, true);
  view.setUint32(20, stat.uid, true);
  view.setUint32(24, stat.gid, true);
  view.setUint16(28, stat.mode, true);
  view.setBigUint64(32, stat.ino, true);
  view.setBigUint64(40, BigInt(stat.size), true);
  view.setBigUint64(48, BigInt(stat.blocks), true);
  const time = (at: number, value: bigint): void => {
    view.setBigInt64(at, value / 1_000_000_000n, true);
    view.setUint32(at + 8, Number(value % 1_000_000_000n), true);
  };
  time(64, stat.atime);
  time(96, stat.ctime);
  time(112, stat.mtime);
  const device = (at: number, value: bigint): void => {
    view.setUint32(at, Number(((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xffff_f000n)), true);
    view.setUint32(at + 4, Number((value & 0xffn) | ((value >> 12n) & 0xffff_ff00n)), true);
  };
  device(128, stat.rdev);
  device(136, stat.dev);
  return new Uint8Array(view.buffer);
}

/** `struct statfs`, 120 bytes. */
function packStatfs(stat: FileSystemStat): Uint8Array {
  const view = new DataView(new ArrayBuffer(120));
  [stat.type, stat.blockSize, stat.blocks, stat.free, stat.available, stat.files, stat.filesFree].forEach((value, i) =>
    view.setBigUint64(8 * i, BigInt.asUintN(64, BigInt(value)), true),
  );
  view.setBigUint64(64, 255n, true); // longest name
  view.setBigUint64(72, BigInt(stat.blockSize), true);
  return new Uint8Array(view.buffer);
}

/** Status of a path, or of a descriptor itself with AT_EMPTY_PATH and an empty path. */
function statAt(call: SystemCall, directoryAt: number, pathAt: number, at: number): FileStat {
  if (
    (at & AT.EMPTY_PATH) !== 0 &&
    (call.u64(pathAt) === 0 || call.memory.readString(call.u64(pathAt)) === '') &&
    call.i32(directoryAt) !== AT_FDCWD
  ) {
    return call.process.files.get(call.i32(directoryAt)).stat();
  }
  const found =
    (at & AT.EMPTY_PATH) !== 0 && call.memory.readString(call.u64(pathAt)) === ''
      ? call.process.resolve(AT_FDCWD, '.', true)
      : resolveArgument(call, directoryAt, pathAt, (at & AT.SYMLINK_NOFOLLOW) === 0);
  try {
    const { node } = found;
    if (node === undefined) raise('ENOENT');
    return node.kind === 'descriptor' && (at & AT.SYMLINK_NOFOLLOW) === 0
      ? call.process.files.get(node.descriptor!).stat()
      : node.stat();
  } finally {
    found.close();
  }
}

function put(call: SystemCall, index: number, bytes: () => Uint8Array, length: number): number {
  call.memory.prepare(call.u64(index), length, true);
  call.memory.write(call.u64(index), bytes());
  return 0;
}

const stat = (call: SystemCall, at: number): number => put(call, 1, () => packStat(statAt(call, -1, 0, at)), 144);

/** Root may do all but run what has no x bit; others by owner, group and rest. `mode`: bits of access(2). */
export function permits(stat: FileStat, { uid, gid }: Identity, mode: number): boolean {
  if (uid === 0)
    return (mode & 1) === 0 || (stat.mode & 0o111) !== 0 || (stat.mode & FileMode.TYPE) === FileMode.DIRECTORY;
  const bits = stat.uid === uid ? stat.mode >> 6 : stat.gid === gid ? stat.mode >> 3 : stat.mode;
  return (bits & mode) === mode;
}

function access(call: SystemCall, directoryAt: number, pathAt: number, mode: number, at: number): number {
  if ((mode & ~7) !== 0) return -Errno.EINVAL;
  const found = resolveArgument(call, directoryAt, pathAt, (at & AT.SYMLINK_NOFOLLOW) === 0);
  try {
    const { node } = found;
    if (node === undefined) raise('ENOENT');
    const stat = node.kind === 'descriptor' ? call.process.files.get(node.descriptor!).stat() : node.stat();
    if ((mode & 2) !== 0 && node.readOnly) return -Errno.EROFS;
    return permits(stat, call.process.identity, mode) ? 0 : -Errno.EACCES;
  } finally {
    found.close();
  }
}

function readlink(call: SystemCall, directoryAt: number, pathAt: number, bufferAt: number): number {
  const room = call.i64(bufferAt + 1);
  if (room <= 0) return -Errno.EINVAL;
  const found = resolveArgument(call, directoryAt, pathAt, false);
  try {
    if (found.node === undefined) raise('ENOENT');
    const text =
      found.node.kind === 'descriptor' ? call.process.files.get(found.node.descriptor!).name : found.node.readlink();
    const bytes = Buffer.from(text, 'latin1').subarray(0, room);
    call.memory.write(call.u64(bufferAt), bytes);
    return bytes.length;
  } finally {
    found.close();
  }
}

function statfs(call: SystemCall): number {
  const found = resolveArgument(call, AT_FDCWD, 0, true);
  try {
    if (found.node === undefined) raise('ENOENT');
    const { node } = found;
    return put(call, 1, () => packStatfs(node.statfs()), 120);
  } finally {
    found.close();
  }
}

const definitions: SystemCallDefinition[] = [
  { name: 'stat', args: [path, pointer], serve: (call) => stat(call, 0) },
  { name: 'lstat', args: [path, pointer], serve: (call) => stat(call, AT.SYMLINK_NOFOLLOW) },
  {
    name: 'fstat',
    args: [descriptor, pointer],
    serve: (call) => put(call, 1, () => packStat(call.process.files.get(call.i32(0)).stat()), 144),
  },
  {
    name: 'newfstatat',
    args: [directory, path, pointer, atFlags],
    serve: (call) =>
      (call.u32(3) & ~(AT.SYMLINK_NOFOLLOW | AT.NO_AUTOMOUNT | AT.EMPTY_PATH)) !== 0
        ? -Errno.EINVAL
        : put(call, 2, () => packStat(statAt(call, 0, 1, call.u32(3))), 144),
  },
  {
    name: 'statx',
    args: [directory, path, atFlags, formats.unsigned, pointer],
    serve: (call) =>
      (call.u32(2) & ~(AT.SYMLINK_NOFOLLOW | AT.NO_AUTOMOUNT | AT.EMPTY_PATH | AT.STATX_SYNC)) !== 0
        ? -Errno.EINVAL
        : put(call, 4, () => packStatx(statAt(call, 0, 1, call.u32(2))), 256),
  },
  { name: 'access', args: [path, formats.int], serve: (call) => access(call, -1, 0, call.i32(1), 0) },
  { name: 'faccessat', args: [directory, path, formats.int], serve: (call) => access(call, 0, 1, call.i32(2), 0) },
  {
    name: 'faccessat2',
    args: [directory, path, formats.int, atFlags],
    serve: (call) =>
      (call.u32(3) & ~(AT.SYMLINK_NOFOLLOW | AT.EACCESS | AT.EMPTY_PATH)) !== 0
        ? -Errno.EINVAL
        : access(call, 0, 1, call.i32(2), call.u32(3)),
  },
  {
    name: 'readlink',
    args: [path, (call, i, result) => formats.output(call, i, result), size],
    serve: (call) => readlink(call, -1, 0, 1),
  },
  {
    name: 'readlinkat',
    args: [directory, path, (call, i, result) => formats.output(call, i, result), size],
    serve: (call) => readlink(call, 0, 1, 2),
  },
  { name: 'statfs', args: [path, pointer], serve: statfs },
  {
    name: 'fstatfs',
    args: [descriptor, pointer],
    serve(call) {
      call.process.files.get(call.i32(0));
      return put(call, 1, () => packStatfs(call.process.options.fs.stat()), 120);
    },
  },
];

export const status = () => group('status', definitions);
