import { VECTOR_SCRATCH } from "../../src/layout";
import { operandRead } from "../mmu";
import { P_W, isRegisterForm, recImm8, recModrm, recPrefixes, recReg, recRm, recVvvv } from "../record";
import { FAULT, OK } from "../status";
import { VARIANT_MMX, VARIANT_SSE, VARIANT_VEX128, VARIANT_VEX256, Shift } from "./ops";
import { bytesOf, firstSource, misaligned, mmx, mmxSource, regVector, rmVector, source, vectorRegister, writeLow, writeMmx, zeroUpper } from "./operands";
/** Shifts: by one count for all elements, by an immediate, by bytes, and element by element. */

/** One lane; counts above the width give zeros, or sign bits. */
function shiftLane(op: i32, a: v128, count: u32): v128 {
  switch (op) {
    case Shift.PSRLW: return count > 15 ? i64x2(0, 0) : i16x8.shr_u(a, count);
    case Shift.PSRLD: return count > 31 ? i64x2(0, 0) : i32x4.shr_u(a, count);
    case Shift.PSRLQ: return count > 63 ? i64x2(0, 0) : i64x2.shr_u(a, count);
    case Shift.PSRAW: return i16x8.shr_s(a, min<u32>(count, 15));
    case Shift.PSRAD: return i32x4.shr_s(a, min<u32>(count, 31));
    case Shift.PSLLW: return count > 15 ? i64x2(0, 0) : i16x8.shl(a, count);
    case Shift.PSLLD: return count > 31 ? i64x2(0, 0) : i32x4.shl(a, count);
    default: return count > 63 ? i64x2(0, 0) : i64x2.shl(a, count); // PSLLQ
  }
}
// @ts-ignore: decorator
@inline function iota(): v128 { return i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
/** Whole-lane byte shifts; `count` at most 16. */
export function bytesRight(a: v128, count: u32): v128 { return i8x16.swizzle(a, i8x16.add(iota(), i8x16.splat(<i8>count))); }
export function bytesLeft(a: v128, count: u32): v128 { return i8x16.swizzle(a, i8x16.sub(iota(), i8x16.splat(<i8>count))); }

/** The operation of groups 12-14: 16 and 17 stand for PSRLDQ and PSLLDQ. */
function groupOperation(op: i32, reg: u32): i32 {
  const size = op - Shift.IMMEDIATE_71; // 0 words, 1 dwords, 2 qwords
  if (reg == 2) return Shift.PSRLW + size;
  if (reg == 4) return Shift.PSRAW + size;
  if (reg == 6) return Shift.PSLLW + size;
  return reg == 3 ? 16 : 17;
}
function byImmediate(pc: usize, op: i32, variant: u32): i32 {
  const operation = groupOperation(op, (recModrm(pc) >>> 3) & 7);
  const count = recImm8(pc);
  if (variant == VARIANT_MMX) {
    const n = recRm(pc);
    writeMmx(n, i64x2.extract_lane(shiftLane(operation, v128.load64_zero(mmx(n)), count), 0));
    return OK;
  }
  const s = rmVector(pc);
  const d = variant >= VARIANT_VEX128 ? vectorRegister(recVvvv(pc)) : s;
  if (operation >= Shift.PSRLW) {
    if (variant == VARIANT_VEX256) v128.store(d, shiftLane(operation, v128.load(s, 16), count), 16);
    v128.store(d, shiftLane(operation, v128.load(s), count));
  } else {
    const n = min<u32>(count, 16);
    if (operation == 16) {
      if (variant == VARIANT_VEX256) v128.store(d, bytesRight(v128.load(s, 16), n), 16);
      v128.store(d, bytesRight(v128.load(s), n));
    } else {
      if (variant == VARIANT_VEX256) v128.store(d, bytesLeft(v128.load(s, 16), n), 16);
      v128.store(d, bytesLeft(v128.load(s), n));
    }
  }
  if (variant == VARIANT_VEX128) zeroUpper(d);
  return OK;
}

/** VPSRLVD/Q, VPSRAVD, VPSLLVD/Q. */
function byElements(pc: usize, op: i32, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  const bytes = <usize>bytesOf(variant);
  if (recPrefixes(pc) & P_W) {
    for (let i: usize = 0; i < bytes; i += 8) {
      const a = load<u64>(f + i), c = load<u64>(s + i);
      store<u64>(VECTOR_SCRATCH + i, c > 63 ? 0 : op == Shift.VPSRLV ? a >> c : a << c);
    }
  } else {
    for (let i: usize = 0; i < bytes; i += 4) {
      const a = load<u32>(f + i), c = load<u32>(s + i);
      store<u32>(VECTOR_SCRATCH + i, op == Shift.VPSRAVD ? <i32>a >> min<u32>(c, 31) : c > 31 ? 0 : op == Shift.VPSRLV ? a >>> c : a << c);
    }
  }
  if (variant == VARIANT_VEX256) v128.store(d, v128.load(VECTOR_SCRATCH, 16), 16);
  else zeroUpper(d);
  v128.store(d, v128.load(VECTOR_SCRATCH));
  return OK;
}

export function execShift(pc: usize, op: i32, variant: u32): i32 {
  if (op >= Shift.VPSRLV) return byElements(pc, op, variant);
  if (op >= Shift.IMMEDIATE_71) return byImmediate(pc, op, variant);
  if (variant == VARIANT_MMX) {
    const s = mmxSource(pc, 8);
    if (!s) return FAULT;
    const n = recReg(pc), wide = load<u64>(s);
    writeMmx(n, i64x2.extract_lane(shiftLane(op, v128.load64_zero(mmx(n)), wide > 255 ? 255 : <u32>wide), 0));
    return OK;
  }
  let s: usize; // the count has 128 bits for 256-bit operands too; its low 64 are used
  if (isRegisterForm(pc)) s = rmVector(pc);
  else {
    if (variant == VARIANT_SSE && misaligned(pc, 16)) return FAULT;
    s = operandRead(pc, 16);
    if (!s) return FAULT;
  }
  const wide = load<u64>(s), count: u32 = wide > 255 ? 255 : <u32>wide;
  const f = firstSource(pc, variant), d = regVector(pc);
  if (variant == VARIANT_VEX256) {
    const high = shiftLane(op, v128.load(f, 16), count);
    v128.store(d, shiftLane(op, v128.load(f), count));
    v128.store(d, high, 16);
  } else writeLow(d, variant, shiftLane(op, v128.load(f), count));
  return OK;
}
