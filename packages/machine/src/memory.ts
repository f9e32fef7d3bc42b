/** Guest RAM in one buffer. Tests use it directly; a backend makes one over its own memory. */
import { fail } from '@visorkit/core';
import type { GuestMemory, MemoryRegion, SavedMemory } from '@visorkit/core';
import { LatePages } from './late-pages.js';

export type { GuestMemory, MemoryRegion } from '@visorkit/core';

/** Where RAM ends below 4 GiB: what is above in the first 4 GiB belongs to devices (APIC, HPET, PCI, firmware). */
export const LOW_RAM_END = 0xc000_0000;
/** Where RAM continues above the hole. */
export const HIGH_RAM_START = 0x1_0000_0000;

/** How `size` bytes of RAM lie in the guest-physical address space when they start at `baseOffset` of a buffer. */
export function layoutMemory(size: number, baseOffset = 0): MemoryRegion[] {
  if (!Number.isSafeInteger(size) || size <= 0 || size % 4096 !== 0) {
    fail('GUEST_MEMORY_SIZE', `Guest memory must be a positive number of whole 4096-byte pages, not ${size} bytes.`, {
      size,
    });
  }
  if (size <= LOW_RAM_END) return [{ gpa: 0, size, hostOffset: baseOffset }];
  return [
    { gpa: 0, size: LOW_RAM_END, hostOffset: baseOffset },
    { gpa: HIGH_RAM_START, size: size - LOW_RAM_END, hostOffset: baseOffset + LOW_RAM_END },
  ];
}

/** RAM in an ArrayBuffer or SharedArrayBuffer. */
export class ArrayGuestMemory implements GuestMemory {
  readonly size: number;
  readonly regions: readonly MemoryRegion[];
  readonly #buffer: SharedArrayBuffer | ArrayBuffer;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #lowSize: number;
  readonly #lowOffset: number;
  readonly #highSize: number;
  readonly #highOffset: number;
  #listeners: ((gpa: number, length: number) => void)[] = [];
  readonly #lateBits: Uint8Array | undefined;
  /** Content that comes when it is needed. */
  #late: LatePages | undefined;

  /**
   * `buffer` holds the RAM from `baseOffset` on; without a buffer a new one is made. `lateBits`: the bits that a processor looks at before
   * it uses a page of the buffer, see {@link LatePages}; without them, content is never late.
   */
  constructor(size: number, buffer?: SharedArrayBuffer | ArrayBuffer, baseOffset = 0, lateBits?: Uint8Array) {
    this.regions = layoutMemory(size, baseOffset);
    this.size = size;
    this.#lateBits = lateBits;
    this.#buffer = buffer ?? new ArrayBuffer(baseOffset + size);
    if (this.#buffer.byteLength < baseOffset + size) {
      fail(
        'GUEST_MEMORY_SIZE',
        `A buffer of ${this.#buffer.byteLength} bytes cannot hold ${size} bytes of guest memory from offset ${baseOffset} on.`,
        { size, baseOffset },
      );
    }
    this.#bytes = new Uint8Array(this.#buffer);
    this.#view = new DataView(this.#buffer);
    const [low, high] = this.regions;
    this.#lowSize = low.size;
    this.#lowOffset = low.hostOffset;
    this.#highSize = high?.size ?? 0;
    this.#highOffset = high?.hostOffset ?? 0;
  }

  /** Loads all late content first, because the caller may read any part of the buffer. */
  get buffer(): SharedArrayBuffer | ArrayBuffer {
    this.#late?.bringAll();
    this.#late = undefined;
    return this.#buffer;
  }

  get late(): boolean {
    return this.#late !== undefined;
  }

  view(gpa: number, length: number): Uint8Array {
    const at = this.#offset(gpa, length);
    return this.#bytes.subarray(at, at + length);
  }

  contains(gpa: number, length: number): boolean {
    return this.#find(gpa, length) >= 0;
  }

  read(gpa: number, length: number): Uint8Array {
    const at = this.#offset(gpa, length);
    const copy = new Uint8Array(length);
    copy.set(this.#bytes.subarray(at, at + length));
    return copy;
  }

  readInto(gpa: number, target: Uint8Array): void {
    const at = this.#offset(gpa, target.length);
    target.set(this.#bytes.subarray(at, at + target.length));
  }

  write(gpa: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#offset(gpa, bytes.length));
    this.#wrote(gpa, bytes.length);
  }

  fill(gpa: number, length: number, value: number): void {
    const at = this.#offset(gpa, length);
    this.#bytes.fill(value, at, at + length);
    this.#wrote(gpa, length);
  }

  readU8(gpa: number): number {
    return this.#bytes[this.#offset(gpa, 1)];
  }
  readU16(gpa: number): number {
    return this.#view.getUint16(this.#offset(gpa, 2), true);
  }
  readU32(gpa: number): number {
    return this.#view.getUint32(this.#offset(gpa, 4), true);
  }
  readU64(gpa: number): bigint {
    return this.#view.getBigUint64(this.#offset(gpa, 8), true);
  }

  writeU8(gpa: number, value: number): void {
    this.#bytes[this.#offset(gpa, 1)] = value;
    this.#wrote(gpa, 1);
  }

  writeU16(gpa: number, value: number): void {
    this.#view.setUint16(this.#offset(gpa, 2), value, true);
    this.#wrote(gpa, 2);
  }

  writeU32(gpa: number, value: number): void {
    this.#view.setUint32(this.#offset(gpa, 4), value, true);
    this.#wrote(gpa, 4);
  }

  writeU64(gpa: number, value: bigint): void {
    this.#view.setBigUint64(this.#offset(gpa, 8), BigInt.asUintN(64, value), true);
    this.#wrote(gpa, 8);
  }

  restore(pieces: readonly SavedMemory[]): void {
    if (this.#lateBits === undefined) {
      for (const { gpa, bytes } of pieces) this.write(gpa, bytes);
      return;
    }
    this.#late ??= new LatePages(this.#bytes, this.#lateBits);
    this.#late.add(pieces, (gpa, length) => this.#place(gpa, length));
  }

  /** Loads late content into `length` bytes from `offset` of the buffer, which are about to be used. */
  bring(offset: number, length: number): void {
    this.#late?.bring(offset, length);
  }

  onWrite(listener: (gpa: number, length: number) => void): void {
    this.#listeners.push(listener);
  }

  #wrote(gpa: number, length: number): void {
    const listeners = this.#listeners;
    for (let i = 0; i < listeners.length; i++) listeners[i](gpa, length);
  }

  /** Offset in the buffer, or -1 when the range is not RAM. */
  #find(gpa: number, length: number): number {
    if (gpa >= 0 && length >= 0) {
      if (gpa + length <= this.#lowSize) return this.#lowOffset + gpa;
      const high = gpa - HIGH_RAM_START;
      if (this.#highSize > 0 && high >= 0 && high + length <= this.#highSize) return this.#highOffset + high;
    }
    return -1;
  }

  #offset(gpa: number, length: number): number {
    const at = this.#place(gpa, length);
    if (this.#late !== undefined) this.#late.bring(at, length);
    return at;
  }

  #place(gpa: number, length: number): number {
    const at = this.#find(gpa, length);
    if (at < 0 || !Number.isInteger(gpa)) this.#outOfRange(gpa, length);
    return at;
  }

  #outOfRange(gpa: number, length: number): never {
    const ram = this.regions.map((r) => `${hex(r.gpa)} to ${hex(r.gpa + r.size - 1)}`).join(' and ');
    fail('GUEST_MEMORY_RANGE', `Guest-physical ${hex(gpa)}, ${length} bytes, is not within RAM, which is ${ram}.`, {
      gpa,
      length,
    });
  }
}

function hex(value: number): string {
  return Number.isInteger(value) && value >= 0 ? `0x${value.toString(16)}` : String(value);
}
