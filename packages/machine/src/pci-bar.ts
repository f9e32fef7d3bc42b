/** Base address registers of PCI functions (PCI Local Bus specification 3.0, 6.2.5.1). */
import { fail } from '@visorkit/core';
import { PciCommand, PciHeader } from './pci-header.js';
import type { PciFunction } from './pci.js';

/** A base address register: its kind, its size, and who is told where software puts it. */
export interface PciBar {
  readonly kind: 'memory' | 'io';
  /** Bytes: a power of two, 4 to 256 of ports, at least 16 of memory. */
  readonly size: number;
  /** Of a memory address; 32 unless given. 64 take the next register too. */
  readonly bits?: 32 | 64;
  /** Reads change nothing, and writes may be merged. */
  readonly prefetchable?: boolean;
  /** The range moved: its address, or undefined while the function does not decode it. */
  readonly place: (address: number | undefined) => void;
}

/** Low bits of a register. */
const IO_SPACE = 1;
const MEMORY_64 = 4;
const PREFETCHABLE = 8;
const WORD = 2 ** 32;
/** Ends of the spaces: ports, memory below 4 GiB, and what a physical address can have. */
const END = { io: 2 ** 16, 32: 2 ** 32, 64: 2 ** 52 } as const;

/** One base address register at its place in a header. */
export class PciBarRegister {
  readonly registers: number;
  readonly #offset: number;
  #placed: number | undefined;

  constructor(
    owner: string,
    readonly index: number,
    private readonly bar: PciBar,
  ) {
    const { kind, size, bits = 32 } = bar;
    const [smallest, largest] = kind === 'io' ? [4, 256] : [16, bits === 64 ? 2 ** 51 : 2 ** 31];
    if (!Number.isInteger(Math.log2(size)) || size < smallest || size > largest || (kind === 'io' && bits === 64)) {
      fail(
        'PCI_BAR_SIZE',
        `Base address register ${index} of ${owner} has ${size} bytes of ${kind} with ${bits} bits; a power of two from ${smallest} to ${largest} is needed${kind === 'io' ? ', and 32 bits' : ''}.`,
        { index, size },
      );
    }
    this.registers = bits === 64 ? 2 : 1;
    this.#offset = PciHeader.bar0 + 4 * index;
  }

  /** The words of the header: their values at first, and which bits software can write; the others read as zero, which tells the size. */
  words(): { offset: number; value: number; writable: number }[] {
    const { kind, size, prefetchable = false } = this.bar;
    const flags = kind === 'io' ? IO_SPACE : (this.registers === 2 ? MEMORY_64 : 0) | (prefetchable ? PREFETCHABLE : 0);
    const low = { offset: this.#offset, value: flags, writable: size >= WORD ? 0 : (WORD - size) >>> 0 };
    if (this.registers === 1) return [low];
    const high = { offset: this.#offset + 4, value: 0, writable: size >= WORD ? WORD - size / WORD : WORD - 1 };
    return [low, high];
  }

  /** Reads where software has put the range, and reports a change to `place`. */
  look(config: Pick<PciFunction, 'readConfig'>): void {
    const { kind, size } = this.bar;
    const low = config.readConfig(this.#offset, 4);
    const high = this.registers === 2 ? config.readConfig(this.#offset + 4, 4) : 0;
    const base = high * WORD + (low - (low & (kind === 'io' ? 3 : 15)));
    const end = kind === 'io' ? END.io : this.registers === 2 ? END[64] : END[32];
    const enabled = (config.readConfig(PciHeader.command, 2) & PciCommand[kind]) !== 0;
    // Not decoded: disabled, never placed, or beyond the space, as in the middle of being sized
    const place = enabled && base !== 0 && base + size < end ? base : undefined;
    if (place === this.#placed) return;
    this.#placed = place;
    this.bar.place(place);
  }
}
