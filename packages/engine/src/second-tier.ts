/**
 * What a second tier finds in the processor's exports: the function table it puts its own functions into, and helpers by name. Meanings,
 * parameters and results: assembly/second-tier.ts. Addresses are of the engine's linear memory (layout.ts); linear addresses are the guest's.
 */
import type { WasmTable } from './webassembly.js';

export interface SecondTierExports {
  /** Functions that the processor calls by index; `grow` and `set` add more. */
  readonly table: WasmTable;
  /** Length in bits 7:0, bit 8: ends a block; 0: more bytes are wanted. */
  decodeRecord(record: number, source: number, available: number, pageOffset: number, mode: number): number;
  /** A status of assembly/status.ts, -1 for a record that is not a unit's. */
  runUnit(record: number): number;
  /** 1 when the x87 instruction is done; 0: it is runUnit's, nothing has happened. Arithmetic, comparisons, moves between registers. */
  runQuickArithmetic(record: number): number;
  runQuickCompare(record: number): number;
  runQuickMove(record: number): number;
  /** The same for a repeated MOVS or STOS. */
  runQuickString(record: number): number;
  /** The same for a fused multiplication and addition between registers. */
  runQuickFused(record: number): number;
  /** Address of the bytes, 0 with a fault raised or an exit recorded. */
  loadSlow(linear: bigint, size: number, segment: number, record: number): number;
  /** Where to store, 0 with a fault raised or an exit recorded; `modify` is 0 or 1. */
  storeSlow(linear: bigint, size: number, segment: number, record: number, modify: number): number;
  /** 0 when the write made an exit. */
  finishStore(pointer: number): number;
  /** How often the block at a host address has been entered in a mode; 0: never. */
  blockExecutions(host: number, mode: number): number;
  /** Host address of the page of code at a linear address in a mode, 0 where it cannot be known without an effect besides. */
  hostPageOfCode(linear: bigint, mode: number): number;
  /** 1: the pages of a list (LIST_ of code-layout.ts) are where they were, seen from CODE_BASE, and have the code that they had. */
  confirmPages(list: number): number;
  /** Serial number of the page's code. */
  coverCode(host: number, length: number): number;
  codeIsCurrent(host: number, serial: number): number;
  /**
   * First record of the block at a linear address (RIP is its offset in CS), made if need be; 0 with a fault raised or an exit recorded. Its
   * header lies before it (BLOCK_HEADER in code-layout.ts).
   */
  findBlock(linear: bigint, mode: number): number;
  /**
   * From now on blocks count their executions, and ask for the second tier after `threshold` of them, `batch` (1 to TIER_QUEUE_ENTRIES) at a time
   * through the import `translate`, or fewer when those that wait have run `patience` times together; threshold 0: no more. Forgets all decoded code.
   */
  setSecondTier(threshold: number, batch: number, patience: number): void;
  /** Stores flags that translated code has kept as the operands of what made them; assembly/flag-kinds.ts. */
  settleFlags(kind: number, a: bigint, b: bigint, r: bigint, s: bigint, n: bigint): void;
  /** Behind a region that was left because of `why`, with BUDGET 0: on to where the run loop stops. 1: a VM exit is recorded. */
  finishRegion(why: number): number;
  /** Interprets BUDGET instructions from where the region begins that has been entered last. 1: a VM exit is recorded. */
  interpretRegion(): number;
  flagsFromLazy(): number;
  flagsToLazy(flags: number): void;
  conditionHolds(condition: number): number;
}
