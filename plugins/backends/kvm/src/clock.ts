/** Real time: the host's monotonic clock from the moment the VM was opened. */
import { performance } from 'node:perf_hooks';
import type { ExecutionClock } from '@visorkit/core';

/**
 * How many exits of the run loop use one reading of the clock; an interrupted entry ends its use early. Few, so that a guest that exits often
 * reaches its deadline at an exit, before the kernel's timer interrupts it: an interrupt costs as much as six exits, a reading a hundredth of one.
 */
const READING_EXITS = 2;
const PAIRS = 8;

export class KvmClock implements ExecutionClock {
  readonly virtual = false;
  #start = performance.now();
  /** CLOCK_MONOTONIC at time 0 of this clock, ns. */
  #origin: number;
  #reading = 0;
  #exits = 0;
  /** The caller of `refresh` has not been told of the last reading yet. */
  #untold = true;

  constructor() {
    this.#origin = monotonicOrigin() + this.#start * 1e6;
  }

  /** Time 0 is now. */
  restart(): void {
    this.set(0);
  }

  now(): number {
    this.#reading = (performance.now() - this.#start) * 1e6;
    this.#exits = READING_EXITS;
    this.#untold = true;
    return this.#reading;
  }

  refresh(): boolean {
    if (--this.#exits < 0) this.now();
    const untold = this.#untold;
    this.#untold = false;
    return untold;
  }

  get last(): number {
    return this.#reading;
  }

  /** Some time may have passed since the last reading. */
  expire(): void {
    this.#exits = 0;
  }

  skipTo(): void {}

  /** The time of CLOCK_MONOTONIC, in ns, at which this clock reaches `ns`. */
  monotonic(ns: number): number {
    return ns === Infinity ? Infinity : ns + this.#origin;
  }

  /** Goes on from `ns`. */
  set(ns: number): void {
    const ahead = ns - this.now();
    this.#start -= ahead / 1e6;
    this.#origin -= ahead;
    this.expire();
  }
}

/** CLOCK_MONOTONIC when performance.now() was 0, in ns. Of several pairs of readings, the one taken fastest is the nearest. */
function monotonicOrigin(): number {
  let origin = 0,
    fastest = Infinity;
  for (let i = 0; i < PAIRS; i++) {
    const before = performance.now(),
      monotonic = Number(process.hrtime.bigint()),
      after = performance.now();
    if (after - before >= fastest) continue;
    fastest = after - before;
    origin = monotonic - ((before + after) / 2) * 1e6;
  }
  return origin;
}
