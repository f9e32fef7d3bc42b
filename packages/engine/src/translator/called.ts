/**
 * What regions call of the processor. They find it in the table that their modules import, by its number: of functions that a module imports by name V8 compiles a
 * way to JavaScript for each kind, as if they were JavaScript's, which took more than half of the time that a module takes.
 */
import { I32, I64 } from './opcodes.js';
import type { ImportedFunction } from './wasm.js';

/** Exports of the processor: where one stands here is its place in the table, and the number of its type. */
export const CALLED: readonly ImportedFunction[] = [
  { name: 'settleFlags', parameters: [I32, I64, I64, I64, I64, I64], results: [] },
  { name: 'runUnit', parameters: [I32], results: [I32] },
  { name: 'runQuickArithmetic', parameters: [I32], results: [I32] },
  { name: 'runQuickMove', parameters: [I32], results: [I32] },
  { name: 'runQuickCompare', parameters: [I32], results: [I32] },
  { name: 'runQuickString', parameters: [I32], results: [I32] },
  { name: 'runQuickFused', parameters: [I32], results: [I32] },
  { name: 'confirmPages', parameters: [I32], results: [I32] },
];
/** Places of these functions. */
export const SETTLE_FLAGS = 0;
export const RUN_UNIT = 1;
export const RUN_QUICK_ARITHMETIC = 2;
export const RUN_QUICK_MOVE = 3;
export const RUN_QUICK_COMPARE = 4;
export const RUN_QUICK_STRING = 5;
export const RUN_QUICK_FUSED = 6;
export const CONFIRM_PAGES = 7;
/** Number of the regions' own type. */
export const REGION = CALLED.length;
/** Function index of what regions call at their end, the first of their module: entry.ts. */
export const FIND_NEXT = 0;
