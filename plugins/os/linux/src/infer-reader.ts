/** Reads that say nothing where nothing is, for who tries what a word may mean. */
import type { AddressSpace } from '@visorkit/vmi';

export class Reader {
  /** Addresses from here on are the kernel's. */
  readonly #half: bigint;

  constructor(
    readonly space: AddressSpace,
    readonly pointerSize: 4 | 8,
  ) {
    // 32-bit kernels have at least the highest quarter, and at most three
    this.#half = pointerSize === 8 ? 0xff00_0000_0000_0000n : 0x4000_0000n;
  }

  /** Whether it is an address of the kernel's where something is, at a multiple of `alignment`. */
  isPointer(value: bigint, alignment: number = this.pointerSize): boolean {
    return value >= this.#half && value % BigInt(alignment) === 0n && this.space.translate(value) !== undefined;
  }

  /** A pointer; 0 where nothing is. */
  pointer(at: bigint): bigint {
    return this.snapshot(at, this.pointerSize)?.pointer(0) ?? 0n;
  }

  u32(at: bigint): number {
    return this.snapshot(at, 4)?.u32(0) ?? -1;
  }

  /** Printable text of 1 to `most` - 1 bytes that ends with a NUL; empty for anything else. */
  text(at: bigint, most: number): string {
    const bytes = new Uint8Array(most);
    const there = bytes.subarray(0, this.space.read(at, bytes));
    const end = there.indexOf(0);
    if (end <= 0) return '';
    const text = String.fromCharCode(...there.subarray(0, end));
    return /^[\x20-\x7e]+$/.test(text) ? text : '';
  }

  /** What is there now from `base` on; undefined where not all of it is. */
  snapshot(base: bigint, length: number): Snapshot | undefined {
    const bytes = new Uint8Array(length);
    return this.space.read(base, bytes) < length ? undefined : new Snapshot(base, bytes, this.pointerSize);
  }

  /** As much as is there, up to `length`. */
  some(base: bigint, length: number): Snapshot {
    const bytes = new Uint8Array(length);
    return new Snapshot(base, bytes.subarray(0, this.space.read(base, bytes)), this.pointerSize);
  }
}

/** Bytes of a structure, by offset from its start; -1, and 0 for a pointer, beyond what is there. */
export class Snapshot {
  readonly #view: DataView;

  constructor(
    readonly base: bigint,
    bytes: Uint8Array,
    private readonly pointerSize: 4 | 8,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get length(): number {
    return this.#view.byteLength;
  }

  u16(offset: number): number {
    return offset + 2 <= this.length ? this.#view.getUint16(offset, true) : -1;
  }
  u32(offset: number): number {
    return offset >= 0 && offset + 4 <= this.length ? this.#view.getUint32(offset, true) : -1;
  }
  u64(offset: number): bigint {
    return offset >= 0 && offset + 8 <= this.length ? this.#view.getBigUint64(offset, true) : 0n;
  }
  pointer(offset: number): bigint {
    return this.pointerSize === 8 ? this.u64(offset) : BigInt(Math.max(0, this.u32(offset)));
  }
}

/** Multiples of `step` from `from` to before `to` for which `fits` holds. */
export function places(from: number, to: number, step: number, fits: (offset: number) => boolean): number[] {
  const found: number[] = [];
  for (let offset = from; offset < to; offset += step) if (fits(offset)) found.push(offset);
  return found;
}

/** The single one; undefined where there are none or several. */
export const single = <T>(found: readonly T[]): T | undefined => (found.length === 1 ? found[0] : undefined);
