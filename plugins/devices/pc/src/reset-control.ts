/**
 * The two registers a PC is reset through besides the keyboard controller: system control port A of the PS/2 at 0x92,
 * and the reset control register of Intel's chipsets at 0xcf9 (82371SB data sheet, "RC").
 */
import type { Device } from '@visorkit/machine';
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
export class SystemControlPortA extends BytePortDevice implements Device<number> {
  readonly name = 'system-control-port-a';
  #value = A_A20;

  constructor(private readonly ports: { reset: () => void; a20?: (enabled: boolean) => void }) {
    super();
  }

  get a20(): boolean {
    return (this.#value & A_A20) !== 0;
  }

  reset(): void {
    this.#value = A_A20;
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
    if ((before ^ this.#value) & A_A20) this.ports.a20?.(this.a20);
    if (value & A_FAST_RESET && !(before & A_FAST_RESET)) this.ports.reset();
  }
}

/** The reset control register: bit 2 going from 0 to 1 resets; bits 1 and 3 say how thoroughly. */
export class ResetControl extends BytePortDevice implements Device<number> {
  readonly name = 'reset-control';
  #value = 0;

  constructor(private readonly onReset: (hard: boolean) => void) {
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
    if (value & RESET_CPU && !(before & RESET_CPU)) this.onReset((value & RESET_HARD) !== 0);
  }
}
