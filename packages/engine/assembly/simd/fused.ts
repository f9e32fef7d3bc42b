import { AVX_TRAP, VECTOR_SCRATCH } from "../../src/layout";
import { f32MulAdd, f64MulAdd } from "../fp/softfloat";
import { P_W, recPrefixes, recUnitOp, recVvvv } from "../record";
import { FAULT, OK } from "../status";
import { denormals32, safe32, safe64, usable32 } from "./arithmetic";
import { writeDouble, writeSingle } from "./float";
import { STATE_FAST, beginFloat, endFloat, floatState, resetFloat } from "./mxcsr";
import { VARIANT_VEX256, Fused } from "./ops";
import { partialSource, regVector, rmVector, source, vectorRegister, zeroUpper } from "./operands";
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
  if (floatState() == STATE_FAST && usual32(x, y, z, negateProduct, negateAddend)) return single;
  beginFloat();
  return f32MulAdd(x, y, z, negateProduct, negateAddend);
}
/** False leaves `single` undefined. */
let single: u32 = 0;
function usual32(x: u32, y: u32, z: u32, negateProduct: bool, negateAddend: bool): bool {
  if (!usable32(x) || !usable32(y) || !usable32(z)) return false;
  const p = <f64>reinterpret<f32>(x) * <f64>reinterpret<f32>(y), a = <f64>reinterpret<f32>(z);
  const sum = (negateProduct ? -p : p) + (negateAddend ? -a : a);
  single = reinterpret<u32>(<f32>sum);
  return safe32(single) && (reinterpret<u64>(sum) & 0x1fffffff) != 0x10000000;
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
  if (floatState() == STATE_FAST && usual64(x, y, z, negateProduct, negateAddend)) return double;
  beginFloat();
  return f64MulAdd(x, y, z, negateProduct, negateAddend);
}
/** False leaves `double` undefined. */
let double: u64 = 0;
function usual64(x: u64, y: u64, z: u64, negateProduct: bool, negateAddend: bool): bool {
  if (!moderate(x) || !moderate(y) || !(moderate(z) || (z << 1) == 0)) return false;
  const a = reinterpret<f64>(x), c = reinterpret<f64>(z);
  double = reinterpret<u64>(emulate(negateProduct ? -a : a, reinterpret<f64>(y), negateAddend ? -c : c));
  return safe64(double);
}

/** FMSUB and FNMSUB subtract the addend. */
// @ts-ignore: decorator
@inline function negates(kind: u32): bool { return kind == 4 || kind == 5 || kind >= 8; }

// ------------------------------------------------------------------------------------------------ instructions
/** Of the instruction: operation, product and addend, where the result goes, element size and bytes. */
let kind: u32 = 0;
let x: usize = 0;
let y: usize = 0;
let z: usize = 0;
let to: usize = 0;
let size: usize = 0;
let bytes: usize = 0;
let scalar: bool = false;

// @ts-ignore: decorator
@inline function isScalar(operation: u32): bool { return operation >= 2 && (operation & 1) != 0; }
/** `s` is where the r/m operand is. */
function open(pc: usize, op: u32, variant: u32, s: usize): void {
  const order = (op - Fused.FIRST) >>> 4, v = vectorRegister(recVvvv(pc)), d = regVector(pc);
  kind = (op - Fused.FIRST) & 15;
  x = order == 0 ? d : v;
  y = order == 1 ? d : s;
  z = order == 0 ? v : order == 1 ? s : d;
  to = d;
  size = (recPrefixes(pc) & P_W) != 0 ? 8 : 4;
  scalar = isScalar(kind);
  bytes = scalar ? size : variant == VARIANT_VEX256 ? 32 : 16;
}
// @ts-ignore: decorator
@inline function negatesProduct(): bool { return kind >= 6; }
/** FMADDSUB subtracts in even elements, FMSUBADD in odd ones. */
// @ts-ignore: decorator
@inline function negatesAddend(odd: usize): bool { return kind == 0 ? odd == 0 : kind == 1 ? odd != 0 : negates(kind); }

/** Packed singles, all of them usual; false: nothing has been done. */
function packed32(): bool {
  const sign = i32x4.splat(0x80000000), none: v128 = i64x2(0, 0);
  const productSign = negatesProduct() ? sign : none;
  const addendSign = kind == 0 ? i64x2.splat(0x80000000) : kind == 1 ? i64x2.splat(0x80000000 << 32) : negates(kind) ? sign : none;
  if (!fuseLane32(v128.load(x), v128.load(y), v128.load(z), productSign, addendSign)) return false;
  const low = fused;
  if (bytes == 32 && !fuseLane32(v128.load(x, 16), v128.load(y, 16), v128.load(z, 16), productSign, addendSign)) return false;
  v128.store(to, low);
  if (bytes == 32) v128.store(to, fused, 16); else zeroUpper(to);
  return true;
}
/** The result, from where its elements were put together. */
function close(variant: u32): void {
  if (scalar) {
    if (size == 8) writeDouble(to, to, variant, load<u64>(VECTOR_SCRATCH));
    else writeSingle(to, to, variant, load<u32>(VECTOR_SCRATCH));
    return;
  }
  v128.store(to, v128.load(VECTOR_SCRATCH));
  if (bytes == 32) v128.store(to, v128.load(VECTOR_SCRATCH, 16), 16);
  else zeroUpper(to);
}

export function execFused(pc: usize, op: i32, variant: u32): i32 {
  const operation = <u32>(op - Fused.FIRST) & 15, wide = (recPrefixes(pc) & P_W) != 0;
  const s = isScalar(operation) ? partialSource(pc, wide ? 8 : 4) : source(pc, variant);
  if (!s) return FAULT;
  open(pc, <u32>op, variant, s);
  resetFloat();
  if (!scalar && size == 4 && floatState() == STATE_FAST && packed32()) return OK;
  for (let i: usize = 0; i < bytes; i += size) {
    const minus = negatesAddend(i / size & 1);
    if (size == 8) store<u64>(VECTOR_SCRATCH + i, fuse64(load<u64>(x + i), load<u64>(y + i), load<u64>(z + i), negatesProduct(), minus));
    else store<u32>(VECTOR_SCRATCH + i, fuse32(load<u32>(x + i), load<u32>(y + i), load<u32>(z + i), negatesProduct(), minus));
  }
  if (!endFloat()) return FAULT;
  close(variant);
  return OK;
}

/** Does an instruction between registers if it can be used and all of its elements are usual ones; false: nothing has been done. */
export function quickFused(pc: usize): bool {
  if (load<u32>(AVX_TRAP) != 0 || floatState() != STATE_FAST) return false;
  const number = recUnitOp(pc), variant = number >>> 14;
  open(pc, number & 0xfff, variant, rmVector(pc));
  if (!scalar && size == 4) return packed32();
  for (let i: usize = 0; i < bytes; i += size) {
    const minus = negatesAddend(i / size & 1);
    if (size == 8) {
      if (!usual64(load<u64>(x + i), load<u64>(y + i), load<u64>(z + i), negatesProduct(), minus)) return false;
      store<u64>(VECTOR_SCRATCH + i, double);
    } else {
      if (!usual32(load<u32>(x + i), load<u32>(y + i), load<u32>(z + i), negatesProduct(), minus)) return false;
      store<u32>(VECTOR_SCRATCH + i, single);
    }
  }
  close(variant);
  return true;
}
