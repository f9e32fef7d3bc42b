/**
 * Numbers of instructions in their units of the interpreter, as far as the translator knows them. The processor has them in
 * assembly/integer/ops.ts and assembly/simd/ops.ts, under the same names.
 */

/** INT_ in assembly/integer/ops.ts. */
export const Integer = {
  IMUL1: 15,
  IMUL3: 17,
  MUL: 18,
  DIV: 19,
  IDIV: 20,
  XCHG: 21,
  XADD: 22,
  CMPXCHG: 23,
  CBW: 26,
  CWD: 27,
  SHIFT_I: 30,
  SHLD_I: 32,
  SHRD_I: 34,
  LEAVE: 41,
  CMC: 46,
  CLC: 47,
  STC: 48,
  CLD: 49,
  STD: 50,
  BT: 53,
  BTC: 56,
  BT_I: 57,
  BTC_I: 60,
  BSF: 61,
  BSR: 62,
  TZCNT: 63,
  BSWAP: 66,
  CMOV: 67,
  SETCC_M: 68,
} as const;

/** STR_ in assembly/integer/ops.ts. */
export const Text = { CMPS: 1, SCAS: 4 } as const;

/** Groups of the vector unit: bits 11:8 of a number. GROUP_ in assembly/simd/ops.ts. */
export const Group = { MOVE: 1, SHUFFLE: 4, FLOAT: 5, CONVERT: 6, CRYPTO: 7, PERMUTE: 8 } as const;

/** Bits 15:14 of a vector instruction's number: legacy SSE. VARIANT_ in assembly/simd/ops.ts. */
export const Variant = { SSE: 1 } as const;

/** The enums Move, Shuffle, Float and Convert of assembly/simd/ops.ts. */
export const Simd = {
  SD_MERGE: 0x108,
  LOW_LOAD: 0x10b,
  HIGH_TO_LOW: 0x10c,
  LOW_STORE: 0x10d,
  HIGH_LOAD: 0x10e,
  LOW_TO_HIGH: 0x10f,
  HIGH_STORE: 0x110,
  GPR_TO_VECTOR: 0x111,
  VECTOR_TO_GPR: 0x112,
  QUAD_LOAD: 0x113,
  QUAD_STORE: 0x114,
  MASK_BYTES: 0x11a,
  MASKED_STORE: 0x123,
  MASKED_STORE_MMX: 0x124,
  PTEST: 0x425,
  VTESTPD: 0x427,
  SQRTSD: 0x51b,
  UCOMISS: 0x530,
  UCOMISD: 0x531,
  COMISD: 0x533,
  SI2SD: 0x601,
  TSD2SI: 0x603,
} as const;
