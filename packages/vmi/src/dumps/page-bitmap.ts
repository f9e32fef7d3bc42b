/** A bitmap in a file with a bit for each page: which pages there are, and how many before a page. */
import { MOST_RANGES, damaged } from './format.js';
import type { DumpReader } from './reader.js';

/** Bytes of the bitmap for each number of the table of counts. */
const STEP = 512;
const PART = 64 << 10;

export class PageBitmap {
  /** Runs of pages: first, and the one behind the last, one pair after the other. */
  readonly runs: number[] = [];
  /** Bits before each step. */
  readonly #counts: Float64Array;
  readonly #bytes = new Uint8Array(STEP);
  #step = -1;

  /** `pages` bits at `at`; bits beyond the end of the file are 0. Throws `VMI_DUMP` where there are too many runs. */
  constructor(
    private readonly file: DumpReader,
    private readonly at: number,
    readonly pages: number,
  ) {
    const there = Math.max(0, Math.min(Math.ceil(pages / 8), file.length - at));
    this.#counts = new Float64Array(Math.ceil(there / STEP) + 1);
    const part = new Uint8Array(Math.min(PART, there));
    let count = 0,
      inRun = 0;
    for (let from = 0; from < there; from += PART) {
      const bytes = part.subarray(0, Math.min(PART, there - from));
      file.read(at + from, bytes);
      for (let index = 0; index < bytes.length; index++) {
        if ((index & (STEP - 1)) === 0) this.#counts[(from + index) / STEP] = count;
        const byte = bytes[index];
        if (byte === (inRun === 0 ? 0 : 0xff)) {
          count += inRun * 8;
          continue;
        }
        for (let bit = 0; bit < 8; bit++) {
          const page = (from + index) * 8 + bit;
          const set = page < pages ? (byte >> bit) & 1 : 0;
          count += set;
          if (set === inRun) continue;
          inRun = set;
          this.runs.push(page);
          if (this.runs.length > 2 * MOST_RANGES) damaged(`it has more than ${MOST_RANGES} runs of pages`);
        }
      }
    }
    if (inRun === 1) this.runs.push(Math.min(pages, there * 8));
  }

  /** Pages before `page` that are there; -1 where `page` itself is not. */
  rank(page: number): number {
    if (!(page < this.pages)) return -1;
    const byte = Math.floor(page / 8);
    const step = Math.floor(byte / STEP);
    if (step !== this.#step) {
      if (this.at + step * STEP >= this.file.length) return -1;
      this.#bytes.fill(0);
      this.file.read(
        this.at + step * STEP,
        this.#bytes.subarray(0, Math.min(STEP, this.file.length - this.at - step * STEP)),
      );
      this.#step = step;
    }
    const index = byte - step * STEP;
    const value = this.#bytes[index];
    if (((value >> (page % 8)) & 1) === 0) return -1;
    let count = this.#counts[step] + ONES[value & ((1 << (page % 8)) - 1)];
    for (let at = 0; at < index; at++) count += ONES[this.#bytes[at]];
    return count;
  }
}

/** Bits that are set in a byte. */
const ONES = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
  return count;
});
