/**
 * All handlers, in the order of their numbers: [name, body]. Common integer instructions exist once per operand size and operand kind, so
 * that a handler has nothing left to ask; the families are regular (number = family + operation * 4 + size), which is what the decoder
 * computes with.
 */
import { FUSIONS } from './fusions.mjs';
import { COMMON, CONDITIONAL_VALUES, INTEGER } from './integer.mjs';
import { BLOCK_ENDS, JUMPS, STACK } from './transfers.mjs';
import { VECTORS } from './vectors.mjs';

/** Everything else: one handler for a whole unit, which has a number of its own for each instruction. */
const UNITS = [
  ['INTEGER', 'status = execInteger(pc); break;'],
  ['STRING', 'status = execString(pc); break;'],
  ['SYSTEM', 'status = execSystem(pc); break;'],
  ['X87', 'status = execX87(pc); break;'],
  ['STATE', 'status = execGroup15(pc); break;'],
  ['SIMD', 'status = execSimd(pc); break;'],
  ['UNDEFINED', 'raise(6); status = FAULT; break;'],
  ['TOO_LONG', 'raiseError(13, 0); status = FAULT; break;'],
];

export const HANDLERS = [
  ...BLOCK_ENDS,
  ...INTEGER,
  ...STACK,
  ...JUMPS,
  ...CONDITIONAL_VALUES,
  ...FUSIONS.map(({ handler }) => handler),
  ...COMMON,
  ...VECTORS,
  ...UNITS,
];
