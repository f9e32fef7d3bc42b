/**
 * The I/O APIC (Intel 82093AA data sheet, with the EOI register of version 0x20 as in the ICH9 data sheet, 13.5): 24
 * inputs, each with an entry that says which interrupt message it sends.
 */
import { inject, injectable } from '@visorkit/core';
import { listOf, unsigned } from '@visorkit/machine';
import type { Device, MmioDevice } from '@visorkit/machine';
import * as v from 'valibot';
import { ApicBusToken } from './apic-bus.js';
import type { ApicBus, EoiListener } from './apic-bus.js';
import { DeliveryMode } from './registers.js';

export const IO_APIC_BASE = 0xfec0_0000;
export const IO_APIC_SIZE = 0x1000;
export const IO_APIC_PINS = 24;

/** Memory-mapped registers. */
const SELECT = 0x00;
const WINDOW = 0x10;
const EOI = 0x40;
/** Registers behind the window. */
const REGISTER_ID = 0;
const REGISTER_VERSION = 1;
const REGISTER_ARBITRATION = 2;
const REGISTER_REDIRECTION = 0x10;

/** Of an 82093AA's successor. */
export const IO_APIC_VERSION = 0x20;
const VERSION = IO_APIC_VERSION | ((IO_APIC_PINS - 1) << 16);
const ID_MASK = 0x0f00_0000;

/** Low half of a redirection entry. */
const ENTRY_LOGICAL = 1 << 11;
const ENTRY_REMOTE_IRR = 1 << 14;
const ENTRY_LEVEL = 1 << 15;
const ENTRY_MASKED = 1 << 16;
const ENTRY_WRITABLE = 0x1afff;
/** High half: the destination. */
const ENTRY_DESTINATION_SHIFT = 24;

export interface IoApicState {
  select: number;
  id: number;
  low: number[];
  high: number[];
  levels: number;
}

const STATE = v.strictObject({
  select: unsigned(8),
  id: unsigned(32),
  low: listOf(IO_APIC_PINS, unsigned(32)),
  high: listOf(IO_APIC_PINS, unsigned(32)),
  levels: unsigned(IO_APIC_PINS),
});

/**
 * The I/O APIC at 0xFEC00000. Input levels are logical: true is asserted, whatever polarity an entry names, since nothing
 * between a device and its line inverts it.
 */
@injectable()
export class IoApic implements Device<IoApicState>, MmioDevice, EoiListener {
  readonly name = 'io-apic';
  readonly schema = STATE;
  readonly #low = new Uint32Array(IO_APIC_PINS);
  readonly #high = new Uint32Array(IO_APIC_PINS);
  #levels = 0;
  #select = 0;
  #id = 0;

  constructor(@inject(ApicBusToken) private readonly bus: ApicBus) {
    bus.addListener(this);
    this.#low.fill(ENTRY_MASKED);
  }

  /** Level of input `pin`, 0 to 23. */
  setPin(pin: number, level: boolean): void {
    const bit = 1 << pin;
    const before = (this.#levels & bit) !== 0;
    if (level === before) return;
    this.#levels = level ? this.#levels | bit : this.#levels & ~bit;
    if (!level) return;
    // An edge that meets a masked entry is lost (82093AA, 3.2.4); a level waits.
    this.#service(pin);
  }

  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const entry = this.#low[pin];
      if ((entry & 0xff) !== vector || !(entry & ENTRY_LEVEL) || !(entry & ENTRY_REMOTE_IRR)) continue;
      this.#low[pin] = entry & ~ENTRY_REMOTE_IRR;
      if (this.#levels & (1 << pin)) this.#service(pin);
    }
  }

  readMmio(offset: number, _size: 1 | 2 | 4): number {
    const shift = 8 * (offset & 3);
    switch (offset & ~3) {
      case SELECT:
        return this.#select >>> shift;
      case WINDOW:
        return this.#readWindow() >>> shift;
      default:
        return 0;
    }
  }

  writeMmio(offset: number, _size: 1 | 2 | 4, value: number): void {
    switch (offset) {
      case SELECT:
        this.#select = value & 0xff;
        break;
      case WINDOW:
        this.#writeWindow(value >>> 0);
        break;
      case EOI:
        this.endOfInterrupt(value & 0xff);
        break;
    }
  }

  reset(): void {
    this.#select = 0;
    this.#id = 0;
    this.#low.fill(ENTRY_MASKED);
    this.#high.fill(0);
  }

  save(): IoApicState {
    return { select: this.#select, id: this.#id, low: [...this.#low], high: [...this.#high], levels: this.#levels };
  }

  restore(state: IoApicState): void {
    this.#select = state.select;
    this.#id = state.id;
    this.#low.set(state.low);
    this.#high.set(state.high);
    this.#levels = state.levels;
  }

  #readWindow(): number {
    switch (this.#select) {
      case REGISTER_ID:
      case REGISTER_ARBITRATION: // follows the ID (82093AA, 3.2.3)
        return this.#id;
      case REGISTER_VERSION:
        return VERSION;
    }
    const pin = (this.#select - REGISTER_REDIRECTION) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return 0;
    return this.#select & 1 ? this.#high[pin] : this.#low[pin];
  }

  #writeWindow(value: number): void {
    if (this.#select === REGISTER_ID) this.#id = value & ID_MASK;
    const pin = (this.#select - REGISTER_REDIRECTION) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return;
    if (this.#select & 1) {
      this.#high[pin] = (value & 0xff00_0000) >>> 0;
      return;
    }
    let entry = (value & ENTRY_WRITABLE) | (this.#low[pin] & ENTRY_REMOTE_IRR);
    // Changing an entry to edge clears the interrupt in service. Software uses this to recover from a lost EOI.
    if (!(entry & ENTRY_LEVEL)) entry &= ~ENTRY_REMOTE_IRR;
    this.#low[pin] = entry;
    if (entry & ENTRY_LEVEL && this.#levels & (1 << pin)) this.#service(pin);
  }

  #service(pin: number): void {
    const entry = this.#low[pin];
    if (entry & ENTRY_MASKED) return;
    const mode = (entry >> 8) & 7;
    // SMI, NMI, INIT and ExtINT are always edges (82093AA, table "Delivery Mode").
    const level = (entry & ENTRY_LEVEL) !== 0 && (mode === DeliveryMode.fixed || mode === DeliveryMode.lowestPriority);
    if (level && entry & ENTRY_REMOTE_IRR) return;
    if (mode === DeliveryMode.startup) return; // reserved here
    const taken = this.bus.deliver(
      this.#high[pin] >>> ENTRY_DESTINATION_SHIFT,
      (entry & ENTRY_LOGICAL) !== 0,
      false,
      mode,
      entry & 0xff,
      level,
    );
    if (taken && level) this.#low[pin] |= ENTRY_REMOTE_IRR;
  }
}
