import { mulHigh, wideLo, wideMul } from "../int128";
import { rSign, rExp, rHi, rLo, coreAdd, coreDiv } from "./core";
/**
 * Numbers with 128-bit significands in memory, and 128-bit fixed point, for the transcendental functions. Each operation loses a few
 * units of 2^-127, far below what a result of 64 bits shows.
 *
 * A wide number takes 32 bytes: u32 sign, i32 exponent, u64 high and u64 low half of a significand whose top bit is set; zero
 * has a high half of 0.
 */
// @ts-ignore: decorator
@inline export function wSign(p: usize): u32 { return load<u32>(p); }
// @ts-ignore: decorator
@inline export function wExp(p: usize): i32 { return load<i32>(p, 4); }
// @ts-ignore: decorator
@inline export function wHi(p: usize): u64 { return load<u64>(p, 8); }
// @ts-ignore: decorator
@inline export function wLo(p: usize): u64 { return load<u64>(p, 16); }
export function wSet(p: usize, sign: u32, exp: i32, hi: u64, lo: u64): void {
  store<u32>(p, sign);
  store<i32>(p, exp, 4);
  store<u64>(p, hi, 8);
  store<u64>(p, lo, 16);
}
export function wNegate(p: usize): void { store<u32>(p, load<u32>(p) ^ 1); }
/** Sets from an integer. */
export function wFromInteger(p: usize, v: i32): void {
  if (v == 0) { wSet(p, 0, 0, 0, 0); return; }
  const m = u64(v < 0 ? -i64(v) : i64(v));
  const n = clz(m);
  wSet(p, u32(v < 0), 63 - i32(n), m << n, 0);
}

/** d = a + b */
export function wAdd(d: usize, a: usize, b: usize): void {
  if (wHi(a) == 0) { memory.copy(d, b, 24); return; }
  if (wHi(b) == 0) { memory.copy(d, a, 24); return; }
  coreAdd(wSign(a), wExp(a), wHi(a), wLo(a), wSign(b), wExp(b), wHi(b), wLo(b));
  wSet(d, rSign, rExp, rHi, rLo);
}

/** Low half of the last fixMul. */
export let fixLo: u64 = 0;
/** High 128 bits of a 128 x 128-bit product (the lowest partial product is left out). */
export function fixMul(ah: u64, al: u64, bh: u64, bl: u64): u64 {
  let hi = wideMul(ah, bh), lo = wideLo;
  const m1 = mulHigh(ah, bl), m2 = mulHigh(al, bh);
  lo += m1;
  hi += u64(lo < m1);
  lo += m2;
  hi += u64(lo < m2);
  fixLo = lo;
  return hi;
}
/** d = a * b */
export function wMul(d: usize, a: usize, b: usize): void {
  if (wHi(a) == 0 || wHi(b) == 0) { wSet(d, 0, 0, 0, 0); return; }
  let hi = fixMul(wHi(a), wLo(a), wHi(b), wLo(b)), lo = fixLo;
  let e = wExp(a) + wExp(b) + 1;
  if (!(hi >> 63)) {
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
    e--;
  }
  wSet(d, wSign(a) ^ wSign(b), e, hi, lo);
}

const q0: usize = memory.data(32, 16);
const rest: usize = memory.data(32, 16);
/** d = a / b; d may be neither a nor b. The sum of a 64-bit quotient and the quotient of its remainder. */
export function wDiv(d: usize, a: usize, b: usize): void {
  if (wHi(a) == 0) { wSet(d, 0, 0, 0, 0); return; }
  coreDiv(wExp(a), wHi(a), wExp(b), wHi(b));
  wSet(q0, wSign(a) ^ wSign(b), rExp, rHi, 0);
  wMul(rest, q0, b);
  wNegate(rest);
  wAdd(rest, a, rest);
  if (wHi(rest) == 0) { memory.copy(d, q0, 24); return; }
  coreDiv(wExp(rest), wHi(rest), wExp(b), wHi(b));
  wSet(rest, wSign(rest) ^ wSign(b), rExp, rHi, rLo);
  wAdd(d, q0, rest);
}

/** Divides a 128-bit fixed-point number by a small integer. */
export function fixDivSmall(hi: u64, lo: u64, n: u64): u64 {
  const h = hi / n;
  let r = hi % n;
  const part = (r << 32) | (lo >> 32);
  const m = part / n;
  r = part % n;
  const l = ((r << 32) | (lo & 0xffffffff)) / n;
  fixLo = (m << 32) | l;
  return h;
}
/** The magnitude of a wide number below 1 as a 128-bit fraction; if bits are lost, the lowest bit is set. */
export function fixFrom(p: usize): u64 {
  const n = u32(-1 - wExp(p));
  const hi = wHi(p), lo = wLo(p);
  if (hi == 0) { fixLo = 0; return 0; }
  if (n == 0) { fixLo = lo; return hi; }
  if (n < 64) {
    fixLo = (lo >> n) | (hi << (64 - n)) | 1;
    return hi >> n;
  }
  fixLo = n < 128 ? (hi >> (n - 64)) | 1 : 1;
  return 0;
}
/** d = the fixed-point number hi:lo * 2^exp as a wide number. */
export function wFromFix(d: usize, hi: u64, lo: u64, exp: i32): void {
  if (hi == 0) {
    if (lo == 0) { wSet(d, 0, 0, 0, 0); return; }
    hi = lo;
    lo = 0;
    exp -= 64;
  }
  const n = clz(hi);
  if (n) {
    hi = (hi << n) | (lo >> (64 - n));
    lo <<= n;
  }
  wSet(d, 0, exp - 1 - i32(n), hi, lo);
}
