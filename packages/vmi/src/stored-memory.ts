/** Physical memory in pieces that are kept somewhere else: in a file, or in a saved VM. Blocks of it are kept until there is no room for more. */
import type { SavedVm } from '@visorkit/core';
import { KeptBlocks } from './kept-blocks.js';
import { PhysicalMemory, rangeAt } from './physical-memory.js';
import type { MemoryWindow, PhysicalRange } from './physical-memory.js';

/** Bytes that can be read anywhere, as those of a file. */
export interface ByteSource {
  readonly length: number;
  /** Fills `target` from byte `at` on. Throws where that is beyond the end, or cannot be read. */
  read(at: number, target: Uint8Array): void;
}

/** Memory of a file: `length` bytes from `start` on lie at `offset` of it. */
export interface FileRange {
  readonly start: number;
  readonly length: number;
  readonly offset: number;
}

/** Bytes that are read, and kept, together. */
const BLOCK = 64 << 10;
/** Bytes of blocks that are kept. */
const ROOM = 512 << 20;

/** Memory whose ranges lie in a file. */
export class FileMemory extends PhysicalMemory {
  readonly ranges: readonly PhysicalRange[];
  readonly #offsets: readonly number[];
  /** By number of the block in the file. */
  readonly #blocks: KeptBlocks;

  /** Ranges may be in any order. Where they overlap, the one that starts first holds; what is beyond the end of the file is a hole. */
  constructor(
    private readonly file: ByteSource,
    ranges: readonly FileRange[],
    room = ROOM,
  ) {
    super();
    this.#blocks = new KeptBlocks(room, () => this.forgetWindows());
    const parts = inOrder(ranges, file.length);
    this.ranges = parts.map(({ start, length }) => ({ start, end: start + length }));
    this.#offsets = parts.map(({ offset }) => offset);
  }

  windowAt(address: number): MemoryWindow | undefined {
    const index = rangeAt(this.ranges, address);
    if (index < 0) return undefined;
    const { start, end } = this.ranges[index];
    const at = this.#offsets[index] + address - start;
    const block = Math.floor(at / BLOCK);
    const bytes = this.#block(block);
    // The part of the range that lies in the block
    const first = Math.max(start, address - (at - block * BLOCK));
    return {
      bytes,
      offset: this.#offsets[index] + first - start - block * BLOCK,
      first,
      end: Math.min(end, address - (at - block * BLOCK) + bytes.length),
    };
  }

  #block(number: number): Uint8Array {
    let bytes = this.#blocks.get(number);
    if (bytes !== undefined) return bytes;
    bytes = new Uint8Array(Math.min(BLOCK, this.file.length - number * BLOCK));
    this.file.read(number * BLOCK, bytes);
    return this.#blocks.keep(number, bytes);
  }
}

/** The memory of a saved VM. Pages that are not in it are zeros: a saved VM leaves these out. */
export class SavedVmMemory extends PhysicalMemory {
  readonly ranges: readonly PhysicalRange[];
  readonly #pieces: SavedVm['memory'];
  readonly #places: readonly PhysicalRange[];
  readonly #read = new Map<number, Uint8Array>();

  /** `ranges`: where the VM had RAM. */
  constructor({ memory }: Pick<SavedVm, 'memory'>, ranges: readonly PhysicalRange[]) {
    super();
    this.ranges = ranges;
    this.#pieces = [...memory].sort((a, b) => a.gpa - b.gpa);
    this.#places = this.#pieces.map(({ gpa, length }) => ({ start: gpa, end: gpa + length }));
  }

  windowAt(address: number): MemoryWindow | undefined {
    if (rangeAt(this.ranges, address) < 0) return undefined;
    const index = rangeAt(this.#places, address);
    if (index < 0) {
      const first = address - (address % ZEROS.length);
      return { bytes: ZEROS, offset: 0, first, end: first + ZEROS.length };
    }
    let bytes = this.#read.get(index);
    if (bytes === undefined) this.#read.set(index, (bytes = this.#pieces[index].bytes));
    const { start, end } = this.#places[index];
    return { bytes, offset: 0, first: start, end };
  }
}

/** A page. */
const ZEROS = new Uint8Array(4096);

/** In order and within the file; what two ranges have is kept by the one that starts first. */
function inOrder(ranges: readonly FileRange[], fileLength: number): FileRange[] {
  const kept: FileRange[] = [];
  let end = 0;
  for (const range of [...ranges].sort((a, b) => a.start - b.start)) {
    const start = Math.max(range.start, end),
      offset = range.offset + start - range.start;
    const length = Math.min(range.start + range.length - start, fileLength - offset);
    if (length <= 0) continue;
    kept.push({ start, length, offset });
    end = start + length;
  }
  return kept;
}
