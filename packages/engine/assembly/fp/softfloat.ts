import { Fp, IE, DE, ZE, OE, UE, PE, ROUND_NEAREST, ROUND_DOWN, ROUND_ZERO } from "./environment";
import { rSign, rExp, rHi, rLo, coreAdd, coreMul, coreDiv, coreSqrt, shiftJam } from "./core";
/**
 * Arithmetic on the bits of f32 and f64 numbers as SSE defines it (SDM vol. 1, 4.8-4.9, 11.5, appendix E): every rounding
 * mode, denormals-are-zero, flush-to-zero, tininess found after rounding, the first operand's NaN made quiet.
 * Exceptions are collected in Fp.flags.
 */

// ------------------------------------------------------------------------------------------------ unpacking
/** Classes of operands. */
export const K_ZERO: u32 = 1;
/** Normal, or denormal that has been normalised. */
export const K_NUMBER: u32 = 2;
export const K_INFINITY: u32 = 4;
export const K_QNAN: u32 = 8;
export const K_SNAN: u32 = 16;
/** Set beside K_NUMBER. */
export const K_DENORMAL: u32 = 32;
export const K_NAN: u32 = K_QNAN | K_SNAN;

/** What unpack32/unpack64 found: sign, exponent and significand (top bit set). */
export let uSign: u32 = 0;
export let uExp: i32 = 0;
export let uSig: u64 = 0;

export const F32_DEFAULT: u32 = 0xffc00000;
export const F64_DEFAULT: u64 = 0xfff8000000000000;
export const F32_INFINITY: u32 = 0x7f800000;
export const F64_INFINITY: u64 = 0x7ff0000000000000;
export const F32_QUIET: u32 = 0x400000;
export const F64_QUIET: u64 = 0x8000000000000;

/** Unpacks with DAZ applied; does not raise anything. */
export function unpack32(a: u32): u32 {
  const e = (a >>> 23) & 0xff;
  const f = a & 0x7fffff;
  uSign = a >>> 31;
  if (e == 0xff) return f == 0 ? K_INFINITY : (f & F32_QUIET) ? K_QNAN : K_SNAN;
  if (e) {
    uExp = e - 127;
    uSig = (u64(f) << 40) | (1 << 63);
    return K_NUMBER;
  }
  if (f == 0 || Fp.daz) return K_ZERO;
  const n = clz(f) - 8;
  uExp = -126 - n;
  uSig = u64(f) << (40 + n);
  return K_NUMBER | K_DENORMAL;
}
export function unpack64(a: u64): u32 {
  const e = u32(a >> 52) & 0x7ff;
  const f = a & 0xfffffffffffff;
  uSign = u32(a >> 63);
  if (e == 0x7ff) return f == 0 ? K_INFINITY : (f & F64_QUIET) ? K_QNAN : K_SNAN;
  if (e) {
    uExp = i32(e) - 1023;
    uSig = (f << 11) | (1 << 63);
    return K_NUMBER;
  }
  if (f == 0 || Fp.daz) return K_ZERO;
  const n = u32(clz(f)) - 11;
  uExp = -1022 - i32(n);
  uSig = f << (11 + n);
  return K_NUMBER | K_DENORMAL;
}

// ------------------------------------------------------------------------------------------------ packing
/** What must be added below the last place so that cutting rounds: `unit` is the weight of the last place. */
// @ts-ignore: decorator
@inline function increment(sign: u32, unit: u64): u64 {
  if (Fp.rounding == ROUND_NEAREST) return unit >> 1;
  if (Fp.rounding == ROUND_ZERO) return 0;
  return sign == (Fp.rounding & 1) ? unit - 1 : 0;
}

/**
 * Rounds rSign, rExp, rHi:rLo to a format with `fraction` bits of fraction and the given bias and packs it. Used for f16, f32
 * and f64. `flush` tells whether FTZ applies.
 */
// @ts-ignore: decorator
@inline function roundPack(fraction: u32, width: u32, bias: i32, flush: bool): u64 {
  const shift = 63 - fraction;
  const unit: u64 = 1 << u64(shift);
  const sign = u64(rSign) << (width - 1);
  let sig = rHi | u64(rLo != 0);
  let be = rExp + bias;
  const add = increment(rSign, unit);
  let tiny = false;
  if (be <= 0) {
    // tininess is judged on the result rounded as if the exponent had no bound: only a carry out saves it
    tiny = be < 0 || sig + add >= sig;
    if (tiny) {
      if (!(Fp.masks & UE)) { // no result will be delivered: flags as for an unbounded exponent
        Fp.flags |= UE;
        if (sig & (unit - 1)) Fp.flags |= PE;
        return sign;
      }
      if (flush && Fp.ftz) {
        Fp.flags |= UE | PE;
        Fp.roundedUp = false;
        return sign;
      }
    }
    sig = shiftJam(sig, 1 - be);
    be = 1;
  }
  const rest = sig & (unit - 1);
  let rounded = sig + add;
  const carry = rounded < sig;
  if (rest == (unit >> 1) && Fp.rounding == ROUND_NEAREST) rounded &= ~unit;
  rounded >>= shift;
  if (carry) rounded |= 1 << u64(fraction + 1);
  Fp.roundedUp = rounded > sig >> shift;
  if (rest) {
    Fp.flags |= PE;
    if (tiny) Fp.flags |= UE;
  }
  // the integer bit adds one to the exponent, as does a carry into it
  const packed = (u64(be - 1) << fraction) + rounded;
  if (be > 2 * bias || packed >= u64(2 * bias + 1) << fraction) {
    Fp.flags |= OE;
    if (Fp.masks & OE) Fp.flags |= PE;
    const largest = Fp.rounding == ROUND_ZERO || (Fp.rounding != ROUND_NEAREST && rSign != (Fp.rounding & 1));
    Fp.roundedUp = !largest;
    return sign | ((u64(2 * bias + 1) << fraction) - u64(largest));
  }
  return sign | packed;
}
/** Rounds the unpacked result of core.ts to f32. */
export function pack32(): u32 { return u32(roundPack(23, 32, 127, true)); }
export function pack64(): u64 { return roundPack(52, 64, 1023, true); }
export function pack16(): u32 { return u32(roundPack(10, 16, 15, false)); }

// @ts-ignore: decorator
@inline function invalid32(): u32 { Fp.flags |= IE; return F32_DEFAULT; }
// @ts-ignore: decorator
@inline function invalid64(): u64 { Fp.flags |= IE; return F64_DEFAULT; }

/** The NaN two operands give, one of which is a NaN (SDM vol. 1, table 4-7). */
function nan32(a: u32, ka: u32, b: u32, kb: u32): u32 {
  if ((ka | kb) & K_SNAN) Fp.flags |= IE;
  return ((ka & K_NAN) ? a : b) | F32_QUIET;
}
function nan64(a: u64, ka: u32, b: u64, kb: u32): u64 {
  if ((ka | kb) & K_SNAN) Fp.flags |= IE;
  return ((ka & K_NAN) ? a : b) | F64_QUIET;
}
// @ts-ignore: decorator
@inline function denormal(k: u32): void { if (k & K_DENORMAL) Fp.flags |= DE; }

// ------------------------------------------------------------------------------------------------ addition
function addSigned32(a: u32, b: u32, flip: u32): u32 {
  const ka = unpack32(a), sa = uSign, ea = uExp, ha = uSig;
  const kb = unpack32(b), sb = uSign ^ flip;
  const k = ka | kb;
  if (k & K_NAN) return nan32(a, ka, b, kb);
  if (k & K_INFINITY) {
    if (ka & kb & K_INFINITY && sa != sb) return invalid32();
    denormal(k);
    return ((ka & K_INFINITY ? sa : sb) << 31) | F32_INFINITY;
  }
  denormal(k);
  if (k & K_ZERO) {
    if (ka & kb & K_ZERO) return (sa == sb ? sa : u32(Fp.rounding == ROUND_DOWN)) << 31;
    rLo = 0;
    if (ka & K_ZERO) { rSign = sb; rExp = uExp; rHi = uSig; } else { rSign = sa; rExp = ea; rHi = ha; }
    return pack32();
  }
  coreAdd(sa, ea, ha, 0, sb, uExp, uSig, 0);
  return rHi ? pack32() : rSign << 31;
}
function addSigned64(a: u64, b: u64, flip: u32): u64 {
  const ka = unpack64(a), sa = uSign, ea = uExp, ha = uSig;
  const kb = unpack64(b), sb = uSign ^ flip;
  const k = ka | kb;
  if (k & K_NAN) return nan64(a, ka, b, kb);
  if (k & K_INFINITY) {
    if (ka & kb & K_INFINITY && sa != sb) return invalid64();
    denormal(k);
    return (u64(ka & K_INFINITY ? sa : sb) << 63) | F64_INFINITY;
  }
  denormal(k);
  if (k & K_ZERO) {
    if (ka & kb & K_ZERO) return u64(sa == sb ? sa : u32(Fp.rounding == ROUND_DOWN)) << 63;
    rLo = 0;
    if (ka & K_ZERO) { rSign = sb; rExp = uExp; rHi = uSig; } else { rSign = sa; rExp = ea; rHi = ha; }
    return pack64();
  }
  coreAdd(sa, ea, ha, 0, sb, uExp, uSig, 0);
  return rHi ? pack64() : u64(rSign) << 63;
}
export function f32Add(a: u32, b: u32): u32 { return addSigned32(a, b, 0); }
export function f32Sub(a: u32, b: u32): u32 { return addSigned32(a, b, 1); }
export function f64Add(a: u64, b: u64): u64 { return addSigned64(a, b, 0); }
export function f64Sub(a: u64, b: u64): u64 { return addSigned64(a, b, 1); }

// ------------------------------------------------------------------------------------------------ multiplication, division, root
export function f32Mul(a: u32, b: u32): u32 {
  const ka = unpack32(a), ea = uExp, ha = uSig;
  const kb = unpack32(b);
  const k = ka | kb;
  if (k & K_NAN) return nan32(a, ka, b, kb);
  rSign = (a ^ b) >>> 31;
  if (k & K_INFINITY) {
    if (k & K_ZERO) return invalid32();
    denormal(k);
    return (rSign << 31) | F32_INFINITY;
  }
  denormal(k);
  if (k & K_ZERO) return rSign << 31;
  coreMul(ea, ha, uExp, uSig);
  return pack32();
}
export function f64Mul(a: u64, b: u64): u64 {
  const ka = unpack64(a), ea = uExp, ha = uSig;
  const kb = unpack64(b);
  const k = ka | kb;
  if (k & K_NAN) return nan64(a, ka, b, kb);
  const sign = (a ^ b) & (1 << 63);
  if (k & K_INFINITY) {
    if (k & K_ZERO) return invalid64();
    denormal(k);
    return sign | F64_INFINITY;
  }
  denormal(k);
  if (k & K_ZERO) return sign;
  coreMul(ea, ha, uExp, uSig);
  rSign = u32(sign >> 63);
  return pack64();
}
export function f32Div(a: u32, b: u32): u32 {
  const ka = unpack32(a), ea = uExp, ha = uSig;
  const kb = unpack32(b);
  const k = ka | kb;
  if (k & K_NAN) return nan32(a, ka, b, kb);
  rSign = (a ^ b) >>> 31;
  if (ka & kb & (K_INFINITY | K_ZERO)) return invalid32();
  if (ka & K_INFINITY) { denormal(kb); return (rSign << 31) | F32_INFINITY; }
  if (kb & K_ZERO) { Fp.flags |= ZE; return (rSign << 31) | F32_INFINITY; }
  denormal(k);
  if (k & (K_ZERO | K_INFINITY)) return rSign << 31;
  coreDiv(ea, ha, uExp, uSig);
  return pack32();
}
export function f64Div(a: u64, b: u64): u64 {
  const ka = unpack64(a), ea = uExp, ha = uSig;
  const kb = unpack64(b);
  const k = ka | kb;
  if (k & K_NAN) return nan64(a, ka, b, kb);
  const sign = (a ^ b) & (1 << 63);
  if (ka & kb & (K_INFINITY | K_ZERO)) return invalid64();
  if (ka & K_INFINITY) { denormal(kb); return sign | F64_INFINITY; }
  if (kb & K_ZERO) { Fp.flags |= ZE; return sign | F64_INFINITY; }
  denormal(k);
  if (k & (K_ZERO | K_INFINITY)) return sign;
  coreDiv(ea, ha, uExp, uSig);
  rSign = u32(sign >> 63);
  return pack64();
}
export function f32Sqrt(a: u32): u32 {
  const k = unpack32(a);
  if (k & K_NAN) return nan32(a, k, a, k);
  if (k & K_ZERO) return a & 0x80000000;
  if (uSign) return invalid32();
  if (k & K_INFINITY) return a;
  denormal(k);
  coreSqrt(uExp, uSig);
  rSign = 0;
  return pack32();
}
export function f64Sqrt(a: u64): u64 {
  const k = unpack64(a);
  if (k & K_NAN) return nan64(a, k, a, k);
  if (k & K_ZERO) return a & (1 << 63);
  if (uSign) return invalid64();
  if (k & K_INFINITY) return a;
  denormal(k);
  coreSqrt(uExp, uSig);
  rSign = 0;
  return pack64();
}

// ------------------------------------------------------------------------------------------------ fused multiply-add
/**
 * ±(a * b) ± c with one rounding. A NaN result is the first NaN among a, b, c, so callers pass the operands in the order the
 * mnemonic has them (SDM vol. 1, 14.5.2): 132 is (op1, op3, op2), 213 is (op2, op1, op3), 231 is (op2, op3, op1).
 */
export function f32MulAdd(a: u32, b: u32, c: u32, negateProduct: bool, negateAddend: bool): u32 {
  const ka = unpack32(a), ea = uExp, ha = uSig;
  const kb = unpack32(b), eb = uExp, hb = uSig;
  const kc = unpack32(c), sc = uSign ^ u32(negateAddend);
  const k = ka | kb | kc;
  const sp = ((a ^ b) >>> 31) ^ u32(negateProduct);
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return ((ka & K_NAN) ? a : (kb & K_NAN) ? b : c) | F32_QUIET;
  }
  const kp = ka | kb;
  if (kp & K_INFINITY) {
    if (kp & K_ZERO || (kc & K_INFINITY && sp != sc)) return invalid32();
    denormal(k);
    return (sp << 31) | F32_INFINITY;
  }
  denormal(k);
  if (kc & K_INFINITY) return (sc << 31) | F32_INFINITY;
  if (kp & K_ZERO) {
    if (kc & K_ZERO) return (sp == sc ? sp : u32(Fp.rounding == ROUND_DOWN)) << 31;
    rSign = sc; rExp = uExp; rHi = uSig; rLo = 0;
    return pack32();
  }
  coreMul(ea, ha, eb, hb);
  rSign = sp;
  if (kc & K_ZERO) return pack32();
  coreAdd(sp, rExp, rHi, rLo, sc, uExp, uSig, 0);
  return rHi ? pack32() : rSign << 31;
}
export function f64MulAdd(a: u64, b: u64, c: u64, negateProduct: bool, negateAddend: bool): u64 {
  const ka = unpack64(a), ea = uExp, ha = uSig;
  const kb = unpack64(b), eb = uExp, hb = uSig;
  const kc = unpack64(c), sc = uSign ^ u32(negateAddend);
  const k = ka | kb | kc;
  const sp = u32((a ^ b) >> 63) ^ u32(negateProduct);
  if (k & K_NAN) {
    if (k & K_SNAN) Fp.flags |= IE;
    return ((ka & K_NAN) ? a : (kb & K_NAN) ? b : c) | F64_QUIET;
  }
  const kp = ka | kb;
  if (kp & K_INFINITY) {
    if (kp & K_ZERO || (kc & K_INFINITY && sp != sc)) return invalid64();
    denormal(k);
    return (u64(sp) << 63) | F64_INFINITY;
  }
  denormal(k);
  if (kc & K_INFINITY) return (u64(sc) << 63) | F64_INFINITY;
  if (kp & K_ZERO) {
    if (kc & K_ZERO) return u64(sp == sc ? sp : u32(Fp.rounding == ROUND_DOWN)) << 63;
    rSign = sc; rExp = uExp; rHi = uSig; rLo = 0;
    return pack64();
  }
  coreMul(ea, ha, eb, hb);
  rSign = sp;
  if (kc & K_ZERO) return pack64();
  coreAdd(sp, rExp, rHi, rLo, sc, uExp, uSig, 0);
  return rHi ? pack64() : u64(rSign) << 63;
}

// ------------------------------------------------------------------------------------------------ comparison
export const LESS: i32 = -1;
export const EQUAL: i32 = 0;
export const GREATER: i32 = 1;
export const UNORDERED: i32 = 2;
/** Compares; `signalling`: a quiet NaN raises IE as well (COMISS), otherwise only a signalling one (UCOMISS). */
export function f32Compare(a: u32, b: u32, signalling: bool): i32 {
  const ka = unpack32(a);
  const kb = unpack32(b);
  const k = ka | kb;
  if (k & K_NAN) {
    if (signalling || (k & K_SNAN)) Fp.flags |= IE;
    return UNORDERED;
  }
  denormal(k);
  if (ka & K_ZERO) a = 0;
  if (kb & K_ZERO) b = 0;
  if (a == b) return EQUAL;
  // sign-magnitude to two's complement order
  const x = i32(a) < 0 ? i32(a ^ 0x7fffffff) : i32(a);
  const y = i32(b) < 0 ? i32(b ^ 0x7fffffff) : i32(b);
  return x < y ? LESS : GREATER;
}
export function f64Compare(a: u64, b: u64, signalling: bool): i32 {
  const ka = unpack64(a);
  const kb = unpack64(b);
  const k = ka | kb;
  if (k & K_NAN) {
    if (signalling || (k & K_SNAN)) Fp.flags |= IE;
    return UNORDERED;
  }
  denormal(k);
  if (ka & K_ZERO) a = 0;
  if (kb & K_ZERO) b = 0;
  if (a == b) return EQUAL;
  const x = i64(a) < 0 ? i64(a ^ 0x7fffffffffffffff) : i64(a);
  const y = i64(b) < 0 ? i64(b ^ 0x7fffffffffffffff) : i64(b);
  return x < y ? LESS : GREATER;
}
