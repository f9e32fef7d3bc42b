/** Counts of events by the values of fields, and histograms by powers of two. */
import type { TraceFieldName, TraceRecord } from './record.js';

/** One row of a count: the values of its fields, and how many events had them. */
export interface CountRow {
  readonly values: readonly unknown[];
  readonly count: number;
}

class Cell {
  count = 0;
  constructor(readonly values: readonly unknown[]) {}
}

type Level = Map<unknown, Level | Cell>;

/** Counts by one field or several. A map for each field keeps keys as they are: no text is made for an event. */
export class Counter {
  readonly #root: Level = new Map();
  readonly #cells: Cell[] = [];
  #all = 0;

  constructor(readonly fields: readonly TraceFieldName[]) {}

  /** Events in all. */
  get total(): number {
    return this.#all;
  }

  add(record: TraceRecord): void {
    const { fields } = this,
      last = fields.length - 1;
    this.#all++;
    let level = this.#root;
    for (let at = 0; at < last; at++) {
      const key = keyOf(record[fields[at]]);
      let next = level.get(key) as Level | undefined;
      if (next === undefined) level.set(key, (next = new Map()));
      level = next;
    }
    const key = keyOf(record[fields[last]]);
    let cell = level.get(key) as Cell | undefined;
    if (cell === undefined) {
      level.set(key, (cell = new Cell(fields.map((name) => record[name]))));
      this.#cells.push(cell);
    }
    cell.count++;
  }

  /** The most frequent first; equal ones in the order in which they first came. */
  rows(): readonly CountRow[] {
    return [...this.#cells].sort((a, b) => b.count - a.count);
  }
}

/** Maps find numbers faster than bigints; a list is the same as another with the same text. */
function keyOf(value: unknown): unknown {
  if (typeof value === 'bigint') {
    // An address of either half of the address space is a small number with a sign
    const number = Number(BigInt.asIntN(64, value));
    return Number.isSafeInteger(number) ? number : value;
  }
  return Array.isArray(value) ? value.join('\n') : value;
}

/** How many values lay in each [2^n, 2^(n+1)); 0 is in a bucket of its own. */
export class Histogram {
  /** 0, then 1, 2 to 3, 4 to 7, … */
  readonly buckets: number[] = [];
  count = 0;
  sum = 0;
  least = Infinity;
  most = 0;

  add(value: number): void {
    const bucket = value < 1 ? 0 : 1 + Math.floor(Math.log2(value));
    while (this.buckets.length <= bucket) this.buckets.push(0);
    this.buckets[bucket]++;
    this.count++;
    this.sum += value;
    if (value < this.least) this.least = value;
    if (value > this.most) this.most = value;
  }
}

/** Histograms by the name of an exit reason. */
export class HistogramSet {
  readonly #by = new Map<string, Histogram>();

  add(name: string, value: number): void {
    let histogram = this.#by.get(name);
    if (histogram === undefined) this.#by.set(name, (histogram = new Histogram()));
    histogram.add(value);
  }

  /** By the time that they took in all, the longest first. */
  rows(): readonly (readonly [name: string, histogram: Histogram])[] {
    return [...this.#by].sort(([, a], [, b]) => b.sum - a.sum);
  }
}
