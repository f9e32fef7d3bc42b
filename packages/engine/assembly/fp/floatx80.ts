import { wideDiv, wideLo } from "../int128";
import { Fp, IE, DE, ZE, OE, UE, PE, ROUND_NEAREST, ROUND_DOWN, ROUND_ZERO } from "./environment";
import { rSign, rExp, rHi, rLo, coreAdd, coreMul, coreDiv, coreSqrt, shiftJam } from "./core";
import {
  uSign, uExp, uSig, K_ZERO, K_NUMBER, K_INFINITY, K_QNAN, K_SNAN, K_NAN, K_DENORMAL, LESS, EQUAL, GREATER, UNORDERED,
} from "./softfloat";
/**
 * Arithmetic on the 80-bit extended format as the x87 defines it (SDM vol. 1, 4.2.2, 4.8, 8.1-8.5).
 *
 * A number is its 64-bit significand with explicit integer bit and a 16-bit word of sign and exponent. Results are left in
 * xSig and xSe; exceptions are collected in Fp.flags, and Fp.roundedUp tells C1.
 */

/** Encodings the x87 refuses: unnormals, pseudo-infinities, pseudo-NaNs (SDM vol. 1, 8.2.2). */
export const K_UNSUPPORTED: u32 = 64;
export const X80_BIAS: i32 = 16383;
/** What an unmasked overflow or underflow takes from or adds to the exponent (SDM vol. 1, 8.5.4). */
const WRAP: i32 = 24576;
const INTEGER_BIT: u64 = 1 << 63;
const QUIET_BIT: u64 = 1 << 62;

export let xSig: u64 = 0;
export let xSe: u32 = 0;
/** Added to the class of the operands: K_DENORMAL when one was converted from a denormal f32 or f64. */
export let xOperandClass: u32 = 0;

export function unpack80(sig: u64, se: u32): u32 {
  const e = se & 0x7fff;
  uSign = (se >>> 15) & 1;
  if (e == 0x7fff) {
    if (!(sig >> 63)) return K_UNSUPPORTED;
    return sig << 1 == 0 ? K_INFINITY : (sig & QUIET_BIT) ? K_QNAN : K_SNAN;
  }
  if (e == 0) {
    if (sig == 0) return K_ZERO;
    const n = u32(clz(sig));
    uExp = -16382 - i32(n);
    uSig = sig << n;
    return K_NUMBER | K_DENORMAL;
  }
  if (!(sig >> 63)) return K_UNSUPPORTED;
  uExp = i32(e) - X80_BIAS;
  uSig = sig;
  return K_NUMBER;
}

// @ts-ignore: decorator
@inline function set(sig: u64, se: u32): void { xSig = sig; xSe = se; }
/** The real indefinite with IE: the answer to an invalid operation. */
export function x80Invalid(): void {
  Fp.flags |= IE;
  set(INTEGER_BIT | QUIET_BIT, 0xffff);
}
export function x80Zero(sign: u32): void { set(0, sign << 15); }
export function x80Infinity(sign: u32): void { set(INTEGER_BIT, (sign << 15) | 0x7fff); }
// @ts-ignore: decorator
@inline export function x80Denormal(k: u32): void { if (k & K_DENORMAL) Fp.flags |= DE; }

/** The NaN of two operands, at least one of which is a NaN or unsupported (SDM vol. 1, table 4-7). */
export function x80Nan(aSig: u64, aSe: u32, ka: u32, bSig: u64, bSe: u32, kb: u32): void {
  const k = ka | kb;
  if (k & K_UNSUPPORTED) { x80Invalid(); return; }
  if (k & K_SNAN) Fp.flags |= IE;
  let first: bool;
  if (!(kb & K_NAN)) first = true;
  else if (!(ka & K_NAN)) first = false;
  else if (ka != kb) first = (ka & K_QNAN) != 0; // a quiet one is preferred
  else if (aSig != bSig) first = aSig > bSig;
  else first = (aSe & 0x8000) <= (bSe & 0x8000);
  if (first) set(aSig | QUIET_BIT, aSe); else set(bSig | QUIET_BIT, bSe);
}
/** The NaN of one operand. */
export function x80Nan1(sig: u64, se: u32, k: u32): void {
  if (k & K_UNSUPPORTED) { x80Invalid(); return; }
  if (k & K_SNAN) Fp.flags |= IE;
  set(sig | QUIET_BIT, se);
}

/**
 * Rounds rSign, rExp, rHi:rLo to `precision` bits (64, 53 or 24) with the exponent range of the extended format. With overflow or
 * underflow unmasked the exponent is wrapped, as for register destinations.
 */
export function pack80(precision: u32): void {
  let e = rExp + X80_BIAS;
  let hi = rHi, lo = rLo;
  if (precision == 64 && Fp.rounding == ROUND_NEAREST && u32(e - 1) < 0x7ffd) { // the usual case
    const up = lo > INTEGER_BIT || (lo == INTEGER_BIT && (hi & 1) != 0);
    Fp.roundedUp = up;
    if (lo) Fp.flags |= PE;
    hi += u64(up);
    if (hi == 0) {
      hi = INTEGER_BIT;
      e++;
    }
    set(hi, (rSign << 15) | u32(e));
    return;
  }
  const cut = 64 - precision;
  const unit: u64 = 1 << u64(cut);
  let tiny = false;
  if (e <= 0) {
    tiny = true;
    if (e == 0) { // not tiny if rounding with an unbounded exponent carries into the next binade
      const rest = cut ? (hi << (64 - cut)) | u64(lo != 0) : lo;
      if (~hi < unit && roundsUp(rest, true)) tiny = false;
    }
    if (tiny && !(Fp.masks & UE)) {
      Fp.flags |= UE;
      e += WRAP;
      tiny = false;
      if (e <= 0) { Fp.flags |= PE; x80Zero(rSign); Fp.roundedUp = false; return; } // FSCALE only
    } else {
      const n = u32(1 - e);
      if (n < 64) {
        lo = (lo >> n) | (hi << (64 - n)) | u64((lo << (64 - n)) != 0);
        hi >>= n;
      } else {
        lo = shiftJam(hi, n - 64) | u64(lo != 0);
        hi = 0;
      }
      e = 0;
    }
  }
  const rest = cut ? (hi << (64 - cut)) | u64(lo != 0) : lo;
  hi &= -unit;
  Fp.roundedUp = false;
  if (rest) {
    Fp.flags |= PE;
    if (tiny) Fp.flags |= UE;
    if (roundsUp(rest, (hi & unit) != 0)) {
      Fp.roundedUp = true;
      hi += unit;
      if (hi == 0) {
        hi = INTEGER_BIT;
        e++;
      }
    }
  }
  if (e == 0 && hi >> 63) e = 1;
  if (e >= 0x7fff) {
    Fp.flags |= OE;
    if (Fp.masks & OE) {
      Fp.flags |= PE;
      const largest = Fp.rounding == ROUND_ZERO || (Fp.rounding != ROUND_NEAREST && rSign != (Fp.rounding & 1));
      Fp.roundedUp = !largest;
      if (largest) set(-unit, (rSign << 15) | 0x7ffe); else x80Infinity(rSign);
      return;
    }
    e -= WRAP;
    if (e >= 0x7fff) { Fp.flags |= PE; Fp.roundedUp = true; x80Infinity(rSign); return; }
  }
  set(hi, (rSign << 15) | u32(e));
}
/** Whether a fraction (0.64 fixed point, jammed) above an odd or even last place rounds the magnitude up. */
// @ts-ignore: decorator
@inline function roundsUp(rest: u64, odd: bool): bool {
  if (Fp.rounding == ROUND_NEAREST) return rest > INTEGER_BIT || (rest == INTEGER_BIT && odd);
  if (Fp.rounding == ROUND_ZERO) return false;
  return rest != 0 && rSign == (Fp.rounding & 1);
}

// ------------------------------------------------------------------------------------------------ arithmetic
/** a + b, or a - b with `flip` 1. */
export function x80Add(aSig: u64, aSe: u32, bSig: u64, bSe: u32, flip: u32, precision: u32): void {
  const ka = unpack80(aSig, aSe), sa = uSign, ea = uExp, ha = uSig;
  const kb = unpack80(bSig, bSe) | xOperandClass, sb = uSign ^ flip;
  const k = ka | kb;
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan(aSig, aSe, ka, bSig, bSe, kb); return; }
  if (k & K_INFINITY) {
    if (ka & kb & K_INFINITY && sa != sb) { x80Invalid(); return; }
    x80Denormal(k);
    x80Infinity(ka & K_INFINITY ? sa : sb);
    return;
  }
  x80Denormal(k);
  if (k & K_ZERO) {
    if (ka & kb & K_ZERO) { x80Zero(sa == sb ? sa : u32(Fp.rounding == ROUND_DOWN)); return; }
    rLo = 0;
    if (ka & K_ZERO) { rSign = sb; rExp = uExp; rHi = uSig; } else { rSign = sa; rExp = ea; rHi = ha; }
    pack80(precision);
    return;
  }
  coreAdd(sa, ea, ha, 0, sb, uExp, uSig, 0);
  if (rHi) pack80(precision); else x80Zero(rSign);
}
export function x80Mul(aSig: u64, aSe: u32, bSig: u64, bSe: u32, precision: u32): void {
  const ka = unpack80(aSig, aSe), ea = uExp, ha = uSig;
  const kb = unpack80(bSig, bSe) | xOperandClass;
  const k = ka | kb;
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan(aSig, aSe, ka, bSig, bSe, kb); return; }
  const sign = ((aSe ^ bSe) >>> 15) & 1;
  if (k & K_INFINITY) {
    if (k & K_ZERO) { x80Invalid(); return; }
    x80Denormal(k);
    x80Infinity(sign);
    return;
  }
  x80Denormal(k);
  if (k & K_ZERO) { x80Zero(sign); return; }
  coreMul(ea, ha, uExp, uSig);
  rSign = sign;
  pack80(precision);
}
export function x80Div(aSig: u64, aSe: u32, bSig: u64, bSe: u32, precision: u32): void {
  const ka = unpack80(aSig, aSe), ea = uExp, ha = uSig;
  const kb = unpack80(bSig, bSe) | xOperandClass;
  const k = ka | kb;
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan(aSig, aSe, ka, bSig, bSe, kb); return; }
  const sign = ((aSe ^ bSe) >>> 15) & 1;
  if (ka & kb & (K_INFINITY | K_ZERO)) { x80Invalid(); return; }
  if (ka & K_INFINITY) { x80Denormal(k); x80Infinity(sign); return; }
  if (kb & K_ZERO) { Fp.flags |= ZE; x80Infinity(sign); return; }
  x80Denormal(k);
  if (k & (K_ZERO | K_INFINITY)) { x80Zero(sign); return; }
  coreDiv(ea, ha, uExp, uSig);
  rSign = sign;
  pack80(precision);
}
export function x80Sqrt(sig: u64, se: u32, precision: u32): void {
  const k = unpack80(sig, se);
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan1(sig, se, k); return; }
  if (k & K_ZERO) { set(sig, se); return; }
  if (uSign) { x80Invalid(); return; }
  if (k & K_INFINITY) { set(sig, se); return; }
  x80Denormal(k);
  coreSqrt(uExp, uSig);
  rSign = 0;
  pack80(precision);
}

/** Compares a with b; `quiet`: quiet NaNs raise nothing (FUCOM). */
export function x80Compare(aSig: u64, aSe: u32, bSig: u64, bSe: u32, quiet: bool): i32 {
  const ka = unpack80(aSig, aSe), sa = uSign, ea = uExp, ha = uSig;
  const kb = unpack80(bSig, bSe) | xOperandClass, sb = uSign;
  const k = ka | kb;
  if (k & (K_NAN | K_UNSUPPORTED)) {
    if (!quiet || k & (K_SNAN | K_UNSUPPORTED)) Fp.flags |= IE;
    return UNORDERED;
  }
  x80Denormal(k);
  if (ka & K_ZERO) return kb & K_ZERO ? EQUAL : sb ? GREATER : LESS;
  if (kb & K_ZERO) return sa ? LESS : GREATER;
  if (sa != sb) return sa ? LESS : GREATER;
  let order: i32; // of the magnitudes
  if (k & K_INFINITY) order = ka & kb & K_INFINITY ? EQUAL : ka & K_INFINITY ? GREATER : LESS;
  else if (ea != uExp) order = ea > uExp ? GREATER : LESS;
  else order = ha == uSig ? EQUAL : ha > uSig ? GREATER : LESS;
  return sa ? -order : order;
}

// ------------------------------------------------------------------------------------------------ integral values
/** FRNDINT in the current rounding mode. */
export function x80RoundToInt(sig: u64, se: u32): void {
  const k = unpack80(sig, se);
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan1(sig, se, k); return; }
  set(sig, se);
  Fp.roundedUp = false;
  if (k & (K_ZERO | K_INFINITY)) return;
  x80Denormal(k);
  if (uExp >= 63) return;
  rSign = uSign;
  let whole: u64 = 0, rest: u64;
  if (uExp >= 0) {
    const n = 63 - u32(uExp);
    whole = uSig >> n;
    rest = uSig << (64 - n);
  } else rest = shiftJam(uSig, u32(-1 - uExp));
  if (rest == 0) return;
  Fp.flags |= PE;
  if (roundsUp(rest, (whole & 1) != 0)) {
    whole++;
    Fp.roundedUp = true;
  }
  x80FromInteger(whole, rSign);
}
/** The exact value of an integer magnitude with a sign. */
export function x80FromInteger(magnitude: u64, sign: u32): void {
  if (magnitude == 0) { x80Zero(sign); return; }
  const n = u32(clz(magnitude));
  set(magnitude << n, (sign << 15) | (X80_BIAS + 63 - n));
}

/** Quotient bits of the last remainder, and whether the reduction is incomplete (C2). */
export let xQuotient: u32 = 0;
export let xIncomplete: bool = false;
/** Whether there was a quotient at all: false for NaN and invalid operands. */
export let xReduced: bool = false;
/**
 * FPREM (truncating) and FPREM1 (`nearest`, IEEE remainder). Up to 63 bits of exponent difference are reduced at once; beyond
 * that the exponent is lowered by 32 to 63 and C2 asks for another round (SDM vol. 2, FPREM). The result is exact.
 */
export function x80Remainder(aSig: u64, aSe: u32, bSig: u64, bSe: u32, nearest: bool): void {
  xQuotient = 0;
  xIncomplete = false;
  xReduced = false;
  const ka = unpack80(aSig, aSe), sa = uSign, ea = uExp, ha = uSig;
  const kb = unpack80(bSig, bSe), eb = uExp, hb = uSig;
  const k = ka | kb;
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan(aSig, aSe, ka, bSig, bSe, kb); return; }
  if (ka & K_INFINITY || kb & K_ZERO) { x80Invalid(); return; }
  xReduced = true;
  x80Denormal(k);
  if (ka & K_ZERO) { x80Zero(sa); return; }
  rSign = sa;
  rLo = 0;
  rExp = ea;
  rHi = ha;
  if (!(kb & K_INFINITY) && ea - eb >= -1) {
    let d = ea - eb;
    let above: i32 = 0; // exponent left for later rounds
    if (d >= 64) {
      const n = (d & 31) | 32;
      above = d - n;
      d = n;
      xIncomplete = true;
    }
    let q: u64 = 0, rest: u64 = 0;
    if (d >= 0) {
      q = wideDiv(d ? ha >> u64(64 - d) : 0, ha << u64(d), hb);
      rest = wideLo;
      if (rest) {
        const n = u32(clz(rest));
        rHi = rest << n;
        rExp = eb + above - i32(n);
      } else rHi = 0;
    }
    if (nearest && !xIncomplete && rHi) { // more than half of b left: one b less
      if (rExp == eb || (rExp == eb - 1 && (rHi > hb || (rHi == hb && (q & 1) != 0)))) {
        coreAdd(sa, rExp, rHi, 0, sa ^ 1, eb, hb, 0);
        q++;
      }
    }
    if (!xIncomplete) xQuotient = u32(q) & 7;
    if (rHi == 0) { x80Zero(sa); return; }
  }
  pack80(64);
}

/** FSCALE: a * 2^trunc(b). */
export function x80Scale(aSig: u64, aSe: u32, bSig: u64, bSe: u32): void {
  const ka = unpack80(aSig, aSe), sa = uSign, ea = uExp, ha = uSig;
  const kb = unpack80(bSig, bSe);
  const k = ka | kb;
  if (k & (K_NAN | K_UNSUPPORTED)) { x80Nan(aSig, aSe, ka, bSig, bSe, kb); return; }
  if (kb & K_INFINITY) {
    if (ka & (uSign ? K_INFINITY : K_ZERO)) { x80Invalid(); return; }
    x80Denormal(ka);
    if (uSign) x80Zero(sa); else x80Infinity(sa);
    return;
  }
  x80Denormal(k);
  if (ka & (K_INFINITY | K_ZERO)) { set(aSig, aSe); return; }
  let n: i32 = 0;
  if (!(kb & K_ZERO) && uExp >= 0) {
    n = uExp > 16 ? 0x20000 : i32(uSig >> u64(63 - uExp));
    if (uSign) n = -n;
  }
  rSign = sa;
  rExp = ea + n;
  rHi = ha;
  rLo = 0;
  pack80(64);
}

/** The exponent found by x80Extract, as a number. */
export let xExponentSig: u64 = 0;
export let xExponentSe: u32 = 0;
/** FXTRACT: significand in xSig, xSe and exponent beside it. */
export function x80Extract(sig: u64, se: u32): void {
  const k = unpack80(sig, se);
  if (k & (K_NAN | K_UNSUPPORTED)) {
    x80Nan1(sig, se, k);
    xExponentSig = xSig;
    xExponentSe = xSe;
    return;
  }
  if (k & K_INFINITY) {
    set(sig, se);
    xExponentSig = INTEGER_BIT;
    xExponentSe = 0x7fff;
    return;
  }
  if (k & K_ZERO) {
    Fp.flags |= ZE;
    set(sig, se);
    xExponentSig = INTEGER_BIT;
    xExponentSe = 0xffff;
    return;
  }
  x80Denormal(k);
  x80FromInteger(u64(uExp < 0 ? -uExp : uExp), u32(uExp < 0));
  xExponentSig = xSig;
  xExponentSe = xSe;
  set(uSig, (se & 0x8000) | X80_BIAS);
}
