/** Timers of a process: timer_create(2) and its relatives. Each has one signal on its way at most; the guest kernel counts the others. */
import { Signal, formats, readTimespec, timespec } from '@visorkit/linux-abi';
import type { Process, SystemCall, SystemCallDefinition, Timer } from '@visorkit/linux-abi';
import { Errno, raise } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { clockFormat, readClock } from './time.js';

const { flags, int, pointer } = formats;

/** How a program hears of it (sigevent(7)). */
const SIGEV = { SIGNAL: 0, NONE: 1, THREAD: 2, THREAD_ID: 4 } as const;
const SI_TIMER = -2;
const TIMER_ABSTIME = 1;
/** Timers of one process at most. */
const MOST = 1024;
const MOST_OVERRUNS = 0x7fff_ffff;

interface PosixTimer {
  readonly clock: number;
  readonly notify: number;
  readonly signal: number;
  readonly value: bigint;
  readonly thread: number;
  readonly timer: Timer;
  next: number;
  period: number;
  /** Expiries that the signal that was taken last stands for, but one. */
  overruns: number;
}

/** By process and number. */
const timers = new WeakMap<Process, Map<number, PosixTimer>>();

function timersOf(process: Process): Map<number, PosixTimer> {
  let all = timers.get(process);
  if (all === undefined) {
    timers.set(process, (all = new Map()));
    const own = all;
    process.onProgram.push(() => {
      for (const { timer } of own.values()) process.dropTimer(timer);
      own.clear();
    });
    process.onOverrun = (number, count) => {
      const timer = own.get(number);
      if (timer !== undefined) timer.overruns = count;
    };
  }
  return all;
}

/** `struct sigevent`; none: SIGALRM with the timer's number. Throws EINVAL. */
function readEvent(call: SystemCall, number: number): Pick<PosixTimer, 'notify' | 'signal' | 'value' | 'thread'> {
  const at = call.u64(1),
    { memory } = call;
  if (at === 0) return { notify: SIGEV.SIGNAL, signal: Signal.ALRM, value: BigInt(number), thread: 0 };
  const value = (BigInt(memory.readU32(at + 4)) << 32n) | BigInt(memory.readU32(at)),
    signal = memory.readI32(at + 8),
    notify = memory.readI32(at + 12),
    thread = notify === SIGEV.THREAD_ID ? memory.readI32(at + 16) : 0;
  if (notify !== SIGEV.SIGNAL && notify !== SIGEV.NONE && notify !== SIGEV.THREAD_ID) raise('EINVAL');
  if (notify !== SIGEV.NONE && (signal < 1 || signal > 64)) raise('EINVAL');
  return { notify, signal, value, thread };
}

function create(call: SystemCall): number {
  const { process, memory } = call,
    clock = call.i32(0),
    all = timersOf(process);
  if (readClock(process, clock) === undefined || clock === 4 || clock === 5 || clock === 6) return -Errno.EINVAL;
  if (all.size >= MOST) return -Errno.EAGAIN;
  let number = 0;
  while (all.has(number)) number++;
  const event = readEvent(call, number);
  memory.writeU32(call.u64(2), number);
  const made: PosixTimer = {
    ...event,
    clock,
    next: Infinity,
    period: 0,
    overruns: 0,
    timer: process.timer(() => expire(process, number, made)),
  };
  all.set(number, made);
  return 0;
}

function expire(process: Process, number: number, timer: PosixTimer): void {
  const times = timer.period > 0 ? Math.floor((process.clock - timer.next) / timer.period) + 1 : 1;
  timer.next = timer.period > 0 ? timer.next + times * timer.period : Infinity;
  timer.timer.reschedule(timer.next);
  if (timer.notify === SIGEV.NONE) return;
  const head = (BigInt(times - 1) << 32n) | BigInt(number);
  process.signal(timer.signal, { thread: timer.thread, code: SI_TIMER, values: [head, timer.value] });
}

/** Throws EINVAL. */
const timerOf = (call: SystemCall): PosixTimer => timersOf(call.process).get(call.i32(0)) ?? raise('EINVAL');

/** `struct itimerspec` as it is now. */
function pack(process: Process, { next, period }: PosixTimer): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes.set(timespec(BigInt(Math.floor(period))));
  bytes.set(timespec(BigInt(next === Infinity ? 0 : Math.max(1, Math.ceil(next - process.clock)))), 16);
  return bytes;
}

function settime(call: SystemCall): number {
  const { process, memory } = call,
    how = call.u32(1),
    at = call.u64(2),
    before = call.u64(3);
  if (at === 0) return -Errno.EINVAL;
  const period = readTimespec(memory, at),
    value = readTimespec(memory, at + 16);
  if (Number.isNaN(period) || Number.isNaN(value)) return -Errno.EINVAL;
  const timer = timerOf(call);
  if (before !== 0) memory.prepare(before, 32, true);
  const old = pack(process, timer);
  const left = (how & TIMER_ABSTIME) === 0 ? value : Math.max(1, value - Number(readClock(process, timer.clock)!));
  timer.period = period;
  timer.next = value === 0 ? Infinity : process.clock + left;
  timer.overruns = 0;
  timer.timer.reschedule(timer.next);
  if (before !== 0) memory.write(before, old);
  return 0;
}

const definitions: SystemCallDefinition[] = [
  { name: 'timer_create', args: [clockFormat, pointer, pointer], serve: create },
  { name: 'timer_settime', args: [int, flags({ TIMER_ABSTIME }), pointer, pointer], serve: settime },
  {
    name: 'timer_gettime',
    args: [int, pointer],
    serve(call) {
      call.memory.write(call.u64(1), pack(call.process, timerOf(call)));
      return 0;
    },
  },
  {
    name: 'timer_getoverrun',
    args: [int],
    serve: (call) => Math.min(timerOf(call).overruns, MOST_OVERRUNS),
  },
  {
    name: 'timer_delete',
    args: [int],
    serve(call) {
      call.process.dropTimer(timerOf(call).timer);
      timersOf(call.process).delete(call.i32(0));
      return 0;
    },
  },
];

export const posixTimers = () => group('posix-timers', definitions);
