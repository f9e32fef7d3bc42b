/**
 * The configuration space of an ordinary PCI function (PCI Local Bus specification 3.0, 6.1 and 6.2): identity, command and
 * status, and base address registers that software sizes and places.
 */
import { fail } from '@visorkit/core';
import type { PciFunction } from './pci.js';

/** Offsets of the header. */
export const PciHeader = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

const COMMAND_IO = 1;
const COMMAND_MEMORY = 2;
/** I/O, memory and bus master enables, and INTx disable. */
const COMMAND_WRITABLE = 0x0407;
const BAR_IO = 1;
const SPACE = 256;

export interface PciIdentity {
  vendor: number;
  device: number;
  /** Base class, subclass and programming interface, 24 bits. */
  classCode: number;
  revision?: number;
  subsystemVendor?: number;
  subsystem?: number;
  /** 1 to 4 for INTA to INTD, 0 for none. */
  interruptPin?: number;
}

/**
 * A base address register: its kind, its size (a power of two), and a function that is called when software moves it.
 */
export interface PciBar {
  kind: 'memory' | 'io';
  size: number;
  /** The range moved: its address, or undefined while the function does not decode it. */
  place: (address: number | undefined) => void;
}

export interface PciConfigState {
  bytes: number[];
}

export class PciConfigSpace implements PciFunction {
  readonly #bytes = new Uint8Array(SPACE);
  readonly #writable = new Uint8Array(SPACE);
  readonly #initial = new Uint8Array(SPACE);
  readonly #bars: (PciBar | undefined)[] = [undefined, undefined, undefined, undefined, undefined, undefined];
  readonly #placed: (number | undefined)[] = [undefined, undefined, undefined, undefined, undefined, undefined];

  constructor(
    readonly name: string,
    identity: PciIdentity,
  ) {
    this.#put(PciHeader.vendor, 2, identity.vendor);
    this.#put(PciHeader.device, 2, identity.device);
    this.#put(PciHeader.revision, 1, identity.revision ?? 0);
    this.#put(PciHeader.classCode, 3, identity.classCode);
    this.#put(PciHeader.subsystemVendor, 2, identity.subsystemVendor ?? 0);
    this.#put(PciHeader.subsystem, 2, identity.subsystem ?? 0);
    this.#put(PciHeader.interruptPin, 1, identity.interruptPin ?? 0);
    this.allow(PciHeader.command, 2, COMMAND_WRITABLE);
    this.allow(PciHeader.interruptLine, 1, 0xff);
    this.#initial.set(this.#bytes);
  }

  /** Makes bits of a register writable by software. */
  allow(offset: number, size: 1 | 2 | 4, mask: number): void {
    for (let byte = 0; byte < size; byte++) this.#writable[offset + byte] |= mask >>> (8 * byte);
  }

  /** Sets a register's value after reset; `size` bytes, little endian. */
  set(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#put(offset, size, value);
    for (let byte = 0; byte < size; byte++) this.#initial[offset + byte] = this.#bytes[offset + byte];
  }

  /** Adds base address register `index`, 0 to 5: its low bits read as zero, which tells its size (6.2.5.1). */
  addBar(index: number, bar: PciBar): void {
    const smallest = bar.kind === 'io' ? 4 : 16;
    if (bar.size < smallest || (bar.size & (bar.size - 1)) !== 0) {
      fail(
        'PCI_BAR_SIZE',
        `Base address register ${index} of ${this.name} has ${bar.size} bytes; a power of two of at least ${smallest} is needed.`,
        { index, size: bar.size },
      );
    }
    this.#bars[index] = bar;
    const offset = PciHeader.bar0 + 4 * index;
    this.set(offset, 4, bar.kind === 'io' ? BAR_IO : 0);
    this.allow(offset, 4, -bar.size >>> 0);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let byte = 0; byte < size; byte++) value |= this.#bytes[(offset + byte) & 0xff] << (8 * byte);
    return value >>> 0;
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    for (let byte = 0; byte < size; byte++) {
      const at = (offset + byte) & 0xff;
      const mask = this.#writable[at];
      this.#bytes[at] = (this.#bytes[at] & ~mask) | ((value >>> (8 * byte)) & mask);
    }
    this.#placeBars();
  }

  /** Whether software let the function master the bus. */
  get busMaster(): boolean {
    return (this.#bytes[PciHeader.command] & 4) !== 0;
  }

  reset(): void {
    this.#bytes.set(this.#initial);
    this.#placeBars();
  }

  save(): PciConfigState {
    return { bytes: [...this.#bytes] };
  }

  restore(state: PciConfigState): void {
    this.#bytes.set(state.bytes);
    this.#placeBars();
  }

  #put(offset: number, size: number, value: number): void {
    for (let byte = 0; byte < size; byte++) this.#bytes[offset + byte] = (value >>> (8 * byte)) & 0xff;
  }

  #placeBars(): void {
    const command = this.#bytes[PciHeader.command];
    for (let index = 0; index < this.#bars.length; index++) {
      const bar = this.#bars[index];
      if (bar === undefined) continue;
      const value = this.readConfig(PciHeader.bar0 + 4 * index, 4);
      const io = bar.kind === 'io';
      const base = (value & (io ? ~3 : ~15)) >>> 0;
      const enabled = (command & (io ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
      // Not decoded: disabled, never placed, in the middle of being sized, or beyond the space.
      const usable =
        enabled && base !== 0 && base + bar.size <= (io ? 0x1_0000 : 0x1_0000_0000) && base !== -bar.size >>> 0;
      const place = usable ? base : undefined;
      if (place === this.#placed[index]) continue;
      this.#placed[index] = place;
      bar.place(place);
    }
  }
}
