/**
 * Packed numbers, scalar singles, and comparisons into masks, by the host's arithmetic where it gives the same values and flags: the conditions of assembly/simd/arithmetic.ts, for all lanes
 * at once. In all other cases the unit does them.
 */
import { AM_REGISTER, MADE_EXACT, P_W } from '../code-layout.js';
import { fast, truncated } from './doubles.js';
import { guarded, guardedDouble, guardedVector } from './guarded.js';
import type { Instruction } from './instructions.js';
import { D0, D1, P, XA, XB, XOK, XR, XS } from './locals.js';
import { Op, Vector } from './opcodes.js';
import { Simd, Variant } from './unit-numbers.js';
import { at, finishUpper, firstOf, load, open, operand, result, second, variantOf } from './vector-operands.js';
import type { Code } from './wasm.js';
import type { Writer } from './writer.js';

/** What lanes of one width are worked on with. */
interface Numbers {
  readonly bytes: 4 | 8;
  readonly add: Vector;
  readonly sub: Vector;
  readonly mul: Vector;
  readonly div: Vector;
  /** The second operand unless the first is less, or greater. */
  readonly pmin: Vector;
  readonly pmax: Vector;
  readonly sqrt: Vector;
  readonly abs: Vector;
  readonly eq: Vector;
  readonly ne: Vector;
  readonly lt: Vector;
  readonly gt: Vector;
  readonly le: Vector;
  readonly ge: Vector;
  readonly bitmask: Vector;
  /** Rounding by the low bits of an immediate: to nearest, down, up, towards 0. */
  readonly round: readonly Vector[];
  /** Shuffles of two operands: their even lanes, their odd lanes, and the even lanes of the first with the odd ones of the second. */
  readonly even: readonly number[];
  readonly odd: readonly number[];
  readonly mixed: readonly number[];
  /** In all lanes: the least normal number, twice that (what is less may be tiny before it is rounded), and the greatest number. */
  readonly normal: readonly number[];
  readonly safe: readonly number[];
  readonly greatest: readonly number[];
}
const bytesOf = (lanes: Float32Array | Float64Array): number[] => [...new Uint8Array(lanes.buffer)];
/** Bytes of a shuffle that takes these lanes, counted through both operands. */
const lanes = (bytes: number, which: readonly number[]): number[] =>
  which.flatMap((lane) => Array.from({ length: bytes }, (_, n) => lane * bytes + n));
const singles = (value: number): number[] => bytesOf(new Float32Array(4).fill(value));
const doubles = (value: number): number[] => bytesOf(new Float64Array(2).fill(value));

const SINGLES: Numbers = {
  ...{ bytes: 4, add: Vector.f32x4_add, sub: Vector.f32x4_sub, mul: Vector.f32x4_mul, div: Vector.f32x4_div },
  ...{ pmin: Vector.f32x4_pmin, pmax: Vector.f32x4_pmax, sqrt: Vector.f32x4_sqrt, abs: Vector.f32x4_abs },
  ...{ eq: Vector.f32x4_eq, ne: Vector.f32x4_ne, lt: Vector.f32x4_lt, gt: Vector.f32x4_gt, le: Vector.f32x4_le },
  ...{ ge: Vector.f32x4_ge, bitmask: Vector.i32x4_bitmask },
  round: [Vector.f32x4_nearest, Vector.f32x4_floor, Vector.f32x4_ceil, Vector.f32x4_trunc],
  ...{ even: lanes(4, [0, 2, 4, 6]), odd: lanes(4, [1, 3, 5, 7]), mixed: lanes(4, [0, 5, 2, 7]) },
  ...{ normal: singles(2 ** -126), safe: singles(2 ** -125), greatest: singles(3.4028234663852886e38) },
};
const DOUBLES: Numbers = {
  ...{ bytes: 8, add: Vector.f64x2_add, sub: Vector.f64x2_sub, mul: Vector.f64x2_mul, div: Vector.f64x2_div },
  ...{ pmin: Vector.f64x2_pmin, pmax: Vector.f64x2_pmax, sqrt: Vector.f64x2_sqrt, abs: Vector.f64x2_abs },
  ...{ eq: Vector.f64x2_eq, ne: Vector.f64x2_ne, lt: Vector.f64x2_lt, gt: Vector.f64x2_gt, le: Vector.f64x2_le },
  ...{ ge: Vector.f64x2_ge, bitmask: Vector.i64x2_bitmask },
  round: [Vector.f64x2_nearest, Vector.f64x2_floor, Vector.f64x2_ceil, Vector.f64x2_trunc],
  ...{ even: lanes(8, [0, 2]), odd: lanes(8, [1, 3]), mixed: lanes(8, [0, 3]) },
  ...{ normal: doubles(2 ** -1022), safe: doubles(2 ** -1021), greatest: doubles(Number.MAX_VALUE) },
};
const ZEROS = Array<number>(16).fill(0);
const ONES = Array<number>(16).fill(0xff);

/** An instruction as lanes see it: XA has the first source and XB the second. */
interface Lanes {
  readonly numbers: Numbers;
  /** The lowest lane alone counts; the others come from the first source. */
  readonly scalar: boolean;
  /** It has no first source. */
  readonly unary?: boolean;
  /** What counts is lanes next to one another: XA becomes the even ones of both sources, XB the odd ones. */
  readonly pairs?: boolean;
  /** Pushes the result. */
  readonly push: (code: Code) => void;
  /** Pushes lanes of ones where the result, in local `r`, is what it should be; without it, that is everywhere. */
  readonly right?: (code: Code, r: number) => void;
  /** It may be inexact. */
  readonly rounds: boolean;
}

/** Pushes ones where a number is neither a denormal nor a NaN. */
function usable(code: Code, { abs, normal, ge, eq }: Numbers, local: number): void {
  code.get(local).vector(abs).bytes16(Vector.const, normal).vector(ge);
  code.get(local).bytes16(Vector.const, ZEROS).vector(eq).vector(Vector.or);
}
/** Pushes ones where a number is 0. */
function zero(code: Code, { eq }: Numbers, local: number): void {
  code.get(local).bytes16(Vector.const, ZEROS).vector(eq);
}
function finite(code: Code, { abs, greatest, le }: Numbers, local: number): void {
  code.get(local).vector(abs).bytes16(Vector.const, greatest).vector(le);
}
/** Neither tiny nor infinite, or 0 because an operand is. */
function product(code: Code, numbers: Numbers, r: number, zeroOperand: (code: Code) => void): void {
  finite(code, numbers, r);
  code.get(r).vector(numbers.abs).bytes16(Vector.const, numbers.safe).vector(numbers.ge).vector(Vector.and);
  zero(code, numbers, r);
  zeroOperand(code);
  code.vector(Vector.and).vector(Vector.or);
}

/** Translates what is the same in each lane; what some lane's conditions do not hold for is the unit's. */
function byLanes(
  w: Writer,
  i: Instruction,
  { numbers, scalar, unary = false, pairs = false, push, right, rounds }: Lanes,
): true {
  const { code } = w,
    first = firstOf(i),
    register = i.addressMode === AM_REGISTER,
    halves = !scalar && variantOf(i) === Variant.VEX256 ? 2 : 1;
  let source: (half: number) => void;
  if (!scalar) source = second(w, i);
  else if (register) source = () => load(w, i.rmNumber);
  else {
    open(w, i, numbers.bytes, false);
    source = () => code.get(P).vectorAccess(numbers.bytes === 4 ? Vector.load32_zero : Vector.load64_zero, 0);
  }
  for (let half = 0; half < halves; half++) {
    const r = half === 0 ? XR : XS;
    if (!unary) {
      load(w, first, half);
      code.set(XA);
    }
    source(half);
    code.set(XB);
    if (pairs) {
      code.get(XA).get(XB).bytes16(Vector.shuffle, numbers.even);
      code.get(XA).get(XB).bytes16(Vector.shuffle, numbers.odd).set(XB).set(XA);
    }
    push(code);
    code.set(r);
    if (half > 0) code.get(XOK);
    usable(code, numbers, XB);
    if (!unary) {
      usable(code, numbers, XA);
      code.vector(Vector.and);
    }
    if (right !== undefined) {
      right(code, r);
      code.vector(Vector.and);
    }
    if (half > 0) code.vector(Vector.and);
    code.set(XOK);
  }
  const count = scalar ? 1 : 16 / numbers.bytes,
    all = (1 << count) - 1;
  code.get(XOK).vector(numbers.bitmask).i32(all).op(Op.i32_and).i32(all).op(Op.i32_eq);
  if (rounds) {
    fast(w);
    code.op(Op.i32_and);
  }
  if (scalar) return guardedLowest(w, i, numbers.bytes);
  return guardedVector(w, i, halves === 2 ? [XR, XS] : [XR]);
}
/** The lowest lane of the result is in XR; the others are those of the first source. */
function guardedLowest(w: Writer, i: Instruction, bytes: 4 | 8): true {
  const { code } = w;
  const whole = Array.from({ length: 16 }, (_, n) => (n < bytes ? 16 + n : n));
  return guarded(w, i, () => {
    code.i32(0);
    load(w, firstOf(i));
    code.get(XR).bytes16(Vector.shuffle, whole);
    code.vectorAccess(Vector.store, w.setting.state + at(i.regNumber));
    w.held.drop(i.regNumber);
    finishUpper(w, i, i.regNumber);
  });
}

/** By what a predicate of CMPPS and its like accepts, of less (bit 0), equal and greater: unordered numbers are the unit's. */
const RELATIONS = [undefined, 'lt', 'eq', 'le', 'gt', 'ne', 'ge'] as const;
/** For each predicate, SDM vol. 2A, table 3-1; 16 to 31 differ in which NaNs they signal. */
const ACCEPTS = [2, 1, 3, 0, 5, 6, 4, 7, 2, 1, 3, 0, 5, 6, 4, 7];

/** The operations of four numbers each: packed single, packed double, scalar single, scalar double. Those of scalar doubles that may round are in doubles.ts. */
export function arithmetic(w: Writer, i: Instruction, number: number): boolean {
  const numbers = (number & 1) === 0 ? SINGLES : DOUBLES,
    scalar = (number & 2) !== 0;
  const both = (op: Vector) => (code: Code) => void code.get(XA).get(XB).vector(op);
  const common = { numbers, scalar };
  switch (number & ~3) {
    case Simd.ADD:
    case Simd.SUB: // exact where it is tiny
      return byLanes(w, i, {
        ...common,
        push: both((number & ~3) === Simd.ADD ? numbers.add : numbers.sub),
        right: (code, r) => finite(code, numbers, r),
        rounds: true,
      });
    case Simd.MUL:
      return byLanes(w, i, {
        ...common,
        push: both(numbers.mul),
        right: (code, r) =>
          product(code, numbers, r, () => {
            zero(code, numbers, XA);
            zero(code, numbers, XB);
            code.vector(Vector.or);
          }),
        rounds: true,
      });
    case Simd.DIV:
      return byLanes(w, i, {
        ...common,
        push: both(numbers.div),
        right: (code, r) => product(code, numbers, r, () => zero(code, numbers, XA)),
        rounds: true,
      });
    case Simd.MIN:
    case Simd.MAX: {
      const op = (number & ~3) === Simd.MIN ? numbers.pmin : numbers.pmax;
      return byLanes(w, i, { ...common, push: (code) => code.get(XB).get(XA).vector(op), rounds: false });
    }
    case Simd.SQRT: // of what is not negative and not infinite
      return byLanes(w, i, {
        ...common,
        unary: true,
        push: (code) => code.get(XB).vector(numbers.sqrt),
        right(code) {
          finite(code, numbers, XB);
          code.get(XB).bytes16(Vector.const, ZEROS).vector(numbers.ge).vector(Vector.and);
        },
        rounds: true,
      });
    case Simd.COMPARE: {
      const relation = RELATIONS[ACCEPTS[i.immediate & 15]!];
      const push = (code: Code): void => {
        if (relation !== undefined) both(numbers[relation])(code);
        else code.bytes16(Vector.const, ACCEPTS[i.immediate & 15] === 0 ? ZEROS : ONES);
      };
      return byLanes(w, i, { ...common, push, rounds: false });
    }
    case Simd.ROUND: {
      // bit 2: as MXCSR says, which is to nearest where it is asked; bit 3: without PE
      const mode = i.immediate & 15,
        op = numbers.round[(mode & 4) !== 0 ? 0 : mode & 3]!;
      return byLanes(w, i, {
        ...common,
        unary: true,
        push: (code) => code.get(XB).vector(op),
        rounds: (mode & 12) !== 8,
      });
    }
    default:
      return acrossLanes(w, i, number, numbers);
  }
}

/** HADDPS and its like, which are packed. */
function acrossLanes(w: Writer, i: Instruction, number: number, numbers: Numbers): boolean {
  if (number < Simd.HADDPS || number > Simd.ADDSUBPD) return false;
  const both = (code: Code, op: Vector): Code => code.get(XA).get(XB).vector(op),
    alternates = number >= Simd.ADDSUBPS;
  return byLanes(w, i, {
    numbers,
    scalar: false,
    pairs: !alternates,
    push(code) {
      if (!alternates) both(code, number < Simd.HSUBPS ? numbers.add : numbers.sub);
      else {
        both(code, numbers.sub);
        both(code, numbers.add).bytes16(Vector.shuffle, numbers.mixed);
      }
    },
    right: (code, r) => finite(code, numbers, r),
    rounds: true,
  });
}

// ---------------------------------------------------------------------------------------------- conversions
const LEAST_NORMAL_SINGLE = 2 ** -126;
const LEAST_SAFE_SINGLE = 2 ** -125;
const GREATEST_SINGLE = 3.4028234663852886e38;

/** Pushes the r/m operand, a single, as a double. It is opened first. */
function pushSingle(w: Writer, i: Instruction): void {
  const { code } = w;
  if (i.addressMode === AM_REGISTER) code.i32(0).access(Op.i32_load, w.setting.state + at(i.rmNumber));
  else {
    open(w, i, 4, false);
    code.get(P).access(Op.i32_load, 0);
  }
  code.op(Op.f32_reinterpret_i32).op(Op.f64_promote_f32);
}
/** Pushes 1 if a single, in a local as a double, is neither a denormal nor a NaN. */
function usableSingle(code: Code, local: number): void {
  code.get(local).op(Op.f64_abs).f64(LEAST_NORMAL_SINGLE).op(Op.f64_ge);
  code.get(local).f64(0).op(Op.f64_eq).op(Op.i32_or);
}

/** UCOMISS and COMISS of two numbers that are neither NaN nor denormal. */
export function compareSingles(w: Writer, i: Instruction): true {
  const { code } = w;
  pushSingle(w, i);
  code.set(D1);
  code.i32(0).access(Op.i32_load, w.setting.state + at(i.regNumber));
  code.op(Op.f32_reinterpret_i32).op(Op.f64_promote_f32).set(D0);
  usableSingle(code, D0);
  usableSingle(code, D1);
  code.op(Op.i32_and);
  guarded(w, i, () =>
    w.flags.setCompared(
      () => code.get(D0).get(D1).op(Op.f64_eq),
      () => code.get(D0).get(D1).op(Op.f64_lt),
    ),
  );
  w.flags.set(MADE_EXACT, 64); // both ways
  return true;
}

/** Conversions between integers, singles and doubles; those of scalar doubles and integers are in doubles.ts. */
export function convert(w: Writer, i: Instruction, number: number): boolean {
  const { code } = w,
    register = i.addressMode === AM_REGISTER,
    wide = (i.prefixes & P_W) !== 0 && w.setting.long;
  switch (number) {
    case Simd.SI2SS: {
      if (!register) open(w, i, wide ? 8 : 4, false);
      if (register) w.read(i.rmNumber * 8, wide ? 64 : 32);
      else w.loadOpen(wide ? 64 : 32);
      code
        .op(wide ? Op.f32_convert_i64_s : Op.f32_convert_i32_s)
        .vector(Vector.f32x4_splat)
        .set(XR);
      fast(w);
      return guardedLowest(w, i, 4);
    }
    case Simd.SS2SD:
      pushSingle(w, i);
      code.set(D0);
      usableSingle(code, D0);
      return guardedDouble(w, i, () => code.get(D0).op(Op.i64_reinterpret_f64));
    case Simd.SD2SS:
      if (!register) open(w, i, 8, false);
      operand(w, i);
      code.op(Op.f64_reinterpret_i64).tee(D0).op(Op.f32_demote_f64).op(Op.f64_promote_f32).op(Op.f64_abs).set(D1);
      // the result is neither tiny nor infinite, or 0 because the operand is
      code.get(D1).f64(LEAST_SAFE_SINGLE).op(Op.f64_ge).get(D1).f64(GREATEST_SINGLE).op(Op.f64_le).op(Op.i32_and);
      code.get(D0).f64(0).op(Op.f64_eq).op(Op.i32_or);
      fast(w);
      code.op(Op.i32_and);
      code.get(D0).op(Op.f32_demote_f64).vector(Vector.f32x4_splat).set(XR);
      return guardedLowest(w, i, 4);
    case Simd.TSS2SI: // exact, or with PE masked and set already; a NaN is in no range
      pushSingle(w, i);
      code
        .tee(D0)
        .op(Op.f64_abs)
        .f64(wide ? 9.2e18 : 2147483647)
        .op(Op.f64_lt);
      usableSingle(code, D0);
      code.op(Op.i32_and);
      fast(w);
      code.op(Op.i32_and);
      return guarded(w, i, () => truncated(w, i, wide));
    case Simd.DQ2PS: {
      const source = second(w, i);
      source(0);
      code.vector(Vector.f32x4_convert_i32x4_s).set(XR);
      if (variantOf(i) === Variant.VEX256) {
        source(1);
        code.vector(Vector.f32x4_convert_i32x4_s).set(XS);
      }
      fast(w);
      return guardedVector(w, i, variantOf(i) === Variant.VEX256 ? [XR, XS] : [XR]);
    }
    case Simd.TPS2DQ:
    case Simd.PS2DQ: {
      const limit = singles(2 ** 31);
      return byLanes(w, i, {
        numbers: SINGLES,
        scalar: false,
        unary: true,
        push(code) {
          code.get(XB);
          if (number === Simd.PS2DQ) code.vector(Vector.f32x4_nearest);
          code.vector(Vector.i32x4_trunc_sat_f32x4_s);
        },
        right: (code) => code.get(XB).vector(SINGLES.abs).bytes16(Vector.const, limit).vector(SINGLES.lt),
        rounds: true,
      });
    }
    case Simd.PS2PD: // exact
      if (variantOf(i) === Variant.VEX256) return false;
      if (register) load(w, i.rmNumber);
      else {
        open(w, i, 8, false);
        code.get(P).vectorAccess(Vector.load64_zero, 0);
      }
      code.tee(XB).vector(Vector.f64x2_promote_low_f32x4).set(XR);
      usable(code, SINGLES, XB);
      code.vector(SINGLES.bitmask).i32(3).op(Op.i32_and).i32(3).op(Op.i32_eq);
      return guardedVector(w, i, [XR]);
    case Simd.PD2PS:
      if (variantOf(i) === Variant.VEX256) return false;
      return byLanes(w, i, {
        numbers: DOUBLES,
        scalar: false,
        unary: true,
        push: (code) => code.get(XB).vector(Vector.f32x4_demote_f64x2_zero),
        // neither tiny nor infinite, or 0 because the operand is
        right(code, r) {
          code.get(r).vector(Vector.f64x2_promote_low_f32x4).vector(DOUBLES.abs).tee(XA);
          code.bytes16(Vector.const, doubles(LEAST_SAFE_SINGLE)).vector(DOUBLES.ge);
          code.get(XA).bytes16(Vector.const, doubles(GREATEST_SINGLE)).vector(DOUBLES.le).vector(Vector.and);
          zero(code, DOUBLES, XB);
          code.vector(Vector.or);
        },
        rounds: true,
      });
    case Simd.TPD2DQ:
    case Simd.PD2DQ: {
      if (variantOf(i) === Variant.VEX256) return false;
      const limit = doubles(2 ** 31 - 1);
      return byLanes(w, i, {
        numbers: DOUBLES,
        scalar: false,
        unary: true,
        push(code) {
          code.get(XB);
          if (number === Simd.PD2DQ) code.vector(Vector.f64x2_nearest);
          code.vector(Vector.i32x4_trunc_sat_f64x2_s_zero);
        },
        right: (code) => code.get(XB).vector(DOUBLES.abs).bytes16(Vector.const, limit).vector(DOUBLES.le),
        rounds: true,
      });
    }
    case Simd.DQ2PD: // always exact
      if (variantOf(i) === Variant.VEX256) return false;
      if (!register) open(w, i, 8, false);
      return result(w, i, i.regNumber, () => {
        if (register) load(w, i.rmNumber);
        else code.get(P).vectorAccess(Vector.load64_zero, 0);
        code.vector(Vector.f64x2_convert_low_i32x4_s);
      });
    default:
      return false;
  }
}
