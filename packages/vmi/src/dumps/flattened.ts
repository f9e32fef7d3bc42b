/**
 * makedumpfile's flattened format: a file as the writes that made it, for a pipe that cannot seek (makedumpfile's IMPLEMENTATION; QEMU writes kdump files so).
 * A header of 4096 bytes, then records: place and length, big endian, and the bytes. A later write replaces what an earlier one left.
 */
import type { ByteSource } from '../stored-memory.js';
import { damaged } from './format.js';
import type { DumpReader } from './reader.js';

const SIGNATURE = 'makedumpfile';
const HEADER = 4096;
const RECORD = 16;
/** Some hundred bytes of memory for each while the file is opened. */
const MOST_RECORDS = 1 << 24;

export const isFlattened = (file: DumpReader): boolean =>
  file.length >= HEADER && file.text(0, 16) === SIGNATURE && file.u8(23) === 1;

/** The file that the writes make. What nobody wrote is zeros; what a truncated file lacks is missing. */
export class FlattenedSource implements ByteSource {
  readonly length: number;
  /** Stretches in order: where they begin, where they end, and where their bytes lie. */
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #places: Float64Array;
  #last = 0;

  /** Throws `VMI_DUMP` for records that make no sense. */
  constructor(private readonly file: ByteSource) {
    const records = recordsOf(file);
    [this.#starts, this.#ends, this.#places] = stretchesOf(records);
    this.length = this.#ends.at(-1) ?? 0;
  }

  read(at: number, target: Uint8Array): void {
    let done = 0;
    while (done < target.length) {
      const place = at + done;
      const index = this.#find(place);
      // Before the first stretch, in one, or in a gap behind it
      const inside = index >= 0 && place < this.#ends[index];
      const end = inside ? this.#ends[index] : (this.#starts[index + 1] ?? Infinity);
      const count = Math.min(target.length - done, end - place);
      const part = target.subarray(done, done + count);
      if (inside) this.file.read(this.#places[index] + place - this.#starts[index], part);
      else part.fill(0);
      done += count;
    }
  }

  /** The last stretch that begins at `at` or before, -1 for none. */
  #find(at: number): number {
    const starts = this.#starts;
    const last = this.#last;
    if (starts[last] <= at && !(starts[last + 1] <= at)) return last;
    let low = 0,
      high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle] <= at) low = middle + 1;
      else high = middle;
    }
    this.#last = Math.max(0, low - 1);
    return low - 1;
  }
}

/** Of each record: where its bytes go, how many they are, and where they lie. */
interface Records {
  readonly count: number;
  readonly to: Float64Array;
  readonly length: Float64Array;
  readonly from: Float64Array;
}

function recordsOf(file: ByteSource): Records {
  let count = 0;
  let to = new Float64Array(1024),
    length = new Float64Array(1024),
    from = new Float64Array(1024);
  const bytes = new Uint8Array(RECORD);
  const view = new DataView(bytes.buffer);
  for (let at = HEADER; at + RECORD <= file.length; ) {
    file.read(at, bytes);
    const place = Number(view.getBigInt64(0)),
      size = Number(view.getBigInt64(8));
    if (place < 0 && size < 0) break;
    if (!(place >= 0 && size >= 0 && place + size <= Number.MAX_SAFE_INTEGER))
      damaged(`at ${at} it has a record of ${size} bytes for place ${place}`);
    at += RECORD;
    const there = Math.min(size, file.length - at);
    if (there > 0) {
      if (count >= MOST_RECORDS) damaged(`it has more than ${MOST_RECORDS} records`);
      if (count === to.length) [to, length, from] = [to, length, from].map(twice);
      to[count] = place;
      length[count] = there;
      from[count] = at;
      count++;
    }
    at += size;
  }
  return { count, to, length, from };
}

function twice(array: Float64Array): Float64Array<ArrayBuffer> {
  const longer = new Float64Array(2 * array.length);
  longer.set(array);
  return longer;
}

/** The records without what later ones replaced, in order of place: a line that sweeps over them, and at each place the latest holds. */
function stretchesOf({ count, to, length, from }: Records): [Float64Array, Float64Array, Float64Array] {
  const order = Uint32Array.from({ length: count }, (_, index) => index).sort((a, b) => to[a] - to[b]);
  const starts: number[] = [],
    ends: number[] = [],
    places: number[] = [];
  const open = new LatestFirst();
  let at = 0;
  for (let next = 0; next < count || open.size > 0; ) {
    // What ended before here is of no more use
    while (open.size > 0 && to[open.top] + length[open.top] <= at) open.pop();
    if (open.size === 0) {
      if (next === count) break;
      at = to[order[next]];
    }
    while (next < count && to[order[next]] <= at) open.push(order[next++]);
    const top = open.top;
    const end = Math.min(to[top] + length[top], next < count ? to[order[next]] : Infinity);
    if (end > at) {
      const place = from[top] + at - to[top];
      const last = ends.length - 1;
      if (ends[last] === at && places[last] + at - starts[last] === place) ends[last] = end;
      else {
        starts.push(at);
        ends.push(end);
        places.push(place);
      }
      at = end;
    }
  }
  return [Float64Array.from(starts), Float64Array.from(ends), Float64Array.from(places)];
}

/** Numbers of records, the largest at the top: a binary heap. */
class LatestFirst {
  readonly #items: number[] = [];

  get size(): number {
    return this.#items.length;
  }
  get top(): number {
    return this.#items[0];
  }

  push(item: number): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    for (let above = (at - 1) >> 1; at > 0 && items[above] < item; above = (at - 1) >> 1) {
      items[at] = items[above];
      at = above;
    }
    items[at] = item;
  }

  pop(): void {
    const items = this.#items;
    const item = items.pop()!;
    if (items.length === 0) return;
    let at = 0;
    for (let below = 1; below < items.length; below = 2 * at + 1) {
      if (below + 1 < items.length && items[below + 1] > items[below]) below++;
      if (items[below] <= item) break;
      items[at] = items[below];
      at = below;
    }
    items[at] = item;
  }
}
