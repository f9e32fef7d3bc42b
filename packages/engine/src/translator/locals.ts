/** Locals of a translated function, by number. */
import { F64, I32, I64, V128 } from './opcodes.js';
import type { Locals } from './wasm.js';

/** General register n is local n. */
export const REGISTERS = 16;
export const RSP = 4;
/** Flags: see flags.ts. */
export const FA = 16;
export const FB = 17;
export const FR = 18;
export const FS = 19;
export const FN = 20;
/** CODE_BASE at entry: RIP is this plus an offset. */
export const BASE = 21;
/** Where RIP goes at an exit out of line. */
export const TARGET = 22;
/** Linear address of the access being checked. */
export const LINEAR = 23;
/** Values of the instruction being translated. */
export const V0 = 24;
export const V1 = 25;
export const V2 = 26;
export const V3 = 27;
/** Kind of the flags. */
export const FK = 28;
/** Instructions that may still run before the region is left, and how many they were at entry. */
export const LEFT = 29;
export const START = 30;
/** Of an exit: offset of RIP in its page in bits 11:0; then the number of that page in the region, instructions to be given back, and the code. */
export const WAY = 31;
export const WAY_PAGE = 12;
export const WAY_UNDONE = 16;
export const WAY_EXIT = 28;
/** Host address of an operand that is used more than once. */
export const P = 32;
/** Address of the TLB entry. */
export const ENTRY = 33;
/** 32-bit values of the instruction being translated. */
export const W0 = 34;
export const W1 = 35;
export const W2 = 36;
/** Host addresses of the spans at hand: spans.ts. */
export const FIRST_SPAN = 37;
export const SPANS = 4;
/** TLB table in force, in a region that is made for any. */
export const TABLE = 41;
/** Numbers of the instruction being translated. */
export const D0 = 42;
export const D1 = 43;

/** Offset of the block that a dispatcher (structure.ts) goes on to. */
export const ONWARD = 44;
/** Offset of an access in its segment: no dispatcher is on its way then. */
export const OFFSET = ONWARD;

/** Vectors of the instruction being translated: sources, results of both halves, and in which lanes they hold. */
export const XA = 45;
export const XB = 46;
export const XR = 47;
export const XS = 48;
export const XOK = 49;
/** Results of instructions before: held-vectors.ts. */
export const FIRST_HELD = 50;
export const FIRST_HELD_DOUBLE = 54;
export const HELD = 4;

/** Those of a region without vector instructions. */
export const LOCALS_WITHOUT_VECTORS: Locals = [
  [28, I64],
  [14, I32],
  [2, F64],
  [1, I64],
];
export const LOCALS: Locals = [...LOCALS_WITHOUT_VECTORS, [9, V128], [4, I64]];
