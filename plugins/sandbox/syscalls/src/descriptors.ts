/** The table of descriptors: close, dup, fcntl, flock, ioctl. */
import { formats } from '@visorkit/linux-abi';
import type { OpenFile, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { TIO } from './terminal-requests.js';
import { lockingRows, recordLock } from './locking.js';
import { PipeEnd } from './pipes.js';

const { descriptor, flags, oneOf, pointer, unsigned } = formats;

const F = {
  DUPFD: 0,
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  GETLK: 5,
  SETLK: 6,
  SETLKW: 7,
  SETOWN: 8,
  GETOWN: 9,
  OFD_GETLK: 36,
  OFD_SETLK: 37,
  OFD_SETLKW: 38,
  DUPFD_CLOEXEC: 1030,
  SETPIPE_SZ: 1031,
  GETPIPE_SZ: 1032,
  ADD_SEALS: 1033,
  GET_SEALS: 1034,
} as const;
const FCNTL_NAMES = Object.fromEntries(Object.entries(F).map(([name, value]) => [value, `F_${name}`]));
const FD_CLOEXEC = 1;
/** What F_SETFL may change (fcntl(2)). */
const SETTABLE = OpenFlag.APPEND | OpenFlag.NONBLOCK | OpenFlag.DIRECT | OpenFlag.NOATIME;
const LARGEFILE = 0o100000;

function fcntl(call: SystemCall): number {
  const { files } = call.process,
    number = call.i32(0),
    file = files.get(number),
    argument = call.u32(2);
  switch (call.i32(1)) {
    case F.DUPFD:
    case F.DUPFD_CLOEXEC:
      if (call.i32(2) < 0 || call.i32(2) >= files.limit) return -Errno.EINVAL;
      return files.add(file, call.i32(1) === F.DUPFD_CLOEXEC, call.i32(2));
    case F.GETFD:
      return files.closeOnExec(number) ? FD_CLOEXEC : 0;
    case F.SETFD:
      files.setCloseOnExec(number, (argument & FD_CLOEXEC) !== 0);
      return 0;
    case F.GETFL:
      return (
        (file.flags & ~(OpenFlag.CREAT | OpenFlag.EXCL | OpenFlag.TRUNC | OpenFlag.NOCTTY | OpenFlag.CLOEXEC)) |
        ((file.flags & OpenFlag.PATH) !== 0 || file.seek(0, 1) < 0 ? 0 : LARGEFILE)
      );
    case F.SETFL:
      file.flags = (file.flags & ~SETTABLE) | (argument & SETTABLE);
      return 0;
    case F.GETLK:
    case F.OFD_GETLK:
      return recordLock(call, 'get', call.i32(1) === F.OFD_GETLK);
    case F.SETLK:
    case F.OFD_SETLK:
      return recordLock(call, 'set', call.i32(1) === F.OFD_SETLK);
    case F.SETLKW:
    case F.OFD_SETLKW:
      return recordLock(call, 'wait', call.i32(1) === F.OFD_SETLKW);
    case F.SETOWN:
      return 0;
    case F.GETOWN:
      return 0;
    case F.GETPIPE_SZ:
    case F.SETPIPE_SZ:
      if (!(file instanceof PipeEnd)) return -Errno.EBADF;
      return call.i32(1) === F.GETPIPE_SZ ? file.pipe.pages.capacity : file.pipe.resize(argument);
    default:
      return -Errno.EINVAL;
  }
}

function duplicate(call: SystemCall, closeOnExec: boolean): number {
  const { files } = call.process,
    file: OpenFile = files.get(call.i32(0));
  files.set(call.i32(1), file, closeOnExec);
  return call.i32(1);
}

const FIONBIO = 0x5421;
const FIOCLEX = 0x5451;
const FIONCLEX = 0x5450;

const IOCTLS: { readonly [request: number]: string } = {
  ...Object.fromEntries(Object.entries(TIO).map(([name, number]) => [number, name])),
  [FIONBIO]: 'FIONBIO',
  [FIONCLEX]: 'FIONCLEX',
  [FIOCLEX]: 'FIOCLEX',
};

function ioctl(call: SystemCall): number {
  const { files } = call.process,
    file = files.get(call.i32(0)),
    request = call.u32(1);
  switch (request) {
    case FIOCLEX:
    case FIONCLEX:
      files.setCloseOnExec(call.i32(0), request === FIOCLEX);
      return 0;
    case FIONBIO:
      file.flags =
        call.memory.readI32(call.u64(2)) !== 0 ? file.flags | OpenFlag.NONBLOCK : file.flags & ~OpenFlag.NONBLOCK;
      return 0;
    default:
      return file.ioctl(call, request);
  }
}

const definitions: SystemCallDefinition[] = [
  {
    name: 'close',
    args: [descriptor],
    serve(call) {
      call.process.files.close(call.i32(0));
      return 0;
    },
  },
  {
    name: 'close_range',
    args: [unsigned, unsigned, flags({ CLOSE_RANGE_UNSHARE: 2, CLOSE_RANGE_CLOEXEC: 4 })],
    serve(call) {
      const [first, last] = [call.u32(0), call.u32(1)];
      if (first > last || (call.u32(2) & ~6) !== 0) return -Errno.EINVAL;
      for (const number of call.process.files.list()) {
        if (number < first || number > last) continue;
        if ((call.u32(2) & 4) !== 0) call.process.files.setCloseOnExec(number, true);
        else call.process.files.close(number);
      }
      return 0;
    },
  },
  { name: 'dup', args: [descriptor], serve: (call) => call.process.files.add(call.process.files.get(call.i32(0))) },
  {
    name: 'dup2',
    args: [descriptor, descriptor],
    serve(call) {
      if (call.i32(0) !== call.i32(1)) return duplicate(call, false);
      call.process.files.get(call.i32(0));
      return call.i32(0);
    },
  },
  {
    name: 'dup3',
    args: [descriptor, descriptor, flags({ O_CLOEXEC: OpenFlag.CLOEXEC })],
    serve: (call) =>
      call.i32(0) === call.i32(1) || (call.u32(2) & ~OpenFlag.CLOEXEC) !== 0
        ? -Errno.EINVAL
        : duplicate(call, call.u32(2) !== 0),
  },
  { name: 'fcntl', args: [descriptor, oneOf(FCNTL_NAMES), pointer], serve: fcntl },
  ...lockingRows,
  {
    name: 'ioctl',
    args: [descriptor, (call, i) => IOCTLS[call.u32(i)] ?? `0x${call.u32(i).toString(16)}`, pointer],
    serve: ioctl,
  },
];

export const descriptors = () => group('descriptors', definitions);
