/**
 * Time of the machine, and the processor's time stamp counter that goes with it: 1 GHz, so that a tick is a nanosecond.
 *
 * Virtual: a retired instruction is a nanosecond, an access to a device a microsecond more, and the kernel skips what the
 * guest sleeps through. Real: the host's monotonic clock; the TSC is set at the start of each run and goes on by one for each instruction until the next.
 * What a busy host takes from the guest in the middle of its work reaches it in steps: a kernel that counts ticks of its timer while it waits for some
 * milliseconds of the TSC would else find that the timer stands still.
 */
import { host } from '@visorkit/core';
import type { ExecutionClock } from '@visorkit/core';
import * as layout from '@visorkit/engine/layout';
import type { Engine } from '@visorkit/engine';

export interface SavedClock {
  now: number;
  tsc: number;
}

export interface VmxClock extends ExecutionClock {
  refresh(): boolean;
  readonly last: number;
  /** Called before an entry: sets the TSC. True when earlier results of `retiredAt` are no longer valid. */
  beforeEntry(): boolean;
  /** Another vCPU's state has come into the engine. */
  processorChanged(): void;
  /** The guest has accessed a device. */
  deviceAccess(): void;
  /** The `retired` value at which clock time reaches `ns` (real time: about). */
  retiredAt(ns: number): number;
  /** Time now, and the last time stamp counter that the guest can have seen. */
  save(): SavedClock;
  /** The count of retired instructions is back already. */
  restore(state: SavedClock): void;
}

/** Index of the low half of the count of retired instructions. */
const RETIRED = layout.RETIRED >>> 2;

/** What a port or memory-mapped access takes on a PC, in ns. */
const DEVICE_ACCESS = 1000;

export class VirtualClock implements VmxClock {
  readonly virtual = true;
  #skipped = 0;
  /** `#skipped` is not what it was at the last entry. */
  #changed = true;

  constructor(private readonly engine: Engine) {}

  now(): number {
    return this.engine.retired + this.#skipped;
  }

  skipTo(ns: number): void {
    const ahead = Math.ceil(ns) - this.now();
    if (ahead <= 0) return;
    this.#skipped += ahead;
    this.#setTsc();
  }

  refresh(): boolean {
    return true;
  }
  get last(): number {
    return this.now();
  }
  beforeEntry(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }
  processorChanged(): void {
    this.#setTsc();
  }
  /** Loops that poll a device until time has passed then take as many turns as on a PC, and not a thousand times as many. */
  deviceAccess(): void {
    this.#skipped += DEVICE_ACCESS;
    this.#setTsc();
  }
  retiredAt(ns: number): number {
    return ns - this.#skipped;
  }
  save(): SavedClock {
    return { now: this.now(), tsc: 0 };
  }
  restore({ now }: SavedClock): void {
    this.#skipped = now - this.engine.retired;
    this.#setTsc();
  }

  #setTsc(): void {
    this.#changed = true;
    this.engine.setTsc(this.now());
  }
}

/** Bounds on how many instructions a real-time run is given at once. */
const LEAST = 2_000;
/** Weight of the last run in the measured rate. */
const NEWEST = 0.25;
const FIRST_RATE = 0.1;
/** Runs shorter than this, in ns, say nothing about the rate. */
const MEASURABLE = 50_000;
/** A reading of the host's clock serves this many entries or instructions: some 10 microseconds. */
const READING_ENTRIES = 32;
const READING_INSTRUCTIONS = 2_000;
/**
 * While it is behind the host's, the clock goes on from one reading to the next by what the guest's own instructions take, and by so many ns more for each of them: by at most
 * half a tick of timers that are fast, so that the guest has taken one before the next comes; and by a little where no instruction ran, so that time never stands.
 */
const MORE = 250;
const MOST_MORE = 500_000;
const LEAST_MORE = 10_000;
/** More than this in ns is no busy host, but one that was asleep: the clock goes on by all of it. */
const ASLEEP = 1e9;

export class RealClock implements VmxClock {
  readonly virtual = false;
  readonly #start = host.now();
  #offset = 0;
  /** Instructions a nanosecond, measured. */
  #rate = FIRST_RATE;
  /** The host's time at the last reading, and at the last entry; `retired` then. */
  #hostReading = 0;
  #entered = 0;
  #retired = 0;
  #lastTsc = 0;
  /** The last reading of the host's clock. */
  #reading = 0;
  /** Low half of `retired` then, and how many entries the reading may still serve. */
  #readingRetired = 0;
  #entries = 0;
  /** `#fresh`: the TSC has not been set from the last reading yet. `#untold`: the caller of `refresh` has not been told of it yet. */
  #fresh = false;
  #untold = false;
  #slept = true;

  constructor(private readonly engine: Engine) {}

  now(): number {
    const before = this.#hostReading;
    this.#hostReading = (host.now() - this.#start) * 1e6 + this.#offset;
    const behind = this.#hostReading - this.#reading;
    const retired = this.engine.words[RETIRED];
    if (behind > MOST_MORE && this.#hostReading - before < ASLEEP && !this.#slept) {
      const instructions = (retired - this.#readingRetired) >>> 0;
      const more = Math.min(LEAST_MORE + instructions * MORE, MOST_MORE);
      this.#reading += Math.min(behind, instructions / this.#rate + more);
    } else this.#reading = this.#hostReading;
    this.#slept = false;
    this.#readingRetired = retired;
    this.#entries = READING_ENTRIES;
    this.#fresh = this.#untold = true;
    return this.#reading;
  }
  refresh(): boolean {
    if (this.#old()) this.now();
    const untold = this.#untold;
    this.#untold = false;
    return untold;
  }
  get last(): number {
    return this.#reading;
  }
  slept(): void {
    this.#slept = true;
  }
  #old(): boolean {
    return this.#entries <= 0 || (this.engine.words[RETIRED] - this.#readingRetired) >>> 0 > READING_INSTRUCTIONS;
  }
  skipTo(): void {}
  deviceAccess(): void {}
  /** The next entry sets the TSC. */
  processorChanged(): void {
    this.#fresh = true;
  }

  beforeEntry(): boolean {
    this.#entries--;
    if (!this.#fresh) {
      if (!this.#old()) return false;
      this.now();
    }
    this.#fresh = false;
    const retired = this.engine.retired;
    const elapsed = this.#hostReading - this.#entered;
    if (elapsed > MEASURABLE && retired > this.#retired)
      this.#rate += ((retired - this.#retired) / elapsed - this.#rate) * NEWEST;
    this.#entered = this.#hostReading;
    // The counter never goes back, even where it ran ahead of the clock during the last run
    const reached = this.#lastTsc + (retired - this.#retired);
    this.#retired = retired;
    this.#lastTsc = Math.max(Math.floor(this.#reading), reached);
    this.engine.setTsc(this.#lastTsc);
    return true;
  }

  retiredAt(ns: number): number {
    const left = (ns - this.#reading) * this.#rate;
    return left <= 0 ? this.engine.retired : this.engine.retired + Math.max(left, LEAST);
  }

  save(): SavedClock {
    return { now: this.now(), tsc: this.#lastTsc + (this.engine.retired - this.#retired) };
  }
  restore({ now, tsc }: SavedClock): void {
    this.#slept = true;
    this.#offset += now - this.now();
    this.#slept = true; // the reading was of before
    this.#lastTsc = tsc;
    this.#retired = this.engine.retired;
    this.#fresh = true;
  }
}
