/** What reaches a processor beside vectors: NMIs, INIT and start-up messages (SDM 3A, 7.7.1 and 9.4). */

import { wholeNumber } from '@visorkit/machine';
import * as v from 'valibot';

export interface ProcessorSignalsState {
  /** NMIs that the processor has not taken, at most 2. */
  nmis: number;
  init: boolean;
  /** Vector of a start-up message, -1 for none. */
  startup: number;
}

export const PROCESSOR_SIGNALS_STATE = v.strictObject({
  nmis: wholeNumber(0, 2),
  init: v.boolean(),
  startup: wholeNumber(-1, 0xff),
  /** In older saved VMs. */
  waitsForStartup: v.optional(v.boolean()),
});

export class ProcessorSignals {
  #state: ProcessorSignalsState = { nmis: 0, init: false, startup: -1 };

  /** One that the processor handles and one that it remembers; more have the effect of one. */
  nmi(): void {
    this.#state.nmis = Math.min(2, this.#state.nmis + 1);
  }

  init(): void {
    this.#state = { nmis: 0, init: true, startup: -1 };
  }

  /** The first one counts; whether the processor waits for one, in VMX non-root operation too, is for the run loop to know. */
  startup(vector: number): void {
    if (this.#state.startup < 0) this.#state.startup = vector;
  }

  takeNmi(): boolean {
    if (this.#state.nmis === 0) return false;
    this.#state.nmis--;
    return true;
  }

  takeInit(): boolean {
    const { init } = this.#state;
    this.#state.init = false;
    return init;
  }

  takeStartup(): number {
    const { startup } = this.#state;
    this.#state.startup = -1;
    return startup;
  }

  /** Power-on. */
  reset(): void {
    this.#state = { nmis: 0, init: false, startup: -1 };
  }

  save(): ProcessorSignalsState {
    return { ...this.#state };
  }

  restore({ nmis, init, startup }: ProcessorSignalsState): void {
    this.#state = { nmis, init, startup };
  }
}
