/** The processor's memory that the translator keeps things of regions in: copies of records for units, counters of entries, and lists of pages. */
import {
  LISTED_BYTES,
  LISTED_DISTANCE,
  LISTED_HOST,
  LISTED_SERIAL,
  LIST_BYTES,
  LIST_COUNT,
  LIST_GENERATION,
  LIST_PAGES,
  RECORD_BYTES,
} from '../code-layout.js';
import {
  TIER_COUNTERS,
  TIER_COUNTERS_BYTES,
  TIER_PAGES,
  TIER_PAGES_BYTES,
  TIER_RECORDS,
  TIER_RECORDS_BYTES,
} from '../layout.js';

const COUNTER_BYTES = 4;

/** Places of one size. */
class Slots {
  private readonly free: number[] = [];

  constructor(
    private next: number,
    private readonly end: number,
    private readonly bytes: number,
  ) {}

  /** 0: there is no room. */
  take(): number {
    const free = this.free.pop();
    if (free !== undefined) return free;
    if (this.next + this.bytes > this.end) return 0;
    this.next += this.bytes;
    return this.next - this.bytes;
  }
  giveBack(addresses: readonly number[]): void {
    for (const address of addresses) if (address !== 0) this.free.push(address);
  }
}

/** Of instructions that translated code leaves to a unit. One is decoded into in the first place, and the second holds bytes of two pages. */
export function recordSlots(): Slots {
  return new Slots(TIER_RECORDS + 2 * RECORD_BYTES, TIER_RECORDS + TIER_RECORDS_BYTES, RECORD_BYTES);
}
/** Of the entries of a region. */
export function counterSlots(): Slots {
  return new Slots(TIER_COUNTERS, TIER_COUNTERS + TIER_COUNTERS_BYTES, COUNTER_BYTES);
}
/** Of the pages that a region has code in. */
export function listSlots(): Slots {
  return new Slots(TIER_PAGES, TIER_PAGES + TIER_PAGES_BYTES, LIST_BYTES);
}

/** Writes a list; nothing has been confirmed of it yet. `distances` are those of the pages from the first. */
export function writeList(
  words: Uint32Array,
  list: number,
  distances: readonly number[],
  pages: readonly { readonly host: number; readonly serial: number }[],
): void {
  words[(list + LIST_GENERATION) >>> 2] = 0;
  words[(list + LIST_COUNT) >>> 2] = pages.length;
  pages.forEach(({ host, serial }, n) => {
    const at = list + LIST_PAGES + n * LISTED_BYTES;
    words[(at + LISTED_DISTANCE) >>> 2] = distances[n]!;
    words[(at + LISTED_DISTANCE + 4) >>> 2] = distances[n]! < 0 ? -1 : 0;
    words[(at + LISTED_HOST) >>> 2] = host;
    words[(at + LISTED_SERIAL) >>> 2] = serial;
  });
}
