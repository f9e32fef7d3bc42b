/** Locks on files: flock(2), and those of fcntl(2). */
import { BLOCKED, formats } from '@visorkit/linux-abi';
import type { OpenFile, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import { FileLocks, READ, WHOLE, WRITE } from './file-locks.js';
import type { Kind, Lock, Range } from './file-locks.js';

const LOCK = { SH: 1, EX: 2, NB: 4, UN: 8 } as const;
const UNLOCK = 2;
/** `struct flock`. */
const Flock = { TYPE: 0, WHENCE: 2, START: 8, LENGTH: 16, PID: 24, SIZE: 32 } as const;
const WHENCE_CURRENT = 1,
  WHENCE_END = 2;
/** A lock reaches to here at most; one that reaches here reaches to the end of the file, however long it gets. */
const LAST = 2 ** 63;

/** Sets a lock, or waits for it. */
function take(call: SystemCall, kind: Kind, file: OpenFile, lock: Lock, waits: boolean, otherwise: number): number {
  const locks = FileLocks.of(call.process.options);
  if (locks.conflict(kind, file, lock) === undefined) {
    locks.stopWaiting(call.tid);
    locks.set(kind, file, lock);
    return 0;
  }
  if (!waits) return otherwise;
  if (call.interrupted) {
    locks.stopWaiting(call.tid);
    return -Errno.EINTR;
  }
  // Only the owners of POSIX's locks are processes, so only they can wait for one another
  if (!locks.waits(call.tid, kind, file, lock) && lock.pid >= 0 && kind === 'record') return -Errno.EDEADLK;
  call.state ??= {};
  return BLOCKED;
}

function flock(call: SystemCall): number {
  const file = call.process.files.get(call.i32(0)),
    how = call.i32(1),
    operation = how & ~LOCK.NB,
    locks = FileLocks.of(call.process.options);
  if ((file.flags & OpenFlag.PATH) !== 0) return -Errno.EBADF;
  if (operation === LOCK.UN) {
    locks.unset('flock', file, file, WHOLE);
    return 0;
  }
  if (operation !== LOCK.SH && operation !== LOCK.EX) return -Errno.EINVAL;
  const mode = operation === LOCK.EX ? WRITE : READ;
  if (locks.held('flock', file, file) === mode) return 0;
  // Another mode is no change but a lock anew: others may come in between, and when it is refused the old one is gone (flock(2))
  if (call.state === undefined) locks.unset('flock', file, file, WHOLE);
  const lock = { owner: file, mode, pid: call.process.pid, ...WHOLE } as const;
  return take(call, 'flock', file, lock, (how & LOCK.NB) === 0, -Errno.EAGAIN);
}

/** The bytes that a `struct flock` names. Throws EINVAL, EOVERFLOW. */
function rangeAt(call: SystemCall, at: number, file: OpenFile): Range {
  const { memory } = call,
    whence = memory.readU16(at + Flock.WHENCE),
    length = memory.readI64(at + Flock.LENGTH);
  if (whence > WHENCE_END) raise('EINVAL');
  const base =
    whence === WHENCE_END
      ? file.stat().size
      : whence === WHENCE_CURRENT
        ? Math.max(0, file.seek(0, WHENCE_CURRENT))
        : 0;
  const from = base + memory.readI64(at + Flock.START),
    start = length < 0 ? from + length : from,
    end = length === 0 ? Infinity : (length < 0 ? from : from + length) - 1;
  if (start < 0) raise('EINVAL');
  if (start >= LAST || (length !== 0 && end >= LAST)) raise('EOVERFLOW');
  return { start, end };
}

/** F_GETLK, F_SETLK and F_SETLKW, and with `ofFile` F_OFD_GETLK and its like. */
export function recordLock(call: SystemCall, what: 'get' | 'set' | 'wait', ofFile: boolean): number {
  const { memory, process } = call,
    file = process.files.get(call.i32(0)),
    at = call.u64(2),
    locks = FileLocks.of(process.options);
  if ((file.flags & OpenFlag.PATH) !== 0) return -Errno.EBADF;
  memory.prepare(at, Flock.SIZE, what === 'get');
  const type = memory.readU16(at + Flock.TYPE),
    range = rangeAt(call, at, file);
  if (ofFile && memory.readI32(at + Flock.PID) !== 0) return -Errno.EINVAL;
  const owner = ofFile ? file : process.files;
  if (type === UNLOCK && what !== 'get') {
    locks.unset('record', file, owner, range);
    return 0;
  }
  if (type !== READ && type !== WRITE) return -Errno.EINVAL;
  const lock: Lock = { owner, mode: type, pid: ofFile ? -1 : process.pid, ...range };
  if (what !== 'get') {
    if (!(type === READ ? file.readable : file.writable)) return -Errno.EBADF;
    return take(call, 'record', file, lock, what === 'wait', -Errno.EAGAIN);
  }
  const found = locks.conflict('record', file, lock);
  if (found === undefined) memory.write(at + Flock.TYPE, Uint8Array.of(UNLOCK, 0));
  else {
    memory.write(at + Flock.TYPE, Uint8Array.of(found.mode, 0, 0, 0));
    memory.writeU64(at + Flock.START, found.start);
    memory.writeU64(at + Flock.LENGTH, found.end === Infinity ? 0 : found.end - found.start + 1);
    memory.writeU32(at + Flock.PID, found.pid >>> 0);
  }
  return 0;
}

const { descriptor, flags } = formats;
export const lockingRows: readonly SystemCallDefinition[] = [
  { name: 'flock', args: [descriptor, flags({ LOCK_SH: 1, LOCK_EX: 2, LOCK_NB: 4, LOCK_UN: 8 })], serve: flock },
];
