/** Timers that are files: timerfd(2). */
import { BLOCKED, OpenFile, Poll, formats } from '@visorkit/linux-abi';
import type { Process, SystemCall, SystemCallDefinition } from '@visorkit/linux-abi';
import { Errno, OpenFlag, raise } from '@visorkit/sandbox-fs';
import type { FileStat } from '@visorkit/sandbox-fs';
import { anonymousStat } from './anonymous.js';
import { group } from './group.js';
import { PeriodicTimer, readSetting } from './periodic-timer.js';
import type { TimerSetting } from './periodic-timer.js';

const { descriptor, flags, oneOf, pointer } = formats;

/** Clocks that a timer can follow: CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME and the two that wake a sleeping machine. */
const CLOCKS = {
  0: 'CLOCK_REALTIME',
  1: 'CLOCK_MONOTONIC',
  7: 'CLOCK_BOOTTIME',
  8: 'CLOCK_REALTIME_ALARM',
  9: 'CLOCK_BOOTTIME_ALARM',
} as const;
const TFD_TIMER_ABSTIME = 1,
  TFD_TIMER_CANCEL_ON_SET = 2;

class TimerFile extends OpenFile {
  readonly name = 'anon_inode:[timerfd]';
  /** Times it ran out since the last read. */
  #expirations = 0;
  readonly #timer: PeriodicTimer;

  constructor(process: Process, clock: number, flags: number) {
    super(flags);
    // The timer is the file's: it outlives the process that made it
    const timer = process.options.timers.schedule(Infinity, () => {
      const first = this.#expirations === 0;
      this.#expire();
      if (first && this.#expirations > 0) this.notify(Poll.IN); // Linux starts a period anew when it was read
      process.wake();
    });
    this.#timer = new PeriodicTimer(process, clock, timer);
  }

  stat(): FileStat {
    return anonymousStat(1, 0o600);
  }

  override read(target: Uint8Array): number {
    if (target.length < 8) return -Errno.EINVAL;
    this.#expire();
    if (this.#expirations === 0) return this.nonblocking ? -Errno.EAGAIN : BLOCKED;
    new DataView(target.buffer, target.byteOffset).setBigUint64(0, BigInt(this.#expirations), true);
    this.#expirations = 0;
    return 8;
  }

  override get notifies(): boolean {
    return true;
  }
  override poll(): number {
    this.#expire();
    return this.#expirations > 0 ? Poll.IN : 0;
  }

  override close(): void {
    this.#timer.timer.cancel();
  }

  set(setting: TimerSetting, absolute: boolean): void {
    this.#expirations = 0;
    this.#timer.set(setting, absolute);
  }

  /** `struct itimerspec` as it is now. */
  pack(): Uint8Array {
    this.#expire();
    return this.#timer.pack();
  }

  #expire(): void {
    this.#expirations += this.#timer.expired();
  }
}

function create(call: SystemCall): number {
  const clock = call.i32(0),
    how = call.u32(1),
    { process } = call;
  if (!(clock in CLOCKS) || (how & ~(OpenFlag.CLOEXEC | OpenFlag.NONBLOCK)) !== 0) return -Errno.EINVAL;
  return process.files.add(
    new TimerFile(process, clock, OpenFlag.RDWR | (how & OpenFlag.NONBLOCK)),
    (how & OpenFlag.CLOEXEC) !== 0,
  );
}

function timerFile(call: SystemCall): TimerFile {
  const file = call.process.files.get(call.i32(0));
  return file instanceof TimerFile ? file : raise('EINVAL');
}

function settime(call: SystemCall): number {
  const how = call.u32(1),
    before = call.u64(3),
    { memory } = call;
  const setting = readSetting(memory, call.u64(2));
  if ((how & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) !== 0) return -Errno.EINVAL;
  const file = timerFile(call),
    old = file.pack();
  if (before !== 0) memory.prepare(before, old.length, true);
  file.set(setting, (how & TFD_TIMER_ABSTIME) !== 0);
  if (before !== 0) memory.write(before, old);
  return 0;
}

const definitions: SystemCallDefinition[] = [
  {
    name: 'timerfd_create',
    args: [oneOf(CLOCKS), flags({ TFD_CLOEXEC: OpenFlag.CLOEXEC, TFD_NONBLOCK: OpenFlag.NONBLOCK })],
    serve: create,
  },
  {
    name: 'timerfd_settime',
    args: [descriptor, flags({ TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET }), pointer, pointer],
    serve: settime,
  },
  {
    name: 'timerfd_gettime',
    args: [descriptor, pointer],
    serve(call) {
      call.memory.write(call.u64(1), timerFile(call).pack());
      return 0;
    },
  },
];

export const timerFiles = () => group('timer-files', definitions);
