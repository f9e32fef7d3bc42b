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

export class MmioPieces {
  #source: MmioSource | undefined;
  #gpa = 0;
  #write = false;
  #offset = 0;
  #size = 0;

  /** Bytes of the access are still to be handed out. */
  get pending(): boolean {
    return this.#offset < this.#size;
  }

  start(source: MmioSource, gpa: number, size: number, write: boolean): void {
    this.#source = source;
    this.#gpa = gpa;
    this.#size = size;
    this.#write = write;
    this.#offset = 0;
  }

  drop(): void {
    this.#size = this.#offset = 0;
  }

  /** Fills `mmio` with the next piece. */
  describe(mmio: MmioExit): void {
    const left = this.#size - this.#offset,
      size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1,
      source = this.#source!;
    mmio.valid = true;
    mmio.gpa = this.#gpa + this.#offset;
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
  }
}
