/**
 * Time of the machine, and the processor's time stamp counter that goes with it: 1 GHz, so that a tick is a nanosecond.
 *
 * Virtual: a retired instruction is a nanosecond, an access to a device a microsecond more, and the kernel skips what the
 * guest sleeps through. Real: the host's monotonic clock; the TSC is set at the start of each run and goes on with the guest's instructions until the next: by one for
 * each, or for each 2, 4, 8 … where the guest runs so many in a nanosecond, since a counter that leaves the clock behind has to stand, and the guest's timers with it, until
 * the clock has come after it.
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
  /** The time stamp counter, without what the guest has moved it by: what the clock said when it was set last, and what has run since. */
  readonly counter: number;
  /** The `retired` value at which clock time reaches `ns` (real time: about). */
  retiredAt(ns: number): number;
  /** Time now, and the last time stamp counter that the guest can have seen. */
  save(): SavedClock;
  /** The count of retired instructions is back already. */
  restore(state: SavedClock): void;
}

/**
 * The clock of a backend that has no processor yet. A class, since V8 makes a hash table of an object that has accessors of its own, and the run loop would look into it
 * several times an exit.
 */
export class BackendClock implements ExecutionClock {
  constructor(
    private readonly clock: () => VmxClock,
    private readonly isVirtual: () => boolean,
  ) {}

  get virtual(): boolean {
    return this.isVirtual();
  }
  now(): number {
    return this.clock().now();
  }
  refresh(): boolean {
    return this.clock().refresh();
  }
  get last(): number {
    return this.clock().last;
  }
  slept(): void {
    this.clock().slept?.();
  }
  skipTo(ns: number): void {
    this.clock().skipTo(ns);
  }
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
  get counter(): number {
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
/** The counter is slowed more when it is so many ns ahead of the clock. */
const AHEAD = 100_000;
/** A counter that goes on with each 2^so many instructions at the least. */
const SLOWEST = 8;
/** More than this in ns is no busy host, but one that was asleep: the clock goes on by all of it. */
const ASLEEP = 1e9;

export class RealClock implements VmxClock {
  readonly virtual = false;
  readonly #start = host.now();
  #offset = 0;
  /** Instructions a nanosecond, measured. */
  #rate = FIRST_RATE;
  /** The host's time at the last reading; that and `retired` where the guest's rate is measured from. */
  #hostReading = 0;
  #entered = 0;
  #enteredRetired = 0;
  /** What the TSC was last set to, `retired` then, and the shift that it goes on by. */
  #lastTsc = 0;
  #retired = 0;
  #shift = 0;
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
    if (this.#slept) this.#measureFromHere(this.engine.retired);
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
    if (elapsed > MEASURABLE && retired > this.#enteredRetired)
      this.#rate += ((retired - this.#enteredRetired) / elapsed - this.#rate) * NEWEST;
    this.#measureFromHere(retired);
    // The counter never goes back, even where it ran ahead of the clock during the last run
    const reached = this.counter;
    this.#lastTsc = Math.max(Math.floor(this.#reading), reached);
    this.#retired = retired;
    const slowed = this.#lastTsc - this.#reading > AHEAD ? 1 : 0;
    this.#shift = Math.min(32 - Math.clz32(Math.ceil(this.#rate) - 1) + slowed, SLOWEST);
    this.engine.setTsc(this.#lastTsc, this.#shift);
    return true;
  }
  #measureFromHere(retired: number): void {
    this.#entered = this.#hostReading;
    this.#enteredRetired = retired;
  }

  retiredAt(ns: number): number {
    const left = (ns - this.#reading) * this.#rate;
    return left <= 0 ? this.engine.retired : this.engine.retired + Math.max(left, LEAST);
  }

  get counter(): number {
    return this.#lastTsc + Math.ceil((this.engine.retired - this.#retired) / 2 ** this.#shift);
  }

  save(): SavedClock {
    return { now: this.now(), tsc: this.counter };
  }
  /** The times of devices are relative to the clock: it may as well begin where the counter is. */
  restore({ now, tsc }: SavedClock): void {
    this.#slept = true;
    this.#offset += Math.max(now, tsc) - this.now();
    this.#slept = true; // the reading was of before
    this.#lastTsc = tsc;
    this.#retired = this.engine.retired;
    this.#shift = 0;
    this.#fresh = true;
  }
}
