/**
 * Message-signalled interrupts of a PCI function (PCI Local Bus specification 3.0, 6.8.1): 1 to 32 vectors, a 64-bit address, and a
 * mask and a pending bit for each vector.
 */
import { fail } from '@visorkit/core';
import type { PciConfigSpace } from './pci-config.js';

/** Where messages go: a write of `data` to `address`. */
export type SendMessage = (address: number, data: number) => void;

const CAPABILITY = 0x05;
const LENGTH = 24;
/** Offsets in the capability. */
const CONTROL = 2;
const ADDRESS = 4;
const ADDRESS_HIGH = 8;
const DATA = 12;
const MASK = 16;
const PENDING = 20;
/** Message control. */
const ENABLE = 1 << 0;
const CAPABLE_SHIFT = 1;
const ENABLED_SHIFT = 4;
const ENABLED = 7 << ENABLED_SHIFT;
const ADDRESS_64 = 1 << 7;
const VECTOR_MASKS = 1 << 8;

export class PciMsi {
  readonly #at: number;

  /** @param vectors 1, 2, 4, 8, 16 or 32, as many as it asks software for. Throws `PCI_VECTORS`. */
  constructor(
    private readonly config: PciConfigSpace,
    readonly vectors: number,
    private readonly send: SendMessage,
  ) {
    if (![1, 2, 4, 8, 16, 32].includes(vectors)) {
      fail('PCI_VECTORS', `${config.name} asks for ${vectors} MSI vectors; 1, 2, 4, 8, 16 or 32 are possible.`, {
        vectors,
      });
    }
    const at = (this.#at = config.addCapability(CAPABILITY, LENGTH));
    config.set(at + CONTROL, 2, (Math.log2(vectors) << CAPABLE_SHIFT) | ADDRESS_64 | VECTOR_MASKS);
    config.allow(at + CONTROL, 2, ENABLE | ENABLED);
    config.allow(at + ADDRESS, 4, 0xffff_fffc);
    config.allow(at + ADDRESS_HIGH, 4, 0xffff_ffff);
    config.allow(at + DATA, 2, 0xffff);
    config.allow(at + MASK, 4, 2 ** vectors - 1);
  }

  get enabled(): boolean {
    return (this.#control() & ENABLE) !== 0;
  }

  /** Sends a vector's message, or notes it as pending while software masks it. Vectors that software did not grant fold onto those it did. */
  signal(vector: number): void {
    const bit = 1 << (vector & (this.#granted() - 1));
    if (this.#masks() & bit) this.#setPending(this.#pending() | bit);
    else this.#sendVector(vector & (this.#granted() - 1));
  }

  /** Software wrote: what is pending and no longer masked is sent. */
  update(): void {
    const due = this.#pending() & ~this.#masks();
    if (due === 0 || !this.enabled) return;
    this.#setPending(this.#pending() & ~due);
    for (let vector = 0; vector < this.vectors; vector++) if (due & (1 << vector)) this.#sendVector(vector);
  }

  #sendVector(vector: number): void {
    const { config } = this;
    const at = this.#at;
    if (!config.busMaster) return;
    const address = config.readConfig(at + ADDRESS_HIGH, 4) * 2 ** 32 + config.readConfig(at + ADDRESS, 4);
    const data = config.readConfig(at + DATA, 2);
    this.send(address, (data & ~(this.#granted() - 1)) | vector);
  }

  /** Vectors that software lets it use: a power of two. */
  #granted(): number {
    return Math.min(this.vectors, 1 << ((this.#control() & ENABLED) >> ENABLED_SHIFT));
  }

  #control(): number {
    return this.config.readConfig(this.#at + CONTROL, 2);
  }

  #masks(): number {
    return this.config.readConfig(this.#at + MASK, 4);
  }

  #pending(): number {
    return this.config.readConfig(this.#at + PENDING, 4);
  }

  #setPending(bits: number): void {
    this.config.show(this.#at + PENDING, 4, bits);
  }
}
