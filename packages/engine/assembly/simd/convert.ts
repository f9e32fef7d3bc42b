import { VECTOR_SCRATCH } from "../../src/layout";
import { f16ToF32, f32ToF16, f32ToF64, f32ToI32, f32ToI64, f64ToF32, f64ToI32, f64ToI64, i32ToF32, i64ToF32, i64ToF64 } from "../fp/convert";
import { Fp } from "../fp/environment";
import { commit, operandRead, operandWrite } from "../mmu";
import { isRegisterForm, recImm8, recReg } from "../record";
import { FAULT, OK } from "../status";
import { denormals32, safe32 } from "./arithmetic";
import { writeDouble, writeSingle } from "./float";
import { STATE_FAST, beginFloat, endFloat, floatState, resetFloat } from "./mxcsr";
import { VARIANT_SSE, VARIANT_VEX256, Convert } from "./ops";
import {
  firstSource, generalReg, generalSource, isWide, misaligned, mmxSource, partialSource, regVector,
  rmVector, touchMmx, writeGeneral, writeMmx, zeroUpper,
} from "./operands";
/** Conversions between integers, singles, doubles and halves. */

// ------------------------------------------------------------------------------------------------ scalar
/** CVTSI2SS, CVTSI2SD. A 32-bit integer is exact as a double. */
function fromGeneral(pc: usize, op: i32, variant: u32): i32 {
  const wide = isWide(pc);
  const s = generalSource(pc, wide ? 8 : 4);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  const value: i64 = wide ? load<i64>(s) : load<i32>(s);
  resetFloat();
  if (op == Convert.SI2SD) {
    let r: u64;
    if (<u64>(value + (1 << 53)) <= 1 << 54 || floatState() == STATE_FAST) r = reinterpret<u64>(<f64>value);
    else {
      beginFloat();
      r = i64ToF64(value);
      if (!endFloat()) return FAULT;
    }
    writeDouble(d, f, variant, r);
  } else {
    let r: u32;
    if (<u64>(value + (1 << 24)) <= 1 << 25 || floatState() == STATE_FAST) r = reinterpret<u32>(<f32>value);
    else {
      beginFloat();
      r = i64ToF32(value);
      if (!endFloat()) return FAULT;
    }
    writeSingle(d, f, variant, r);
  }
  return OK;
}
/**
 * CVT(T)Sx2SI. Fast when truncating an operand well inside the range, with PE masked and set already or the operand integral
 * (not a denormal single or double: |x| > 2^-126 or x = 0).
 */
function toGeneral(pc: usize, op: i32): i32 {
  const double = op == Convert.TSD2SI || op == Convert.SD2SI, truncate = op <= Convert.TSD2SI;
  const s = partialSource(pc, double ? 8 : 4);
  if (!s) return FAULT;
  const wide = isWide(pc);
  const x: f64 = double ? load<f64>(s) : <f64>load<f32>(s);
  const limit: f64 = wide ? 9.2e18 : 2147483647.0;
  if (abs<f64>(x) < limit && (abs<f64>(x) > 1.2e-38 || x == 0)) {
    const n = <i64>x;
    if (<f64>n == x || (truncate && (floatState() & 0x1020) == 0x1020)) {
      writeGeneral(generalReg(pc), wide ? n : <u32>n);
      return OK;
    }
  }
  resetFloat();
  beginFloat();
  let r: u64;
  if (double) r = wide ? f64ToI64(load<u64>(s), truncate) : <u32>f64ToI32(load<u64>(s), truncate);
  else r = wide ? f32ToI64(load<u32>(s), truncate) : <u32>f32ToI32(load<u32>(s), truncate);
  if (!endFloat()) return FAULT;
  writeGeneral(generalReg(pc), r);
  return OK;
}
/** Exact whenever the single is normal or zero. */
export function widenSingle(a: u32): u64 {
  if ((a & 0x7f800000) - 0x00800000 < 0x7f000000 || (a << 1) == 0) return reinterpret<u64>(<f64>reinterpret<f32>(a));
  beginFloat();
  return f32ToF64(a);
}
/** The result is normal and not the least normal, so nothing but PE can happen. A denormal double rounds to zero and is left out. */
function narrowDouble(a: u64): u32 {
  const r = reinterpret<u32>(<f32>reinterpret<f64>(a));
  if ((a << 1) == 0) return r;
  if (safe32(r) && (floatState() == STATE_FAST || <f64>reinterpret<f32>(r) == reinterpret<f64>(a))) return r;
  beginFloat();
  return f64ToF32(a);
}
function scalarBetween(pc: usize, op: i32, variant: u32): i32 {
  const s = partialSource(pc, op == Convert.SS2SD ? 4 : 8);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  resetFloat();
  if (op == Convert.SS2SD) {
    const r = widenSingle(load<u32>(s));
    if (!endFloat()) return FAULT;
    writeDouble(d, f, variant, r);
  } else {
    const r = narrowDouble(load<u64>(s));
    if (!endFloat()) return FAULT;
    writeSingle(d, f, variant, r);
  }
  return OK;
}

// ------------------------------------------------------------------------------------------------ packed
// @ts-ignore: decorator
@inline function singleToInteger(a: u32, truncate: bool): u32 {
  const x = reinterpret<f32>(a);
  if (abs<f32>(x) < 2147483648.0 && <f32><i32>x == x && ((a & 0x7f800000) != 0 || (a << 1) == 0)) return <i32>x;
  beginFloat();
  return f32ToI32(a, truncate);
}
// @ts-ignore: decorator
@inline function doubleToInteger(a: u64, truncate: bool): u32 {
  const x = reinterpret<f64>(a);
  if (abs<f64>(x) < 2147483648.0 && <f64><i32>x == x) return <i32>x;
  beginFloat();
  return f64ToI32(a, truncate);
}
// @ts-ignore: decorator
@inline function integerToSingle(a: i32): u32 {
  const r = <f32>a;
  if (floatState() == STATE_FAST || <f64>r == <f64>a) return reinterpret<u32>(r);
  beginFloat();
  return i32ToF32(a);
}
/** Element i of the source converted into VECTOR_SCRATCH; the source element and result sizes are those of the instruction. */
function convertElement(op: i32, s: usize, i: usize): void {
  switch (op) {
    case Convert.PS2PD: store<u64>(VECTOR_SCRATCH + (i << 3), widenSingle(load<u32>(s + (i << 2)))); break;
    case Convert.PD2PS: store<u32>(VECTOR_SCRATCH + (i << 2), narrowDouble(load<u64>(s + (i << 3)))); break;
    case Convert.DQ2PS: case Convert.PI2PS: store<u32>(VECTOR_SCRATCH + (i << 2), integerToSingle(load<i32>(s + (i << 2)))); break;
    case Convert.PS2DQ: case Convert.PS2PI: store<u32>(VECTOR_SCRATCH + (i << 2), singleToInteger(load<u32>(s + (i << 2)), false)); break;
    case Convert.TPS2DQ: case Convert.TPS2PI: store<u32>(VECTOR_SCRATCH + (i << 2), singleToInteger(load<u32>(s + (i << 2)), true)); break;
    case Convert.DQ2PD: case Convert.PI2PD: store<f64>(VECTOR_SCRATCH + (i << 3), <f64>load<i32>(s + (i << 2))); break;
    case Convert.PD2DQ: case Convert.PD2PI: store<u32>(VECTOR_SCRATCH + (i << 2), doubleToInteger(load<u64>(s + (i << 3)), false)); break;
    case Convert.TPD2DQ: case Convert.TPD2PI: store<u32>(VECTOR_SCRATCH + (i << 2), doubleToInteger(load<u64>(s + (i << 3)), true)); break;
    default: { // PH2PS
      beginFloat();
      store<u32>(VECTOR_SCRATCH + (i << 2), f16ToF32(load<u16>(s + (i << 1))));
    }
  }
}
function packed(pc: usize, op: i32, variant: u32): i32 {
  const wide = variant == VARIANT_VEX256;
  const sameSize = op == Convert.DQ2PS || op == Convert.PS2DQ || op == Convert.TPS2DQ;
  const widens = op == Convert.PS2PD || op == Convert.DQ2PD;
  const halves = op == Convert.PH2PS;
  const elements: u32 = (sameSize || halves ? 4 : 2) << u32(wide);
  const bytes: u32 = halves ? elements << 1 : sameSize || widens ? elements << 2 : elements << 3;
  let s: usize;
  if (isRegisterForm(pc)) s = rmVector(pc);
  else {
    if (variant == VARIANT_SSE && bytes == 16 && misaligned(pc, 16)) return FAULT;
    s = operandRead(pc, bytes);
    if (!s) return FAULT;
  }
  const d = regVector(pc);
  if (sameSize) { // four at a time where nothing but PE can happen
    const low = v128.load(s), high = wide ? v128.load(s, 16) : i64x2(0, 0);
    if (op == Convert.DQ2PS) {
      if (floatState() == STATE_FAST) return writeLanes(d, variant, f32x4.convert_i32x4_s(low), f32x4.convert_i32x4_s(high));
    } else if (op == Convert.TPS2DQ && (floatState() & 0x1020) == 0x1020 && truncatable(low) && truncatable(high)) {
      return writeLanes(d, variant, i32x4.trunc_sat_f32x4_s(low), i32x4.trunc_sat_f32x4_s(high));
    }
  }
  v128.store(VECTOR_SCRATCH, i64x2(0, 0)); // narrowing conversions clear what they do not fill
  v128.store(VECTOR_SCRATCH, i64x2(0, 0), 16);
  resetFloat();
  for (let i: u32 = 0; i < elements; i++) convertElement(op, s, i);
  if (!endFloat()) return FAULT;
  return writeLanes(d, variant, v128.load(VECTOR_SCRATCH), v128.load(VECTOR_SCRATCH, 16));
}
// @ts-ignore: decorator
@inline function writeLanes(d: usize, variant: u32, low: v128, high: v128): i32 {
  v128.store(d, low);
  if (variant == VARIANT_VEX256) v128.store(d, high, 16);
  else if (variant != VARIANT_SSE) zeroUpper(d);
  return OK;
}
/** All below 2^31 in magnitude and no denormal. */
function truncatable(v: v128): bool {
  return i32x4.all_true(v128.andnot(f32x4.lt(f32x4.abs(v), f32x4.splat(2147483648.0)), denormals32(v)));
}
/** VCVTPS2PH: to memory or a register of half the size. imm[2] takes MXCSR.RC, else imm[1:0] rounds. Never flushes to zero. */
function toHalves(pc: usize, variant: u32): i32 {
  const elements: u32 = variant == VARIANT_VEX256 ? 8 : 4;
  const s = regVector(pc), imm = recImm8(pc);
  v128.store(VECTOR_SCRATCH, i64x2(0, 0));
  resetFloat();
  beginFloat();
  for (let i: u32 = 0; i < elements; i++) store<u16>(VECTOR_SCRATCH + (i << 1), <u16>f32ToF16(load<u32>(s + (i << 2)), imm & 4 ? Fp.rounding : imm & 3));
  if (isRegisterForm(pc)) {
    if (!endFloat()) return FAULT;
    const d = rmVector(pc);
    v128.store(d, v128.load(VECTOR_SCRATCH));
    zeroUpper(d);
    return OK;
  }
  const t = operandWrite(pc, elements << 1); // a page fault comes before a floating-point one
  if (!t || !endFloat()) return FAULT;
  store<u64>(t, load<u64>(VECTOR_SCRATCH));
  if (elements == 8) store<u64>(t, load<u64>(VECTOR_SCRATCH, 8), 8);
  return commit(t) ? OK : FAULT;
}

// ------------------------------------------------------------------------------------------------ MMX
/** CVTPI2PS, CVTPI2PD: two dwords of an MMX register or memory. */
function fromMmx(pc: usize, op: i32): i32 {
  const s = mmxSource(pc, 8);
  if (!s) return FAULT;
  resetFloat();
  convertElement(op, s, 0);
  convertElement(op, s, 1);
  if (!endFloat()) return FAULT;
  if (isRegisterForm(pc) || op == Convert.PI2PS) touchMmx();
  const d = regVector(pc);
  if (op == Convert.PI2PS) store<u64>(d, load<u64>(VECTOR_SCRATCH));
  else v128.store(d, v128.load(VECTOR_SCRATCH));
  return OK;
}
/** CVT(T)PS2PI, CVT(T)PD2PI: to an MMX register. The doubles are an aligned 16-byte operand. */
function toMmx(pc: usize, op: i32): i32 {
  const double = op == Convert.TPD2PI || op == Convert.PD2PI;
  if (double && !isRegisterForm(pc) && misaligned(pc, 16)) return FAULT;
  const s = partialSource(pc, double ? 16 : 8);
  if (!s) return FAULT;
  resetFloat();
  convertElement(op, s, 0);
  convertElement(op, s, 1);
  if (!endFloat()) return FAULT;
  writeMmx(recReg(pc), load<u64>(VECTOR_SCRATCH));
  return OK;
}

export function execConvert(pc: usize, op: i32, variant: u32): i32 {
  switch (op) {
    case Convert.SI2SS: case Convert.SI2SD: return fromGeneral(pc, op, variant);
    case Convert.TSS2SI: case Convert.TSD2SI: case Convert.SS2SI: case Convert.SD2SI: return toGeneral(pc, op);
    case Convert.SS2SD: case Convert.SD2SS: return scalarBetween(pc, op, variant);
    case Convert.PI2PS: case Convert.PI2PD: return fromMmx(pc, op);
    case Convert.TPS2PI: case Convert.TPD2PI: case Convert.PS2PI: case Convert.PD2PI: return toMmx(pc, op);
    case Convert.PS2PH: return toHalves(pc, variant);
    default: return packed(pc, op, variant);
  }
}
