/**
 * A device's own deadline. It can be set, moved and cleared any number of times; the device is called once when it
 * passes.
 */
import type { Timer, TimerQueue } from './timers.js';

/** One deadline on a timer queue. Setting it again moves it; it allocates only the first time. */
export class Alarm {
  #timer: Timer | undefined;
  #deadline = Infinity;

  /**
   * @param timers the queue that fires it
   * @param ring called once per deadline, with the deadline that passed (nanoseconds since the VM's start)
   */
  constructor(
    private readonly timers: TimerQueue,
    private readonly ring: (deadlineNs: number) => void,
  ) {}

  /** Nanoseconds since the VM's start, Infinity when not set. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Sets or moves the deadline; Infinity clears it. */
  set(deadlineNs: number): void {
    if (deadlineNs === this.#deadline) return;
    this.#deadline = deadlineNs;
    if (deadlineNs === Infinity) this.#timer?.cancel();
    else if (this.#timer === undefined) this.#timer = this.timers.schedule(deadlineNs, () => this.#fire());
    else this.#timer.reschedule(deadlineNs);
  }

  clear(): void {
    this.set(Infinity);
  }

  #fire(): void {
    const deadline = this.#deadline;
    this.#deadline = Infinity;
    if (deadline !== Infinity) this.ring(deadline);
  }
}
