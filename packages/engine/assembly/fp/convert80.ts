import { unpackedToInteger } from "./convert";
import { Fp, IE, DE } from "./environment";
import { rSign, rExp, rHi, rLo } from "./core";
import {
  unpack32, unpack64, pack32, pack64, uSign, uExp, uSig, K_ZERO, K_INFINITY, K_NAN, K_SNAN, K_DENORMAL, F32_DEFAULT, F32_INFINITY,
  F64_DEFAULT, F64_INFINITY, F32_QUIET, F64_QUIET,
} from "./softfloat";
import { unpack80, xSig, xSe, X80_BIAS, K_UNSUPPORTED, x80FromInteger } from "./floatx80";
/**
 * Between the 80-bit format and the formats in memory. Conversions of operands raise nothing but return the class they found,
 * because the operation decides which exception comes first; FLD raises by raiseLoad().
 */

/** An f32 exactly as an extended number; returns its class. Fp.daz must be off, as the x87 has none. */
export function x80FromF32(a: u32): u32 {
  const k = unpack32(a);
  fromUnpacked(k, u64(a & 0x7fffff) << 40);
  return k;
}
export function x80FromF64(a: u64): u32 {
  const k = unpack64(a);
  fromUnpacked(k, (a & 0xfffffffffffff) << 11);
  return k;
}
function fromUnpacked(k: u32, fraction: u64): void {
  const sign = uSign << 15;
  if (k & (K_NAN | K_INFINITY)) {
    xSig = (1 << 63) | fraction;
    xSe = sign | 0x7fff;
  } else if (k & K_ZERO) {
    xSig = 0;
    xSe = sign;
  } else {
    xSig = uSig;
    xSe = sign | u32(uExp + X80_BIAS);
  }
}
/** What loading a number of class `k` raises, and the quieting of a signalling NaN (FLD m32, FLD m64). */
export function raiseLoad(k: u32): void {
  if (k & K_SNAN) {
    Fp.flags |= IE;
    xSig |= 1 << 62;
  } else if (k & K_DENORMAL) Fp.flags |= DE;
}
export function x80FromI64(a: i64): void { x80FromInteger(u64(a < 0 ? -a : a), u32(a < 0)); }

/** FST m32: rounds to single precision. Denormal operands raise no DE. */
export function x80ToF32(sig: u64, se: u32): u32 {
  const k = unpack80(sig, se);
  const sign = uSign << 31;
  Fp.roundedUp = false;
  if (k & K_UNSUPPORTED) { Fp.flags |= IE; return F32_DEFAULT; }
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return sign | F32_INFINITY | F32_QUIET | (u32(sig >> 40) & 0x7fffff);
  }
  if (k & K_INFINITY) return sign | F32_INFINITY;
  if (k & K_ZERO) return sign;
  rSign = uSign; rExp = uExp; rHi = uSig; rLo = 0;
  return pack32();
}
export function x80ToF64(sig: u64, se: u32): u64 {
  const k = unpack80(sig, se);
  const sign = u64(uSign) << 63;
  Fp.roundedUp = false;
  if (k & K_UNSUPPORTED) { Fp.flags |= IE; return F64_DEFAULT; }
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return sign | F64_INFINITY | F64_QUIET | ((sig >> 11) & 0xfffffffffffff);
  }
  if (k & K_INFINITY) return sign | F64_INFINITY;
  if (k & K_ZERO) return sign;
  rSign = uSign; rExp = uExp; rHi = uSig; rLo = 0;
  return pack64();
}
/** FIST: to a signed integer of 16, 32 or 64 bits in `mode`; the integer indefinite with IE when it does not fit. */
export function x80ToInteger(sig: u64, se: u32, bits: u32, mode: u32): i64 {
  Fp.roundedUp = false;
  return unpackedToInteger(unpack80(sig, se), bits, mode);
}

/** FBLD: 18 packed decimal digits in the low 72 bits, sign in bit 79. */
export function x80FromBcd(low: u64, high: u32): void {
  let v: u64 = (high >>> 4 & 15) * 10 + (high & 15);
  for (let i = 60; i >= 0; i -= 4) v = v * 10 + ((low >> i) & 15);
  x80FromInteger(v, (high >>> 15) & 1);
}
/** High 16 bits of the last packed decimal. */
export let bcdHigh: u32 = 0;
/** FBSTP: rounds to at most 18 decimal digits; returns the low 64 bits. Out of range: the decimal indefinite with IE. */
export function x80ToBcd(sig: u64, se: u32): u64 {
  const flags = Fp.flags;
  const value = x80ToInteger(sig, se, 64, Fp.rounding);
  let m = u64(value < 0 ? -value : value);
  if (m > 999999999999999999) {
    Fp.flags = flags | IE;
    Fp.roundedUp = false;
    bcdHigh = 0xffff;
    return 0xc000000000000000;
  }
  let low: u64 = 0;
  for (let i: u64 = 0; i < 64; i += 4) {
    low |= (m % 10) << i;
    m /= 10;
  }
  bcdHigh = u32(m % 10 | (m / 10) << 4) | (se & 0x8000);
  return low;
}
