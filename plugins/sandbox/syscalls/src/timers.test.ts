/** Clocks, sleeping, timers of every kind. */
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCKED, EPOCH, Errno, TestSandbox } from './testing.js';

const MONOTONIC = 1,
  NONBLOCK = 0o4000,
  ABSTIME = 1;
const ALRM = 14;
let sandbox: TestSandbox;
beforeEach(() => {
  sandbox = new TestSandbox();
});

const timespec = (ns: number): number => {
  const at = sandbox.memory.room(16);
  sandbox.memory.writeU64(at, Math.floor(ns / 1e9));
  sandbox.memory.writeU64(at + 8, ns % 1e9);
  return at;
};
/** `struct itimerspec`. */
const itimer = (value: number, period = 0): number => {
  const at = sandbox.memory.room(32);
  sandbox.memory.write(at, sandbox.memory.read(timespec(period), 16));
  sandbox.memory.write(at + 16, sandbox.memory.read(timespec(value), 16));
  return at;
};
const ns = (at: number): number => sandbox.memory.readI64(at) * 1e9 + sandbox.memory.readI64(at + 8);

it('clocks show their time', () => {
  const at = sandbox.memory.room(16);
  sandbox.clock.advance(5);
  sandbox.call('clock_gettime', 0, at);
  expect([sandbox.memory.readU64(at), sandbox.memory.readU64(at + 8)]).toEqual([Number(EPOCH / 1_000_000_000n), 5]);
  sandbox.call('clock_gettime', MONOTONIC, at);
  expect(ns(at)).toBe(1e9 + 5);
  expect(sandbox.call('clock_gettime', 55, at)).toBe(-Errno.EINVAL);
  expect(sandbox.call('clock_settime', 0, at)).toBe(-Errno.EPERM);
});

it('CPU time is of the thread, the process and its children', () => {
  Object.assign(sandbox.cpu, { thread: 10e6, process: 25e6, children: 1_130_007_000 });
  const at = sandbox.memory.room(144);
  const read = (clock: number): number => sandbox.call('clock_gettime', clock, at) || ns(at);
  // The number of a process or thread, inverted, above three bits: 4 for a thread's, and 2 for scheduled time
  const of = (owner: number, thread: number): number => (~owner << 3) | thread | 2;
  expect([2, 3, of(0, 0), of(2, 0), of(2, 4), of(0, 4)].map(read)).toEqual([25e6, 10e6, 25e6, 25e6, 10e6, 10e6]);
  expect([of(99, 0), of(99, 4), -1].map(read)).toEqual(Array(3).fill(-Errno.EINVAL));
  const usage = (who: number): number[] => {
    expect(sandbox.call('getrusage', who, at)).toBe(0);
    return [sandbox.memory.readU64(at), sandbox.memory.readU64(at + 8)];
  };
  expect([usage(0), usage(1), usage(-1)]).toEqual([
    [0, 25_000],
    [0, 10_000],
    [1, 130_007],
  ]);
  sandbox.call('times', at);
  expect([0, 8, 16, 24].map((offset) => sandbox.memory.readU64(at + offset))).toEqual([2, 0, 113, 0]);
});

describe('sleeping', () => {
  it('ends when its time is over', () => {
    expect(sandbox.call('nanosleep', timespec(1000), 0)).toBe(BLOCKED);
    expect(sandbox.deadline).toBe(1000);
    sandbox.clock.advance(999);
    expect(sandbox.again()).toBe(BLOCKED);
    sandbox.clock.advance(1);
    expect(sandbox.again()).toBe(0);
  });

  it('tells what is left when a signal ends it', () => {
    const left = sandbox.memory.room(16);
    sandbox.call('clock_nanosleep', MONOTONIC, 0, timespec(1000), left);
    sandbox.clock.advance(400);
    sandbox.again(true);
    expect(ns(left)).toBe(600);
  });

  it('until a moment that has passed is over at once', () => {
    expect(sandbox.call('clock_nanosleep', MONOTONIC, ABSTIME, timespec(5), 0)).toBe(0);
    expect(sandbox.call('nanosleep', timespec(0), 0)).toBe(0);
  });
});

describe('timerfd', () => {
  const create = (): number => sandbox.call('timerfd_create', MONOTONIC, NONBLOCK);
  const take = (file: number): number => {
    const at = sandbox.memory.room(8),
      count = sandbox.call('read', file, at, 8);
    return count === 8 ? sandbox.memory.readU64(at) : count;
  };

  it('counts expiries', () => {
    const file = create();
    expect(take(file)).toBe(-Errno.EAGAIN);
    sandbox.call('timerfd_settime', file, 0, itimer(100, 50), 0);
    sandbox.clock.advance(260);
    expect([take(file), take(file)]).toEqual([4, -Errno.EAGAIN]);
    const at = sandbox.memory.room(32);
    sandbox.call('timerfd_gettime', file, at);
    expect([ns(at), ns(at + 16)]).toEqual([50, 40]);
  });

  it('outlives the process that made it', () => {
    const parent = sandbox.process,
      file = create();
    sandbox.call('timerfd_settime', file, 0, itimer(100), 0);
    sandbox.fork(3);
    sandbox.processes.end(parent);
    sandbox.clock.advance(100);
    expect(take(file)).toBe(1);
  });
});

describe('POSIX timers', () => {
  const RT = 40,
    SIGEV_SIGNAL = 0,
    SIGEV_NONE = 1,
    SIGEV_THREAD_ID = 4;
  const create = (notify = SIGEV_SIGNAL, value = 7n, thread = 0): number => {
    const event = sandbox.memory.room(64),
      at = sandbox.memory.room(4);
    sandbox.memory.writeU64(event, value);
    sandbox.memory.writeU32(event + 8, RT);
    sandbox.memory.writeU32(event + 12, notify);
    sandbox.memory.writeU32(event + 16, thread);
    const result = sandbox.call('timer_create', MONOTONIC, event, at);
    return result === 0 ? sandbox.memory.readU32(at) : result;
  };

  it('send their signal with value and number', () => {
    const timer = (create(), create());
    expect(timer).toBe(1);
    sandbox.call('timer_settime', timer, 0, itimer(100), 0);
    sandbox.clock.advance(99);
    expect(sandbox.signals).toEqual([]);
    sandbox.clock.advance(1);
    expect(sandbox.signals).toEqual([{ pid: 2, signal: RT, thread: 0, code: -2, values: [1n, 7n] }]);
    sandbox.clock.advance(1000);
    expect(sandbox.signals).toHaveLength(1);
  });

  it('go on with a period, to a thread if asked, and tell what their signal stood for', () => {
    const timer = create(SIGEV_THREAD_ID, 0n, 9);
    sandbox.call('timer_settime', timer, 0, itimer(10, 10), 0);
    sandbox.clock.advance(35);
    expect(sandbox.signals.map(({ thread }) => thread)).toEqual([9, 9, 9]);
    sandbox.process.onOverrun(timer, 2);
    expect(sandbox.call('timer_getoverrun', timer)).toBe(2);
    const at = sandbox.memory.room(32);
    sandbox.call('timer_gettime', timer, at);
    expect([ns(at), ns(at + 16)]).toEqual([10, 5]);
  });

  it('of kind NONE only count down', () => {
    const timer = create(SIGEV_NONE);
    sandbox.call('timer_settime', timer, 0, itimer(10), 0);
    sandbox.clock.advance(20);
    expect(sandbox.signals).toEqual([]);
  });

  it('follow an absolute time, and end when deleted, by execve, and with the process', () => {
    const timer = create();
    sandbox.call('timer_settime', timer, ABSTIME, itimer(1e9 + 50), 0);
    sandbox.clock.advance(50);
    expect(sandbox.signals).toHaveLength(1);
    sandbox.call('timer_settime', timer, 0, itimer(50, 50), 0);
    expect(sandbox.call('timer_delete', timer)).toBe(0);
    expect(sandbox.call('timer_delete', timer)).toBe(-Errno.EINVAL);
    const second = create();
    sandbox.call('timer_settime', second, 0, itimer(50, 50), 0);
    for (const forget of sandbox.process.onProgram) forget();
    const third = create();
    sandbox.call('timer_settime', third, 0, itimer(50, 50), 0);
    sandbox.process.end();
    sandbox.clock.advance(1000);
    expect(sandbox.signals).toHaveLength(1);
  });

  it('refuse clocks and events that do not exist', () => {
    expect(sandbox.call('timer_create', 99, 0, sandbox.memory.room(4))).toBe(-Errno.EINVAL);
    expect(create(3)).toBe(-Errno.EINVAL);
    expect(sandbox.call('timer_settime', 5, 0, itimer(1), 0)).toBe(-Errno.EINVAL);
  });
});

it('alarm and setitimer send signals to the process that made them, not to its child', () => {
  sandbox.call('alarm', 1);
  sandbox.fork(3);
  sandbox.clock.advance(2e9);
  expect(sandbox.signals).toEqual([{ pid: 2, signal: ALRM }]);
});
