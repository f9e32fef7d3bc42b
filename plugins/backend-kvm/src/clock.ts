/** Real time: the host's monotonic clock from the moment the VM was made. */
import type { ExecutionClock } from '@visorkit/core';

export class KvmClock implements ExecutionClock {
  readonly virtual = false;
  #start = performance.now();
  /** CLOCK_MONOTONIC at time 0 of this clock, ns. */
  #origin: number;

  constructor() {
    this.#origin = Number(process.hrtime.bigint()) - (performance.now() - this.#start) * 1e6;
  }

  now(): number { return (performance.now() - this.#start) * 1e6; }
  skipTo(): void {}

  /** The time of CLOCK_MONOTONIC, in ns, at which this clock reaches `ns`. */
  monotonic(ns: number): number { return ns === Infinity ? Infinity : ns + this.#origin; }

  /** Goes on from `ns`. */
  set(ns: number): void {
    const ahead = ns - this.now();
    this.#start -= ahead / 1e6;
    this.#origin -= ahead;
  }
}
