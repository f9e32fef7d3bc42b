/**
 * A device's own deadline. It can be set, moved and cleared any number of times; the device is called once when it
 * passes.
 */
import type { Timer, TimerQueue } from './timers.js';

/**
 * Furthest deadline, in ns from now: 52 days. A guest can ask for one in thousands of years (all ones in a 64-bit comparator,
 * in IA32_TSC_DEADLINE); but a clock counts ns exactly only up to 2^53, and a saved deadline may be added to any time of a clock.
 */
export const FURTHEST_DEADLINE = 2 ** 52;

/** One deadline on a timer queue. Setting it again moves it and allocates nothing. */
export class Alarm {
  readonly #timers: TimerQueue;
  readonly #timer: Timer;

  /**
   * @param timers the queue that fires it; alarms of equal deadline ring in the order in which they were made
   * @param ring called once per deadline
   */
  constructor(timers: TimerQueue, ring: () => void) {
    this.#timers = timers;
    this.#timer = timers.schedule(Infinity, ring);
  }

  /** ns on the queue's clock, Infinity when not set. */
  get deadline(): number {
    return this.#timer.deadline;
  }

  /** Sets or moves the deadline; a deadline further away than `FURTHEST_DEADLINE`, or Infinity, clears the alarm. */
  set(deadlineNs: number): void {
    this.#timer.reschedule(deadlineNs - this.#timers.clock.now() > FURTHEST_DEADLINE ? Infinity : deadlineNs);
  }

  clear(): void {
    this.#timer.cancel();
  }

  /** ns from now to the deadline, negative when it has passed and the queue has not rung yet; null when not set. What a state keeps. */
  save(): number | null {
    return this.deadline === Infinity ? null : this.deadline - this.#timers.clock.now();
  }

  /** Sets the alarm to what `save` gave, counted from the clock's present time. */
  restore(left: number | null): void {
    this.set(left === null ? Infinity : this.#timers.clock.now() + left);
  }
}
