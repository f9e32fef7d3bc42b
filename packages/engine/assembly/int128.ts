/** Products and quotients of 64-bit integers that take 128 bits. What has two halves returns one and leaves the other in a variable. */

/** Low half of the last wideMul, remainder of the last wideDiv. */
export let wideLo: u64 = 0;

/** High half of a product. */
// @ts-ignore: decorator
@inline export function mulHigh(a: u64, b: u64): u64 {
  const al = a & 0xffffffff, ah = a >> 32, bl = b & 0xffffffff, bh = b >> 32;
  const ll = al * bl, lh = al * bh, hl = ah * bl;
  const middle = (ll >> 32) + (lh & 0xffffffff) + (hl & 0xffffffff);
  return ah * bh + (lh >> 32) + (hl >> 32) + (middle >> 32);
}
export function mulHighSigned(a: i64, b: i64): i64 {
  return <i64>(mulHigh(<u64>a, <u64>b) - (a < 0 ? <u64>b : 0) - (b < 0 ? <u64>a : 0));
}
/** A product: returns the high half, the low one is in wideLo. */
export function wideMul(a: u64, b: u64): u64 {
  wideLo = a * b;
  return mulHigh(a, b);
}

/** (hi:lo) / d for hi < d and d >= 2^63: returns the quotient, the remainder is in wideLo. Two digits of 32 bits (Knuth's D). */
export function wideDiv(hi: u64, lo: u64, d: u64): u64 {
  const dh = d >> 32, dl = d & 0xffffffff;
  let q1 = hi / dh, r = hi - q1 * dh;
  const l1 = lo >> 32, l0 = lo & 0xffffffff;
  while (q1 > 0xffffffff || q1 * dl > ((r << 32) | l1)) {
    q1--;
    r += dh;
    if (r > 0xffffffff) break;
  }
  const middle = (hi << 32) + l1 - q1 * d;
  let q0 = middle / dh;
  r = middle - q0 * dh;
  while (q0 > 0xffffffff || q0 * dl > ((r << 32) | l0)) {
    q0--;
    r += dh;
    if (r > 0xffffffff) break;
  }
  wideLo = (middle << 32) + l0 - q0 * d;
  return (q1 << 32) + q0;
}
/** (hi:lo) / d for any d > hi: returns the quotient, the remainder is in wideLo. */
export function divide128(hi: u64, lo: u64, d: u64): u64 {
  if (hi == 0) {
    const q = lo / d;
    wideLo = lo - q * d;
    return q;
  }
  const n = clz(d);
  if (n == 0) return wideDiv(hi, lo, d);
  const q = wideDiv((hi << n) | (lo >> (64 - n)), lo << n, d << n);
  wideLo >>= n;
  return q;
}
