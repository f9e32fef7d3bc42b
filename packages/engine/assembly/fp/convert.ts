import { Fp, IE, DE, PE, ROUND_NEAREST, ROUND_ZERO } from "./environment";
import { rSign, rExp, rHi, rLo, shiftJam } from "./core";
import {
  unpack32, unpack64, pack16, pack32, pack64, uSign, uExp, uSig, K_ZERO, K_NUMBER, K_INFINITY, K_NAN, K_SNAN, K_DENORMAL,
  F32_INFINITY, F64_INFINITY, F32_QUIET, F64_QUIET,
} from "./softfloat";
/** Conversions between f16, f32, f64 and integers, and rounding to integers (SDM vol. 1, 4.8 and 11.5; CVT*, ROUND*, VCVTPH2PS). */

// ------------------------------------------------------------------------------------------------ between formats
// @ts-ignore: decorator
@inline function fromUnpacked(): void { rSign = uSign; rExp = uExp; rHi = uSig; rLo = 0; }

export function f32ToF64(a: u32): u64 {
  const k = unpack32(a);
  const sign = u64(a >>> 31) << 63;
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return sign | F64_INFINITY | F64_QUIET | (u64(a & 0x3fffff) << 29);
  }
  if (k & K_INFINITY) return sign | F64_INFINITY;
  if (k & K_ZERO) return sign;
  if (k & K_DENORMAL) Fp.flags |= DE;
  return sign | ((u64(uExp + 1022) << 52) + (uSig >> 11)); // always exact and normal
}
export function f64ToF32(a: u64): u32 {
  const k = unpack64(a);
  const sign = u32(a >> 63) << 31;
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return sign | F32_INFINITY | F32_QUIET | (u32(a >> 29) & 0x3fffff);
  }
  if (k & K_INFINITY) return sign | F32_INFINITY;
  if (k & K_ZERO) return sign;
  if (k & K_DENORMAL) Fp.flags |= DE;
  fromUnpacked();
  return pack32();
}
/** VCVTPH2PS: denormals are exact whatever DAZ says and raise nothing. */
export function f16ToF32(a: u32): u32 {
  const sign = (a & 0x8000) << 16;
  const e = (a >>> 10) & 31;
  const f = a & 0x3ff;
  if (e == 31) {
    if (f == 0) return sign | F32_INFINITY;
    if (!(f & 0x200)) Fp.flags |= IE;
    return sign | F32_INFINITY | F32_QUIET | (f << 13);
  }
  if (e) return sign | ((e + 112) << 23) | (f << 13);
  if (f == 0) return sign;
  const n = clz(f) - 21; // moves the top bit of f to bit 10
  return sign | ((113 - n) << 23) | (((f << n) & 0x3ff) << 13);
}
/** VCVTPS2PH in the rounding mode given (0-3); tiny results are never flushed. */
export function f32ToF16(a: u32, mode: u32): u32 {
  const k = unpack32(a);
  const sign = (a >>> 16) & 0x8000;
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return sign | 0x7e00 | ((a >>> 13) & 0x1ff);
  }
  if (k & K_INFINITY) return sign | 0x7c00;
  if (k & K_ZERO) return sign;
  if (k & K_DENORMAL) Fp.flags |= DE;
  fromUnpacked();
  const saved = Fp.rounding;
  Fp.rounding = mode;
  const r = pack16();
  Fp.rounding = saved;
  return r;
}

// ------------------------------------------------------------------------------------------------ from integers
function fromInteger(a: i64): void {
  rSign = u32(a < 0);
  const m = u64(a < 0 ? -a : a);
  const n = u32(clz(m));
  rHi = m << n;
  rLo = 0;
  rExp = 63 - n;
}
export function i64ToF32(a: i64): u32 {
  if (a == 0) return 0;
  fromInteger(a);
  return pack32();
}
export function i64ToF64(a: i64): u64 {
  if (a == 0) return 0;
  fromInteger(a);
  return pack64();
}
export function i32ToF32(a: i32): u32 { return i64ToF32(i64(a)); }
/** Always exact. */
export function i32ToF64(a: i32): u64 { return reinterpret<u64>(f64(a)); }

// ------------------------------------------------------------------------------------------------ to integers
/**
 * The magnitude of uExp, uSig rounded to an integer; sets inexact where it is not one. Results that do not fit in 64 bits are
 * returned as 2^64 - 1 with tooBig set. `mode` is a rounding mode.
 */
let tooBig: bool = false;
function roundMagnitude(sign: u32, mode: u32): u64 {
  tooBig = false;
  Fp.roundedUp = false;
  if (uExp > 63) { tooBig = true; return u64.MAX_VALUE; }
  let whole: u64 = 0, rest: u64 = 0; // rest: the fraction as 0.64 fixed point, jammed
  if (uExp >= 0) {
    const n = 63 - u32(uExp);
    whole = uSig >> n;
    rest = n ? uSig << (64 - n) : 0;
  } else rest = shiftJam(uSig, u32(-1 - uExp));
  if (rest == 0) return whole;
  let up = false;
  if (mode == ROUND_NEAREST) up = rest > 1 << 63 || (rest == 1 << 63 && (whole & 1) != 0);
  else if (mode != ROUND_ZERO) up = sign == (mode & 1);
  Fp.flags |= PE;
  if (up) {
    Fp.roundedUp = true;
    whole++;
    if (whole == 0) { tooBig = true; return u64.MAX_VALUE; }
  }
  return whole;
}
/**
 * The unpacked operand as a signed integer of `bits` bits. Out of range, infinite and NaN operands give the integer indefinite
 * (the most negative number) and IE alone.
 */
export function unpackedToInteger(k: u32, bits: u32, mode: u32): i64 {
  if (k & K_ZERO) return 0;
  const indefinite = i64.MIN_VALUE >> (64 - bits);
  const flags = Fp.flags;
  if (k & K_NUMBER) {
    const m = roundMagnitude(uSign, mode);
    const limit: u64 = 1 << u64(bits - 1);
    if (!tooBig && (m < limit || (m == limit && uSign))) return uSign ? -i64(m) : i64(m);
  }
  Fp.roundedUp = false;
  Fp.flags = flags | IE;
  return indefinite;
}
export function f32ToI32(a: u32, truncate: bool): i32 { return i32(unpackedToInteger(unpack32(a), 32, truncate ? ROUND_ZERO : Fp.rounding)); }
export function f32ToI64(a: u32, truncate: bool): i64 { return unpackedToInteger(unpack32(a), 64, truncate ? ROUND_ZERO : Fp.rounding); }
export function f64ToI32(a: u64, truncate: bool): i32 { return i32(unpackedToInteger(unpack64(a), 32, truncate ? ROUND_ZERO : Fp.rounding)); }
export function f64ToI64(a: u64, truncate: bool): i64 { return unpackedToInteger(unpack64(a), 64, truncate ? ROUND_ZERO : Fp.rounding); }

// ------------------------------------------------------------------------------------------------ to integral numbers
/** ROUNDSS: rounds to an integral number in `mode` (0-3); `suppressInexact` leaves PE alone. Denormals raise no DE. */
export function f32RoundToInt(a: u32, mode: u32, suppressInexact: bool): u32 {
  const k = unpack32(a);
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return a | F32_QUIET;
  }
  if (k & K_ZERO) return a & 0x80000000;
  if (k & K_INFINITY || uExp >= 23) return a;
  const sign = uSign;
  const flags = Fp.flags;
  const m = roundMagnitude(sign, mode);
  if (suppressInexact) Fp.flags = flags;
  return (sign << 31) | reinterpret<u32>(f32(m));
}
export function f64RoundToInt(a: u64, mode: u32, suppressInexact: bool): u64 {
  const k = unpack64(a);
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return a | F64_QUIET;
  }
  if (k & K_ZERO) return a & (1 << 63);
  if (k & K_INFINITY || uExp >= 52) return a;
  const sign = uSign;
  const flags = Fp.flags;
  const m = roundMagnitude(sign, mode);
  if (suppressInexact) Fp.flags = flags;
  return (u64(sign) << 63) | reinterpret<u64>(f64(m));
}
