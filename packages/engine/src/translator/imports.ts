/** What regions import from the processor. */
import { I32, I64 } from './opcodes.js';
import type { ImportedFunction } from './wasm.js';

/** What a region's module imports, in the order of the function indices; all are exports of the processor. */
export const IMPORTS: readonly ImportedFunction[] = [
  { name: 'settleFlags', parameters: [I32, I64, I64, I64, I64, I64], results: [] },
  { name: 'runUnit', parameters: [I32], results: [I32] },
  { name: 'runQuickX87', parameters: [I32], results: [I32] },
  { name: 'confirmPages', parameters: [I32], results: [I32] },
];
/** Indices of these functions. */
export const SETTLE_FLAGS = 0;
export const RUN_UNIT = 1;
export const RUN_QUICK_X87 = 2;
export const CONFIRM_PAGES = 3;
/** Behind them, the module's own function that regions call at their end: entry.ts. */
export const FIND_NEXT = IMPORTS.length;
