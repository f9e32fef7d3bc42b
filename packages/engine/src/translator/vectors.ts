/**
 * SSE instructions in line, in their legacy form; XMM registers stay in the state block. Scalar doubles use the host's arithmetic under the
 * conditions of assembly/simd/arithmetic.ts; whatever else there is, the unit does (units.ts).
 */
import { AM_REGISTER, P_W, MADE_EXACT } from '../code-layout.js';
import { MXCSR, YMM } from '../layout.js';
import { canAddress } from './instructions.js';
import type { Instruction, Row } from './instructions.js';
import { D0, D1, LINEAR, P, V0, V1, V2 } from './locals.js';
import { Simd, Variant } from './unit-numbers.js';
import { callUnit } from './units.js';
import { Op, Vector } from './opcodes.js';
import type { Writer } from './writer.js';

/** Two operands and one result, by the name of the handler (scripts/dispatch/vectors.mjs). */
const PACKED: Record<string, Vector> = {
  PADDB: Vector.i8x16_add,
  PADDW: Vector.i16x8_add,
  PADDD: Vector.i32x4_add,
  PADDQ: Vector.i64x2_add,
  PSUBB: Vector.i8x16_sub,
  PSUBW: Vector.i16x8_sub,
  PSUBD: Vector.i32x4_sub,
  PSUBQ: Vector.i64x2_sub,
  PADDUSB: Vector.i8x16_add_sat_u,
  PSUBUSB: Vector.i8x16_sub_sat_u,
  PMINUB: Vector.i8x16_min_u,
  PMAXUB: Vector.i8x16_max_u,
  PAVGB: Vector.i8x16_avgr_u,
  PAND: Vector.and,
  POR: Vector.or,
  PXOR: Vector.xor,
  PCMPEQB: Vector.i8x16_eq,
  PCMPEQW: Vector.i16x8_eq,
  PCMPEQD: Vector.i32x4_eq,
  PCMPGTB: Vector.i8x16_gt_s,
  PCMPGTW: Vector.i16x8_gt_s,
  PCMPGTD: Vector.i32x4_gt_s,
  PMULLW: Vector.i16x8_mul,
  PMADDWD: Vector.i32x4_dot_i16x8_s,
};
/** Bytes of the result, from 0 to 15 of the first operand and 16 to 31 of the second. */
const SHUFFLES: Record<string, readonly number[]> = {
  PUNPCKLBW: interleave(1, 0),
  PUNPCKLWD: interleave(2, 0),
  PUNPCKLDQ: interleave(4, 0),
  PUNPCKLQDQ: interleave(8, 0),
  PUNPCKHBW: interleave(1, 8),
  PUNPCKHWD: interleave(2, 8),
  PUNPCKHDQ: interleave(4, 8),
  PUNPCKHQDQ: interleave(8, 8),
};
/** Elements of `bytes` bytes of both operands in turn, from byte `from` on. */
function interleave(bytes: number, from: number): number[] {
  return Array.from({ length: 16 }, (_, at) => {
    const element = Math.floor(at / bytes);
    return (element % 2) * 16 + from + Math.floor(element / 2) * bytes + (at % bytes);
  });
}
/** By handler: operation and bits of an element. */
const SHIFTS: Record<string, readonly [Vector, number]> = {
  PSRLW: [Vector.i16x8_shr_u, 16],
  PSRAW: [Vector.i16x8_shr_s, 16],
  PSLLW: [Vector.i16x8_shl, 16],
  PSRLD: [Vector.i32x4_shr_u, 32],
  PSRAD: [Vector.i32x4_shr_s, 32],
  PSLLD: [Vector.i32x4_shl, 32],
  PSRLQ: [Vector.i64x2_shr_u, 64],
  PSLLQ: [Vector.i64x2_shl, 64],
};
const ARITHMETIC: Record<string, Op> = { ADD: Op.f64_add, SUB: Op.f64_sub, MUL: Op.f64_mul, DIV: Op.f64_div };

const REGISTER_BYTES = 32;

/** Translates a vector instruction; false: it is not one of those. */
export function translateVector(w: Writer, i: Instruction, row: Row): boolean {
  if (i.addressMode !== AM_REGISTER && !canAddress(i)) return false;
  const known =
    row.kind === 'scalar'
      ? scalar(w, i, row.operation)
      : row.kind === 'vector'
        ? vector(w, i, row.name, row.memory)
        : row.kind === 'unit' && row.unit === 'SIMD' && byNumber(w, i);
  if (known) w.vectors = true;
  return known;
}

function vector(w: Writer, i: Instruction, name: string, memory: boolean): boolean {
  const { code } = w;
  switch (name) {
    case 'LOAD':
    case 'LOAD_ALIGNED':
      open(w, i, 16, false, name === 'LOAD_ALIGNED');
      code
        .i32(0)
        .get(P)
        .vectorAccess(Vector.load, 0)
        .vectorAccess(Vector.store, w.setting.state + at(i.regNumber));
      return true;
    case 'STORE':
    case 'STORE_ALIGNED':
      open(w, i, 16, true, name === 'STORE_ALIGNED');
      code.get(P);
      load(w, i.regNumber);
      code.vectorAccess(Vector.store, 0);
      return true;
    case 'MOVE':
      return result(w, i.regNumber, () => load(w, i.rmNumber));
    case 'SS_LOAD':
    case 'SD_LOAD':
      open(w, i, name === 'SS_LOAD' ? 4 : 8, false);
      return result(w, i.regNumber, () => {
        code.get(P).vectorAccess(name === 'SS_LOAD' ? Vector.load32_zero : Vector.load64_zero, 0);
      });
    case 'SS_STORE':
    case 'SD_STORE':
      open(w, i, name === 'SS_STORE' ? 4 : 8, true);
      code
        .get(P)
        .i32(0)
        .access(name === 'SS_STORE' ? Op.i32_load : Op.i64_load, w.setting.state + at(i.regNumber));
      code.access(name === 'SS_STORE' ? Op.i32_store : Op.i64_store, 0);
      return true;
    case 'PSHUFD':
      return result(w, i.regNumber, () => {
        load(w, i.rmNumber);
        load(w, i.rmNumber);
        shuffle(
          w,
          Array.from({ length: 16 }, (_, n) => ((i.immediate >>> ((n >>> 2) * 2)) & 3) * 4 + (n & 3)),
        );
      });
    default:
  }
  const shift = SHIFTS[name];
  if (shift !== undefined) return shiftBy(w, i, shift);
  const operation = PACKED[name],
    bytes = SHUFFLES[name];
  if (operation === undefined && bytes === undefined && name !== 'PANDN' && name !== 'PMULUDQ') return false;
  if (memory) open(w, i, 16, false, true);
  const second = (): void => {
    if (memory) code.get(P).vectorAccess(Vector.load, 0);
    else load(w, i.rmNumber);
  };
  return result(w, i.regNumber, () => {
    if (name === 'PANDN') {
      second();
      load(w, i.regNumber);
      code.vector(Vector.andnot);
    } else if (name === 'PMULUDQ') {
      const low = (): void => void code.i64(-1, 0).vector(Vector.i64x2_splat).vector(Vector.and);
      load(w, i.regNumber);
      low();
      second();
      low();
      code.vector(Vector.i64x2_mul);
    } else {
      load(w, i.regNumber);
      second();
      if (bytes !== undefined) shuffle(w, bytes);
      else code.vector(operation!);
    }
  });
}

function shiftBy(w: Writer, i: Instruction, [operation, bits]: readonly [Vector, number]): true {
  const { code } = w,
    count = i.immediate & 0xff,
    arithmetic = operation === Vector.i16x8_shr_s || operation === Vector.i32x4_shr_s;
  return result(w, i.rmNumber, () => {
    if (count < bits || arithmetic) {
      load(w, i.rmNumber);
      code.i32(Math.min(count, bits - 1)).vector(operation);
    } else code.i64(0).vector(Vector.i64x2_splat);
  });
}

// ---------------------------------------------------------------------------------------------- operands
function at(register: number): number {
  return YMM + register * REGISTER_BYTES;
}
function load(w: Writer, register: number): void {
  w.code.i32(0).vectorAccess(Vector.load, w.setting.state + at(register));
}
/** Writes what `push` pushes to the low half of a register. */
function result(w: Writer, register: number, push: () => void): true {
  w.code.i32(0);
  push();
  w.code.vectorAccess(Vector.store, w.setting.state + at(register));
  return true;
}
function shuffle(w: Writer, bytes: readonly number[]): void {
  w.code.vector(Vector.shuffle);
  for (const byte of bytes) w.code.byte(byte);
}
/** Makes the memory operand accessible; one that must be aligned and is not is the interpreter's. */
function open(w: Writer, i: Instruction, bytes: number, write: boolean, aligned = false): void {
  const { code } = w;
  w.address(i);
  if (aligned) {
    code
      .tee(LINEAR)
      .i64(bytes - 1)
      .op(Op.i64_and)
      .i64(0)
      .op(Op.i64_ne);
    w.leaveIf();
    code.get(LINEAR);
  }
  w.check(bytes, write, P);
}
/** Pushes 64 bits of a vector register. */
function low(w: Writer, register: number, half = 0): void {
  w.code.i32(0).access(Op.i64_load, w.setting.state + at(register) + half * 8);
}
function setHalf(w: Writer, register: number, half: number, push: () => void): void {
  w.code.i32(0);
  push();
  w.code.access(Op.i64_store, w.setting.state + at(register) + half * 8);
}
/** Pushes 64 bits of the r/m operand, which is open. */
function operand(w: Writer, i: Instruction): void {
  if (i.addressMode === AM_REGISTER) low(w, i.rmNumber);
  else w.load(64, P);
}

// ---------------------------------------------------------------------------------------------- moves by number
function byNumber(w: Writer, i: Instruction): boolean {
  if (i.unit >>> 14 !== Variant.SSE) return false;
  const { code } = w,
    number = i.unit & 0xfff,
    register = i.addressMode === AM_REGISTER,
    wide = (i.prefixes & P_W) !== 0 && w.setting.long,
    bytes = wide ? 8 : 4;
  switch (number) {
    case Simd.SD_MERGE:
      setHalf(w, i.regNumber, 0, () => low(w, i.rmNumber));
      return true;
    case Simd.LOW_LOAD:
    case Simd.HIGH_LOAD:
      if (register) return false;
      open(w, i, 8, false);
      setHalf(w, i.regNumber, number === Simd.HIGH_LOAD ? 1 : 0, () => w.load(64, P));
      return true;
    case Simd.HIGH_TO_LOW:
      setHalf(w, i.regNumber, 0, () => low(w, i.rmNumber, 1));
      return true;
    case Simd.LOW_TO_HIGH:
      setHalf(w, i.regNumber, 1, () => low(w, i.rmNumber));
      return true;
    case Simd.LOW_STORE:
    case Simd.HIGH_STORE:
      if (register) return false;
      open(w, i, 8, true);
      w.store(64, P, () => low(w, i.regNumber, number === Simd.HIGH_STORE ? 1 : 0));
      return true;
    case Simd.GPR_TO_VECTOR:
      if (!register) open(w, i, bytes, false);
      code.i32(0);
      if (!register) w.load(wide ? 64 : 32, P);
      else w.read(i.rmNumber * 8, wide ? 64 : 32);
      if (!wide) code.op(Op.i64_extend_i32_u);
      code.access(Op.i64_store, w.setting.state + at(i.regNumber));
      setHalf(w, i.regNumber, 1, () => code.i64(0));
      return true;
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
      setHalf(w, i.regNumber, 0, () => operand(w, i));
      setHalf(w, i.regNumber, 1, () => code.i64(0));
      return true;
    case Simd.QUAD_STORE:
      if (register) {
        setHalf(w, i.rmNumber, 0, () => low(w, i.regNumber));
        setHalf(w, i.rmNumber, 1, () => code.i64(0));
        return true;
      }
      open(w, i, 8, true);
      w.store(64, P, () => low(w, i.regNumber));
      return true;
    case Simd.MASK_BYTES:
      load(w, i.rmNumber);
      code.vector(Vector.i8x16_bitmask);
      w.write(i.regNumber * 8, 32);
      return true;
    case Simd.SQRTSD:
      return squareRoot(w, i);
    case Simd.UCOMISD:
    case Simd.COMISD:
      return compare(w, i);
    case Simd.SI2SD:
      return !wide && fromInteger(w, i);
    case Simd.TSD2SI:
      return toInteger(w, i, wide);
    default:
      return false;
  }
}

// ---------------------------------------------------------------------------------------------- scalar doubles
/** MXCSR without its flags but PE, when rounding is to nearest, nothing is flushed, everything is masked, and PE is set. */
const STATE_MASK = 0xffe0;
const STATE_FAST = 0x1fa0;
const EXPONENT_HIGH = 0x7ff0_0000;

/** Pushes 1 if MXCSR lets results be taken from the host, inexact ones too. */
function fast(w: Writer): void {
  w.code
    .i32(0)
    .access(Op.i32_load, w.setting.state + MXCSR)
    .i32(STATE_MASK)
    .op(Op.i32_and)
    .i32(STATE_FAST)
    .op(Op.i32_eq);
}
/** Pushes 1 if the number in an i64 local is not a denormal. */
function usable(w: Writer, local: number): void {
  const { code } = w;
  code.get(local).i64(0, EXPONENT_HIGH).op(Op.i64_and).i64(0).op(Op.i64_ne);
  code.get(local).i64(1).op(Op.i64_shl).op(Op.i64_eqz).op(Op.i32_or);
}

function scalar(w: Writer, i: Instruction, operation: string): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.set(V1);
  low(w, i.regNumber);
  code.tee(V0).op(Op.f64_reinterpret_i64).get(V1).op(Op.f64_reinterpret_i64).op(ARITHMETIC[operation]!);
  code.op(Op.i64_reinterpret_f64).set(V2);
  fast(w);
  usable(w, V0);
  code.op(Op.i32_and);
  usable(w, V1);
  code.op(Op.i32_and);
  // exponent field from 2 to the greatest finite one
  code
    .get(V2)
    .i64(1)
    .op(Op.i64_shl)
    .i64(0, 0x0040_0000)
    .op(Op.i64_sub)
    .i64(0, 0xffa0_0000 | 0)
    .op(Op.i64_lt_u)
    .op(Op.i32_and);
  code.when();
  setHalf(w, i.regNumber, 0, () => code.get(V2));
  code.otherwise();
  callUnit(w, i);
  code.end();
  return true;
}

/** Of a positive normal number. */
function squareRoot(w: Writer, i: Instruction): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.set(V0);
  fast(w);
  code.get(V0).i64(0, 0x0010_0000).op(Op.i64_sub).i64(0, 0x7fe0_0000).op(Op.i64_lt_u).op(Op.i32_and).when();
  setHalf(w, i.regNumber, 0, () => code.get(V0).op(Op.f64_reinterpret_i64).op(Op.f64_sqrt).op(Op.i64_reinterpret_f64));
  code.otherwise();
  callUnit(w, i);
  code.end();
  return true;
}

/** UCOMISD and COMISD of two numbers that are neither NaN nor denormal. */
function compare(w: Writer, i: Instruction): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.tee(V1).op(Op.f64_reinterpret_i64).set(D1);
  low(w, i.regNumber);
  code.tee(V0).op(Op.f64_reinterpret_i64).set(D0);
  code.get(D0).get(D0).op(Op.f64_eq).get(D1).get(D1).op(Op.f64_eq).op(Op.i32_and);
  usable(w, V0);
  code.op(Op.i32_and);
  usable(w, V1);
  code.op(Op.i32_and).when();
  w.flags.setCompared(
    () => code.get(D0).get(D1).op(Op.f64_eq),
    () => code.get(D0).get(D1).op(Op.f64_lt),
  );
  code.otherwise();
  callUnit(w, i);
  code.end();
  w.flags.set(MADE_EXACT, 64); // both ways
  return true;
}

/** A 32-bit integer is exact as a double. */
function fromInteger(w: Writer, i: Instruction): boolean {
  const { code } = w,
    register = i.addressMode === AM_REGISTER;
  if (!register) open(w, i, 4, false);
  if (register) w.read(i.rmNumber * 8, 32);
  else w.load(32, P);
  code.op(Op.f64_convert_i32_s).op(Op.i64_reinterpret_f64).set(V0);
  setHalf(w, i.regNumber, 0, () => code.get(V0));
  return true;
}

/** Truncation, exact or with PE masked and set already. */
function toInteger(w: Writer, i: Instruction, wide: boolean): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.op(Op.f64_reinterpret_i64).set(D0);
  // not tiny, and in range (a NaN is in none)
  code
    .get(D0)
    .op(Op.f64_abs)
    .f64(wide ? 9.2e18 : 2147483647)
    .op(Op.f64_lt);
  code.get(D0).op(Op.f64_abs).f64(1.2e-38).op(Op.f64_gt).get(D0).f64(0).op(Op.f64_eq).op(Op.i32_or).op(Op.i32_and);
  fast(w);
  code.op(Op.i32_and).when();
  code.get(D0).op(Op.i64_trunc_f64_s);
  if (!wide) code.i64(-1, 0).op(Op.i64_and);
  w.setWhole(i.regNumber);
  code.otherwise();
  callUnit(w, i);
  code.end();
  return true;
}
