/**
 * RAM whose content comes when it is first needed: a VM that is restored runs at once, and holds no more of its memory than it uses. A bit
 * for each page says that its content is still to come; a processor that shares the bits asks for the pages it meets.
 */
import type { SavedMemory } from '@visorkit/core';

const PAGE = 4096;

export class LatePages {
  /** In the order of their places in the buffer. */
  #pieces: readonly SavedMemory[] = [];
  /** The page of the buffer that each begins with. */
  #first = new Int32Array(0);

  /**
   * @param bytes the whole buffer that the RAM lies in
   * @param bits a bit for each 4 KiB page of it, 1 for content that is still to come
   */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly bits: Uint8Array,
  ) {}

  /** Adds whole pages of RAM; `offsetOf` gives their place in the buffer, where there must be zeros that nobody has used yet. */
  add(memories: readonly SavedMemory[], offsetOf: (gpa: number, length: number) => number): void {
    const known = this.#pieces.length,
      pieces = known === 0 ? memories : [...this.#pieces, ...memories],
      first = new Int32Array(pieces.length);
    first.set(this.#first);
    let inOrder = true;
    for (let index = known; index < pieces.length; index++) {
      const { gpa, length } = pieces[index],
        page = offsetOf(gpa, length) / PAGE;
      first[index] = page;
      if (index > 0 && page < first[index - 1]) inOrder = false;
      this.#mark(page, length, true);
    }
    const order = inOrder ? undefined : [...first.keys()].sort((a, b) => first[a] - first[b]);
    this.#pieces = order?.map((index) => pieces[index]) ?? pieces;
    this.#first = order === undefined ? first : first.sort();
  }

  /** Loads the content of a range that is still to come, in whole pieces. Throws what `bytes` of a piece throws; that piece is still to come then. */
  bring(at: number, length: number): void {
    for (let page = Math.floor(at / PAGE); page * PAGE < at + length; page++)
      if ((this.bits[page >>> 3] & (1 << (page & 7))) !== 0) this.#bring(this.#pieceAt(page));
  }

  /** Loads all content that is still to come. */
  bringAll(): void {
    for (const [index, { length }] of this.#pieces.entries()) this.bring(this.#first[index] * PAGE, length);
  }

  #bring(index: number): void {
    const memory = this.#pieces[index],
      page = this.#first[index],
      at = page * PAGE;
    if (memory.readInto !== undefined) memory.readInto(this.bytes.subarray(at, at + memory.length));
    else this.bytes.set(memory.bytes, at);
    this.#mark(page, memory.length, false);
  }

  /** Sets or clears the bits of `length` bytes from a page on. */
  #mark(page: number, length: number, late: boolean): void {
    for (const end = page + length / PAGE; page < end; page++) {
      if (late) this.bits[page >>> 3] |= 1 << (page & 7);
      else this.bits[page >>> 3] &= ~(1 << (page & 7));
    }
  }

  /** The piece that covers a page, by its index. */
  #pieceAt(page: number): number {
    let low = 0,
      high = this.#pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#first[middle] <= page) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
