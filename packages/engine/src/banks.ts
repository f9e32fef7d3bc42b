/**
 * Several processors on one engine: they take turns, and the state of those whose turn it is not lies in banks.
 *
 * All state that one processor does not share with the others is between two addresses of the layout, so that a turn is a copy
 * out, a copy in, and new translations. Retired instructions, random numbers and counters are the engine's, not a processor's.
 */
import type { Engine } from './engine.js';
import {
  COUNTERS,
  EPTP_IN_FORCE,
  EVENT_INFO,
  MMIO_LOG,
  MMIO_LOG_ENTRY,
  RANDOM_STATE,
  REGS,
  RETIRED,
} from './layout.js';
import { DIRTY_TRANSLATION, VMCS, VMCS_BYTES, V_DIRTY } from './vmcs-layout.js';

const EVENTS_BYTES = 0x100;
/** What a bank holds, besides its memory-mapped accesses. */
const PARTS = [
  [REGS, COUNTERS - REGS],
  [EVENT_INFO, EVENTS_BYTES],
  [VMCS, VMCS_BYTES],
] as const;
const SIZE = PARTS.reduce((sum, [, length]) => sum + length, 0);

interface Bank {
  readonly state: Uint8Array;
  mmio: Uint8Array;
}

export class ProcessorBanks {
  /** The processor whose state is in the engine. */
  current = 0;
  readonly #banks: Bank[];
  /** Instructions each has retired, but for those of its present turn. */
  readonly #retired: number[];
  #turnBegan: number;

  /** All processors begin with the state that the engine has now. `onSwitch` is told when another one's state has come in. */
  constructor(
    readonly engine: Engine,
    count: number,
    private readonly onSwitch: () => void = () => {},
  ) {
    this.#banks = Array.from({ length: count }, () => ({ state: new Uint8Array(SIZE), mmio: new Uint8Array(0) }));
    this.#retired = Array.from({ length: count }, () => 0);
    this.#turnBegan = engine.retired;
    if (count > 1) for (const bank of this.#banks) this.#store(bank);
  }

  /** The engine, with the state of processor `index` in it. */
  select(index: number): Engine {
    if (index !== this.current) this.#switch(index);
    return this.engine;
  }

  /** Does something to each processor. */
  forAll(change: (engine: Engine) => void): void {
    const { current } = this;
    for (let index = 0; index < this.#banks.length; index++) change(this.select(index));
    this.select(current);
  }

  /** Instructions that processor `index` has retired. */
  retired(index: number): number {
    return this.#retired[index] + (index === this.current ? this.engine.retired - this.#turnBegan : 0);
  }

  #switch(index: number): void {
    const { engine } = this,
      { longs, words } = engine;
    const retired = longs[RETIRED >>> 3],
      random = longs[RANDOM_STATE >>> 3],
      eptp = longs[EPTP_IN_FORCE >>> 3];
    this.#retired[this.current] += engine.retired - this.#turnBegan;
    this.#turnBegan = engine.retired;
    this.#store(this.#banks[this.current]);
    this.current = index;
    this.#load(this.#banks[index]);
    longs[RETIRED >>> 3] = retired;
    longs[RANDOM_STATE >>> 3] = random;
    if (longs[EPTP_IN_FORCE >>> 3] !== eptp) {
      longs[EPTP_IN_FORCE >>> 3] = 0xffff_ffff_ffff_ffffn; // the one in force is another processor's
      words[V_DIRTY >>> 2] |= DIRTY_TRANSLATION;
    }
    engine.exports.modeChanged();
    engine.exports.flushTlb();
    this.onSwitch();
  }

  #store(bank: Bank): void {
    const { bytes, words } = this.engine;
    let at = 0;
    for (const [address, length] of PARTS) {
      bank.state.set(bytes.subarray(address, address + length), at);
      at += length;
    }
    const logged = (words[MMIO_LOG >>> 2] + 1) * MMIO_LOG_ENTRY;
    if (bank.mmio.length < logged) bank.mmio = new Uint8Array(logged);
    bank.mmio.set(bytes.subarray(MMIO_LOG, MMIO_LOG + logged));
  }

  #load(bank: Bank): void {
    const { bytes } = this.engine;
    let at = 0;
    for (const [address, length] of PARTS) {
      bytes.set(bank.state.subarray(at, at + length), address);
      at += length;
    }
    bytes.set(bank.mmio, MMIO_LOG);
  }
}
