/** Memory that is unpacked page by page when it is needed. */
import { KeptBlocks } from '../kept-blocks.js';
import { PhysicalMemory, rangeAt } from '../physical-memory.js';
import type { MemoryWindow, PhysicalRange } from '../physical-memory.js';

/** Bytes of pages that are kept. */
const ROOM = 256 << 20;
/** Pages lie in blocks of so many bytes: a window shows all that are unpacked one behind the other. */
const BLOCK = 64 << 10;

export abstract class PackedMemory extends PhysicalMemory {
  readonly ranges: readonly PhysicalRange[];
  readonly #blocks = new KeptBlocks(ROOM, () => {
    this.#there.clear();
    this.forgetWindows();
  });
  /** For each block a bit for each page that is unpacked. */
  readonly #there = new Map<number, number>();
  readonly #perBlock: number;

  /** `pageSize`: a power of two from 2048 to 65536. `runs`: first page, and the one behind the last, of each run, in order. */
  constructor(
    private readonly pageSize: number,
    runs: readonly number[],
  ) {
    super();
    this.#perBlock = BLOCK / pageSize;
    const ranges: PhysicalRange[] = [];
    for (let index = 0; index < runs.length; index += 2)
      ranges.push({ start: runs[index] * pageSize, end: runs[index + 1] * pageSize });
    this.ranges = ranges;
  }

  /** Fills `target`, which is all zeros, with page number `page`; false where it is not there or is damaged: it is a hole then. Throws what reading the file throws. */
  protected abstract unpack(page: number, target: Uint8Array): boolean;

  windowAt(address: number): MemoryWindow | undefined {
    if (rangeAt(this.ranges, address) < 0) return undefined;
    const number = Math.floor(address / BLOCK);
    const base = number * BLOCK;
    const index = Math.floor((address - base) / this.pageSize);
    const bit = 1 << index;
    let there = this.#there.get(number) ?? 0;
    if ((there & bit) === 0) {
      const block = this.#blocks.get(number) ?? this.#blocks.keep(number, new Uint8Array(BLOCK));
      const target = block.subarray(index * this.pageSize, (index + 1) * this.pageSize);
      if (!this.unpack(number * this.#perBlock + index, target)) {
        target.fill(0);
        return undefined;
      }
      there |= bit;
      this.#there.set(number, there);
    }
    let first = index,
      end = index + 1;
    while (first > 0 && (there & (1 << (first - 1))) !== 0) first--;
    while (end < this.#perBlock && (there & (1 << end)) !== 0) end++;
    return {
      bytes: this.#blocks.get(number)!,
      offset: first * this.pageSize,
      first: base + first * this.pageSize,
      end: base + end * this.pageSize,
    };
  }
}
