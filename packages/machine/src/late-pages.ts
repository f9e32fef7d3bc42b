/**
 * RAM whose content comes when it is first needed: a VM that is restored runs at once, and holds no more of its memory than it uses. A bit
 * for each page says that its content is still to come; a processor that shares the bits asks for the pages it meets.
 */
import type { SavedMemory } from '@visorkit/core';

const PAGE = 4096;

/** A piece of RAM, and where it belongs in the buffer. */
interface Piece {
  readonly at: number;
  readonly memory: SavedMemory;
}

export class LatePages {
  /** By their place in the buffer. */
  #pieces: Piece[] = [];

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
    const pieces = memories.map((memory) => ({ at: offsetOf(memory.gpa, memory.length), memory }));
    this.#pieces = [...this.#pieces, ...pieces].sort((a, b) => a.at - b.at);
    for (const { at, memory } of pieces)
      for (let page = at / PAGE; page < (at + memory.length) / PAGE; page++) this.bits[page >>> 3] |= 1 << (page & 7);
  }

  /** Loads the content of a range that is still to come, in whole pieces. Throws what `bytes` of a piece throws; that piece is still to come then. */
  bring(at: number, length: number): void {
    for (let page = Math.floor(at / PAGE); page * PAGE < at + length; page++)
      if ((this.bits[page >>> 3] & (1 << (page & 7))) !== 0) this.#bring(this.#pieceAt(page * PAGE));
  }

  /** Loads all content that is still to come. */
  bringAll(): void {
    for (const { at, memory } of this.#pieces) this.bring(at, memory.length);
  }

  #bring({ at, memory }: Piece): void {
    if (memory.readInto !== undefined) memory.readInto(this.bytes.subarray(at, at + memory.length));
    else this.bytes.set(memory.bytes, at);
    for (let page = at / PAGE; page < (at + memory.length) / PAGE; page++) this.bits[page >>> 3] &= ~(1 << (page & 7));
  }

  /** The piece that covers an offset. */
  #pieceAt(offset: number): Piece {
    let low = 0,
      high = this.#pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#pieces[middle].at <= offset) low = middle;
      else high = middle - 1;
    }
    return this.#pieces[low];
  }
}
