/** What reaches a processor beside vectors: NMIs, INIT and start-up messages (SDM 3A, 7.7.1 and 9.4). */

export interface ProcessorSignalsState {
  /** NMIs that the processor has not taken, at most 2. */
  nmis: number;
  init: boolean;
  /** Vector of a start-up message, -1 for none. */
  startup: number;
  waitsForStartup: boolean;
}

export class ProcessorSignals {
  #state: ProcessorSignalsState = { nmis: 0, init: false, startup: -1, waitsForStartup: false };

  /** One that the processor handles and one that it remembers; more have the effect of one. */
  nmi(): void {
    this.#state.nmis = Math.min(2, this.#state.nmis + 1);
  }

  /** @param waits whether the processor then waits for a start-up message: all but the bootstrap processor do */
  init(waits: boolean): void {
    this.#state = { nmis: 0, init: true, startup: -1, waitsForStartup: waits };
  }

  /** Only a processor that waits after INIT takes a start-up message. */
  startup(vector: number): void {
    if (!this.#state.waitsForStartup) return;
    this.#state.waitsForStartup = false;
    this.#state.startup = vector;
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
  reset(waits: boolean): void {
    this.#state = { nmis: 0, init: false, startup: -1, waitsForStartup: waits };
  }

  save(): ProcessorSignalsState {
    return { ...this.#state };
  }

  restore(state: ProcessorSignalsState): void {
    this.#state = { ...state };
  }
}
