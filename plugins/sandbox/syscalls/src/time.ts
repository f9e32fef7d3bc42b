/** Clocks, sleeping, interval timers, times of the process. */
import { BLOCKED, Signal, formats, readTimespec, timespec } from '@visorkit/linux-abi';
import type { CpuTimeOf, Process, SystemCall, SystemCallDefinition, Timer } from '@visorkit/linux-abi';
import { Errno } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { waitUntil } from './readiness.js';

const { flags, int, oneOf, pointer, unsigned } = formats;

const CLOCKS: { readonly [clock: number]: string } = {
  0: 'CLOCK_REALTIME',
  1: 'CLOCK_MONOTONIC',
  2: 'CLOCK_PROCESS_CPUTIME_ID',
  3: 'CLOCK_THREAD_CPUTIME_ID',
  4: 'CLOCK_MONOTONIC_RAW',
  5: 'CLOCK_REALTIME_COARSE',
  6: 'CLOCK_MONOTONIC_COARSE',
  7: 'CLOCK_BOOTTIME',
  8: 'CLOCK_REALTIME_ALARM',
  9: 'CLOCK_BOOTTIME_ALARM',
  11: 'CLOCK_TAI',
};
const clock = oneOf(CLOCKS);
/** Names clocks in traces. */
export const clockFormat = clock;
const REALTIME = new Set([0, 5, 8, 11]);
const CPU: { readonly [clock: number]: CpuTimeOf } = { 2: 'process', 3: 'thread' };
/** Of negative clocks (clock_getcpuclockid(3)): the number of a process or thread, inverted, above three bits. */
const OF_THREAD = 4,
  CPU_KINDS = 3;

/** What a clock shows in ns; undefined for one that does not exist. */
export function readClock(process: Process, number: number): bigint | undefined {
  if (CLOCKS[number] === undefined) return undefined;
  if (REALTIME.has(number)) return process.realTime;
  const cpu = CPU[number];
  // A clock that starts at 0 would give programs times before their own start: the machine has been up for a second.
  return BigInt(Math.floor(cpu === undefined ? process.clock + 1e9 : process.options.cpuTime(cpu)));
}

/** The clock that an argument names. CPU time is told to the process and thread that it is of, and to nobody else. */
function namedClock(call: SystemCall): number {
  const number = call.i32(0);
  if (number >= 0) return number;
  const owner = ~(number >> 3),
    ofThread = (number & OF_THREAD) !== 0;
  if ((number & 3) === CPU_KINDS || (owner !== 0 && owner !== (ofThread ? call.tid : call.process.pid))) return -1;
  return ofThread ? 3 : 2;
}

function put(call: SystemCall, index: number, bytes: Uint8Array): number {
  if (call.u64(index) !== 0) call.memory.write(call.u64(index), bytes);
  return 0;
}

function timeval(ns: bigint): Uint8Array {
  const bytes = timespec(ns),
    view = new DataView(bytes.buffer);
  view.setBigInt64(8, view.getBigInt64(8, true) / 1000n, true);
  return bytes;
}

/** Sleeps until `deadline` on the process's clock. `remaining`: address for what is left when a signal ends it, 0 for none. */
function sleep(call: SystemCall, deadline: () => number, remaining: number): number {
  const result = waitUntil(call, deadline, 0);
  if (result === BLOCKED && call.interrupted && remaining !== 0)
    call.memory.write(remaining, timespec(BigInt(Math.ceil(call.deadline - call.process.clock))));
  return result;
}

function nanosleep(call: SystemCall): number {
  const length = readTimespec(call.memory, call.u64(0));
  if (Number.isNaN(length)) return -Errno.EINVAL;
  return sleep(call, () => call.process.clock + length, call.u64(1));
}

const TIMER_ABSTIME = 1;

function clockNanosleep(call: SystemCall): number {
  const number = call.i32(0),
    absolute = (call.u32(1) & TIMER_ABSTIME) !== 0;
  if (CLOCKS[number] === undefined || number === 3) return -Errno.EINVAL;
  const length = readTimespec(call.memory, call.u64(2));
  if (Number.isNaN(length)) return -Errno.EINVAL;
  const { process } = call;
  return sleep(
    call,
    () => process.clock + (absolute ? length - Number(readClock(process, number)!) : length),
    absolute ? 0 : call.u64(3),
  );
}

// ---- interval timers

const ITIMERS = [Signal.ALRM, Signal.VTALRM, Signal.PROF];
/** Next expiry and period in ns on the process's clock; timers of CPU time run on it too. */
interface Interval {
  timer: Timer;
  next: number;
  period: number;
}
const intervals = new WeakMap<Process, (Interval | undefined)[]>();

function interval(process: Process, which: number): Interval {
  let all = intervals.get(process);
  if (all === undefined) intervals.set(process, (all = []));
  return (all[which] ??= makeInterval(process, ITIMERS[which]));
}

function makeInterval(process: Process, signal: number): Interval {
  const made: Interval = {
    next: Infinity,
    period: 0,
    timer: process.timer(() => {
      made.next = made.period > 0 ? made.next + made.period : Infinity;
      if (made.next < process.clock) made.next = process.clock + made.period; // late: all missed expiries count as one
      made.timer.reschedule(made.next);
      process.signal(signal);
    }),
  };
  return made;
}

/** `struct itimerval` as it is now. */
function packInterval(process: Process, { next, period }: Interval): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes.set(timeval(BigInt(Math.floor(period))));
  bytes.set(timeval(BigInt(next === Infinity ? 0 : Math.max(1000, Math.ceil(next - process.clock)))), 16);
  return bytes;
}

function arm(process: Process, entry: Interval, value: number, period: number): void {
  entry.period = period;
  entry.next = value === 0 ? Infinity : process.clock + value;
  entry.timer.reschedule(entry.next);
}

function setitimer(call: SystemCall): number {
  const which = call.i32(0),
    { process } = call;
  if (which < 0 || which > 2) return -Errno.EINVAL;
  const entry = interval(process, which),
    before = packInterval(process, entry);
  const at = call.u64(1);
  const [period, value] =
    at === 0
      ? [0, 0]
      : [0, 16].map((offset) => {
          const seconds = call.memory.readI64(at + offset),
            micro = call.memory.readI64(at + offset + 8);
          return seconds < 0 || micro < 0 || micro > 999_999 ? NaN : seconds * 1e9 + micro * 1e3;
        });
  if (Number.isNaN(period) || Number.isNaN(value)) return -Errno.EINVAL;
  put(call, 2, before);
  arm(process, entry, value, period);
  return 0;
}

function alarm(call: SystemCall): number {
  const entry = interval(call.process, 0);
  const left = entry.next === Infinity ? 0 : Math.max(1, Math.round((entry.next - call.process.clock) / 1e9));
  arm(call.process, entry, call.u32(0) * 1e9, 0);
  return left;
}

// ---- times of the process

/** CLK_TCK is 100. */
const TICK = 10_000_000;

function times(call: SystemCall): number {
  const ticks = (whose: CpuTimeOf): bigint => BigInt(Math.floor(call.process.options.cpuTime(whose) / TICK));
  const bytes = new Uint8Array(32),
    view = new DataView(bytes.buffer);
  view.setBigInt64(0, ticks('process'), true);
  view.setBigInt64(16, ticks('children'), true);
  put(call, 0, bytes);
  return Math.floor((call.process.clock + 1e9) / TICK);
}

const USAGE_OF: { readonly [who: number]: CpuTimeOf } = { 0: 'process', 1: 'thread', [-1]: 'children' };

function getrusage(call: SystemCall): number {
  const whose = USAGE_OF[call.i32(0)];
  if (whose === undefined) return -Errno.EINVAL;
  const bytes = new Uint8Array(144);
  bytes.set(timeval(BigInt(Math.floor(call.process.options.cpuTime(whose)))));
  call.memory.write(call.u64(1), bytes);
  return 0;
}

const definitions: SystemCallDefinition[] = [
  {
    name: 'clock_gettime',
    args: [clock, pointer],
    serve(call) {
      const now = readClock(call.process, namedClock(call));
      if (now === undefined) return -Errno.EINVAL;
      call.memory.write(call.u64(1), timespec(now));
      return 0;
    },
  },
  {
    name: 'clock_getres',
    args: [clock, pointer],
    serve: (call) =>
      CLOCKS[namedClock(call)] === undefined
        ? -Errno.EINVAL
        : put(call, 1, timespec(call.i32(0) === 5 || call.i32(0) === 6 ? 4_000_000n : 1n)),
  },
  { name: 'clock_settime', args: [clock, pointer], serve: () => -Errno.EPERM },
  { name: 'settimeofday', args: [pointer, pointer], serve: () => -Errno.EPERM },
  { name: 'clock_nanosleep', args: [clock, flags({ TIMER_ABSTIME }), pointer, pointer], serve: clockNanosleep },
  { name: 'nanosleep', args: [pointer, pointer], serve: nanosleep },
  {
    name: 'gettimeofday',
    args: [pointer, pointer],
    serve(call) {
      call.memory.prepare(call.u64(0), call.u64(0) === 0 ? 0 : 16, true);
      put(call, 1, new Uint8Array(8));
      return put(call, 0, timeval(call.process.realTime));
    },
  },
  {
    name: 'time',
    args: [pointer],
    serve(call) {
      const seconds = Number(call.process.realTime / 1_000_000_000n);
      if (call.u64(0) !== 0) call.memory.writeU64(call.u64(0), seconds);
      return seconds;
    },
  },
  {
    name: 'setitimer',
    args: [oneOf({ 0: 'ITIMER_REAL', 1: 'ITIMER_VIRTUAL', 2: 'ITIMER_PROF' }), pointer, pointer],
    serve: setitimer,
  },
  {
    name: 'getitimer',
    args: [oneOf({ 0: 'ITIMER_REAL', 1: 'ITIMER_VIRTUAL', 2: 'ITIMER_PROF' }), pointer],
    serve(call) {
      if (call.i32(0) < 0 || call.i32(0) > 2) return -Errno.EINVAL;
      call.memory.write(call.u64(1), packInterval(call.process, interval(call.process, call.i32(0))));
      return 0;
    },
  },
  { name: 'alarm', args: [unsigned], serve: alarm },
  { name: 'times', args: [pointer], serve: times },
  {
    name: 'getrusage',
    args: [oneOf({ 0: 'RUSAGE_SELF', 1: 'RUSAGE_THREAD', [-1]: 'RUSAGE_CHILDREN' }), pointer],
    serve: getrusage,
  },
  { name: 'adjtimex', args: [pointer], serve: () => -Errno.EPERM },
  { name: 'clock_adjtime', args: [int, pointer], serve: () => -Errno.EPERM },
];

export const time = () => group('time', definitions);
