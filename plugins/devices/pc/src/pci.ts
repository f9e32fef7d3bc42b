/**
 * PCI bus 0 behind configuration mechanism 1 (PCI Local Bus specification 3.0, 3.2.2.3.2): an address register at 0xcf8
 * and a data window at 0xcfc. Slot 0 is a host bridge that introduces itself as an Intel 440FX, which PC firmware knows.
 *
 * The byte port 0xcf9 lies inside the address register's range; the chipset gives it to its reset control register.
 */
import { fail, inject, injectable, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { Device, PciBus, PciConfigState, PciFunction, PortBus, PortDevice } from '@visorkit/machine';
import { PCI_CONFIG_STATE, PCI_PIN_GSIS, PciConfigSpace, PortBusToken, unsigned } from '@visorkit/machine';
import * as v from 'valibot';
import { RESET_CONTROL_PORT } from './reset-control.js';
import type { ResetControl } from './reset-control.js';

export const PCI_CONFIG_ADDRESS_PORT = 0xcf8;
export const PCI_CONFIG_DATA_PORT = 0xcfc;
export const PCI_CONFIG_PORTS = 8;

const ADDRESS_ENABLE = 0x8000_0000;
/** Bits 1-0 are zero in the specification. Chipsets of virtual machines keep them as the byte in the register, and programs count on it. */
const ADDRESS_WRITABLE = 0x80ff_ffff;
const SLOTS = 32;
const FUNCTIONS = 8;
const ONES = [0, 0xff, 0xffff, 0, 0xffff_ffff] as const;

/** Edge/level control register of lines 0 to 7; the next port has 8 to 15. */
const ELCR = 0x4d0;

/** Identity of the 440FX host bridge. */
const HOST_BRIDGE = { vendor: 0x8086, device: 0x1237, classCode: 0x06_0000, revision: 2 } as const;
/**
 * The 440FX's programmable attribute map: which parts of the BIOS area can be read and written as RAM. Here all of it
 * always can; the registers say so after reset and keep what firmware writes.
 */
const PAM_FIRST = 0x59;
const PAM_COUNT = 7;

export interface PciHostState {
  address: number;
  bridge: PciConfigState;
}

/** The register behind the byte port 0xcf9. */
export const ResetControlToken: Token<ResetControl> = token('reset-control');

/** The configuration ports and what is attached to bus 0. */
@injectable()
export class PciHost implements Device<PciHostState>, PortDevice, PciBus {
  readonly name = 'pci-host';
  readonly schema = v.strictObject({ address: unsigned(32), bridge: PCI_CONFIG_STATE });
  /** By slot and function, as in bits 15-8 of the address register. */
  readonly #functions: (PciFunction | undefined)[] = new Array<PciFunction | undefined>(SLOTS * FUNCTIONS).fill(
    undefined,
  );
  readonly #bridge: PciConfigSpace;
  #address = 0;

  constructor(
    @inject(ResetControlToken, { isOptional: true }) private readonly resetControl?: ResetControl,
    @inject(PortBusToken, { isOptional: true }) private readonly ports?: PortBus,
  ) {
    const bridge = new PciConfigSpace('440fx', HOST_BRIDGE);
    this.#bridge = bridge;
    for (let register = 0; register < PAM_COUNT; register++) {
      const attributes = register === 0 ? 0x30 : 0x33;
      bridge.allow(PAM_FIRST + register, 1, attributes);
      bridge.set(PAM_FIRST + register, 1, attributes);
    }
    this.#functions[0] = bridge;
  }

  attach(device: PciFunction, slot?: number, fn = 0): { slot: number; detach: () => void } {
    const place = slot ?? this.#freeSlot();
    if (
      !(Number.isInteger(place) && place >= 0 && place < SLOTS && Number.isInteger(fn) && fn >= 0 && fn < FUNCTIONS)
    ) {
      fail(
        'PCI_SLOT_RANGE',
        `${device.name} cannot be attached to PCI slot ${place} as function ${fn}; slots are 0 to ${SLOTS - 1}, functions 0 to ${FUNCTIONS - 1}, and a free one is needed.`,
        { slot: place, function: fn },
      );
    }
    const index = place * FUNCTIONS + fn,
      other = this.#functions[index];
    if (other !== undefined)
      fail(
        'PCI_SLOT_CONFLICT',
        `${device.name} wants ${fn === 0 ? '' : `function ${fn} of `}PCI slot ${place}, but ${other.name} is there. Give one of them another slot.`,
        { slot: place, function: fn, other: other.name },
      );
    this.#functions[index] = device;
    return {
      slot: place,
      detach: () => void (this.#functions[index] === device && (this.#functions[index] = undefined)),
    };
  }

  readPort(port: number, size: 1 | 2 | 4): number {
    if (port === RESET_CONTROL_PORT && size === 1 && this.resetControl) return this.resetControl.readPort(port, 1);
    // The address register answers only to a whole access at its own port; other accesses go nowhere.
    if (port < PCI_CONFIG_DATA_PORT) return port === PCI_CONFIG_ADDRESS_PORT && size === 4 ? this.#address : ONES[size];
    const target = this.#target();
    const offset = (this.#address & 0xff) | (port & 3);
    if (target === undefined) return ONES[size];
    if ((offset & (size - 1)) === 0) return target.readConfig(offset, size);
    let value = 0;
    for (let byte = 0; byte < size && (offset & 3) + byte < 4; byte++)
      value |= target.readConfig(offset + byte, 1) << (8 * byte);
    return value >>> 0;
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    if (port === RESET_CONTROL_PORT && size === 1 && this.resetControl)
      return this.resetControl.writePort(port, 1, value);
    if (port < PCI_CONFIG_DATA_PORT) {
      if (port === PCI_CONFIG_ADDRESS_PORT && size === 4) this.#address = (value & ADDRESS_WRITABLE) >>> 0;
      return;
    }
    const target = this.#target();
    if (target === undefined) return;
    const offset = (this.#address & 0xff) | (port & 3);
    if ((offset & (size - 1)) === 0) return target.writeConfig(offset, size, value);
    for (let byte = 0; byte < size && (offset & 3) + byte < 4; byte++)
      target.writeConfig(offset + byte, 1, (value >>> (8 * byte)) & 0xff);
  }

  reset(): void {
    this.#address = 0;
    this.#bridge.reset();
  }

  /** What firmware does where there is PCI: the lines of its interrupt pins are level triggered at the 8259s. */
  setUp(): void {
    const levels = PCI_PIN_GSIS.reduce((bits, irq) => bits | (1 << irq), 0);
    for (const half of [0, 1]) {
      const bits = (levels >> (8 * half)) & 0xff;
      if (bits !== 0) this.ports?.write(ELCR + half, 1, this.ports.read(ELCR + half, 1) | bits);
    }
  }

  save(): PciHostState {
    return { address: this.#address, bridge: this.#bridge.save() };
  }

  restore(state: PciHostState): void {
    this.#address = state.address;
    this.#bridge.restore(state.bridge);
  }

  /** The first slot with nothing in it, -1 when there is none. */
  #freeSlot(): number {
    for (let slot = 0; slot < SLOTS; slot++)
      if (this.#functions.slice(slot * FUNCTIONS, (slot + 1) * FUNCTIONS).every((fn) => fn === undefined)) return slot;
    return -1;
  }

  /** The function the address register selects: only bus 0 exists. */
  #target(): PciFunction | undefined {
    if (!(this.#address & ADDRESS_ENABLE) || (this.#address & 0xff_0000) !== 0) return undefined;
    return this.#functions[(this.#address >>> 8) & 0xff];
  }
}
