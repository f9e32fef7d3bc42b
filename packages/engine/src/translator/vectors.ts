/**
 * SSE instructions in line, in their legacy form: integers and moves here, scalar doubles in doubles.ts. Whatever else there is, the unit does
 * (units.ts).
 */
import { AM_REGISTER, P_W } from '../code-layout.js';
import { compare, fromInteger, scalar, squareRoot, toInteger } from './doubles.js';
import { canAddress } from './instructions.js';
import type { Instruction, Row } from './instructions.js';
import { P } from './locals.js';
import { Op, Vector } from './opcodes.js';
import { Simd, Variant } from './unit-numbers.js';
import { at, load, low, open, operand, result, setHalf } from './vector-operands.js';
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
      setHalf(w, i.regNumber, number === Simd.HIGH_LOAD ? 1 : 0, () => w.loadOpen(64));
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
      w.storeOpen(64, () => low(w, i.regNumber, number === Simd.HIGH_STORE ? 1 : 0));
      return true;
    case Simd.GPR_TO_VECTOR:
      if (!register) open(w, i, bytes, false);
      code.i32(0);
      if (!register) w.loadOpen(wide ? 64 : 32);
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
      w.storeOpen(64, () => low(w, i.regNumber));
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

function shuffle(w: Writer, bytes: readonly number[]): void {
  w.code.vector(Vector.shuffle);
  for (const byte of bytes) w.code.byte(byte);
}
