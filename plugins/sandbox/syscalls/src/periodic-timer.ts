/** A timer with an expiry and a period, as timerfd_settime(2) and timer_settime(2) set it with a `struct itimerspec`. Times are in ns. */
import { readTimespec, timespec } from '@visorkit/linux-abi';
import type { Process, Timer, UserMemory } from '@visorkit/linux-abi';
import { raise } from '@visorkit/sandbox-fs';
import { readClock } from './time.js';

/** `value`: when it expires first, 0 to switch it off. */
export interface TimerSetting {
  readonly value: number;
  readonly period: number;
}

/** Reads a `struct itimerspec`. Throws EINVAL. */
export function readSetting(memory: UserMemory, at: number): TimerSetting {
  const period = readTimespec(memory, at),
    value = readTimespec(memory, at + 16);
  return Number.isNaN(period) || Number.isNaN(value) ? raise('EINVAL') : { value, period };
}

export class PeriodicTimer {
  /** Next expiry on the sandbox's clock. */
  #next = Infinity;
  #period = 0;

  /** `clock`: number of the one that it follows. `timer` fires when it expires. */
  constructor(
    private readonly process: Process,
    private readonly clock: number,
    readonly timer: Timer,
  ) {}

  /** `absolute`: the value is a time of the clock, else it counts from now. */
  set({ value, period }: TimerSetting, absolute: boolean): void {
    // A moment that has passed is now
    const left = absolute ? Math.max(1, value - Number(readClock(this.process, this.clock)!)) : value;
    this.#period = period;
    this.#next = value === 0 ? Infinity : this.process.clock + left;
    this.timer.reschedule(this.#next);
  }

  /** How often it has expired since the last look. */
  expired(): number {
    const now = this.process.clock;
    if (now < this.#next) return 0;
    const times = this.#period > 0 ? Math.floor((now - this.#next) / this.#period) + 1 : 1;
    this.#next = this.#period > 0 ? this.#next + times * this.#period : Infinity;
    this.timer.reschedule(this.#next);
    return times;
  }

  /** `struct itimerspec` as it is now. */
  pack(): Uint8Array {
    const bytes = new Uint8Array(32);
    bytes.set(timespec(BigInt(Math.floor(this.#period))));
    const left = this.#next === Infinity ? 0 : Math.max(1, Math.ceil(this.#next - this.process.clock));
    bytes.set(timespec(BigInt(left)), 16);
    return bytes;
  }
}
