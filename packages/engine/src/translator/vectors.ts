/**
 * Vector instructions in line, by their number in the unit and their variant, legacy SSE, VEX.128 or VEX.256: moves and shifts here, packed integers in
 * lanes.ts, shuffles in shuffles.ts, scalar doubles in doubles.ts, other numbers in floats.ts. Whatever else there is, the unit does (units.ts).
 */
import { AM_REGISTER, P_W } from '../code-layout.js';
import { compare, fromInteger, scalar, squareRoot, toInteger } from './doubles.js';
import { arithmetic, compareSingles, convert } from './floats.js';
import type { Instruction, Row } from './instructions.js';
import { laneOf } from './lanes.js';
import { P, V0 } from './locals.js';
import { Op, Vector } from './opcodes.js';
import { duplicate, shuffle } from './shuffles.js';
import { Simd, Variant } from './unit-numbers.js';
import {
  at,
  bytesOf,
  finishUpper,
  firstOf,
  load,
  low,
  open,
  operand,
  result,
  second,
  setHalf,
  variantOf,
  zeros,
} from './vector-operands.js';
import type { Writer } from './writer.js';

/** Translates a vector instruction; false: it is not one of those. */
export function translateVector(w: Writer, i: Instruction, row: Row): boolean {
  const isVector = row.kind === 'vector' || row.kind === 'scalar' || (row.kind === 'unit' && row.unit === 'SIMD');
  if (!isVector || variantOf(i) < Variant.SSE) return false;
  const number = i.unit & 0xfff;
  const known =
    packed(w, i, number) || move(w, i, number) || shiftBy(w, i, number) || shuffle(w, i, number) || float(w, i, number);
  if (known && variantOf(i) === Variant.SSE) w.vectors = true;
  else if (known) w.wideVectors = true;
  return known;
}

function packed(w: Writer, i: Instruction, number: number): boolean {
  const lane = laneOf(number);
  if (lane === undefined) return false;
  const b = second(w, i),
    first = firstOf(i);
  return result(w, i, i.regNumber, (half) =>
    lane(
      w.code,
      () => load(w, first, half),
      () => b(half),
    ),
  );
}

// ---------------------------------------------------------------------------------------------- moves
function move(w: Writer, i: Instruction, number: number): boolean {
  const { code } = w,
    register = i.addressMode === AM_REGISTER,
    wide = (i.prefixes & P_W) !== 0 && w.setting.long,
    bytes = wide ? 8 : 4,
    first = firstOf(i),
    size = bytesOf(i);
  /** The register's lower 16 bytes from their halves; the upper ones as VEX.128 leaves them. */
  const pair = (to: number, low: () => void, high: () => void): true => {
    low();
    code.set(V0);
    setHalf(w, to, 1, high);
    setHalf(w, to, 0, () => code.get(V0));
    finishUpper(w, i, to);
    return true;
  };
  switch (number) {
    case Simd.LOAD:
    case Simd.LOAD_ALIGNED:
      if (register) return copy(w, i);
      open(w, i, size, false, number === Simd.LOAD_ALIGNED);
      return result(w, i, i.regNumber, (half) => code.get(P).vectorAccess(Vector.load, half * 16));
    case Simd.STORE:
    case Simd.STORE_ALIGNED:
      if (register) return result(w, i, i.rmNumber, (half) => load(w, i.regNumber, half));
      open(w, i, size, true, number === Simd.STORE_ALIGNED);
      for (let half = 0; half * 16 < size; half++) {
        code.get(P);
        load(w, i.regNumber, half);
        code.vectorAccess(Vector.store, half * 16);
      }
      return true;
    case Simd.SS_LOAD:
    case Simd.SD_LOAD: {
      if (register) return false;
      const single = number === Simd.SS_LOAD;
      open(w, i, single ? 4 : 8, false);
      return result(w, i, i.regNumber, (half) =>
        half === 0 ? code.get(P).vectorAccess(single ? Vector.load32_zero : Vector.load64_zero, 0) : zeros(w),
      );
    }
    case Simd.SS_STORE:
    case Simd.SD_STORE: {
      if (register) return false;
      const single = number === Simd.SS_STORE;
      open(w, i, single ? 4 : 8, true);
      code
        .get(P)
        .i32(0)
        .access(single ? Op.i32_load : Op.i64_load, w.setting.state + at(i.regNumber));
      code.access(single ? Op.i32_store : Op.i64_store, 0);
      return true;
    }
    case Simd.SD_MERGE:
      return pair(
        i.regNumber,
        () => low(w, i.rmNumber),
        () => low(w, first, 1),
      );
    case Simd.LOW_LOAD:
    case Simd.HIGH_LOAD: {
      if (register) return false;
      open(w, i, 8, false);
      const memory = (): void => w.loadOpen(64);
      return number === Simd.LOW_LOAD
        ? pair(i.regNumber, memory, () => low(w, first, 1))
        : pair(i.regNumber, () => low(w, first), memory);
    }
    case Simd.HIGH_TO_LOW:
      return pair(
        i.regNumber,
        () => low(w, i.rmNumber, 1),
        () => low(w, first, 1),
      );
    case Simd.LOW_TO_HIGH:
      return pair(
        i.regNumber,
        () => low(w, first),
        () => low(w, i.rmNumber),
      );
    case Simd.LOW_STORE:
    case Simd.HIGH_STORE:
      if (register) return false;
      open(w, i, 8, true);
      w.storeOpen(64, () => low(w, i.regNumber, number === Simd.HIGH_STORE ? 1 : 0));
      return true;
    case Simd.GPR_TO_VECTOR:
      if (!register) open(w, i, bytes, false);
      return pair(
        i.regNumber,
        () => {
          if (!register) w.loadOpen(wide ? 64 : 32);
          else w.read(i.rmNumber * 8, wide ? 64 : 32);
          if (!wide) code.op(Op.i64_extend_i32_u);
        },
        () => code.i64(0),
      );
    case Simd.VECTOR_TO_GPR:
      if (register) {
        low(w, i.regNumber);
        if (!wide) code.i64(-1, 0).op(Op.i64_and);
        w.setWhole(i.rmNumber);
        return true;
      }
      open(w, i, bytes, true);
      code.get(P);
      low(w, i.regNumber);
      code.access(wide ? Op.i64_store : Op.i64_store32, 0);
      return true;
    case Simd.QUAD_LOAD:
      if (!register) open(w, i, 8, false);
      return pair(
        i.regNumber,
        () => operand(w, i),
        () => code.i64(0),
      );
    case Simd.QUAD_STORE:
      if (register)
        return pair(
          i.rmNumber,
          () => low(w, i.regNumber),
          () => code.i64(0),
        );
      open(w, i, 8, true);
      w.storeOpen(64, () => low(w, i.regNumber));
      return true;
    case Simd.DUPLICATE_LOW_DOUBLE:
      return duplicate(w, i);
    case Simd.MASK_SINGLES:
      return signs(w, i, Vector.i32x4_bitmask, 4);
    case Simd.MASK_DOUBLES:
      return signs(w, i, Vector.i64x2_bitmask, 2);
    case Simd.MASK_BYTES:
      return signs(w, i, Vector.i8x16_bitmask, 16);
    case Simd.ZERO_UPPER:
      return zeroRegisters(w, i);
    default:
      return false;
  }
}

/** Between registers. */
function copy(w: Writer, i: Instruction): true {
  const { doubles, vectors } = w.held,
    { regNumber, rmNumber } = i;
  if (!w.scalars || variantOf(i) === Variant.VEX256 || vectors.find(rmNumber, 0) !== undefined)
    return result(w, i, regNumber, (half) => load(w, rmNumber, half));
  // by halves, as they have been stored: a load of both would wait until they are in the host's cache
  low(w, rmNumber);
  const local = doubles.take();
  w.code.set(local);
  setHalf(w, regNumber, 1, () => low(w, rmNumber, 1));
  setHalf(w, regNumber, 0, () => w.code.get(local));
  finishUpper(w, i, regNumber);
  if (w.isCertain()) doubles.hold(local, regNumber, 0);
  return true;
}

function signs(w: Writer, i: Instruction, mask: Vector, elements: number): true {
  const { code } = w;
  load(w, i.rmNumber);
  code.vector(mask);
  if (variantOf(i) === Variant.VEX256) {
    load(w, i.rmNumber, 1);
    code.vector(mask).i32(elements).op(Op.i32_shl).op(Op.i32_or);
  }
  w.write(i.regNumber * 8, 32);
  return true;
}

/** VZEROUPPER, VZEROALL. */
function zeroRegisters(w: Writer, i: Instruction): true {
  const { code, setting } = w;
  for (let register = 0; register < (setting.long ? 16 : 8); register++) {
    for (let half = variantOf(i) === Variant.VEX256 ? 0 : 1; half < 2; half++) {
      code.i32(0);
      zeros(w);
      code.vectorAccess(Vector.store, setting.state + at(register, half));
    }
  }
  w.held.forget();
  return true;
}

// ---------------------------------------------------------------------------------------------- shifts
/** In the order of the unit's numbers: operation, bits of an element, whether signs come in. */
const SHIFTS: readonly (readonly [op: Vector, bits: number, signed: boolean])[] = [
  [Vector.i16x8_shr_u, 16, false],
  [Vector.i32x4_shr_u, 32, false],
  [Vector.i64x2_shr_u, 64, false],
  [Vector.i16x8_shr_s, 16, true],
  [Vector.i32x4_shr_s, 32, true],
  [Vector.i16x8_shl, 16, false],
  [Vector.i32x4_shl, 32, false],
  [Vector.i64x2_shl, 64, false],
];
/** By ModRM.reg of the forms with an immediate: number of the shift of words; those of dwords and qwords follow. */
const FIRST_BY_REG: Readonly<Record<number, number>> = { 2: 0, 4: 3, 6: 5 };
const SHIFT_BYTES_RIGHT = 3;

function shiftBy(w: Writer, i: Instruction, number: number): boolean {
  if (number >= Simd.PSRLW && number <= Simd.PSLLQ) return shiftByOperand(w, i, SHIFTS[number - Simd.PSRLW]!);
  if (number < Simd.IMMEDIATE_71 || number > Simd.IMMEDIATE_73) return false;
  const { code } = w,
    reg = (i.modrm >>> 3) & 7,
    count = i.immediate & 0xff,
    to = variantOf(i) === Variant.SSE ? i.rmNumber : i.vvvv,
    first = FIRST_BY_REG[reg];
  if (first === undefined) {
    const n = Math.min(count, 16),
      right = reg === SHIFT_BYTES_RIGHT;
    return result(w, i, to, (half) => {
      if (!right) zeros(w);
      load(w, i.rmNumber, half);
      if (right) zeros(w);
      const bytes = Array.from({ length: 16 }, (_, byte) => byte + (right ? n : 16 - n));
      code.bytes16(Vector.shuffle, bytes);
    });
  }
  const [op, bits, signed] = SHIFTS[first + number - Simd.IMMEDIATE_71]!;
  return result(w, i, to, (half) => {
    if (count >= bits && !signed) zeros(w);
    else {
      load(w, i.rmNumber, half);
      code.i32(Math.min(count, bits - 1)).vector(op);
    }
  });
}

/** By the low 64 bits of the second source, which has 16 bytes. */
function shiftByOperand(w: Writer, i: Instruction, [op, bits, signed]: (typeof SHIFTS)[number]): true {
  const { code } = w,
    first = firstOf(i);
  if (i.addressMode !== AM_REGISTER) open(w, i, 16, false, variantOf(i) === Variant.SSE);
  operand(w, i);
  code.set(V0);
  const inRange = (): void => void code.get(V0).i64(bits).op(Op.i64_lt_u);
  if (signed) {
    code.get(V0).i64(bits - 1);
    inRange();
    code.op(Op.select).set(V0);
  }
  return result(w, i, i.regNumber, (half) => {
    load(w, first, half);
    code.get(V0).op(Op.i32_wrap_i64).vector(op);
    if (signed) return;
    zeros(w);
    inRange();
    code.op(Op.select);
  });
}

// ---------------------------------------------------------------------------------------------- numbers
function float(w: Writer, i: Instruction, number: number): boolean {
  const wide = (i.prefixes & P_W) !== 0 && w.setting.long;
  switch (number) {
    case Simd.ADDSD:
      return scalar(w, i, Op.f64_add);
    case Simd.MULSD:
      return scalar(w, i, Op.f64_mul);
    case Simd.SUBSD:
      return scalar(w, i, Op.f64_sub);
    case Simd.DIVSD:
      return scalar(w, i, Op.f64_div);
    case Simd.SQRTSD:
      return squareRoot(w, i);
    case Simd.UCOMISD:
    case Simd.COMISD:
      return compare(w, i);
    case Simd.UCOMISS:
    case Simd.COMISS:
      return compareSingles(w, i);
    case Simd.SI2SD:
      return fromInteger(w, i, wide);
    case Simd.TSD2SI:
      return toInteger(w, i, wide);
    default:
      return arithmetic(w, i, number) || convert(w, i, number);
  }
}
