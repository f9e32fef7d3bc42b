/** The oscillator of a timer or a counter. */
import type { Clock } from '@visorkit/core';
import { TickRate } from './tick-rate.js';

/**
 * Counts ticks of a fixed frequency on a machine's clock, from the clock's zero on. Its state is how long it has run: when it is
 * restored, whatever the clock shows, it has completed the same number of ticks as when it was saved, and its next tick is as far away.
 */
export class Oscillator {
  readonly #rate: TickRate;
  readonly #clock: Clock;
  /** When it began, on the clock. */
  #start = 0;

  /** @param hz frequency in hertz, a whole number from 1 to 4 GHz */
  constructor(hz: number, clock: Clock) {
    this.#rate = new TickRate(hz);
    this.#clock = clock;
  }

  /** Ticks completed by now. */
  ticks(): number {
    return this.#rate.ticksAt(this.#clock.now() - this.#start);
  }

  /** Ticks completed at a time of the clock, ns. */
  ticksAt(ns: number): number {
    return this.#rate.ticksAt(ns - this.#start);
  }

  /** The first time of the clock, in ns, at which `ticks` ticks are complete; Infinity for Infinity. */
  timeOf(ticks: number): number {
    return this.#start + this.#rate.timeOf(ticks);
  }

  /** ns since it began: what a state keeps. */
  save(): number {
    return this.#clock.now() - this.#start;
  }

  /** Takes what `save` gave. */
  restore(age: number): void {
    this.#start = this.#clock.now() - age;
  }
}
