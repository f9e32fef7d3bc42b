/**
 * The physical memory of a guest, running or dumped: stretches that are there, and holes, which are not zeros.
 *
 * Reads go through a window, a part of the memory that lies in one array. A read within the window costs a comparison; another one moves the
 * window, which costs a search, and for a file perhaps a read.
 */
import { fail } from '@visorkit/core';

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

export abstract class PhysicalMemory {
  /** What is there, in order, without overlaps. */
  abstract readonly ranges: readonly PhysicalRange[];
  /** Low and high half of what {@link pair} has read. */
  low = 0;
  high = 0;
  #bytes: Uint8Array = new Uint8Array();
  #view: DataView = new DataView(new ArrayBuffer(0));
  #first = 0;
  #end = 0;
  /** Index of an address in `#bytes`, less the address. */
  #shift = 0;

  /** The window that has `address`; undefined in a hole. Throws what reading a file throws. */
  protected abstract windowAt(address: number): MemoryWindow | undefined;

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
    if (!this.#reach(address, 1)) return -1;
    return this.#bytes[address + this.#shift];
  }
  u16(address: number): number {
    if (!this.#reach(address, 2)) return this.#pieces(address, 2) ? this.low : -1;
    return this.#view.getUint16(address + this.#shift, true);
  }
  u32(address: number): number {
    if (!this.#reach(address, 4)) return this.#pieces(address, 4) ? this.low : -1;
    return this.#view.getUint32(address + this.#shift, true);
  }

  /** Reads 64 bits into `low` and `high`, as unsigned numbers; false where not all of them are there. */
  pair(address: number): boolean {
    if (!this.#reach(address, 8)) return this.#pieces(address, 8);
    const at = address + this.#shift;
    this.low = this.#view.getUint32(at, true);
    this.high = this.#view.getUint32(at + 4, true);
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
      if (!this.#reach(at, 1)) break;
      const length = Math.min(target.length - done, this.#end - at);
      target.set(this.#bytes.subarray(at + this.#shift, at + this.#shift + length), done);
      done += length;
    }
    return done;
  }

  /** Writes bytes. Throws `VMI_READ_ONLY` for a dump, `VMI_HOLE` where not all of the range is there. */
  write(address: number, _bytes: Uint8Array): void {
    fail('VMI_READ_ONLY', `Physical 0x${address.toString(16)} cannot be written: this memory is a dump.`, { address });
  }

  /** The window has been closed: what it showed is somewhere else now. */
  protected forgetWindow(): void {
    this.#first = this.#end = 0;
  }

  /** Whether `length` bytes from `address` lie in the window, which is moved there if need be. */
  #reach(address: number, length: number): boolean {
    if (address >= this.#first && address + length <= this.#end) return true;
    if (!(address >= 0)) return false;
    const window = this.windowAt(address);
    if (window === undefined) return false;
    if (window.bytes !== this.#bytes) {
      this.#bytes = window.bytes;
      this.#view = new DataView(window.bytes.buffer, window.bytes.byteOffset, window.bytes.length);
    }
    this.#first = window.first;
    this.#end = window.end;
    this.#shift = window.offset - window.first;
    return address + length <= this.#end;
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
