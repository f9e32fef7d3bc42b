/**
 * Memory-mapped accesses, as the framework sees them (assembly/mmio.ts is the processor's side).
 *
 * After an EPT exit there may be a request: the access that the instruction wanted to make. The framework carries it out, puts
 * what it read into the log, and the instruction is run again, taking the logged accesses in order.
 */
import { fail } from '@visorkit/core';
import { MMIO_LOG, MMIO_LOG_DATA, MMIO_LOG_ENTRIES, MMIO_LOG_ENTRY } from './layout.js';

const COUNT = MMIO_LOG;
const RESUME = MMIO_LOG + 8;
const REQUESTED = MMIO_LOG + 12;
const REQUEST = MMIO_LOG + 16;
const ENTRIES = MMIO_LOG + MMIO_LOG_ENTRY;
const DATA = 16;

const PAGE_BITS = 12;
const PAGE = 4096;
/** Kinds of entries beside 0 (a read) and 1 (a write). */
const LET_THROUGH = 2;
const WALK = 4;
const GIVEN = 8;
/** Bytes of paging-structure entries that are given at a time: four PDPTEs. */
const GIVEN_BYTES = 32;

/** A piece of a request, as a device sees it. */
export interface MmioAccess {
  gpa: number;
  /** Bytes: 1, 2, 4 or 8. */
  size: number;
  write: boolean;
  /** Low and high 32 bits, unsigned. */
  value: number;
  valueHigh: number;
}

/**
 * On the path of every exit, numbers above 2³¹ stay in records and in memory, because passing one to a function makes a new number on
 * the heap.
 */
export class MmioLog {
  private readonly words: Uint32Array;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(buffer: ArrayBufferLike) {
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
  }

  /** True when the last exit left a request. */
  get requested(): boolean {
    return this.words[REQUESTED >>> 2] === 1;
  }
  /** Guest-physical address of the request. */
  get gpa(): number {
    return this.words[REQUEST >>> 2] + this.words[(REQUEST >>> 2) + 1] * 0x100000000;
  }
  /** The page of the request's address: gpa / 4096. */
  get page(): number {
    return (this.words[REQUEST >>> 2] >>> PAGE_BITS) + this.words[(REQUEST >>> 2) + 1] * 2 ** (32 - PAGE_BITS);
  }
  /** Bytes, 1 to 64; not always a power of two: accesses that cross a page come in two parts. */
  get size(): number {
    return this.words[(REQUEST >>> 2) + 2];
  }
  get write(): boolean {
    return this.words[(REQUEST >>> 2) + 3] === 1;
  }

  /** Fills `access`, whose `size` is set, with that much of the request from `offset`. */
  describe(access: MmioAccess, offset: number): void {
    const { view, words } = this,
      { size } = access,
      write = words[(REQUEST >>> 2) + 3] === 1,
      at = REQUEST + DATA + offset;
    access.gpa = words[REQUEST >>> 2] + words[(REQUEST >>> 2) + 1] * 0x100000000 + offset;
    access.write = write;
    access.value = !write
      ? 0
      : size === 1
        ? view.getUint8(at)
        : size === 2
          ? view.getUint16(at, true)
          : view.getUint32(at, true);
    access.valueHigh = write && size === 8 ? view.getUint32(at + 4, true) : 0;
  }

  /** Puts what a device gave for a piece that is read into the request's data. */
  answer(access: MmioAccess, offset: number): void {
    const { view } = this,
      { size } = access,
      at = REQUEST + DATA + offset;
    if (size === 1) view.setUint8(at, access.value);
    else if (size === 2) view.setUint16(at, access.value, true);
    else view.setUint32(at, access.value, true);
    if (size === 8) view.setUint32(at + 4, access.valueHigh, true);
  }

  /** `size` (1, 2, 4) bytes of the request's data from `offset`, as an unsigned number. */
  data(offset: number, size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.bytes[REQUEST + DATA + offset + i];
    return value;
  }

  /** Puts `size` (1, 2, 4) bytes into the request's data: what a read gave. */
  setData(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[REQUEST + DATA + offset + i] = value >>> (8 * i);
  }

  /** The request has been carried out: the next entry runs the instruction again with it logged. */
  complete(): void {
    const count = this.words[COUNT >>> 2];
    if (count >= MMIO_LOG_ENTRIES)
      fail('MMIO_LOG_FULL', `One instruction made more than ${MMIO_LOG_ENTRIES} memory-mapped accesses.`, {
        gpa: this.gpa,
      });
    this.bytes.copyWithin(ENTRIES + count * MMIO_LOG_ENTRY, REQUEST, REQUEST + DATA + MMIO_LOG_DATA);
    this.words[COUNT >>> 2] = count + 1;
    this.words[RESUME >>> 2] = 1;
    this.words[REQUESTED >>> 2] = 0;
  }

  /**
   * The processor does the request itself, at host-physical `address`, whatever the EPT allow. A read and a write of one instruction then have
   * nothing between them.
   */
  letThrough(address: number): void {
    this.words[(REQUEST >>> 2) + 3] |= LET_THROUGH;
    this.view.setUint32(REQUEST + DATA, address, true);
    this.complete();
  }

  /** Walks of the instruction may use a page of paging structures, which lies at host-physical `address`, whatever the EPT allow. */
  permitWalk(gpa: number, address: number): void {
    const { view } = this,
      offset = address % PAGE;
    view.setBigUint64(REQUEST, BigInt(gpa - offset), true);
    view.setUint32(REQUEST + 8, PAGE, true);
    view.setUint32(REQUEST + 12, WALK, true);
    view.setUint32(REQUEST + DATA, address - offset, true);
    this.complete();
  }

  /**
   * Walks of the instruction find in the place of the paging-structure entry at `gpa`, and of those in the same 32 bytes, what is at host-physical `address` now, all
   * ones without one. Flags that they would set there are lost.
   */
  giveEntries(gpa: number, address?: number): void {
    const { bytes, view } = this;
    view.setBigUint64(REQUEST, BigInt(gpa - (gpa % GIVEN_BYTES)), true);
    view.setUint32(REQUEST + 8, GIVEN_BYTES, true);
    view.setUint32(REQUEST + 12, GIVEN, true);
    if (address === undefined) bytes.fill(0xff, REQUEST + DATA, REQUEST + DATA + GIVEN_BYTES);
    else {
      const from = address - (address % GIVEN_BYTES);
      bytes.copyWithin(REQUEST + DATA, from, from + GIVEN_BYTES);
    }
    this.complete();
  }

  /** True while accesses of an unfinished instruction are logged. */
  get logged(): boolean {
    return this.words[COUNT >>> 2] !== 0;
  }

  /** The instruction that the log belongs to is not run again. */
  forget(): void {
    this.words[COUNT >>> 2] = 0;
    this.words[RESUME >>> 2] = 0;
    this.words[REQUESTED >>> 2] = 0;
  }

  /** Keeps what was logged so far, because the framework has carried nothing out and lets the instruction run again. */
  retry(): void {
    if (this.words[COUNT >>> 2] !== 0) this.words[RESUME >>> 2] = 1;
    this.words[REQUESTED >>> 2] = 0;
  }
}
