/**
 * Several processors on one engine: they take turns, and the state of those whose turn it is not lies in banks.
 *
 * All state of a processor that others do not share is between two addresses of the layout, so a turn is one copy out and one copy
 * in; its translations are still there (assembly/tlb.ts). Retired instructions, random numbers and counters belong to the engine, not to a processor.
 * A bank has the same addresses as the engine's memory, so the state of another processor can be read there without giving it a turn.
 */
import type { Engine } from './engine.js';
import {
  COUNTERS,
  EPTP_IN_FORCE,
  EVENT_INFO,
  MMIO_LOG,
  MMIO_LOG_ENTRY,
  PROCESSOR,
  RANDOM_STATE,
  REGS,
  RETIRED,
} from './layout.js';
import { ProcessorState } from './processor-state.js';
import { SuppliedInstruction } from './supplied-instruction.js';
import { DIRTY_ALL, VMCS, VMCS_BYTES, V_DIRTY, V_REGION } from './vmcs-layout.js';

const EVENTS_BYTES = 0x100;
/** Equals no EPT pointer, so that the next entry selects the EPT pointer of the VMCS. */
const NO_POINTER = 0xffff_ffff_ffff_ffffn;
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
  private readonly supplied = new SuppliedInstruction(this.bytes.buffer);
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
      halfDone: () => this.mmio[0] !== 0 || this.supplied.pending,
    });
  }
}

/** What processors in turn share, as plain data. */
export interface SavedTurns {
  current: number;
  /** Instructions that each has retired, and the sum that the engine counts. */
  retired: number[];
  sum: number;
  random: bigint;
}

/** What one processor holds, as plain data. */
export interface SavedProcessor {
  parts: Uint8Array<ArrayBuffer>[];
  /** Memory-mapped accesses that an instruction has made and not finished with. */
  mmio: Uint8Array<ArrayBuffer>;
  flags: number;
}

/** Lengths of the parts of a {@link SavedProcessor}, in bytes. */
export const SAVED_PROCESSOR_PARTS: readonly number[] = PARTS.map(([, length]) => length);

export class ProcessorBanks {
  /** The processor whose state is in the engine. */
  current = 0;
  /** Turns there have been: how often another processor's state has come in. */
  turns = 0;
  readonly #banks: Bank[];
  /** Instructions each has retired, but for those of its present turn. */
  readonly #retired: number[];
  #turnBegan: number;

  /** All processors begin with the state that the engine has now. `onSwitch` is called when another processor's state has come in. */
  constructor(
    readonly engine: Engine,
    readonly count: number,
    private readonly onSwitch: () => void = () => {},
  ) {
    this.#banks = Array.from({ length: count }, () => new Bank(engine));
    this.#retired = Array.from({ length: count }, () => 0);
    this.#turnBegan = engine.retired;
    if (count === 1) return;
    this.#banks.forEach((bank, index) => {
      this.#store(bank);
      bank.state.words[PROCESSOR >>> 2] = index;
      if (index > 0) bank.state.words[V_REGION >>> 2] = engine.newVmcsRegion(); // each has a VMCS of its own
    });
  }

  /** The engine, with the state of processor `index` in it. */
  select(index: number): Engine {
    if (index !== this.current) this.#switch(index);
    return this.engine;
  }

  /** The state of processor `index`, in the engine or in its bank, for reading (and for writing controls of its VMCS). Valid until the next turn. */
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

  /** What the processors share, and whose turn it is. */
  saveTurns(): SavedTurns {
    const { longs } = this.engine;
    return {
      current: this.current,
      retired: Array.from({ length: this.count }, (_unused, index) => this.retired(index)),
      sum: this.engine.retired,
      random: longs[RANDOM_STATE >>> 3],
    };
  }

  /** Before the processors are restored, each by `restore`. */
  restoreTurns({ current, retired, sum, random }: SavedTurns): void {
    const { longs } = this.engine;
    this.current = current;
    retired.forEach((count, index) => {
      this.#retired[index] = count;
    });
    longs[RETIRED >>> 3] = BigInt(sum);
    longs[RANDOM_STATE >>> 3] = random;
    this.#turnBegan = sum;
  }

  /** Everything that one processor holds. Changes nothing. */
  save(index: number): SavedProcessor {
    const bank = index === this.current ? new Bank(this.engine) : this.#banks[index];
    if (index === this.current) this.#store(bank);
    return {
      parts: PARTS.map(([address, length]) => bank.bytes.slice(address, address + length)),
      mmio: bank.mmio.slice(),
      flags: bank.flags,
    };
  }

  /** Restores a processor's state, in the engine or in its bank. Derived values are not trusted: its next entry selects and checks everything. */
  restore(index: number, { parts, mmio, flags }: SavedProcessor): void {
    const { engine } = this;
    const bank = this.#banks[index];
    PARTS.forEach(([address], part) => bank.bytes.set(parts[part], address));
    bank.mmio = new Uint8Array(mmio);
    bank.flags = flags;
    bank.state.words[V_DIRTY >>> 2] = DIRTY_ALL;
    bank.state.longs[EPTP_IN_FORCE >>> 3] = NO_POINTER;
    if (index !== this.current) return;
    const { longs } = engine;
    const retired = longs[RETIRED >>> 3];
    const random = longs[RANDOM_STATE >>> 3];
    this.#load(bank);
    longs[RETIRED >>> 3] = retired;
    longs[RANDOM_STATE >>> 3] = random;
    engine.exports.processorChanged();
    engine.flushTranslations();
    engine.exports.applyWrites();
  }

  #switch(index: number): void {
    const { engine } = this,
      { longs } = engine;
    const retired = longs[RETIRED >>> 3],
      random = longs[RANDOM_STATE >>> 3];
    this.#retired[this.current] += engine.retired - this.#turnBegan;
    this.#turnBegan = engine.retired;
    this.#store(this.#banks[this.current]);
    this.current = index;
    this.turns++;
    this.#load(this.#banks[index]);
    longs[RETIRED >>> 3] = retired;
    longs[RANDOM_STATE >>> 3] = random;
    engine.exports.processorChanged();
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
