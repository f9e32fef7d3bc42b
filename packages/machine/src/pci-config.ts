/**
 * The configuration space of an ordinary PCI function (PCI Local Bus specification 3.0, 6.1, 6.2 and 6.7): identity, command and
 * status, base address registers that software sizes and places, and the list of capabilities.
 */
import { fail } from '@visorkit/core';
import * as v from 'valibot';
import { PciBarRegister } from './pci-bar.js';
import type { PciBar } from './pci-bar.js';
import { PciCommand, PciHeader, PciStatus } from './pci-header.js';
import type { PciFunction } from './pci.js';
import { listOf, unsigned } from './schemas.js';

const COMMAND_WRITABLE = PciCommand.io | PciCommand.memory | PciCommand.busMaster | PciCommand.interruptDisable;
const BARS = 6;
const SPACE = 256;
/** Capabilities stand behind the header, each on a boundary of 4. */
const CAPABILITIES_FIRST = 0x40;

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  /** Base class, subclass and programming interface, 24 bits. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 1 to 4 for INTA to INTD, 0 for none. */
  readonly interruptPin?: number;
}

export interface PciConfigState {
  bytes: number[];
}

export const PCI_CONFIG_STATE = v.strictObject({ bytes: listOf(SPACE, unsigned(8)) });

export class PciConfigSpace implements PciFunction {
  readonly schema = PCI_CONFIG_STATE;
  /** Called when software has written, and after a reset. Not after a restore. */
  onWrite: (() => void) | undefined;
  readonly #bytes = new Uint8Array(SPACE);
  readonly #writable = new Uint8Array(SPACE);
  readonly #initial = new Uint8Array(SPACE);
  readonly #bars: PciBarRegister[] = [];
  #nextCapability: number = CAPABILITIES_FIRST;
  #lastLink: number = PciHeader.capabilities;

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

  /** Sets a register that the function itself changes: a status, a pending bit. A reset brings back what `set` gave it. */
  show(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#put(offset, size, value);
  }

  /**
   * Adds base address register `index`, 0 to 5, or with 64 bits those of `index` and `index + 1`. Throws `PCI_BAR_SIZE` and
   * `PCI_BAR_INDEX`.
   */
  addBar(index: number, bar: PciBar): void {
    const registers = bar.bits === 64 ? 2 : 1;
    const taken = this.#bars.find((other) => index < other.index + other.registers && other.index < index + registers);
    if (!Number.isInteger(index) || index < 0 || index + registers > BARS || taken !== undefined) {
      fail(
        'PCI_BAR_INDEX',
        `${this.name} cannot have a base address register of ${bar.bits ?? 32} bits at ${index}; ${taken === undefined ? `there are ${BARS}, and 64 bits take two` : `register ${taken.index} is in use`}.`,
        { index },
      );
    }
    const register = new PciBarRegister(this.name, index, bar);
    this.#bars.push(register);
    for (const { offset, value, writable } of register.words()) {
      this.set(offset, 4, value);
      this.allow(offset, 4, writable);
    }
  }

  /**
   * Appends a capability (6.7): `length` bytes with its ID and the link to the next one, which this fills in. Gives its offset.
   * Throws `PCI_CAPABILITIES` when there is no room.
   */
  addCapability(id: number, length: number): number {
    const offset = this.#nextCapability;
    this.#nextCapability += Math.ceil(length / 4) * 4;
    if (this.#nextCapability > SPACE) {
      fail(
        'PCI_CAPABILITIES',
        `${this.name} has no room for a capability of ${length} bytes: its configuration space ends at 0x${SPACE.toString(16)}.`,
        { id, length },
      );
    }
    this.set(offset, 1, id);
    this.set(this.#lastLink, 1, offset);
    this.#lastLink = offset + 1;
    this.set(PciHeader.status, 2, this.readConfig(PciHeader.status, 2) | PciStatus.capabilities);
    return offset;
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
    this.onWrite?.();
  }

  /** The command register: bits of {@link PciCommand}. */
  get command(): number {
    return this.readConfig(PciHeader.command, 2);
  }

  /** Whether software let the function master the bus. */
  get busMaster(): boolean {
    return (this.command & PciCommand.busMaster) !== 0;
  }

  /** Shows in the status register whether the function asks for its pin's interrupt (6.2.3). */
  showInterrupt(pending: boolean): void {
    const status = this.#bytes[PciHeader.status] & ~PciStatus.interrupt;
    this.#bytes[PciHeader.status] = pending ? status | PciStatus.interrupt : status;
  }

  reset(): void {
    this.#bytes.set(this.#initial);
    this.#placeBars();
    this.onWrite?.();
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
    for (const bar of this.#bars) bar.look(this);
  }
}
