/** A20M#, FERR# and IGNNE# of the software processors: words of their state that the board sets. */
import * as layout from '@visorkit/engine/layout';
import type { ProcessorBanks } from '@visorkit/engine';
import type { ProcessorPins } from '@visorkit/machine';

const ADDRESS_PINS = layout.ADDRESS_PINS_LOW >>> 2;
const ERROR_PINS = layout.FPU_ERROR_PINS >>> 2;
const STATUS_WORD = layout.FPU_SW >>> 2;
const A20 = 1 << 20;
const FERR_WIRED = 1;
const IGNNE = 2;
/** Error summary, in the upper half of the word that begins with the control word. */
const ERROR_PENDING = 0x80 << 16;

export class VmxProcessorPins implements ProcessorPins {
  constructor(private readonly banks: ProcessorBanks) {}

  gateA20(closed: boolean): void {
    const low = closed ? A20 : 0;
    let changed = false;
    for (const words of this.#states()) {
      changed ||= words[ADDRESS_PINS] !== low;
      words[ADDRESS_PINS] = low;
    }
    if (changed) this.banks.engine.flushTranslations();
  }

  wireErrors(): void {
    for (const words of this.#states()) words[ERROR_PINS] |= FERR_WIRED;
  }

  ignoreError(vcpu: number): void {
    const { words } = this.banks.state(vcpu);
    if ((words[STATUS_WORD] & ERROR_PENDING) !== 0) words[ERROR_PINS] |= IGNNE;
  }

  *#states(): Generator<Uint32Array> {
    for (let index = 0; index < this.banks.count; index++) yield this.banks.state(index).words;
  }
}
