/**
 * The power management function of Intel's 82371AB (PIIX4), function 3 beside the PCI-to-ISA bridge: it says where the power management
 * registers are, and whether they are there.
 */
import { injectable } from '@visorkit/core';
import { PCI_CONFIG_STATE, PciConfigSpace } from '@visorkit/machine';
import type { Device, PciConfigState, PciFunction } from '@visorkit/machine';
import { PM_BASE } from './pm-registers.js';

export const PM_SLOT = 1;
export const PM_FUNCTION = 3;

/** PMBA (82371AB, 7.1.16): 64 ports; bit 0, for I/O space, is always set. */
const PM_BASE_ADDRESS = 0x40;
const PM_BASE_MASK = 0xffc0;
const IO_SPACE = 1;
/**
 * DEVACTB (7.1.21), APMC_EN: writes to port 0xb2 make SMIs. When the bit is set, firmware leaves system management
 * alone.
 */
const DEVICE_ACTIVITY_B = 0x58;
const SMI_ON_APM_CONTROL = 1 << 25;
/** PMREGMISC (7.1.22). */
const PM_REGISTERS_MISC = 0x80;
const REGISTERS_ON = 1;

/** After a reset the registers are off, and firmware puts them where it wants; without firmware they are at PM_BASE. */
@injectable()
export class PmFunction implements PciFunction, Device<PciConfigState> {
  readonly name = 'piix4-pm';
  readonly schema = PCI_CONFIG_STATE;
  readonly #config = new PciConfigSpace(this.name, {
    vendor: 0x8086,
    device: 0x7113,
    classCode: 0x06_8000,
    revision: 3,
  });
  #placed: number | undefined;

  /** Told where the registers begin when that changes, `undefined` while they are off. */
  onPlaced: ((base: number | undefined) => void) | undefined;

  constructor() {
    this.#config.set(PM_BASE_ADDRESS, 4, IO_SPACE);
    this.#config.allow(PM_BASE_ADDRESS, 4, PM_BASE_MASK);
    // There is no system management mode. Without this bit SeaBIOS would set it up and wait for its first SMI for ever
    this.#config.set(DEVICE_ACTIVITY_B, 4, SMI_ON_APM_CONTROL);
    this.#config.allow(PM_REGISTERS_MISC, 1, REGISTERS_ON);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    return this.#config.readConfig(offset, size);
  }
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#config.writeConfig(offset, size, value);
    this.#update();
  }
  setUp(): void {
    this.#config.writeConfig(PM_BASE_ADDRESS, 4, PM_BASE);
    this.#config.writeConfig(PM_REGISTERS_MISC, 1, REGISTERS_ON);
    this.#update();
  }
  reset(): void {
    this.#config.reset();
    this.#update();
  }
  save(): PciConfigState {
    return this.#config.save();
  }
  restore(state: PciConfigState): void {
    this.#config.restore(state);
    this.#update();
  }

  #update(): void {
    const on = (this.#config.readConfig(PM_REGISTERS_MISC, 1) & REGISTERS_ON) !== 0;
    const base = on ? this.#config.readConfig(PM_BASE_ADDRESS, 4) & PM_BASE_MASK : undefined;
    if (base === this.#placed) return;
    this.#placed = base;
    this.onPlaced?.(base);
  }
}
