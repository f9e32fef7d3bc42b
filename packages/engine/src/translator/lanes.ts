/**
 * Packed integers, one lane of 16 bytes at a time: what the numbers from PUNPCKLBW on become (assembly/simd/integer.ts says the same for the
 * interpreter). `a` and `b` push the first and the second operand, and may be called more than once.
 */
import { Vector } from './opcodes.js';
import type { Code } from './wasm.js';

type Push = () => void;
type Lane = (code: Code, a: Push, b: Push) => void;

/** Number of the first, PUNPCKLBW: the others follow in the order of the enum Int of assembly/simd/ops.ts. */
export const FIRST_LANE = 0x200;

const operation =
  (op: Vector): Lane =>
  (code, a, b) => {
    a();
    b();
    code.vector(op);
  };
/** Bytes of the result, from 0 to 15 of the first operand and 16 to 31 of the second. */
const shuffled =
  (bytes: readonly number[]): Lane =>
  (code, a, b) => {
    a();
    b();
    code.bytes16(Vector.shuffle, bytes);
  };
const ofSecond =
  (op: Vector): Lane =>
  (code, _, b) => {
    b();
    code.vector(op);
  };

/** Elements of `bytes` bytes of both operands in turn, from byte `from` on. */
function interleave(bytes: number, from: number): number[] {
  return Array.from({ length: 16 }, (_, at) => {
    const element = Math.floor(at / bytes);
    return (element % 2) * 16 + from + Math.floor(element / 2) * bytes + (at % bytes);
  });
}
/** Every other element of `bytes` bytes of both operands one after the other, from element `from` on. */
function everyOther(bytes: number, from: number): number[] {
  return Array.from({ length: 16 }, (_, at) => (Math.floor(at / bytes) * 2 + from) * bytes + (at % bytes));
}
/** Both operands' even or odd elements, then the operation on the two. */
const horizontal =
  (bytes: number, op: Vector): Lane =>
  (code, a, b) => {
    shuffled(everyOther(bytes, 0))(code, a, b);
    shuffled(everyOther(bytes, 1))(code, a, b);
    code.vector(op);
  };
const highProduct =
  (low: Vector, high: Vector): Lane =>
  (code, a, b) => {
    operation(low)(code, a, b);
    operation(high)(code, a, b);
    code.bytes16(Vector.shuffle, everyOther(2, 1));
  };
const evenProduct =
  (op: Vector): Lane =>
  (code, a, b) => {
    for (const push of [a, b]) shuffled(everyOther(4, 0))(code, push, push);
    code.vector(op);
  };
export const repeated = (...bytes: readonly number[]): number[] =>
  Array.from({ length: 16 }, (_, at) => bytes[at % bytes.length]!);

/** PMULHRSW gives 8000H for 8000H * 8000H, which WebAssembly's product saturates to 7FFFH. */
const roundedHighProduct: Lane = (code, a, b) => {
  operation(Vector.i16x8_q15mulr_sat_s)(code, a, b);
  for (const push of [a, b]) {
    push();
    code.bytes16(Vector.const, repeated(0x00, 0x80)).vector(Vector.i16x8_eq);
  }
  code.vector(Vector.and).vector(Vector.xor);
};
const multiplyAddBytes: Lane = (code, a, b) => {
  a();
  code.bytes16(Vector.const, repeated(0xff, 0)).vector(Vector.and);
  b();
  code.i32(8).vector(Vector.i16x8_shl).i32(8).vector(Vector.i16x8_shr_s).vector(Vector.i16x8_mul);
  a();
  code.i32(8).vector(Vector.i16x8_shr_u);
  b();
  code.i32(8).vector(Vector.i16x8_shr_s).vector(Vector.i16x8_mul).vector(Vector.i16x8_add_sat_s);
};
const sumOfDifferences: Lane = (code, a, b) => {
  const sums = (): void => {
    operation(Vector.i8x16_max_u)(code, a, b);
    operation(Vector.i8x16_min_u)(code, a, b);
    code.vector(Vector.i8x16_sub).vector(Vector.i16x8_extadd_pairwise_i8x16_u);
    code.vector(Vector.i32x4_extadd_pairwise_i16x8_u);
  };
  sums();
  code.bytes16(Vector.const, repeated(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)).vector(Vector.and);
  sums();
  code.i32(32).vector(Vector.i64x2_shr_u).vector(Vector.i64x2_add);
};
const andNot: Lane = (code, a, b) => {
  b();
  a();
  code.vector(Vector.andnot);
};
const shuffleBytes: Lane = (code, a, b) => {
  a();
  b();
  code.bytes16(Vector.const, repeated(0x8f)).vector(Vector.and).vector(Vector.swizzle);
};
/** PSIGN: the first, negated where the second is negative, 0 where that is 0. */
const sign =
  (shift: Vector, bits: number, subtract: Vector, equal: Vector): Lane =>
  (code, a, b) => {
    const mask = (): void => {
      b();
      code.i32(bits - 1).vector(shift);
    };
    a();
    mask();
    code.vector(Vector.xor);
    mask();
    code.vector(subtract);
    b();
    code.i64(0).vector(Vector.i64x2_splat).vector(equal).vector(Vector.andnot);
  };

/** By number. */
const LANES: readonly Lane[] = [
  ...[1, 2, 4, 8].map((bytes) => shuffled(interleave(bytes, 0))),
  ...[1, 2, 4, 8].map((bytes) => shuffled(interleave(bytes, 8))),
  ...[
    Vector.i8x16_narrow_i16x8_s,
    Vector.i16x8_narrow_i32x4_s,
    Vector.i8x16_narrow_i16x8_u,
    Vector.i16x8_narrow_i32x4_u,
    Vector.i8x16_gt_s,
    Vector.i16x8_gt_s,
    Vector.i32x4_gt_s,
    Vector.i64x2_gt_s,
    Vector.i8x16_eq,
    Vector.i16x8_eq,
    Vector.i32x4_eq,
    Vector.i64x2_eq,
    Vector.i8x16_add,
    Vector.i16x8_add,
    Vector.i32x4_add,
    Vector.i64x2_add,
    Vector.i8x16_sub,
    Vector.i16x8_sub,
    Vector.i32x4_sub,
    Vector.i64x2_sub,
    Vector.i8x16_add_sat_s,
    Vector.i16x8_add_sat_s,
    Vector.i8x16_add_sat_u,
    Vector.i16x8_add_sat_u,
    Vector.i8x16_sub_sat_s,
    Vector.i16x8_sub_sat_s,
    Vector.i8x16_sub_sat_u,
    Vector.i16x8_sub_sat_u,
    Vector.i16x8_mul,
  ].map(operation),
  highProduct(Vector.i32x4_extmul_low_i16x8_s, Vector.i32x4_extmul_high_i16x8_s),
  highProduct(Vector.i32x4_extmul_low_i16x8_u, Vector.i32x4_extmul_high_i16x8_u),
  roundedHighProduct,
  operation(Vector.i32x4_mul),
  evenProduct(Vector.i64x2_extmul_low_i32x4_u),
  evenProduct(Vector.i64x2_extmul_low_i32x4_s),
  operation(Vector.i32x4_dot_i16x8_s),
  multiplyAddBytes,
  sumOfDifferences,
  operation(Vector.and),
  andNot,
  ...[
    Vector.or,
    Vector.xor,
    Vector.i8x16_avgr_u,
    Vector.i16x8_avgr_u,
    Vector.i8x16_min_u,
    Vector.i16x8_min_u,
    Vector.i32x4_min_u,
    Vector.i8x16_min_s,
    Vector.i16x8_min_s,
    Vector.i32x4_min_s,
    Vector.i8x16_max_u,
    Vector.i16x8_max_u,
    Vector.i32x4_max_u,
    Vector.i8x16_max_s,
    Vector.i16x8_max_s,
    Vector.i32x4_max_s,
  ].map(operation),
  shuffleBytes,
  horizontal(2, Vector.i16x8_add),
  horizontal(4, Vector.i32x4_add),
  horizontal(2, Vector.i16x8_add_sat_s),
  horizontal(2, Vector.i16x8_sub),
  horizontal(4, Vector.i32x4_sub),
  horizontal(2, Vector.i16x8_sub_sat_s),
  sign(Vector.i8x16_shr_s, 8, Vector.i8x16_sub, Vector.i8x16_eq),
  sign(Vector.i16x8_shr_s, 16, Vector.i16x8_sub, Vector.i16x8_eq),
  sign(Vector.i32x4_shr_s, 32, Vector.i32x4_sub, Vector.i32x4_eq),
  ofSecond(Vector.i8x16_abs),
  ofSecond(Vector.i16x8_abs),
  ofSecond(Vector.i32x4_abs),
];

/** What the number becomes; undefined: it is not one of those. */
export function laneOf(number: number): Lane | undefined {
  return LANES[number - FIRST_LANE];
}
