/**
 * What searches of a memory tell of themselves: how far they are, and that one has stopped at its bound. Memory may be hostile, with lists and tables
 * without an end; what walks it has a bound, and never stops there in silence.
 */
import type { PhysicalMemory, PhysicalRange } from './physical-memory.js';

/** Who is told. Both are called in the middle of a search: they return at once, and do not throw. */
export interface ScanObserver {
  /** Behind each MiB that was searched: what for, and how many bytes of how many are done. */
  progress?(what: string, done: number, total: number): void;
  /** A search or a walk has ended before all was looked at. A sentence says which. Told once for each. */
  stopped?(sentence: string): void;
}

/** A part of a memory that is being searched. */
export interface SearchedPart extends PhysicalRange {
  /** What it is a part of: what begins in the part may reach behind its end. */
  readonly range: PhysicalRange;
}

const PART = 1 << 20;

/** Memory in parts of a MiB, in order; the memory's observer is told after each. `what`: what is looked for, as "page tables". */
export function* searched(
  memory: PhysicalMemory,
  what: string,
  ranges: readonly PhysicalRange[] = memory.ranges,
): Generator<SearchedPart, void, undefined> {
  const total = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  let done = 0;
  for (const range of ranges) {
    for (let start = range.start; start < range.end; start += PART) {
      const end = Math.min(range.end, start + PART);
      yield { start, end, range };
      done += end - start;
      memory.observer.progress?.(what, done, total);
    }
  }
}

/** How much of something is looked at, at most. */
export class Bound {
  #left: number;
  #told = false;

  /** `what` is counted, as "entries of the list of modules". */
  constructor(
    private readonly memory: PhysicalMemory,
    private readonly what: string,
    private readonly most: number,
  ) {
    this.#left = most;
  }

  /** Whether there is room for one more. The memory's observer is told the first time that there is none. */
  take(): boolean {
    if (--this.#left >= 0) return true;
    if (!this.#told) this.memory.observer.stopped?.(`After ${this.most} ${this.what} no more are looked at.`);
    this.#told = true;
    return false;
  }
}
