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

export class MmioLog {
  private readonly words: Uint32Array;
  private readonly bytes: Uint8Array;

  constructor(buffer: ArrayBufferLike) {
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** True when the last exit left a request. */
  get requested(): boolean { return this.words[REQUESTED >>> 2] === 1; }
  /** Guest-physical address of the request. */
  get gpa(): number { return this.words[REQUEST >>> 2] + this.words[(REQUEST >>> 2) + 1] * 0x100000000; }
  /** Bytes, 1 to 64; not always a power of two: accesses that cross a page come in two parts. */
  get size(): number { return this.words[(REQUEST >>> 2) + 2]; }
  get write(): boolean { return this.words[(REQUEST >>> 2) + 3] === 1; }

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
    if (count >= MMIO_LOG_ENTRIES) fail('MMIO_LOG_FULL', `One instruction made more than ${MMIO_LOG_ENTRIES} memory-mapped accesses.`, { gpa: this.gpa });
    this.bytes.copyWithin(ENTRIES + count * MMIO_LOG_ENTRY, REQUEST, REQUEST + DATA + MMIO_LOG_DATA);
    this.words[COUNT >>> 2] = count + 1;
    this.words[RESUME >>> 2] = 1;
    this.words[REQUESTED >>> 2] = 0;
  }

  /** Accesses are logged that an instruction has not finished with. */
  get logged(): boolean { return this.words[COUNT >>> 2] !== 0; }

  /** Keeps what was logged so far: the framework changed nothing and lets the instruction run again. */
  retry(): void {
    if (this.words[COUNT >>> 2] !== 0) this.words[RESUME >>> 2] = 1;
    this.words[REQUESTED >>> 2] = 0;
  }
}
