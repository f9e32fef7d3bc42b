import { VECTOR_SCRATCH } from "../../src/layout";
import { f32RoundToInt, f64RoundToInt } from "../fp/convert";
import { f32Add, f32Compare, f32Div, f32Mul, f32Sqrt, f32Sub, f64Add, f64Compare, f64Div, f64Mul, f64Sqrt, f64Sub } from "../fp/softfloat";
import { Fp } from "../fp/environment";
import { Float } from "./ops";
import { STATE_EXACT, STATE_FAST, beginFloat, floatState } from "./mxcsr";
/**
 * One element or one lane of ADD, MUL, SUB, MIN, DIV, MAX, SQRT and CMP.
 *
 * The machine's own result is taken when rounding is to nearest, nothing is flushed and everything masked, and when in addition
 * - no operand is a denormal (DE), and the result is finite (a NaN or infinite operand gives a finite result only in
 *   x / infinity, which is excluded by the next point);
 * - the result's exponent field is at least 2, so that neither it nor its unrounded value is tiny (UE), or it is a sum or
 *   difference (exact when tiny), or it is zero because an operand is;
 * - PE is set already, or the result is exact by a cheap sufficient test.
 * Everything else is left to softfloat.ts. The host flushes nothing and rounds to nearest: WebAssembly says so.
 */

// ------------------------------------------------------------------------------------------------ classes of bits
// @ts-ignore: decorator
@inline export function usable64(a: u64): bool { return (a & 0x7ff0000000000000) != 0 || (a << 1) == 0; } // not a denormal
// @ts-ignore: decorator
@inline export function usable32(a: u32): bool { return (a & 0x7f800000) != 0 || (a << 1) == 0; }
// @ts-ignore: decorator
@inline function finite64(a: u64): bool { return (a & 0x7ff0000000000000) != 0x7ff0000000000000; }
// @ts-ignore: decorator
@inline function finite32(a: u32): bool { return (a & 0x7f800000) != 0x7f800000; }
/** Exponent field from 2 to the greatest finite one. */
// @ts-ignore: decorator
@inline export function safe64(a: u64): bool { return ((a << 1) - 0x0040000000000000) < 0xffa0000000000000; }
// @ts-ignore: decorator
@inline export function safe32(a: u32): bool { return ((a << 1) - 0x02000000) < 0xfd000000; }
// @ts-ignore: decorator
@inline function isZero64(a: u64): bool { return (a << 1) == 0; }
// @ts-ignore: decorator
@inline function isZero32(a: u32): bool { return (a << 1) == 0; }
// @ts-ignore: decorator
@inline function double(a: u64): f64 { return reinterpret<f64>(a); }
// @ts-ignore: decorator
@inline function single(a: u32): f32 { return reinterpret<f32>(a); }
// @ts-ignore: decorator
@inline function ordered64(a: u64): bool { return (a << 1) <= 0xffe0000000000000; } // not a NaN
// @ts-ignore: decorator
@inline function ordered32(a: u32): bool { return (a << 1) <= 0xff000000; }

// ------------------------------------------------------------------------------------------------ exactness
/** Knuth's two-sum: the error of r = a + b is zero. */
function exactSum64(a: f64, b: f64, r: f64): bool {
  const c = r - a;
  return (a - (r - c)) + (b - c) == 0;
}
function exactSum32(a: f32, b: f32, r: f32): bool {
  const c = r - a;
  return (a - (r - c)) + (b - c) == 0;
}
/** The significands together have at least 53 trailing zeros, so the product needs at most 53 bits. */
// @ts-ignore: decorator
@inline function shortProduct(a: u64, b: u64): bool { return ctz(a | 1 << 52) + ctz(b | 1 << 52) >= 53; }

// ------------------------------------------------------------------------------------------------ elements
export function add64(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(double(a) + double(b)), state = floatState();
  if (finite64(r) && usable64(a) && usable64(b) && (state == STATE_FAST || (state == STATE_EXACT && exactSum64(double(a), double(b), double(r))))) return r;
  beginFloat();
  return f64Add(a, b);
}
export function sub64(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(double(a) - double(b)), state = floatState();
  if (finite64(r) && usable64(a) && usable64(b) && (state == STATE_FAST || (state == STATE_EXACT && exactSum64(double(a), -double(b), double(r))))) return r;
  beginFloat();
  return f64Sub(a, b);
}
export function mul64(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(double(a) * double(b)), state = floatState();
  if (usable64(a) && usable64(b)) {
    if (safe64(r)) {
      if (state == STATE_FAST || (state == STATE_EXACT && shortProduct(a, b))) return r;
    } else if (isZero64(r) && (isZero64(a) || isZero64(b))) return r;
  }
  beginFloat();
  return f64Mul(a, b);
}
export function div64(a: u64, b: u64): u64 {
  const r = reinterpret<u64>(double(a) / double(b)), state = floatState();
  if (usable64(a) && usable64(b)) {
    if (safe64(r)) {
      if (state == STATE_FAST || (state == STATE_EXACT && shortProduct(r, b) && double(r) * double(b) == double(a))) return r;
    } else if (isZero64(r) && isZero64(a)) return r;
  }
  beginFloat();
  return f64Div(a, b);
}
export function sqrt64(a: u64): u64 {
  if (isZero64(a)) return a;
  if (<i64>a >= 0x0010000000000000 && finite64(a)) { // a positive normal number
    const r = reinterpret<u64>(sqrt<f64>(double(a))), state = floatState();
    if (state == STATE_FAST || (state == STATE_EXACT && shortProduct(r, r) && double(r) * double(r) == double(a))) return r;
  }
  beginFloat();
  return f64Sqrt(a);
}
export function add32(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(single(a) + single(b)), state = floatState();
  if (finite32(r) && usable32(a) && usable32(b) && (state == STATE_FAST || (state == STATE_EXACT && exactSum32(single(a), single(b), single(r))))) return r;
  beginFloat();
  return f32Add(a, b);
}
export function sub32(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(single(a) - single(b)), state = floatState();
  if (finite32(r) && usable32(a) && usable32(b) && (state == STATE_FAST || (state == STATE_EXACT && exactSum32(single(a), -single(b), single(r))))) return r;
  beginFloat();
  return f32Sub(a, b);
}
export function mul32(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(single(a) * single(b)), state = floatState();
  if (usable32(a) && usable32(b)) {
    if (safe32(r)) { // products of singles are exact in double
      if (state == STATE_FAST || (state == STATE_EXACT && <f64>single(a) * <f64>single(b) == <f64>single(r))) return r;
    } else if (isZero32(r) && (isZero32(a) || isZero32(b))) return r;
  }
  beginFloat();
  return f32Mul(a, b);
}
export function div32(a: u32, b: u32): u32 {
  const r = reinterpret<u32>(single(a) / single(b)), state = floatState();
  if (usable32(a) && usable32(b)) {
    if (safe32(r)) {
      if (state == STATE_FAST || (state == STATE_EXACT && <f64>single(r) * <f64>single(b) == <f64>single(a))) return r;
    } else if (isZero32(r) && isZero32(a)) return r;
  }
  beginFloat();
  return f32Div(a, b);
}
export function sqrt32(a: u32): u32 {
  if (isZero32(a)) return a;
  if (<i32>a >= 0x00800000 && finite32(a)) {
    const r = reinterpret<u32>(sqrt<f32>(single(a))), state = floatState();
    if (state == STATE_FAST || (state == STATE_EXACT && <f64>single(r) * <f64>single(r) == <f64>single(a))) return r;
  }
  beginFloat();
  return f32Sqrt(a);
}
/** MIN and MAX never round: without NaN and denormals nothing can be raised. Equal operands (both zeros too) give the second. */
export function extreme64(a: u64, b: u64, greater: bool): u64 {
  if (!(ordered64(a) && ordered64(b) && usable64(a) && usable64(b))) {
    beginFloat();
    const r = f64Compare(a, b, true) == (greater ? 1 : -1) ? a : b;
    return Fp.daz && !usable64(r) ? r & 1 << 63 : r;
  }
  return (greater ? double(a) > double(b) : double(a) < double(b)) ? a : b;
}
export function extreme32(a: u32, b: u32, greater: bool): u32 {
  if (!(ordered32(a) && ordered32(b) && usable32(a) && usable32(b))) {
    beginFloat();
    const r = f32Compare(a, b, true) == (greater ? 1 : -1) ? a : b;
    return Fp.daz && !usable32(r) ? r & 0x80000000 : r;
  }
  return (greater ? single(a) > single(b) : single(a) < single(b)) ? a : b;
}
/** Relation of two numbers: -1 less, 0 equal, 1 greater, 2 unordered; `signalling`: a quiet NaN raises IE as well. */
export function relation64(a: u64, b: u64, signalling: bool): i32 {
  if (!(ordered64(a) && ordered64(b) && usable64(a) && usable64(b))) {
    beginFloat();
    return f64Compare(a, b, signalling);
  }
  return i32(double(a) > double(b)) - i32(double(a) < double(b));
}
export function relation32(a: u32, b: u32, signalling: bool): i32 {
  if (!(ordered32(a) && ordered32(b) && usable32(a) && usable32(b))) {
    beginFloat();
    return f32Compare(a, b, signalling);
  }
  return i32(single(a) > single(b)) - i32(single(a) < single(b));
}
/** ROUNDxx: imm bit 2 takes the rounding of MXCSR, bits 1:0 give it otherwise; bit 3 suppresses PE. */
export function round64(a: u64, imm: u32): u64 {
  beginFloat();
  return f64RoundToInt(a, imm & 4 ? Fp.rounding : imm & 3, (imm & 8) != 0);
}
export function round32(a: u32, imm: u32): u32 {
  beginFloat();
  return f32RoundToInt(a, imm & 4 ? Fp.rounding : imm & 3, (imm & 8) != 0);
}

/** One element by operation (Float.ADD .. Float.SQRT). */
export function element64(op: i32, a: u64, b: u64): u64 {
  switch (op) {
    case Float.ADD: return add64(a, b);
    case Float.MUL: return mul64(a, b);
    case Float.SUB: return sub64(a, b);
    case Float.MIN: return extreme64(a, b, false);
    case Float.DIV: return div64(a, b);
    case Float.MAX: return extreme64(a, b, true);
    default: return sqrt64(b);
  }
}
export function element32(op: i32, a: u32, b: u32): u32 {
  switch (op) {
    case Float.ADD: return add32(a, b);
    case Float.MUL: return mul32(a, b);
    case Float.SUB: return sub32(a, b);
    case Float.MIN: return extreme32(a, b, false);
    case Float.DIV: return div32(a, b);
    case Float.MAX: return extreme32(a, b, true);
    default: return sqrt32(b);
  }
}

// ------------------------------------------------------------------------------------------------ lanes
/** Lanes that hold a denormal. */
// @ts-ignore: decorator
@inline export function denormals64(a: v128): v128 {
  const m = f64x2.abs(a);
  return v128.and(f64x2.lt(m, f64x2.splat(2.2250738585072014e-308)), f64x2.gt(m, f64x2.splat(0)));
}
// @ts-ignore: decorator
@inline export function denormals32(a: v128): v128 {
  const m = f32x4.abs(a);
  return v128.and(f32x4.lt(m, f32x4.splat(1.17549435e-38)), f32x4.gt(m, f32x4.splat(0)));
}
// @ts-ignore: decorator
@inline function allFinite64(a: v128): bool { return i64x2.all_true(f64x2.lt(f64x2.abs(a), f64x2.splat(Infinity))); }
// @ts-ignore: decorator
@inline function allFinite32(a: v128): bool { return i32x4.all_true(f32x4.lt(f32x4.abs(a), f32x4.splat(Infinity))); }
// @ts-ignore: decorator
@inline function allSafe64(a: v128): bool {
  const m = f64x2.abs(a);
  return i64x2.all_true(v128.and(f64x2.ge(m, f64x2.splat(4.450147717014403e-308)), f64x2.lt(m, f64x2.splat(Infinity))));
}
// @ts-ignore: decorator
@inline function allSafe32(a: v128): bool {
  const m = f32x4.abs(a);
  return i32x4.all_true(v128.and(f32x4.ge(m, f32x4.splat(2.3509887e-38)), f32x4.lt(m, f32x4.splat(Infinity))));
}
/** No NaN and no denormal among the operands of a comparison. */
// @ts-ignore: decorator
@inline export function plain64(a: v128, b: v128): bool {
  return i64x2.all_true(v128.andnot(v128.and(f64x2.eq(a, a), f64x2.eq(b, b)), v128.or(denormals64(a), denormals64(b))));
}
// @ts-ignore: decorator
@inline export function plain32(a: v128, b: v128): bool {
  return i32x4.all_true(v128.andnot(v128.and(f32x4.eq(a, a), f32x4.eq(b, b)), v128.or(denormals32(a), denormals32(b))));
}

/** Like allSafe, but zero products of zero operands pass too. */
function productsSafe64(a: v128, b: v128, r: v128): bool {
  const zero = f64x2.splat(0), m = f64x2.abs(r);
  const safe = v128.and(f64x2.ge(m, f64x2.splat(4.450147717014403e-308)), f64x2.lt(m, f64x2.splat(Infinity)));
  return i64x2.all_true(v128.or(safe, v128.and(f64x2.eq(r, zero), v128.or(f64x2.eq(a, zero), f64x2.eq(b, zero)))));
}
function productsSafe32(a: v128, b: v128, r: v128): bool {
  const zero = f32x4.splat(0), m = f32x4.abs(r);
  const safe = v128.and(f32x4.ge(m, f32x4.splat(2.3509887e-38)), f32x4.lt(m, f32x4.splat(Infinity)));
  return i32x4.all_true(v128.or(safe, v128.and(f32x4.eq(r, zero), v128.or(f32x4.eq(a, zero), f32x4.eq(b, zero)))));
}

const A: usize = VECTOR_SCRATCH + 64;
const B: usize = VECTOR_SCRATCH + 80;
const R: usize = VECTOR_SCRATCH + 96;
function slowLane64(op: i32, a: v128, b: v128): v128 {
  v128.store(A, a);
  v128.store(B, b);
  const low = element64(op, load<u64>(A), load<u64>(B));
  return i64x2.replace_lane(i64x2.splat(low), 1, element64(op, load<u64>(A, 8), load<u64>(B, 8)));
}
function slowLane32(op: i32, a: v128, b: v128): v128 {
  v128.store(A, a);
  v128.store(B, b);
  for (let i: usize = 0; i < 16; i += 4) store<u32>(R + i, element32(op, load<u32>(A + i), load<u32>(B + i)));
  return v128.load(R);
}
/** Two doubles. endFloat() reports what happened. */
export function lane64(op: i32, a: v128, b: v128): v128 {
  const fast = floatState() == STATE_FAST;
  let r: v128 = a;
  let ok = false;
  switch (op) {
    case Float.ADD: if (fast) { r = f64x2.add(a, b); ok = allFinite64(r); } break;
    case Float.MUL: if (fast) { r = f64x2.mul(a, b); ok = allSafe64(r) || productsSafe64(a, b, r); } break;
    case Float.SUB: if (fast) { r = f64x2.sub(a, b); ok = allFinite64(r); } break;
    case Float.MIN: if (plain64(a, b)) return f64x2.pmin(b, a); break; // a < b ? a : b
    case Float.DIV: if (fast) { r = f64x2.div(a, b); ok = allSafe64(r); } break;
    case Float.MAX: if (plain64(a, b)) return f64x2.pmax(b, a); break;
    default: // SQRT of normal positive numbers
      if (fast) {
        const normal = v128.and(f64x2.ge(b, f64x2.splat(2.2250738585072014e-308)), f64x2.lt(b, f64x2.splat(Infinity)));
        if (i64x2.all_true(normal)) return f64x2.sqrt(b);
      }
  }
  if (ok && !v128.any_true(v128.or(denormals64(a), denormals64(b)))) return r;
  return slowLane64(op, a, b);
}
/** Four singles. */
export function lane32(op: i32, a: v128, b: v128): v128 {
  const fast = floatState() == STATE_FAST;
  let r: v128 = a;
  let ok = false;
  switch (op) {
    case Float.ADD: if (fast) { r = f32x4.add(a, b); ok = allFinite32(r); } break;
    case Float.MUL: if (fast) { r = f32x4.mul(a, b); ok = allSafe32(r) || productsSafe32(a, b, r); } break;
    case Float.SUB: if (fast) { r = f32x4.sub(a, b); ok = allFinite32(r); } break;
    case Float.MIN: if (plain32(a, b)) return f32x4.pmin(b, a); break;
    case Float.DIV: if (fast) { r = f32x4.div(a, b); ok = allSafe32(r); } break;
    case Float.MAX: if (plain32(a, b)) return f32x4.pmax(b, a); break;
    default:
      if (fast) {
        const normal = v128.and(f32x4.ge(b, f32x4.splat(1.17549435e-38)), f32x4.lt(b, f32x4.splat(Infinity)));
        if (i32x4.all_true(normal)) return f32x4.sqrt(b);
      }
  }
  if (ok && !v128.any_true(v128.or(denormals32(a), denormals32(b)))) return r;
  return slowLane32(op, a, b);
}
