import { Fp, PE, UE, ZE } from "./environment";
import { rSign, rExp, rHi, rLo } from "./core";
import { uSign, uExp, uSig, K_INFINITY, K_NAN, K_ZERO } from "./softfloat";
import {
  K_UNSUPPORTED, pack80, unpack80, x80Denormal, x80Infinity, x80Invalid, x80Nan, x80Nan1, x80Zero, xExponentSe, xExponentSig, xSe, xSig,
} from "./floatx80";
import {
  fixDivSmall, fixFrom, fixLo, fixMul, wAdd, wDiv, wExp, wFromFix, wFromInteger, wHi, wLo, wMul, wNegate, wSet, wSign,
} from "./wide";
/**
 * The x87's transcendental functions, computed to about 125 bits and rounded once (SDM vol. 1, 8.3.7-8.3.10 asks for an error below
 * one unit in the last place). Trigonometric arguments are reduced with the processor's 66-bit value of pi.
 */

/** Set by the trigonometric functions: the operand is not below 2^63 (C2). */
export let xOutOfRange: bool = false;

const PI_HI: u64 = 0xc90fdaa22168c234, PI_LO: u64 = 0xc4c6628b80dc1cd1;
const LN2_HI: u64 = 0xb17217f7d1cf79ab, LN2_LO: u64 = 0xc9e3b39803f2f6af;
const LOG2E_HI: u64 = 0xb8aa3b295c17f0bb, LOG2E_LO: u64 = 0xbe87fed0691d3e88;

const A: usize = memory.data(32, 16);
const B: usize = memory.data(32, 16);
const C: usize = memory.data(32, 16);
const D: usize = memory.data(32, 16);
const T: usize = memory.data(32, 16);

/** Coefficients of the series as fractions of 128 bits (low half, high half): 1/n! from n = 2, and 1/n for odd n from 3. Made when first needed. */
const FACTORIALS: usize = memory.data(36 * 16, 16);
const ODDS: usize = memory.data(53 * 16, 16);
function inverseFactorial(n: u32): usize {
  if (load<u64>(FACTORIALS + 2 * 16, 8) == 0) {
    let hi: u64 = 1 << 63, lo: u64 = 0;
    for (let k: u64 = 2; k < 36; hi = fixDivSmall(hi, lo, ++k), lo = fixLo) setCoefficient(FACTORIALS + <usize>(k << 4), hi, lo);
  }
  return FACTORIALS + (n << 4);
}
function inverseOdd(n: u32): usize {
  if (load<u64>(ODDS + 16, 8) == 0) {
    for (let k: u64 = 3; k <= 105; k += 2) setCoefficient(ODDS + <usize>(k >> 1 << 4), fixDivSmall(u64.MAX_VALUE, u64.MAX_VALUE, k), fixLo);
  }
  return ODDS + (n >>> 1 << 4);
}
/** How much greater the last n! is than the first in a series that shows 128 bits; its argument begins with so many zeros. */
function factorials(zeros: u32): u32 { return zeros >= 24 ? 6 : zeros >= 8 ? 16 : 32; }
function setCoefficient(p: usize, hi: u64, lo: u64): void {
  store<u64>(p, lo);
  store<u64>(p, hi, 8);
}

/** Rounds a wide number into xSig, xSe. Every result that is not a special case is irrational, so PE is always set. */
function finish(p: usize): void {
  rSign = wSign(p);
  rExp = wExp(p);
  rHi = wHi(p);
  rLo = wLo(p) | 1;
  pack80(64);
}
// @ts-ignore: decorator
@inline function keep(sig: u64, se: u32): void { xSig = sig; xSe = se; }
// @ts-ignore: decorator
@inline function special(k: u32): bool { return (k & (K_NAN | K_UNSUPPORTED)) != 0; }

// ------------------------------------------------------------------------------------------------ sine, cosine, tangent
/**
 * Reduces the unpacked operand (positive, below 2^63) to [-pi/4, pi/4] in A; returns the quadrant (0-3). The remainder by pi/2 is exact
 * for the 66-bit pi, bit by bit in units of 2^-65.
 */
function reduce(): u32 {
  let quadrant: u32 = 0;
  if (uExp < -1) { // below 1/2
    wSet(A, 0, uExp, uSig, 0);
    return 0;
  }
  const ph: u64 = 3, pl: u64 = 0x243f6a8885a308d3; // pi/2 * 2^65
  let hi: u64 = 0, lo = uSig;
  for (let i = uExp + 2; i > 0; i--) {
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
    quadrant <<= 1;
    if (hi > ph || (hi == ph && lo >= pl)) {
      hi -= ph + u64(lo < pl);
      lo -= pl;
      quadrant++;
    }
  }
  // above pi/4: take what is missing to pi/2
  const th = (hi << 1) | (lo >> 63), tl = lo << 1;
  let sign: u32 = 0;
  if (th > ph || (th == ph && tl >= pl)) {
    hi = ph - hi - u64(pl < lo);
    lo = pl - lo;
    quadrant++;
    sign = 1;
  }
  wFromFix(A, hi, lo, 63);
  store<u32>(A, sign);
  return quadrant & 3;
}
/**
 * 1 - z/f! (1 - z/((f+1)(f+2)) (...)), that is 1 - z (1/f! - z (1/(f+2)! - ...)), for z = A squared, as a wide number in d: f = 3 gives
 * sin A / A, f = 2 cos A.
 */
function alternating(d: usize, first: u32): void {
  wMul(T, A, A);
  const zh = fixFrom(T), zl = fixLo;
  let hi: u64 = 0, lo: u64 = 0;
  for (let n = first + factorials(u32(clz(zh))); n >= first; n -= 2) {
    hi = fixMul(hi, lo, zh, zl);
    lo = fixLo;
    const c = inverseFactorial(n), ch = load<u64>(c, 8), cl = load<u64>(c);
    hi = ch - hi - u64(cl < lo);
    lo = cl - lo;
  }
  hi = ~fixMul(hi, lo, zh, zl);
  lo = ~fixLo;
  wFromFix(d, hi, lo, 0);
}
/** The sine, or the cosine, of the operand that reduce() has left in A. */
function circular(d: usize, cosine: u32, quadrant: u32, negative: u32): void {
  const sign: u32 = cosine ? u32(quadrant == 1 || quadrant == 2) : (quadrant >>> 1) ^ negative;
  if (cosine ^ (quadrant & 1)) alternating(d, 2);
  else {
    alternating(d, 3);
    wMul(d, d, A);
  }
  if (sign) wNegate(d);
}
/** Sets up a trigonometric function: true if the operand is an ordinary number. */
let zeroOperand: bool = false;
function trigonometricOperand(sig: u64, se: u32): bool {
  xOutOfRange = false;
  const k = unpack80(sig, se);
  zeroOperand = (k & K_ZERO) != 0;
  if (special(k)) { x80Nan1(sig, se, k); return false; }
  if (k & K_INFINITY) { x80Invalid(); return false; }
  if (k & K_ZERO) { keep(sig, se); return false; }
  if (uExp >= 63) { xOutOfRange = true; return false; }
  x80Denormal(k);
  return true;
}
/** FSIN (`sine`), FCOS, or both: the sine in xSig, xSe and the cosine in xExponentSig, xExponentSe. */
export function x80CosSin(sig: u64, se: u32, sine: bool, both: bool): void {
  if (!trigonometricOperand(sig, se)) {
    xExponentSig = xSig;
    xExponentSe = xSe;
    if (zeroOperand) { // the cosine is 1
      if (both) { xExponentSig = 1 << 63; xExponentSe = 0x3fff; }
      else if (!sine) keep(1 << 63, 0x3fff);
    }
    return;
  }
  const negative = uSign, quadrant = reduce();
  if (both) {
    circular(B, 1, quadrant, negative);
    finish(B);
    xExponentSig = xSig;
    xExponentSe = xSe;
  }
  circular(B, u32(!sine && !both), quadrant, negative);
  finish(B);
}
/** FPTAN: the tangent, and 1.0 (or the NaN) to be pushed. */
export function x80Tan(sig: u64, se: u32): void {
  xExponentSig = 1 << 63;
  xExponentSe = 0x3fff;
  if (!trigonometricOperand(sig, se)) {
    if (!zeroOperand) {
      xExponentSig = xSig;
      xExponentSe = xSe;
    }
    return;
  }
  const negative = uSign, quadrant = reduce();
  circular(B, 0, quadrant, negative);
  circular(C, 1, quadrant, negative);
  wDiv(A, B, C);
  finish(A);
}

// ------------------------------------------------------------------------------------------------ arc tangent
/** The last n of a series of z^(n/2) / n, n odd, that shows in 128 bits; z is at most 0.1716. */
function oddTerms(zh: u64): u32 {
  const n = 2 * (130 / u32(clz(zh))) + 3;
  return n < 105 ? n : 105;
}
/** Rounds +-pi * quarters / 4. */
function quarters(sign: u32, n: u64): void {
  wFromInteger(A, i32(n));
  wSet(B, sign, -1, PI_HI, PI_LO); // pi/4
  wMul(A, A, B);
  finish(A);
}
/** FPATAN: the angle of the point (x, y) with y = ST(1), x = ST(0). */
export function x80Atan2(ySig: u64, ySe: u32, xSig0: u64, xSe0: u32): void {
  const ky = unpack80(ySig, ySe), sy = uSign, ey = uExp, hy = uSig;
  const kx = unpack80(xSig0, xSe0), sx = uSign, ex = uExp, hx = uSig;
  const k = ky | kx;
  if (special(k)) { x80Nan(ySig, ySe, ky, xSig0, xSe0, kx); return; }
  x80Denormal(k);
  if (ky & K_INFINITY) { quarters(sy, kx & K_INFINITY ? (sx ? 3 : 1) : 2); return; }
  if (kx & K_INFINITY || ky & K_ZERO) {
    if (sx) quarters(sy, 4); else x80Zero(sy);
    return;
  }
  if (kx & K_ZERO) { quarters(sy, 2); return; }
  // the smaller over the greater magnitude; then half of the range once more
  const swap = ey > ex || (ey == ex && hy > hx);
  if (swap) { wSet(A, 0, ex, hx, 0); wSet(B, 0, ey, hy, 0); } else { wSet(A, 0, ey, hy, 0); wSet(B, 0, ex, hx, 0); }
  const ratio = wExp(A) - wExp(B);
  const eighth = ratio >= -1 && f64(wHi(A)) * (ratio ? 0.5 : 1.0) > 0.41421356 * f64(wHi(B));
  if (eighth) { // atan(a/b) = pi/4 + atan((a-b)/(a+b))
    wAdd(D, A, B);
    wNegate(B);
    wAdd(A, A, B);
    wDiv(C, A, D);
  } else {
    wDiv(C, A, B);
    if (!swap && !sx && ratio < -80) { // the angle is the quotient, less a trace
      wSet(T, 1, wExp(C) - 150, wHi(C), 0);
      wAdd(C, C, T);
      store<u32>(C, sy);
      finish(C);
      return;
    }
  }
  // atan C = C (1/1 - z (1/3 - z (1/5 - ...))), |C| <= 0.4143
  wMul(T, C, C);
  const zh = fixFrom(T), zl = fixLo;
  let hi: u64 = 0, lo: u64 = 0;
  for (let n = oddTerms(zh); n >= 3; n -= 2) {
    hi = fixMul(hi, lo, zh, zl);
    lo = fixLo;
    const c = inverseOdd(n), oh = load<u64>(c, 8), ol = load<u64>(c);
    hi = oh - hi - u64(ol < lo);
    lo = ol - lo;
  }
  hi = ~fixMul(hi, lo, zh, zl);
  lo = ~fixLo;
  wFromFix(T, hi, lo, 0);
  wMul(A, C, T);
  wSet(B, 0, -1, PI_HI, PI_LO);
  if (eighth) wAdd(A, A, B);
  if (swap) { // pi/2 - A
    wSet(B, 0, 0, PI_HI, PI_LO);
    wNegate(A);
    wAdd(A, B, A);
  }
  if (sx) { // pi - A
    wSet(B, 0, 1, PI_HI, PI_LO);
    wNegate(A);
    wAdd(A, B, A);
  }
  if (sy) wNegate(A);
  finish(A);
}

// ------------------------------------------------------------------------------------------------ logarithms
/** A = log2((1+u)/(1-u)) for the wide number C = u, |u| <= 0.172: 2 u log2(e) (1 + z/3 + z^2/5 + ...). */
function logFromRatio(): void {
  wMul(T, C, C);
  const zh = fixFrom(T), zl = fixLo;
  let hi: u64 = 0, lo: u64 = 0;
  for (let n = oddTerms(zh); n >= 3; n -= 2) {
    const c = inverseOdd(n), oh = load<u64>(c, 8), ol = load<u64>(c);
    hi += oh;
    lo += ol;
    hi += u64(lo < ol);
    hi = fixMul(hi, lo, zh, zl);
    lo = fixLo;
  }
  wFromFix(T, hi, lo, 0);
  wMul(T, T, C);
  wAdd(C, C, T);
  wSet(B, 0, 1, LOG2E_HI, LOG2E_LO); // 2 log2 e
  wMul(A, C, B);
}
/** A = log2 of the wide number A > 0; exact for powers of two. */
function wLog2(): void {
  let e = wExp(A);
  // bring the significand to [sqrt 1/2, sqrt 2)
  const over = wHi(A) >= 0xb504f333f9de6484;
  if (over) e++;
  wSet(A, 0, over ? -1 : 0, wHi(A), wLo(A));
  wFromInteger(B, -1);
  wAdd(D, A, B);
  wNegate(B);
  wAdd(B, A, B);
  if (wHi(D) == 0) {
    wFromInteger(A, e);
    return;
  }
  wDiv(C, D, B);
  logFromRatio();
  wFromInteger(B, e);
  wAdd(A, A, B);
}
/** Rounds A * y for the unpacked sign, exponent and significand of y. Processors set PE even for powers of two. */
function timesY(sy: u32, ey: i32, hy: u64): void {
  wSet(B, sy, ey, hy, 0);
  wMul(A, A, B);
  Fp.flags |= PE;
  rSign = wSign(A);
  rExp = wExp(A);
  rHi = wHi(A);
  rLo = wLo(A);
  pack80(64);
  if ((xSe & 0x7fff) == 0) Fp.flags |= UE;
}
/** FYL2X: y * log2(x) with y = ST(1), x = ST(0). */
export function x80Log2(xSig0: u64, xSe0: u32, ySig: u64, ySe: u32): void {
  const kx = unpack80(xSig0, xSe0), sx = uSign, ex = uExp, hx = uSig;
  const ky = unpack80(ySig, ySe), sy = uSign, ey = uExp, hy = uSig;
  const k = kx | ky;
  if (special(k)) { x80Nan(xSig0, xSe0, kx, ySig, ySe, ky); return; }
  if (sx && !(kx & K_ZERO)) { x80Invalid(); return; }
  if (kx & K_ZERO) {
    if (ky & K_ZERO) { x80Invalid(); return; }
    if (!(ky & K_INFINITY)) Fp.flags |= ZE;
    x80Infinity(sy ^ 1);
    return;
  }
  if (kx & K_INFINITY) {
    if (ky & K_ZERO) { x80Invalid(); return; }
    x80Denormal(k);
    x80Infinity(sy);
    return;
  }
  const one = ex == 0 && hx == 1 << 63;
  const below = u32(ex < 0); // the logarithm is negative
  if (ky & K_INFINITY) {
    if (one) { x80Invalid(); return; }
    x80Denormal(k);
    x80Infinity(sy ^ below);
    return;
  }
  x80Denormal(k);
  if (ky & K_ZERO || one) { x80Zero(sy ^ below); return; }
  wSet(A, 0, ex, hx, 0);
  wLog2();
  timesY(sy, ey, hy);
}
/** FYL2XP1: y * log2(x + 1). Beyond the range the manual defines it goes on as far as there is a logarithm. */
export function x80Log2Plus1(xSig0: u64, xSe0: u32, ySig: u64, ySe: u32): void {
  const kx = unpack80(xSig0, xSe0), sx = uSign, ex = uExp, hx = uSig;
  const ky = unpack80(ySig, ySe), sy = uSign, ey = uExp, hy = uSig;
  const k = kx | ky;
  if (special(k)) { x80Nan(xSig0, xSe0, kx, ySig, ySe, ky); return; }
  if (sx && kx & K_INFINITY) { x80Invalid(); return; }
  if (kx & K_ZERO) {
    if (ky & K_INFINITY) { x80Invalid(); return; }
    x80Denormal(k);
    x80Zero(sx ^ sy);
    return;
  }
  if (k & K_INFINITY) {
    if (ky & K_ZERO) { x80Invalid(); return; }
    x80Denormal(k);
    x80Infinity(sx ^ sy);
    return;
  }
  x80Denormal(k);
  if (ky & K_ZERO) { x80Zero(sx ^ sy); return; }
  if (sx && ex >= 0) { // no logarithm: x stays
    Fp.flags |= PE;
    keep(xSig0, xSe0);
    return;
  }
  if (ex < -2) { // |x| < 1/4: log2((1+u)/(1-u)) with u = x / (x + 2)
    wSet(A, sx, ex, hx, 0);
    wFromInteger(B, 2);
    wAdd(D, A, B);
    wDiv(C, A, D);
    logFromRatio();
  } else {
    wSet(A, sx, ex, hx, 0);
    wFromInteger(B, 1);
    wAdd(A, A, B);
    wLog2();
  }
  timesY(sy, ey, hy);
}

// ------------------------------------------------------------------------------------------------ exponential
/** F2XM1: 2^x - 1 for -1 <= x <= 1. Beyond that the result is undefined and the operand is left as it is. */
export function x80Exp2Minus1(sig: u64, se: u32): void {
  const k = unpack80(sig, se);
  if (special(k)) { x80Nan1(sig, se, k); return; }
  if (k & K_INFINITY) {
    if (uSign) keep(1 << 63, 0xbfff); else keep(sig, se);
    return;
  }
  if (k & K_ZERO) { keep(sig, se); return; }
  x80Denormal(k);
  const negative = uSign;
  if (uExp >= 0) {
    Fp.flags |= PE;
    keep(sig, se);
    if (negative && uExp == 0 && uSig == 1 << 63) xSe = 0xbffe; // 2^-1 - 1
    return;
  }
  // y = x ln 2; e^y - 1 = y (1 + y/2! + y^2/3! + ...)
  wSet(A, 0, uExp, uSig, 0);
  wSet(B, 0, -1, LN2_HI, LN2_LO);
  wMul(A, A, B);
  const yh = fixFrom(A), yl = fixLo;
  let hi: u64 = 0, lo: u64 = 0; // 2.126 fixed point
  for (let n = 1 + factorials(u32(clz(yh))); n >= 1; n--) {
    hi = fixMul(hi, lo, yh, yl);
    lo = fixLo;
    const c = inverseFactorial(n);
    const ch: u64 = n == 1 ? <u64>1 << 62 : load<u64>(c, 8) >> 2, cl: u64 = n == 1 ? <u64>0 : (load<u64>(c) >> 2) | (load<u64>(c, 8) << 62);
    if (negative) {
      hi = ch - hi - u64(cl < lo);
      lo = cl - lo;
    } else {
      lo += cl;
      hi += ch + u64(lo < cl);
    }
  }
  wFromFix(B, hi, lo, 2);
  wMul(A, A, B);
  if (negative) wNegate(A);
  finish(A);
}
