/**
 * Time of the machine, and the processor's time stamp counter that goes with it: 1 GHz, so that a tick is a nanosecond.
 *
 * Virtual: a retired instruction is a nanosecond, an access to a device a microsecond more, and the kernel skips what the
 * guest sleeps through. Real: the host's
 * monotonic clock; the TSC is set at the start of each run and goes on by one for each instruction until the next.
 */
import type { ExecutionClock } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';

export interface VmxClock extends ExecutionClock {
  /** Before an entry: makes the TSC right. */
  beforeEntry(): void;
  /** The guest has accessed a device. */
  deviceAccess(): void;
  /** The `retired` value at which clock time reaches `ns` (real time: about). */
  retiredAt(ns: number): number;
  save(): number;
  restore(state: number): void;
}

/** What a port or memory-mapped access takes on a PC, in ns. */
const DEVICE_ACCESS = 1000;

export class VirtualClock implements VmxClock {
  readonly virtual = true;
  #skipped = 0;

  constructor(private readonly engine: Engine) {}

  now(): number { return this.engine.retired + this.#skipped; }

  skipTo(ns: number): void {
    const ahead = Math.ceil(ns) - this.now();
    if (ahead <= 0) return;
    this.#skipped += ahead;
    this.#setTsc();
  }

  beforeEntry(): void {}
  /** Loops that poll a device until time has passed then take as many turns as on a PC, and not a thousand times as many. */
  deviceAccess(): void {
    this.#skipped += DEVICE_ACCESS;
    this.#setTsc();
  }
  retiredAt(ns: number): number { return ns - this.#skipped; }
  save(): number { return this.#skipped; }
  restore(state: number): void {
    this.#skipped = state;
    this.#setTsc();
  }

  #setTsc(): void { this.engine.setTsc(this.now()); }
}

/** Bounds on how many instructions a real-time run is given at once. */
const LEAST = 2_000;
/** Weight of the last run in the measured rate. */
const NEWEST = 0.25;
const FIRST_RATE = 0.1;
/** Runs shorter than this, in ns, say nothing about the rate. */
const MEASURABLE = 50_000;

export class RealClock implements VmxClock {
  readonly virtual = false;
  readonly #start = performance.now();
  #offset = 0;
  /** Instructions a nanosecond, measured. */
  #rate = FIRST_RATE;
  #entered = 0;
  #retired = 0;
  #lastTsc = 0;

  constructor(private readonly engine: Engine) {}

  now(): number { return (performance.now() - this.#start) * 1e6 + this.#offset; }
  skipTo(): void {}
  deviceAccess(): void {}

  beforeEntry(): void {
    const now = this.now(), retired = this.engine.retired;
    const elapsed = now - this.#entered;
    if (elapsed > MEASURABLE && retired > this.#retired) this.#rate += ((retired - this.#retired) / elapsed - this.#rate) * NEWEST;
    this.#entered = now;
    // The counter never goes back, even where it ran ahead of the clock during the last run
    const reached = this.#lastTsc + (retired - this.#retired);
    this.#retired = retired;
    this.#lastTsc = Math.max(Math.floor(now), reached);
    this.engine.setTsc(this.#lastTsc);
  }

  retiredAt(ns: number): number {
    const left = (ns - this.now()) * this.#rate;
    return left <= 0 ? this.engine.retired : this.engine.retired + Math.max(left, LEAST);
  }

  save(): number { return this.now(); }
  restore(state: number): void { this.#offset += state - this.now(); }
}
