import { LF_AUX, LF_RESULT, VECTOR_SCRATCH } from "../../src/layout";
import { recImm8 } from "../record";
import { FAULT, OK } from "../status";
import {
  element32, element64, lane32, lane64, plain32, plain64, relation32, relation64, round32, round64, safe32, safe64, usable32, usable64,
} from "./arithmetic";
import { approximate } from "./approximate";
import { STATE_FAST, endFloat, floatState, resetFloat } from "./mxcsr";
import { VARIANT_SSE, VARIANT_VEX128, VARIANT_VEX256, Float } from "./ops";
import { firstSource, partialSource, regVector, source, zeroUpper } from "./operands";
import { maskDwords, maskQwords } from "./shuffle";
/** Floating-point arithmetic, comparison and rounding. */

/** Writes a scalar: the rest comes from the destination (legacy) or from the first source (VEX). */
// @ts-ignore: decorator
@inline export function writeDouble(d: usize, f: usize, variant: u32, value: u64): void {
  if (variant == VARIANT_SSE) store<u64>(d, value);
  else {
    v128.store(d, i64x2.replace_lane(v128.load(f), 0, value));
    zeroUpper(d);
  }
}
// @ts-ignore: decorator
@inline export function writeSingle(d: usize, f: usize, variant: u32, value: u32): void {
  if (variant == VARIANT_SSE) store<u32>(d, value);
  else {
    v128.store(d, i32x4.replace_lane(v128.load(f), 0, value));
    zeroUpper(d);
  }
}
// @ts-ignore: decorator
@inline function writeLanes(d: usize, variant: u32, low: v128, high: v128): i32 {
  v128.store(d, low);
  if (variant == VARIANT_VEX256) v128.store(d, high, 16);
  else if (variant == VARIANT_VEX128) zeroUpper(d);
  return OK;
}

/** The scalar operand at s with everything that can happen. */
function scalarDouble(pc: usize, op: i32, variant: u32, s: usize): i32 {
  const f = firstSource(pc, variant);
  resetFloat();
  const r = element64(op, load<u64>(f), load<u64>(s));
  if (!endFloat()) return FAULT;
  writeDouble(regVector(pc), f, variant, r);
  return OK;
}
function scalarSingle(pc: usize, op: i32, variant: u32, s: usize): i32 {
  const f = firstSource(pc, variant);
  resetFloat();
  const r = element32(op, load<u32>(f), load<u32>(s));
  if (!endFloat()) return FAULT;
  writeSingle(regVector(pc), f, variant, r);
  return OK;
}
/** The usual case of ADDSD, SUBSD, MULSD, DIVSD in place (the conditions are those of arithmetic.ts); `op` is a constant. */
// @ts-ignore: decorator
@inline function doubleInPlace(pc: usize, op: i32, variant: u32): i32 {
  const s = partialSource(pc, 8);
  if (!s) return FAULT;
  const f = firstSource(pc, variant);
  const a = load<u64>(f), b = load<u64>(s), x = reinterpret<f64>(a), y = reinterpret<f64>(b);
  const r = reinterpret<u64>(op == Float.ADD ? x + y : op == Float.SUB ? x - y : op == Float.MUL ? x * y : x / y);
  if (floatState() == STATE_FAST && usable64(a) && usable64(b) && safe64(r)) {
    writeDouble(regVector(pc), f, variant, r);
    return OK;
  }
  return scalarDouble(pc, op, variant, s);
}
/** ADDSD, SUBSD, MULSD, DIVSD, legacy. */
export function addDouble(pc: usize): i32 { return doubleInPlace(pc, Float.ADD, VARIANT_SSE); }
export function subDouble(pc: usize): i32 { return doubleInPlace(pc, Float.SUB, VARIANT_SSE); }
export function mulDouble(pc: usize): i32 { return doubleInPlace(pc, Float.MUL, VARIANT_SSE); }
export function divDouble(pc: usize): i32 { return doubleInPlace(pc, Float.DIV, VARIANT_SSE); }
// @ts-ignore: decorator
@inline function singleInPlace(pc: usize, op: i32, variant: u32): i32 {
  const s = partialSource(pc, 4);
  if (!s) return FAULT;
  const f = firstSource(pc, variant);
  const a = load<u32>(f), b = load<u32>(s), x = reinterpret<f32>(a), y = reinterpret<f32>(b);
  const r = reinterpret<u32>(op == Float.ADD ? x + y : op == Float.SUB ? x - y : op == Float.MUL ? x * y : x / y);
  if (floatState() == STATE_FAST && usable32(a) && usable32(b) && safe32(r)) {
    writeSingle(regVector(pc), f, variant, r);
    return OK;
  }
  return scalarSingle(pc, op, variant, s);
}
function packed(pc: usize, op: i32, variant: u32, double: bool): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant);
  resetFloat();
  let high: v128 = i64x2(0, 0);
  const low = double ? lane64(op, v128.load(f), v128.load(s)) : lane32(op, v128.load(f), v128.load(s));
  if (variant == VARIANT_VEX256) high = double ? lane64(op, v128.load(f, 16), v128.load(s, 16)) : lane32(op, v128.load(f, 16), v128.load(s, 16));
  if (!endFloat()) return FAULT;
  return writeLanes(regVector(pc), variant, low, high);
}

// ------------------------------------------------------------------------------------------------ comparison
/** For each predicate 0-15 the relations it accepts: bit 0 less, 1 equal, 2 greater, 3 unordered (SDM vol. 2A, table 3-1). */
const ACCEPTS: usize = memory.data<u8>([2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15]);
/** Predicates 0-15 that signal quiet NaNs; 16-31 are the same relations with this turned round. */
const SIGNALS: u32 = 0x6666;
// @ts-ignore: decorator
@inline function signalling(predicate: u32): bool { return (((SIGNALS >>> (predicate & 15)) ^ (predicate >>> 4)) & 1) != 0; }

function compareLane64(a: v128, b: v128, accepts: u32, signal: bool): v128 {
  if (plain64(a, b)) {
    const less = v128.and(f64x2.lt(a, b), i64x2.splat(-i64(accepts & 1)));
    const equal = v128.and(f64x2.eq(a, b), i64x2.splat(-i64((accepts >>> 1) & 1)));
    const greater = v128.and(f64x2.gt(a, b), i64x2.splat(-i64((accepts >>> 2) & 1)));
    return v128.or(v128.or(less, equal), greater);
  }
  const low = -i64((accepts >>> (relation64(i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0), signal) + 1)) & 1);
  const high = -i64((accepts >>> (relation64(i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1), signal) + 1)) & 1);
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}
const A: usize = VECTOR_SCRATCH + 64;
const B: usize = VECTOR_SCRATCH + 80;
const R: usize = VECTOR_SCRATCH + 96;
function compareLane32(a: v128, b: v128, accepts: u32, signal: bool): v128 {
  if (plain32(a, b)) {
    const less = v128.and(f32x4.lt(a, b), i32x4.splat(-i32(accepts & 1)));
    const equal = v128.and(f32x4.eq(a, b), i32x4.splat(-i32((accepts >>> 1) & 1)));
    const greater = v128.and(f32x4.gt(a, b), i32x4.splat(-i32((accepts >>> 2) & 1)));
    return v128.or(v128.or(less, equal), greater);
  }
  v128.store(A, a);
  v128.store(B, b);
  for (let i: usize = 0; i < 16; i += 4) store<i32>(R + i, -i32((accepts >>> (relation32(load<u32>(A + i), load<u32>(B + i), signal) + 1)) & 1));
  return v128.load(R);
}
function compare(pc: usize, type: u32, variant: u32): i32 {
  const s = type < 2 ? source(pc, variant) : partialSource(pc, type == 2 ? 4 : 8);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  const predicate = recImm8(pc) & (variant == VARIANT_SSE ? 7 : 31);
  const accepts = <u32>load<u8>(ACCEPTS + (predicate & 15)), signal = signalling(predicate);
  resetFloat();
  if (type == 3) {
    const r = -i64((accepts >>> (relation64(load<u64>(f), load<u64>(s), signal) + 1)) & 1);
    if (!endFloat()) return FAULT;
    writeDouble(d, f, variant, r);
    return OK;
  }
  if (type == 2) {
    const r = -i32((accepts >>> (relation32(load<u32>(f), load<u32>(s), signal) + 1)) & 1);
    if (!endFloat()) return FAULT;
    writeSingle(d, f, variant, r);
    return OK;
  }
  const wide = variant == VARIANT_VEX256;
  let low: v128, high: v128 = i64x2(0, 0);
  if (type == 1) {
    low = compareLane64(v128.load(f), v128.load(s), accepts, signal);
    if (wide) high = compareLane64(v128.load(f, 16), v128.load(s, 16), accepts, signal);
  } else {
    low = compareLane32(v128.load(f), v128.load(s), accepts, signal);
    if (wide) high = compareLane32(v128.load(f, 16), v128.load(s, 16), accepts, signal);
  }
  if (!endFloat()) return FAULT;
  return writeLanes(d, variant, low, high);
}
/** ZF PF CF = 111 unordered, 000 greater, 001 less, 100 equal; OF SF AF = 0. In the lazy form of flags.ts. */
function setRelation(relation: i32): void {
  store<i64>(LF_RESULT, relation == 0 || relation == 2 ? 0 : 1);
  store<u32>(LF_AUX, relation == 0 ? 0x100 : relation == 1 ? 0 : 0xc0000000);
}
/** UCOMISx, COMISx. */
function compareToFlags(pc: usize, op: i32): i32 {
  const double = op == Float.UCOMISD || op == Float.COMISD, signal = op >= Float.COMISS;
  const s = partialSource(pc, double ? 8 : 4);
  if (!s) return FAULT;
  const d = regVector(pc);
  resetFloat();
  const relation = double ? relation64(load<u64>(d), load<u64>(s), signal) : relation32(load<u32>(d), load<u32>(s), signal);
  if (!endFloat()) return FAULT;
  setRelation(relation);
  return OK;
}

// ------------------------------------------------------------------------------------------------ rounding
function roundPacked(pc: usize, variant: u32, double: bool): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const bytes: usize = variant == VARIANT_VEX256 ? 32 : 16;
  const imm = recImm8(pc);
  resetFloat();
  for (let i: usize = 0; i < bytes; i += 8) {
    if (double) store<u64>(VECTOR_SCRATCH + i, round64(load<u64>(s + i), imm));
    else {
      store<u32>(VECTOR_SCRATCH + i, round32(load<u32>(s + i), imm));
      store<u32>(VECTOR_SCRATCH + i, round32(load<u32>(s + i, 4), imm), 4);
    }
  }
  if (!endFloat()) return FAULT;
  return writeLanes(regVector(pc), variant, v128.load(VECTOR_SCRATCH), v128.load(VECTOR_SCRATCH, 16));
}
function roundScalar(pc: usize, variant: u32, double: bool): i32 {
  const s = partialSource(pc, double ? 8 : 4);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc), imm = recImm8(pc);
  resetFloat();
  if (double) {
    const r = round64(load<u64>(s), imm);
    if (!endFloat()) return FAULT;
    writeDouble(d, f, variant, r);
  } else {
    const r = round32(load<u32>(s), imm);
    if (!endFloat()) return FAULT;
    writeSingle(d, f, variant, r);
  }
  return OK;
}

// ------------------------------------------------------------------------------------------------ horizontal
/** HADD, HSUB and ADDSUB, one lane. */
function horizontalLane(op: i32, a: v128, b: v128): v128 {
  switch (op) {
    case Float.HADDPS: return lane32(Float.ADD, v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
    case Float.HADDPD: return lane64(Float.ADD, v128.shuffle<i64>(a, b, 0, 2), v128.shuffle<i64>(a, b, 1, 3));
    case Float.HSUBPS: return lane32(Float.SUB, v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
    case Float.HSUBPD: return lane64(Float.SUB, v128.shuffle<i64>(a, b, 0, 2), v128.shuffle<i64>(a, b, 1, 3));
    case Float.ADDSUBPS: { // even elements are subtracted; the doubled elements keep flags to those of the elements used
      const sub = lane32(Float.SUB, v128.shuffle<i32>(a, a, 0, 2, 0, 2), v128.shuffle<i32>(b, b, 0, 2, 0, 2));
      const add = lane32(Float.ADD, v128.shuffle<i32>(a, a, 1, 3, 1, 3), v128.shuffle<i32>(b, b, 1, 3, 1, 3));
      return v128.shuffle<i32>(sub, add, 0, 4, 1, 5);
    }
    default: {
      const sub = lane64(Float.SUB, v128.shuffle<i64>(a, a, 0, 0), v128.shuffle<i64>(b, b, 0, 0));
      const add = lane64(Float.ADD, v128.shuffle<i64>(a, a, 1, 1), v128.shuffle<i64>(b, b, 1, 1));
      return v128.shuffle<i64>(sub, add, 0, 2);
    }
  }
}
function horizontal(pc: usize, op: i32, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant);
  resetFloat();
  let high: v128 = i64x2(0, 0);
  const low = horizontalLane(op, v128.load(f), v128.load(s));
  if (variant == VARIANT_VEX256) high = horizontalLane(op, v128.load(f, 16), v128.load(s, 16));
  if (!endFloat()) return FAULT;
  return writeLanes(regVector(pc), variant, low, high);
}
/**
 * DPPS, DPPD: products of the elements of imm[7:4], summed in pairs, to the elements of imm[3:0]; elements left out count as +0 and
 * raise nothing. Each step reports its exceptions before the next begins (SDM vol. 2A, DPPS).
 */
function dotProduct(pc: usize, op: i32, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), imm = recImm8(pc);
  const wide = variant == VARIANT_VEX256, double = op == Float.DPPD;
  const use = double ? maskQwords(imm >>> 4) : maskDwords(imm >>> 4);
  let low: v128 = v128.and(v128.load(f), use), high: v128 = i64x2(0, 0);
  resetFloat();
  if (double) low = lane64(Float.MUL, low, v128.and(v128.load(s), use));
  else low = lane32(Float.MUL, low, v128.and(v128.load(s), use));
  if (wide) high = lane32(Float.MUL, v128.and(v128.load(f, 16), use), v128.and(v128.load(s, 16), use));
  if (!endFloat()) return FAULT;
  resetFloat();
  if (double) low = lane64(Float.ADD, v128.shuffle<i64>(low, low, 0, 0), v128.shuffle<i64>(low, low, 1, 1));
  else {
    low = lane32(Float.ADD, v128.shuffle<i32>(low, low, 0, 2, 0, 2), v128.shuffle<i32>(low, low, 1, 3, 1, 3));
    if (wide) high = lane32(Float.ADD, v128.shuffle<i32>(high, high, 0, 2, 0, 2), v128.shuffle<i32>(high, high, 1, 3, 1, 3));
    if (!endFloat()) return FAULT;
    resetFloat();
    low = lane32(Float.ADD, v128.shuffle<i32>(low, low, 0, 0, 0, 0), v128.shuffle<i32>(low, low, 1, 1, 1, 1));
    if (wide) high = lane32(Float.ADD, v128.shuffle<i32>(high, high, 0, 0, 0, 0), v128.shuffle<i32>(high, high, 1, 1, 1, 1));
  }
  if (!endFloat()) return FAULT;
  const keep = double ? maskQwords(imm) : maskDwords(imm);
  return writeLanes(regVector(pc), variant, v128.and(low, keep), v128.and(high, keep));
}
/** RCP and RSQRT: no flags, no exceptions. */
function reciprocal(pc: usize, op: i32, variant: u32): i32 {
  const root = op == Float.RSQRTPS || op == Float.RSQRTSS;
  if (op >= Float.RSQRTSS) {
    const s = partialSource(pc, 4);
    if (!s) return FAULT;
    writeSingle(regVector(pc), firstSource(pc, variant), variant, approximate(load<u32>(s), root));
    return OK;
  }
  const s = source(pc, variant);
  if (!s) return FAULT;
  const bytes: usize = variant == VARIANT_VEX256 ? 32 : 16;
  for (let i: usize = 0; i < bytes; i += 4) store<u32>(VECTOR_SCRATCH + i, approximate(load<u32>(s + i), root));
  return writeLanes(regVector(pc), variant, v128.load(VECTOR_SCRATCH), v128.load(VECTOR_SCRATCH, 16));
}

export function execFloat(pc: usize, op: i32, variant: u32): i32 {
  switch (op) { // scalar forms are the commonest
    case Float.ADD + 3: return doubleInPlace(pc, Float.ADD, variant);
    case Float.MUL + 3: return doubleInPlace(pc, Float.MUL, variant);
    case Float.SUB + 3: return doubleInPlace(pc, Float.SUB, variant);
    case Float.DIV + 3: return doubleInPlace(pc, Float.DIV, variant);
    case Float.ADD + 2: return singleInPlace(pc, Float.ADD, variant);
    case Float.MUL + 2: return singleInPlace(pc, Float.MUL, variant);
    case Float.SUB + 2: return singleInPlace(pc, Float.SUB, variant);
    case Float.DIV + 2: return singleInPlace(pc, Float.DIV, variant);
    case Float.UCOMISS: case Float.UCOMISD: case Float.COMISS: case Float.COMISD: return compareToFlags(pc, op);
  }
  const base = op & ~3;
  if (base <= Float.SQRT) {
    if (!(op & 2)) return packed(pc, base, variant, (op & 1) != 0);
    const double = (op & 1) != 0;
    const s = partialSource(pc, double ? 8 : 4);
    if (!s) return FAULT;
    return double ? scalarDouble(pc, base, variant, s) : scalarSingle(pc, base, variant, s);
  }
  if (base == Float.COMPARE) return compare(pc, op & 3, variant);
  if (base == Float.ROUND) return op & 2 ? roundScalar(pc, variant, (op & 1) != 0) : roundPacked(pc, variant, (op & 1) != 0);
  if (base == Float.RSQRTPS) return reciprocal(pc, op, variant);
  return op >= Float.DPPS ? dotProduct(pc, op, variant) : horizontal(pc, op, variant);
}
