/** Timers of a process: timer_create(2) and its relatives. Each has one signal on its way at most; the guest kernel counts the others. */
import { Signal, SignalCode, formats, readBig } from '@visorkit/linux-abi';
import type { Process, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, raise } from '@visorkit/sandbox-fs';
import { group } from './group.js';
import { PeriodicTimer, readSetting } from './periodic-timer.js';
import { clockFormat, readClock } from './time.js';

const { flags, int, pointer } = formats;

/** How a program hears of it (sigevent(7)). */
const SIGEV = { SIGNAL: 0, NONE: 1, THREAD: 2, THREAD_ID: 4 } as const;
const TIMER_ABSTIME = 1;
/** Timers of one process at most. */
const MOST = 1024;
const MOST_OVERRUNS = 0x7fff_ffff;

interface PosixTimer {
  readonly notify: number;
  readonly signal: number;
  readonly value: bigint;
  readonly thread: number;
  readonly timer: PeriodicTimer;
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
      for (const { timer } of own.values()) process.dropTimer(timer.timer);
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
  const value = readBig(memory, at),
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
    overruns: 0,
    timer: new PeriodicTimer(
      process,
      clock,
      process.timer(() => expire(process, number, made)),
    ),
  };
  all.set(number, made);
  return 0;
}

function expire(process: Process, number: number, timer: PosixTimer): void {
  const times = timer.timer.expired();
  if (times === 0 || timer.notify === SIGEV.NONE) return;
  const head = (BigInt(times - 1) << 32n) | BigInt(number);
  process.signal(timer.signal, { thread: timer.thread, code: SignalCode.TIMER, values: [head, timer.value] });
}

/** Throws EINVAL. */
const timerOf = (call: SystemCall): PosixTimer => timersOf(call.process).get(call.i32(0)) ?? raise('EINVAL');

function settime(call: SystemCall): number {
  const at = call.u64(2),
    before = call.u64(3),
    { memory } = call;
  if (at === 0) return -Errno.EINVAL;
  const setting = readSetting(memory, at),
    timer = timerOf(call),
    old = timer.timer.pack();
  if (before !== 0) memory.prepare(before, old.length, true);
  timer.overruns = 0;
  timer.timer.set(setting, (call.u32(1) & TIMER_ABSTIME) !== 0);
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
      call.memory.write(call.u64(1), timerOf(call).timer.pack());
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
      call.process.dropTimer(timerOf(call).timer.timer);
      timersOf(call.process).delete(call.i32(0));
      return 0;
    },
  },
];

export const posixTimers = () => group('posix-timers', definitions);
