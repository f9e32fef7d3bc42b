/** Timers, as `@visorkit/machine` has them: what the process needs of them. */
export interface Timer {
  readonly deadline: number;
  cancel(): void;
  reschedule(deadlineNs: number): void;
}

export interface TimerQueue {
  readonly clock: { now(): number };
  schedule(deadlineNs: number, fire: () => void): Timer;
}

/** Reads a `struct timespec` in ns; NaN when it is not valid. */
export function readTimespec(memory: { readI64(address: number): number }, address: number): number {
  const seconds = memory.readI64(address),
    nanoseconds = memory.readI64(address + 8);
  return seconds < 0 || nanoseconds < 0 || nanoseconds > 999_999_999 ? NaN : seconds * 1e9 + nanoseconds;
}

/** A `struct timespec` of so many ns. */
export function timespec(ns: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  const rest = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  view.setBigInt64(0, (ns - rest) / 1_000_000_000n, true);
  view.setBigInt64(8, rest, true);
  return new Uint8Array(view.buffer);
}
