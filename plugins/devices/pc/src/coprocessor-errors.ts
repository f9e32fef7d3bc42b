/**
 * How a PC hears of x87 errors while CR0.NE = 0 (SDM 1, 8.7.2; 82371SB data sheet, "Coprocessor error"): FERR# raises IRQ 13, and a write to
 * port F0H lowers it again and asserts IGNNE#, so that the handler can use the x87 before it has cleared the error.
 */
import { inject, injectable } from '@visorkit/core';
import { InterruptLinesToken, unsigned } from '@visorkit/machine';
import type { Device, InterruptLine, LineSource } from '@visorkit/machine';
import * as v from 'valibot';
import { BytePortDevice } from './byte-port-device.js';

export const COPROCESSOR_PORT = 0xf0;
const COPROCESSOR_IRQ = 13;

export interface CoprocessorErrorsState {
  waiting: boolean;
  vcpu: number;
}

@injectable()
export class CoprocessorErrors extends BytePortDevice implements Device<CoprocessorErrorsState> {
  readonly name = 'coprocessor-errors';
  readonly schema = v.strictObject({ waiting: v.boolean(), vcpu: unsigned(16) });
  readonly #irq: InterruptLine;
  /** The interrupt line is high until the guest writes to port F0H. */
  #waiting = false;
  #vcpu = 0;
  /** IGNNE# of a processor. */
  onIgnore: ((vcpu: number) => void) | undefined;

  constructor(@inject(InterruptLinesToken) lines: LineSource) {
    super();
    this.#irq = lines.line(COPROCESSOR_IRQ);
  }

  /** FERR# of a processor. */
  report(vcpu: number): void {
    this.#vcpu = vcpu;
    this.#wait(true);
  }

  reset(): void {
    this.#wait(false);
  }

  save(): CoprocessorErrorsState {
    return { waiting: this.#waiting, vcpu: this.#vcpu };
  }

  restore(state: CoprocessorErrorsState): void {
    this.#vcpu = state.vcpu;
    this.#wait(state.waiting);
  }

  protected readByte(): number {
    return 0xff;
  }

  protected writeByte(): void {
    if (!this.#waiting) return;
    this.#wait(false);
    this.onIgnore?.(this.#vcpu);
  }

  #wait(waiting: boolean): void {
    this.#waiting = waiting;
    this.#irq.set(waiting);
  }
}
