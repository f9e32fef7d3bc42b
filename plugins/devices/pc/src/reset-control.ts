/**
 * The two registers a PC is reset through besides the keyboard controller: system control port A of the PS/2 at 0x92,
 * and the reset control register of Intel's chipsets at 0xcf9 (82371SB data sheet, "RC").
 */
import { inject, injectable } from '@visorkit/core';
import { SystemControlToken, unsigned } from '@visorkit/machine';
import type { Device, SystemControl } from '@visorkit/machine';
import { BytePortDevice } from './byte-port-device.js';

export const SYSTEM_CONTROL_A_PORT = 0x92;
export const RESET_CONTROL_PORT = 0xcf9;

/** Port 0x92. */
const A_FAST_RESET = 0x01;
const A_A20 = 0x02;
const A_WRITABLE = 0x03;

/** Port 0xcf9. */
const RESET_HARD = 0x02;
const RESET_CPU = 0x04;
const RESET_FULL = 0x08;
const RESET_WRITABLE = RESET_HARD | RESET_CPU | RESET_FULL;

/** System control port A: a rising bit 0 resets the processor, bit 1 gates A20. */
@injectable()
export class SystemControlPortA extends BytePortDevice implements Device<number> {
  readonly name = 'system-control-port-a';
  readonly schema = unsigned(2);
  #value = A_A20;

  /** Told the level of the A20 gate whenever the guest, or a reset, sets it. */
  onA20: ((enabled: boolean) => void) | undefined;

  constructor(@inject(SystemControlToken) private readonly system: Pick<SystemControl, 'reset'>) {
    super();
  }

  get a20(): boolean {
    return (this.#value & A_A20) !== 0;
  }

  reset(): void {
    this.#value = A_A20;
    this.onA20?.(true);
  }

  save(): number {
    return this.#value;
  }

  restore(state: number): void {
    this.#value = state;
  }

  protected readByte(): number {
    return this.#value;
  }

  protected writeByte(_port: number, value: number): void {
    const before = this.#value;
    this.#value = value & A_WRITABLE;
    this.onA20?.(this.a20);
    if (value & A_FAST_RESET && !(before & A_FAST_RESET))
      this.system.reset('the guest wrote the fast-reset bit of port 0x92');
  }
}

/** The reset control register: bit 2 going from 0 to 1 resets; bits 1 and 3 say how thoroughly. */
@injectable()
export class ResetControl extends BytePortDevice implements Device<number> {
  readonly name = 'reset-control';
  readonly schema = unsigned(4);
  #value = 0;

  constructor(@inject(SystemControlToken) private readonly system: Pick<SystemControl, 'reset'>) {
    super();
  }

  reset(): void {
    this.#value = 0;
  }

  save(): number {
    return this.#value;
  }

  restore(state: number): void {
    this.#value = state;
  }

  protected readByte(): number {
    return this.#value & ~RESET_CPU; // the trigger bit reads as 0
  }

  protected writeByte(_port: number, value: number): void {
    const before = this.#value;
    this.#value = value & RESET_WRITABLE;
    if (!(value & RESET_CPU) || before & RESET_CPU) return;
    const kind = value & RESET_HARD ? 'a hard' : 'a soft';
    this.system.reset(`the guest asked for ${kind} reset through the reset control register (port 0xcf9)`);
  }
}
