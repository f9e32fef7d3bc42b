/**
 * The physical memory of a guest, running or dumped: stretches that are there, and holes, which are not zeros.
 *
 * Reads go through a window, a part of the memory that lies in one array. A read within the window costs a comparison; another one moves the
 * window, which costs a search, and for a file perhaps a read.
 */
import { fail } from '@visorkit/core';
import type { ScanObserver } from './scans.js';

/** Bytes `start` to `end` - 1 are there. */
export interface PhysicalRange {
  readonly start: number;
  readonly end: number;
}

/** A part of memory in an array: byte `address` is at `address - first + offset`. */
export interface MemoryWindow {
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** First address, and the one behind the last. */
  readonly first: number;
  readonly end: number;
}

const WORD = 0x1_0000_0000;
/** Windows are found again by the part of memory, of so many bytes, that they were asked for, below 64 GiB. */
const PART = 64 << 10;
const GROUP = 1024;
const GROUPS = 1024;

/** A window with what reads need at hand. */
interface OpenWindow {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly first: number;
  readonly end: number;
  /** Index of an address in the array, less the address. */
  readonly shift: number;
}

const NOTHING: OpenWindow = {
  bytes: new Uint8Array(),
  view: new DataView(new ArrayBuffer(0)),
  first: 0,
  end: -Infinity,
  shift: 0,
};

export abstract class PhysicalMemory {
  /** What is there, in order, without overlaps. */
  abstract readonly ranges: readonly PhysicalRange[];
  /** Who is told what searches of this memory do. */
  observer: ScanObserver = {};
  /** Low and high half of what {@link pair} has read. */
  low = 0;
  high = 0;
  /** The window of the last read. */
  #last = NOTHING;
  /** By part, in groups: one array with a part at 4 GiB far from the others would become a slow table. */
  #open: (OpenWindow | undefined)[][] = Array.from({ length: GROUPS });

  /** A part of the memory that has `address`, as large as can be had at once; undefined in a hole. Throws what reading a file throws. */
  abstract windowAt(address: number): MemoryWindow | undefined;

  /**
   * A number that changes when what has been read may have changed: what was derived from memory holds until then. Dumps keep theirs for ever.
   */
  get epoch(): number {
    return 0;
  }

  /** Bytes that are there. */
  get size(): number {
    return this.ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** An unsigned number of 8, 16 or 32 bits, -1 where not all of it is there. */
  u8(address: number): number {
    const { bytes, shift, end } = this.#at(address, 1);
    return address < end ? bytes[address + shift] : -1;
  }
  u16(address: number): number {
    const { view, shift, end } = this.#at(address, 2);
    if (address + 2 <= end) return view.getUint16(address + shift, true);
    return this.#pieces(address, 2) ? this.low : -1;
  }
  u32(address: number): number {
    const { view, shift, end } = this.#at(address, 4);
    if (address + 4 <= end) return view.getUint32(address + shift, true);
    return this.#pieces(address, 4) ? this.low : -1;
  }

  /** Reads 64 bits into `low` and `high`, as unsigned numbers; false where not all of them are there. */
  pair(address: number): boolean {
    const { view, shift, end } = this.#at(address, 8);
    if (address + 8 > end) return this.#pieces(address, 8);
    this.low = view.getUint32(address + shift, true);
    this.high = view.getUint32(address + shift + 4, true);
    return true;
  }

  /** 64 bits as a number, exact below 2^53; -1 where not all of them are there. */
  u64(address: number): number {
    return this.pair(address) ? this.high * WORD + this.low : -1;
  }

  /** 64 bits; undefined where not all of them are there. */
  big(address: number): bigint | undefined {
    return this.pair(address) ? (BigInt(this.high) << 32n) | BigInt(this.low) : undefined;
  }

  /** Copies bytes from `address` on until `target` is full or a hole begins. Returns how many. */
  read(address: number, target: Uint8Array): number {
    let done = 0;
    while (done < target.length) {
      const at = address + done;
      const { bytes, shift, end } = this.#at(at, 1);
      if (at >= end) break;
      const length = Math.min(target.length - done, end - at);
      target.set(bytes.subarray(at + shift, at + shift + length), done);
      done += length;
    }
    return done;
  }

  /** Writes bytes. Throws `VMI_READ_ONLY` for a dump, `VMI_HOLE` where not all of the range is there. */
  write(address: number, _bytes: Uint8Array): void {
    fail('VMI_READ_ONLY', `Physical 0x${address.toString(16)} cannot be written: this memory is a dump.`, { address });
  }

  /** What windows showed is kept no longer. */
  protected forgetWindows(): void {
    this.#last = NOTHING;
    this.#open = Array.from({ length: GROUPS });
  }

  /** A window that has `address`, and `length` bytes from there if one window has them; one without an end where nothing is. */
  #at(address: number, length: number): OpenWindow {
    const last = this.#last;
    return address >= last.first && address + length <= last.end ? last : this.#find(address);
  }

  #find(address: number): OpenWindow {
    if (!(address >= 0)) return NOTHING;
    const part = Math.floor(address / PART);
    const group = Math.floor(part / GROUP);
    const known = this.#open[group]?.[part % GROUP];
    if (known !== undefined && address >= known.first && address < known.end) return (this.#last = known);
    const window = this.windowAt(address);
    if (window === undefined) return NOTHING;
    const { bytes, offset, first, end } = window;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#last = { bytes, view, first, end, shift: offset - first };
    if (group < GROUPS) (this.#open[group] ??= Array.from({ length: GROUP }))[part % GROUP] = this.#last;
    return this.#last;
  }

  /** A number that crosses from one window to another. */
  #pieces(address: number, length: number): boolean {
    let low = 0,
      high = 0;
    for (let i = 0; i < length; i++) {
      const byte = this.u8(address + i);
      if (byte < 0) return false;
      if (i < 4) low += byte * 2 ** (8 * i);
      else high += byte * 2 ** (8 * (i - 4));
    }
    this.low = low;
    this.high = high;
    return true;
  }
}

/** Index of the range that has `address`, -1 for none. `ranges` are in order. */
export function rangeAt(ranges: readonly PhysicalRange[], address: number): number {
  let low = 0,
    high = ranges.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    if (address < ranges[middle].start) high = middle - 1;
    else if (address >= ranges[middle].end) low = middle + 1;
    else return middle;
  }
  return -1;
}
