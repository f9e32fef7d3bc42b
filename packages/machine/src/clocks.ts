/** Clocks that are not a backend's: for tests and for tools. */
import { host } from '@visorkit/core';
import type { Clock, ExecutionClock } from '@visorkit/core';

/** A clock that stands still until it is moved. */
export class ManualClock implements ExecutionClock {
  readonly virtual = true;
  #now = 0;

  now(): number {
    return this.#now;
  }

  skipTo(ns: number): void {
    if (ns > this.#now) this.#now = ns;
  }

  advance(ns: number): void {
    this.#now += ns;
  }
}

/** The host's monotonic clock, from the moment the object was made. */
export class HostClock implements ExecutionClock {
  readonly virtual = false;
  readonly #start = host.now();

  now(): number {
    return (host.now() - this.#start) * 1e6;
  }

  skipTo(): void {}
}

/**
 * Virtual time: one retired instruction lasts `nanosecondsPerInstruction` (1 by default), and the kernel skips the time during
 * which the guest is halted. The same guest and inputs give the same times.
 */
export class RetirementClock implements ExecutionClock {
  readonly virtual = true;
  #skipped = 0;

  constructor(
    private readonly retired: () => number,
    private readonly nanosecondsPerInstruction = 1,
  ) {}

  now(): number {
    return this.retired() * this.nanosecondsPerInstruction + this.#skipped;
  }

  skipTo(ns: number): void {
    const ahead = ns - this.now();
    if (ahead > 0) this.#skipped += ahead;
  }
}

export type { Clock, ExecutionClock };
