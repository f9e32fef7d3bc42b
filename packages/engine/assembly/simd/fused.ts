import { VECTOR_SCRATCH } from "../../src/layout";
import { f32MulAdd, f64MulAdd } from "../fp/softfloat";
import { P_W, recPrefixes, recVvvv } from "../record";
import { FAULT, OK } from "../status";
import { denormals32, safe32, safe64, usable32 } from "./arithmetic";
import { writeDouble, writeSingle } from "./float";
import { STATE_FAST, beginFloat, endFloat, floatState, resetFloat } from "./mxcsr";
import { VARIANT_VEX256, Fused } from "./ops";
import { partialSource, regVector, source, vectorRegister, zeroUpper } from "./operands";
/**
 * FMA3: ±(x * y) ± z with one rounding. The number of an instruction is its opcode less 96h: bits 5:4 give which operands are x, y
 * and z (132, 213, 231), bits 3:0 the operation: 0 FMADDSUB, 1 FMSUBADD (packed), then pairs of packed and scalar FMADD, FMSUB, FNMADD,
 * FNMSUB. VEX.W chooses double.
 */

/**
 * The product of two singles is exact in a double. The double sum, rounded again to single, is right unless it was inexact and lies
 * just between two singles, which its low 29 bits show.
 */
function fuse32(x: u32, y: u32, z: u32, negateProduct: bool, negateAddend: bool): u32 {
  if (floatState() == STATE_FAST && usable32(x) && usable32(y) && usable32(z)) {
    const p = <f64>reinterpret<f32>(x) * <f64>reinterpret<f32>(y), a = <f64>reinterpret<f32>(z);
    const sum = (negateProduct ? -p : p) + (negateAddend ? -a : a);
    const r = reinterpret<u32>(<f32>sum);
    if (safe32(r) && (reinterpret<u64>(sum) & 0x1fffffff) != 0x10000000) return r;
  }
  beginFloat();
  return f32MulAdd(x, y, z, negateProduct, negateAddend);
}
/** Four at once under the same conditions; false leaves `fused` undefined. Signs are xored in. */
let fused: v128 = i64x2(0, 0);
function fuseLane32(x: v128, y: v128, z: v128, productSign: v128, addendSign: v128): bool {
  if (v128.any_true(v128.or(denormals32(x), v128.or(denormals32(y), denormals32(z))))) return false;
  x = v128.xor(x, productSign);
  z = v128.xor(z, addendSign);
  const low = f64x2.add(f64x2.mul(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(y)), f64x2.promote_low_f32x4(z));
  const xh = v128.shuffle<i64>(x, x, 1, 1), yh = v128.shuffle<i64>(y, y, 1, 1), zh = v128.shuffle<i64>(z, z, 1, 1);
  const high = f64x2.add(f64x2.mul(f64x2.promote_low_f32x4(xh), f64x2.promote_low_f32x4(yh)), f64x2.promote_low_f32x4(zh));
  const rest = i64x2.splat(0x1fffffff), half = i64x2.splat(0x10000000);
  if (v128.any_true(v128.or(i64x2.eq(v128.and(low, rest), half), i64x2.eq(v128.and(high, rest), half)))) return false;
  fused = v128.shuffle<i64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
  const m = f32x4.abs(fused);
  return i32x4.all_true(v128.and(f32x4.ge(m, f32x4.splat(2.3509887e-38)), f32x4.lt(m, f32x4.splat(Infinity))));
}
/** Exponent field within 300 of the bias: products, splits and their errors neither overflow nor underflow. */
// @ts-ignore: decorator
@inline function moderate(a: u64): bool { return <u32>(((a >> 52) & 0x7ff) - 723) <= 600; }
/** x + y rounded to odd: an inexact sum gets an odd last place. */
function addToOdd(x: f64, y: f64): f64 {
  const s = x + y, t = s - x, e = (x - (s - t)) + (y - t);
  const bits = reinterpret<u64>(s);
  if (e == 0 || (bits & 1) != 0) return s;
  return reinterpret<f64>((e > 0) == (s > 0) ? bits + 1 : bits - 1);
}
/**
 * x * y + z with one rounding (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
 * rounding to odd"): the product as an exact pair (Dekker), two exact sums, and the rest rounded to odd before the last sum.
 */
function emulate(x: f64, y: f64, z: f64): f64 {
  const tx = 134217729.0 * x, xh = tx - (tx - x), xl = x - xh;
  const ty = 134217729.0 * y, yh = ty - (ty - y), yl = y - yh;
  const ph = x * y, pl = ((xh * yh - ph) + xh * yl + xl * yh) + xl * yl;
  const th = z + pl, t1 = th - z, tl = (z - (th - t1)) + (pl - t1);
  const vh = ph + th, v1 = vh - ph, vl = (ph - (vh - v1)) + (th - v1);
  return vh + addToOdd(tl, vl);
}
function fuse64(x: u64, y: u64, z: u64, negateProduct: bool, negateAddend: bool): u64 {
  if (floatState() == STATE_FAST && moderate(x) && moderate(y) && (moderate(z) || (z << 1) == 0)) {
    const a = reinterpret<f64>(x), c = reinterpret<f64>(z);
    const r = reinterpret<u64>(emulate(negateProduct ? -a : a, reinterpret<f64>(y), negateAddend ? -c : c));
    if (safe64(r)) return r;
  }
  beginFloat();
  return f64MulAdd(x, y, z, negateProduct, negateAddend);
}

/** FMSUB and FNMSUB subtract the addend. */
// @ts-ignore: decorator
@inline function negates(kind: u32): bool { return kind == 4 || kind == 5 || kind >= 8; }

export function execFused(pc: usize, op: i32, variant: u32): i32 {
  const kind = (op - Fused.FIRST) & 15, order = (op - Fused.FIRST) >>> 4;
  const double = (recPrefixes(pc) & P_W) != 0;
  const scalar = kind >= 2 && (kind & 1) != 0;
  const size: usize = double ? 8 : 4;
  const s = scalar ? partialSource(pc, <u32>size) : source(pc, variant);
  if (!s) return FAULT;
  const d = regVector(pc), v = vectorRegister(recVvvv(pc));
  const x = order == 1 ? v : order == 2 ? v : d;
  const y = order == 0 ? s : order == 1 ? d : s;
  const z = order == 0 ? v : order == 1 ? s : d;
  const negateProduct = kind >= 6;
  const bytes: usize = scalar ? size : variant == VARIANT_VEX256 ? 32 : 16;
  resetFloat();
  if (!scalar && !double && floatState() == STATE_FAST) {
    const sign = i32x4.splat(0x80000000), none: v128 = i64x2(0, 0);
    const productSign = negateProduct ? sign : none;
    const addendSign = kind == 0 ? i64x2.splat(0x80000000) : kind == 1 ? i64x2.splat(0x80000000 << 32) : negates(kind) ? sign : none;
    if (fuseLane32(v128.load(x), v128.load(y), v128.load(z), productSign, addendSign)) {
      const low = fused;
      if (variant != VARIANT_VEX256) {
        v128.store(d, low);
        zeroUpper(d);
        return OK;
      }
      if (fuseLane32(v128.load(x, 16), v128.load(y, 16), v128.load(z, 16), productSign, addendSign)) {
        v128.store(d, low);
        v128.store(d, fused, 16);
        return OK;
      }
    }
  }
  for (let i: usize = 0; i < bytes; i += size) {
    const odd = double ? (i >>> 3) & 1 : (i >>> 2) & 1;
    // FMADDSUB subtracts in even elements, FMSUBADD in odd ones
    const negateAddend = kind == 0 ? odd == 0 : kind == 1 ? odd != 0 : negates(kind);
    if (double) store<u64>(VECTOR_SCRATCH + i, fuse64(load<u64>(x + i), load<u64>(y + i), load<u64>(z + i), negateProduct, negateAddend));
    else store<u32>(VECTOR_SCRATCH + i, fuse32(load<u32>(x + i), load<u32>(y + i), load<u32>(z + i), negateProduct, negateAddend));
  }
  if (!endFloat()) return FAULT;
  if (scalar) {
    if (double) writeDouble(d, d, variant, load<u64>(VECTOR_SCRATCH));
    else writeSingle(d, d, variant, load<u32>(VECTOR_SCRATCH));
    return OK;
  }
  v128.store(d, v128.load(VECTOR_SCRATCH));
  if (variant == VARIANT_VEX256) v128.store(d, v128.load(VECTOR_SCRATCH, 16), 16);
  else zeroUpper(d);
  return OK;
}
