/** Waiting for files: poll, select, epoll. */
import { BLOCKED, OpenFile, Poll, formats, readTimespec, timespec } from '@visorkit/linux-abi';
import type { FileTable, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, FileMode, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { anonymousStat } from './pipes.js';

const { descriptor, int, oneOf, pointer, size, unsigned } = formats;

/** Ends with `ready` when it is above 0 or the time is over; `timeout` in ns from the call's start, Infinity: none. */
function waitFor(call: SystemCall, ready: number, timeout: () => number): number {
  if (ready !== 0) return ready;
  const until = (call.state as { until: number } | undefined)?.until ?? call.process.clock + timeout();
  if (call.process.clock >= until) return 0;
  call.state = { until };
  call.deadline = until;
  return BLOCKED;
}

/** A `struct timespec` pointer; none: forever. Throws EINVAL. */
function timespecTimeout(call: SystemCall, index: number): number {
  if (call.u64(index) === 0) return Infinity;
  const value = readTimespec(call.memory, call.u64(index));
  return Number.isNaN(value) ? raise('EINVAL') : value;
}

/** Milliseconds, negative: forever. */
const milliseconds = (value: number): number => (value < 0 ? Infinity : value * 1e6);

function poll(call: SystemCall, timeout: () => number): number {
  const at = call.u64(0),
    count = call.u32(1),
    { memory, process } = call;
  if (count > process.files.limit) return -Errno.EINVAL;
  memory.prepare(at, 8 * count, true);
  let ready = 0;
  for (let i = 0; i < count; i++) {
    const number = memory.readI32(at + 8 * i),
      events = memory.readU16(at + 8 * i + 4);
    const file = number < 0 ? undefined : process.files.find(number);
    const found =
      number < 0
        ? 0
        : file === undefined
          ? Poll.NVAL
          : (file.poll() | ((file.poll() & Poll.IN) !== 0 ? 0x40 : 0) | ((file.poll() & Poll.OUT) !== 0 ? 0x100 : 0)) &
            (events | Poll.ERR | Poll.HUP | Poll.NVAL);
    memory.write(at + 8 * i + 6, Uint8Array.of(found & 0xff, found >> 8));
    if (found !== 0) ready++;
  }
  return waitFor(call, ready, timeout);
}

/** Bits of an fd_set. */
const bytesOf = (count: number): number => Math.ceil(count / 64) * 8;
const WANTED = [Poll.IN | Poll.HUP | Poll.ERR, Poll.OUT | Poll.ERR, Poll.PRI];

function select(call: SystemCall, timeout: () => number): number {
  const count = call.i32(0),
    { memory, process } = call;
  if (count < 0) return -Errno.EINVAL;
  const length = bytesOf(Math.min(count, 1024));
  const results: (Uint8Array | undefined)[] = [];
  let ready = 0;
  for (let set = 0; set < 3; set++) {
    const at = call.u64(1 + set);
    if (at === 0) continue;
    memory.prepare(at, length, true);
    const asked = memory.read(at, length),
      found = new Uint8Array(length);
    for (let number = 0; number < Math.min(count, 1024); number++) {
      if ((asked[number >> 3] & (1 << (number & 7))) === 0) continue;
      if ((process.files.get(number).poll() & WANTED[set]) === 0) continue;
      found[number >> 3] |= 1 << (number & 7);
      ready++;
    }
    results[set] = found;
  }
  const outcome = waitFor(call, ready, timeout);
  // While it waits, the sets stay as they were asked for
  if (outcome !== BLOCKED)
    results.forEach((found, set) => found !== undefined && memory.write(call.u64(1 + set), found));
  return outcome;
}

function oldTimeout(call: SystemCall): number {
  const at = call.u64(4);
  if (at === 0) return Infinity;
  const seconds = call.memory.readI64(at),
    micro = call.memory.readI64(at + 8);
  return seconds < 0 || micro < 0 ? raise('EINVAL') : seconds * 1e9 + micro * 1e3;
}

/** pselect6 and ppoll tell how much time was left; so does select on Linux. */
function withRest(call: SystemCall, index: number, micro: boolean, run: () => number): number {
  const at = call.u64(index);
  if (at !== 0) call.memory.prepare(at, 16, true);
  const result = run();
  const until = (call.state as { until: number } | undefined)?.until;
  if (at !== 0 && result >= 0 && until !== undefined) {
    const left = timespec(BigInt(Math.max(0, Math.floor(until - call.process.clock))));
    if (micro) new DataView(left.buffer).setBigInt64(8, new DataView(left.buffer).getBigInt64(8, true) / 1000n, true);
    call.memory.write(at, left);
  }
  return result;
}

// ---- epoll(7)

const EPOLLONESHOT = 1 << 30;
const EPOLLET = 2 ** 31;
const CTL = { ADD: 1, DEL: 2, MOD: 3 } as const;
const EVENT_SIZE = 12;

interface Interest {
  file: OpenFile;
  events: number;
  data: bigint;
  reported: number;
}

class EpollFile extends OpenFile {
  readonly name = 'anon_inode:[eventpoll]';
  readonly interests = new Map<number, Interest>();
  stat(): FileStat {
    return anonymousStat(1, 0o600);
  }
  override poll(): number {
    return this.ready(1, () => undefined).length > 0 ? Poll.IN : 0;
  }

  /** What is ready now, at most `most`; `table` forgets files that were closed. */
  ready(
    most: number,
    table: (number: number) => OpenFile | undefined | null,
    take = false,
  ): { events: number; data: bigint }[] {
    const found: { events: number; data: bigint }[] = [];
    for (const [number, interest] of this.interests) {
      if (found.length >= most) break;
      if (interest.file.references === 0 || table(number) === null) {
        this.interests.delete(number);
        continue;
      }
      const state = interest.file.poll() & ((interest.events & 0xffff) | Poll.ERR | Poll.HUP);
      // Edge-triggered: only events that were not there the last time
      const events = interest.events >= EPOLLET || interest.events < 0 ? state & ~interest.reported : state;
      if (take) interest.reported = state;
      if (events === 0 || (interest.events & 0xffff) === 0) continue;
      if (take && (interest.events & EPOLLONESHOT) !== 0) interest.events &= ~0xffff;
      found.push({ events, data: interest.data });
    }
    return found;
  }
}

function epollFile(call: SystemCall): EpollFile {
  const file = call.process.files.get(call.i32(0));
  return file instanceof EpollFile ? file : raise('EINVAL');
}

function epollControl(call: SystemCall): number {
  const epoll = epollFile(call),
    number = call.i32(2),
    file = call.process.files.get(number);
  if (file === epoll) return -Errno.EINVAL;
  const type = file.stat().mode & FileMode.TYPE;
  if (type === FileMode.REGULAR || type === FileMode.DIRECTORY) return -Errno.EPERM;
  const known = epoll.interests.get(number),
    same = known !== undefined && known.file === file;
  if (call.i32(1) === CTL.DEL) return same ? (epoll.interests.delete(number), 0) : -Errno.ENOENT;
  if (call.i32(1) !== CTL.ADD && call.i32(1) !== CTL.MOD) return -Errno.EINVAL;
  const at = call.u64(3),
    events = call.memory.readU32(at),
    data = BigInt.asUintN(64, (BigInt(call.memory.readU32(at + 8)) << 32n) | BigInt(call.memory.readU32(at + 4)));
  if (call.i32(1) === CTL.ADD && same) return -Errno.EEXIST;
  if (call.i32(1) === CTL.MOD && !same) return -Errno.ENOENT;
  epoll.interests.set(number, { file, events, data, reported: 0 });
  call.process.wake();
  return 0;
}

function epollWait(call: SystemCall, timeout: () => number): number {
  const epoll = epollFile(call),
    at = call.u64(1),
    most = call.i32(2);
  if (most <= 0) return -Errno.EINVAL;
  call.memory.prepare(at, Math.min(most, 1024) * EVENT_SIZE, true);
  const files: FileTable = call.process.files;
  const found = epoll.ready(
    Math.min(most, 1024),
    (number) => (files.find(number) === undefined ? null : undefined),
    true,
  );
  found.forEach(({ events, data }, i) => {
    call.memory.writeU32(at + i * EVENT_SIZE, events);
    call.memory.writeU64(at + i * EVENT_SIZE + 4, data);
  });
  return waitFor(call, found.length, timeout);
}

function epollCreate(call: SystemCall, closeOnExec: boolean): number {
  return call.process.files.add(new EpollFile(OpenFlag.RDWR), closeOnExec);
}

const definitions: SystemCallDefinition[] = [
  { name: 'poll', args: [pointer, unsigned, int], serve: (call) => poll(call, () => milliseconds(call.i32(2))) },
  {
    name: 'ppoll',
    args: [pointer, unsigned, pointer, pointer, size],
    serve: (call) => withRest(call, 2, false, () => poll(call, () => timespecTimeout(call, 2))),
  },
  {
    name: 'select',
    args: [int, pointer, pointer, pointer, pointer],
    serve: (call) => withRest(call, 4, true, () => select(call, () => oldTimeout(call))),
  },
  {
    name: 'pselect6',
    args: [int, pointer, pointer, pointer, pointer, pointer],
    serve: (call) => withRest(call, 4, false, () => select(call, () => timespecTimeout(call, 4))),
  },
  { name: 'epoll_create', args: [int], serve: (call) => (call.i32(0) <= 0 ? -Errno.EINVAL : epollCreate(call, false)) },
  {
    name: 'epoll_create1',
    args: [formats.flags({ EPOLL_CLOEXEC: OpenFlag.CLOEXEC })],
    serve: (call) => ((call.u32(0) & ~OpenFlag.CLOEXEC) !== 0 ? -Errno.EINVAL : epollCreate(call, call.u32(0) !== 0)),
  },
  {
    name: 'epoll_ctl',
    args: [descriptor, oneOf({ 1: 'EPOLL_CTL_ADD', 2: 'EPOLL_CTL_DEL', 3: 'EPOLL_CTL_MOD' }), descriptor, pointer],
    serve: epollControl,
  },
  {
    name: 'epoll_wait',
    args: [descriptor, pointer, int, int],
    serve: (call) => epollWait(call, () => milliseconds(call.i32(3))),
  },
  {
    name: 'epoll_pwait',
    args: [descriptor, pointer, int, int, pointer, size],
    serve: (call) => epollWait(call, () => milliseconds(call.i32(3))),
  },
];

export const waiting = () => group('waiting', definitions);
