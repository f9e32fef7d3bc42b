import { wideDiv, wideLo, wideMul } from "../int128";
import { Fp } from "./environment";
/**
 * Exact arithmetic on unpacked numbers, shared by all formats.
 *
 * An unpacked number is a sign, an exponent and a significand of 128 bits (high and low half) whose top bit is set: its
 * value is 1.fraction * 2^exponent. Results are left in rSign, rExp, rHi, rLo; what does not fit in 128 bits is or-ed ("jammed")
 * into the lowest bit, so that any later rounding to at most 64 bits is right.
 */
export let rSign: u32 = 0;
export let rExp: i32 = 0;
export let rHi: u64 = 0;
export let rLo: u64 = 0;

/** Shifts right, or-ing what is lost into the lowest bit. */
export function shiftJam(v: u64, n: u32): u64 {
  if (n == 0) return v;
  if (n >= 64) return u64(v != 0);
  return (v >> n) | u64((v << (64 - n)) != 0);
}

/** a + b for signed unpacked numbers. An exact zero sum has rHi == 0 and the sign the rounding mode asks for. */
export function coreAdd(sa: u32, ea: i32, ha: u64, la: u64, sb: u32, eb: i32, hb: u64, lb: u64): void {
  if (ea < eb || (ea == eb && (ha < hb || (ha == hb && la < lb)))) {
    const s = sa, e = ea, h = ha, l = la;
    sa = sb; ea = eb; ha = hb; la = lb;
    sb = s; eb = e; hb = h; lb = l;
  }
  const d = u32(ea - eb);
  if (d) { // 128-bit right shift with jamming
    if (d < 64) {
      lb = (lb >> d) | (hb << (64 - d)) | u64((lb << (64 - d)) != 0);
      hb >>= d;
    } else {
      lb = shiftJam(hb, d - 64) | u64(lb != 0);
      hb = 0;
    }
  }
  rSign = sa;
  if (sa == sb) {
    const lo = la + lb;
    const carry = u64(lo < la);
    const partial = ha + hb;
    const hi = partial + carry;
    if (partial < ha || hi < partial) {
      rLo = (lo >> 1) | (hi << 63) | (lo & 1);
      rHi = (hi >> 1) | (1 << 63);
      rExp = ea + 1;
    } else {
      rHi = hi;
      rLo = lo;
      rExp = ea;
    }
    return;
  }
  let lo = la - lb;
  let hi = ha - hb - u64(la < lb);
  if ((hi | lo) == 0) {
    rSign = u32(Fp.rounding == 1);
    rHi = 0;
    rLo = 0;
    rExp = 0;
    return;
  }
  let e = ea;
  if (hi == 0) { hi = lo; lo = 0; e -= 64; }
  const n = u32(clz(hi));
  if (n) {
    hi = (hi << n) | (lo >> (64 - n));
    lo <<= n;
    e -= n;
  }
  rHi = hi;
  rLo = lo;
  rExp = e;
}

/** Product of two 64-bit significands; the sign is the caller's. */
export function coreMul(ea: i32, ha: u64, eb: i32, hb: u64): void {
  const hi = wideMul(ha, hb), lo = wideLo;
  rExp = ea + eb;
  if (hi >> 63) {
    rHi = hi;
    rLo = lo;
    rExp++;
  } else {
    rHi = (hi << 1) | (lo >> 63);
    rLo = lo << 1;
  }
}

/** Quotient of two 64-bit significands, with guard and sticky bits in rLo. */
export function coreDiv(ea: i32, ha: u64, eb: i32, hb: u64): void {
  let hi = ha, lo: u64 = 0;
  rExp = ea - eb;
  if (ha >= hb) {
    hi = ha >> 1;
    lo = ha << 63;
  } else rExp--;
  rHi = wideDiv(hi, lo, hb);
  const rest = wideLo;
  if (rest == 0) rLo = 0;
  else {
    const twice = rest << 1;
    rLo = (rest >> 63) || twice > hb ? (1 << 63) | 1 : twice == hb ? 1 << 63 : 1;
  }
}

/** Square root of a positive number, with guard and sticky bits in rLo. */
export function coreSqrt(e: i32, h: u64): void {
  // N = significand scaled so that its root has 64 bits: N in [2^126, 2^128)
  let hi: u64, lo: u64 = 0;
  if (e & 1) hi = h;
  else {
    hi = h >> 1;
    lo = h << 63;
  }
  rExp = e >> 1;
  // a first value from the machine's own root, good to about 50 bits, made not too small; then one Newton step
  const guess = sqrt<f64>(f64(hi)) * 4294967296.0;
  let s: u64 = guess >= 18446744073709549568.0 ? u64.MAX_VALUE : u64(guess) + 4096;
  if (s < 4097) s = u64.MAX_VALUE; // the addition above wrapped
  if (hi < s) {
    const q = wideDiv(hi, lo, s);
    s = (s >> 1) + (q >> 1) + (s & q & 1);
  }
  // s is within a few units of the root: correct it to floor(sqrt(N)), where the rest is at most 2s (65 bits as s >= 2^63)
  let rest: u64 = 0;
  let step: u64 = 1;
  do {
    const sh = wideMul(s, s), sl = wideLo;
    const dl = lo - sl;
    const dh = hi - sh - u64(lo < sl);
    if (sh > hi || (sh == hi && sl > lo)) step = -1;
    else if (dh > 1 || (dh == 1 && dl > (s << 1))) step = 1;
    else step = 0;
    s += step;
    rest = dh ? u64.MAX_VALUE : dl; // rest > s tells that the root lies above s + 1/2
  } while (step);
  rHi = s;
  rLo = rest == 0 ? 0 : rest > s ? (1 << 63) | 1 : 1;
}
