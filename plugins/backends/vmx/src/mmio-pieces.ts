/**
 * Memory-mapped accesses one at a time: what an instruction asks for may be wider than a device access (8 bytes), or of a size
 * like 3 where it crosses a page. It is handed out in pieces, each an exit of its own, before the guest goes on.
 */
import type { MmioExit } from '@visorkit/core';
import type { MmioLog, ProcessorBanks } from '@visorkit/engine';

export class MmioPieces {
  #offset = 0;
  #size = 0;
  /** The page (gpa / 4096) where the device is, if it is another one than that of the request; -1. */
  #page = -1;

  constructor(
    private readonly index: number,
    private readonly banks: ProcessorBanks,
  ) {}

  private get log(): MmioLog {
    return this.banks.select(this.index).mmio;
  }

  /** Bytes of the request are still to be handed out. */
  get pending(): boolean {
    return this.#offset < this.#size;
  }

  /** Takes up the request of the last exit. `page`: where the device is, if the request is under EPT that are not the machine's own. */
  start(page = -1): void {
    this.#page = page;
    this.#offset = 0;
    this.#size = this.log.size;
  }

  /** Forgets the request: the handlers did something else about the exit. */
  drop(): void {
    this.#size = this.#offset = 0;
  }

  save(): { done: number; size: number; page?: number } {
    return { done: this.#offset, size: this.#size, ...(this.#page < 0 ? {} : { page: this.#page }) };
  }
  restore({ done, size, page = -1 }: { done: number; size: number; page?: number | undefined }): void {
    this.#offset = done;
    this.#size = size;
    this.#page = page;
  }

  /** Fills `mmio` with the next piece. */
  describe(mmio: MmioExit): void {
    const left = this.#size - this.#offset;
    mmio.valid = true;
    mmio.size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    this.log.describe(mmio, this.#offset);
    if (this.#page >= 0) mmio.gpa = this.#page * 4096 + (mmio.gpa % 4096);
  }

  /** The piece has been carried out; after the last one the instruction can be run again. */
  complete(mmio: MmioExit): void {
    if (!this.pending) return;
    if (!mmio.write) this.log.answer(mmio, this.#offset);
    this.#offset += mmio.size;
    if (!this.pending) this.log.complete();
  }
}
