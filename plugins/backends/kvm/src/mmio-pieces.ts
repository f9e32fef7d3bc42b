/**
 * Memory-mapped accesses one at a time: one may be of 3, 5, 6 or 7 bytes, or wider than a device access. It is handed out in
 * pieces of 1, 2, 4 or 8 bytes, each an exit of its own, before the guest goes on.
 */
import type { MmioExit } from '@visorkit/core';

/** The access: what it writes, or where what is read goes. */
export interface MmioSource {
  /** `size` (1, 2, 4) bytes from `offset` as an unsigned number. */
  data(offset: number, size: number): number;
  setData(offset: number, size: number, value: number): void;
}

/** An access as plain data. */
export interface SavedAccess {
  readonly gpa: number;
  /** As many bytes as it has. */
  readonly data: Uint8Array;
}

export class MmioPieces {
  #source: MmioSource | undefined;
  #gpa = 0;
  #write = false;
  #offset = 0;
  #size = 0;
  /** Writes that follow, none of which the kernel knows of any more. */
  #later: readonly SavedAccess[] = [];

  /** Bytes of the access are still to be handed out. */
  get pending(): boolean {
    return this.#offset < this.#size;
  }

  get write(): boolean {
    return this.#write;
  }

  /** Guest-physical address of the next piece. */
  get gpa(): number {
    return this.#gpa + this.#offset;
  }

  /** Bytes handed out of the access and carried out. */
  get done(): number {
    return this.#offset;
  }

  /** `done`: bytes that were carried out before. */
  start(source: MmioSource, gpa: number, size: number, write: boolean, done = 0): void {
    this.#source = source;
    this.#gpa = gpa;
    this.#size = size;
    this.#write = write;
    this.#offset = done;
  }

  /** Hands out writes one after the other. */
  startWrites([first, ...later]: readonly SavedAccess[]): void {
    this.#later = later;
    this.start(sourceOf(first.data), first.gpa, first.data.length, true);
  }

  /** Writes that have not been carried out, as plain data. */
  writes(): SavedAccess[] {
    if (!this.pending || !this.#write) return [];
    const source = this.#source!;
    const rest = Uint8Array.from({ length: this.#size - this.#offset }, (_, i) => source.data(this.#offset + i, 1));
    return [{ gpa: this.gpa, data: rest }, ...this.#later];
  }

  drop(): void {
    this.#size = this.#offset = 0;
    this.#later = [];
  }

  /** Fills `mmio` with the next piece. */
  describe(mmio: MmioExit): void {
    const left = this.#size - this.#offset,
      size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1,
      source = this.#source!;
    mmio.valid = true;
    mmio.gpa = this.gpa;
    mmio.size = size;
    mmio.write = this.#write;
    mmio.value = this.#write ? source.data(this.#offset, size === 8 ? 4 : size) : 0;
    mmio.valueHigh = this.#write && size === 8 ? source.data(this.#offset + 4, 4) : 0;
  }

  /** The piece has been carried out. */
  complete(mmio: MmioExit): void {
    if (!this.pending) return;
    const { size } = mmio;
    if (!this.#write) {
      const source = this.#source!;
      source.setData(this.#offset, size === 8 ? 4 : size, mmio.value);
      if (size === 8) source.setData(this.#offset + 4, 4, mmio.valueHigh);
    }
    this.#offset += size;
    if (this.#offset >= this.#size && this.#later.length > 0) this.startWrites(this.#later);
  }
}

/** The bytes of an access. */
export function sourceOf(bytes: Uint8Array): MmioSource {
  return {
    data: (offset, size) => {
      let value = 0;
      for (let i = offset + size - 1; i >= offset; i--) value = value * 256 + bytes[i];
      return value;
    },
    setData: (offset, size, value) => {
      for (let i = 0; i < size; i++) bytes[offset + i] = value >>> (8 * i);
    },
  };
}
