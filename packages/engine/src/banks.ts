/**
 * Several processors on one engine: they take turns, and the state of those whose turn it is not lies in banks.
 *
 * All state that one processor does not share with the others is between two addresses of the layout, so that a turn is a copy
 * out, a copy in, and new translations. Retired instructions, random numbers and counters are the engine's, not a processor's.
 * A bank is addressed like the engine's memory: what another processor holds is read there, without a turn.
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
import { ProcessorState } from './processor-state.js';
import { DIRTY_TRANSLATION, VMCS, VMCS_BYTES, V_DIRTY } from './vmcs-layout.js';

const EVENTS_BYTES = 0x100;
/** What a bank holds, besides its memory-mapped accesses. */
const PARTS = [
  [REGS, COUNTERS - REGS],
  [EVENT_INFO, EVENTS_BYTES],
  [VMCS, VMCS_BYTES],
] as const;
const SIZE = VMCS + VMCS_BYTES;

class Bank {
  readonly bytes = new Uint8Array(SIZE);
  readonly state: ProcessorState;
  mmio = new Uint8Array(MMIO_LOG_ENTRY);
  /** RFLAGS: worked out when the processor's turn ends. */
  flags = 2;

  constructor(engine: Engine) {
    this.state = new ProcessorState(this.bytes.buffer, {
      flags: {
        read: () => this.flags,
        write: (value) => {
          this.flags = value;
        },
      },
      msrAddress: (index) => engine.exports.msrAddress(index),
      accessesLogged: () => this.mmio[0] !== 0,
    });
  }
}

export class ProcessorBanks {
  /** The processor whose state is in the engine. */
  current = 0;
  /** Turns there have been: how often another processor's state has come in. */
  turns = 0;
  readonly #banks: Bank[];
  /** Instructions each has retired, but for those of its present turn. */
  readonly #retired: number[];
  #turnBegan: number;

  /** All processors begin with the state that the engine has now. `onSwitch` is told when another one's state has come in. */
  constructor(
    readonly engine: Engine,
    readonly count: number,
    private readonly onSwitch: () => void = () => {},
  ) {
    this.#banks = Array.from({ length: count }, () => new Bank(engine));
    this.#retired = Array.from({ length: count }, () => 0);
    this.#turnBegan = engine.retired;
    if (count > 1) for (const bank of this.#banks) this.#store(bank);
  }

  /** The engine, with the state of processor `index` in it. */
  select(index: number): Engine {
    if (index !== this.current) this.#switch(index);
    return this.engine;
  }

  /** What processor `index` holds, wherever it lies, for reading (and for writing controls of its VMCS). Good until the next turn. */
  state(index: number): ProcessorState {
    return index === this.current ? this.engine.state : this.#banks[index].state;
  }

  /** Does something to each processor. */
  forAll(change: (engine: Engine) => void): void {
    const { current } = this;
    for (let index = 0; index < this.count; index++) change(this.select(index));
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
    this.turns++;
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
    for (const [address, length] of PARTS) bank.bytes.set(bytes.subarray(address, address + length), address);
    const logged = (words[MMIO_LOG >>> 2] + 1) * MMIO_LOG_ENTRY;
    if (bank.mmio.length < logged) bank.mmio = new Uint8Array(logged);
    bank.mmio.set(bytes.subarray(MMIO_LOG, MMIO_LOG + logged));
    bank.flags = this.engine.exports.guestFlags() >>> 0;
  }

  #load(bank: Bank): void {
    const { bytes } = this.engine;
    for (const [address, length] of PARTS) bytes.set(bank.bytes.subarray(address, address + length), address);
    bytes.set(bank.mmio, MMIO_LOG);
    this.engine.exports.setGuestFlags(bank.flags);
  }
}
