import { Crypto } from "./ops";
/**
 * The SHA extensions (SDM vol. 2, SHA1RNDS4 and following). Dwords are given by their place in the register, 0 the lowest.
 */

// @ts-ignore: decorator
@inline function dword(p: usize, i: usize): u32 { return load<u32>(p + (i << 2)); }
// @ts-ignore: decorator
@inline function sigma0(x: u32): u32 { return rotr<u32>(x, 7) ^ rotr<u32>(x, 18) ^ (x >>> 3); }
// @ts-ignore: decorator
@inline function sigma1(x: u32): u32 { return rotr<u32>(x, 17) ^ rotr<u32>(x, 19) ^ (x >>> 10); }

/** Four rounds of SHA-1 whose function and constant imm[1:0] gives; d holds A B C D from the top, s the words plus E. */
export function sha1Rounds(d: usize, s: usize, imm: u32): v128 {
  let a = dword(d, 3), b = dword(d, 2), c = dword(d, 1), e = dword(d, 0); // e here is D: E comes with the first word
  let fifth: u32 = 0;
  const kind = imm & 3;
  const k: u32 = kind == 0 ? 0x5a827999 : kind == 1 ? 0x6ed9eba1 : kind == 2 ? 0x8f1bbcdc : 0xca62c1d6;
  for (let i: usize = 0; i < 4; i++) {
    const f = kind == 0 ? (b & c) ^ (~b & e) : kind == 2 ? (b & c) ^ (b & e) ^ (c & e) : b ^ c ^ e;
    const next = f + rotl<u32>(a, 5) + dword(s, 3 - i) + fifth + k;
    fifth = e;
    e = c;
    c = rotl<u32>(b, 30);
    b = a;
    a = next;
  }
  return i32x4(e, c, b, a);
}
/** Two rounds of SHA-256: d holds C D G H from the top, s A B E F, wk the two words plus constants. */
export function sha256Rounds(d: usize, s: usize, wk: usize): v128 {
  let a = dword(s, 3), b = dword(s, 2), c = dword(d, 3), dd = dword(d, 2);
  let e = dword(s, 1), f = dword(s, 0), g = dword(d, 1), h = dword(d, 0);
  for (let i: usize = 0; i < 2; i++) {
    const t = ((e & f) ^ (~e & g)) + (rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25)) + dword(wk, i) + h;
    const next = t + ((a & b) ^ (a & c) ^ (b & c)) + (rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22));
    h = g; g = f; f = e; e = t + dd;
    dd = c; c = b; b = a; a = next;
  }
  return i32x4(f, e, b, a);
}
/** The remaining instructions, which prepare the message schedule. */
export function shaSchedule(op: i32, d: usize, s: usize): v128 {
  switch (op) {
    case Crypto.SHA1NEXTE: return i32x4(dword(s, 0), dword(s, 1), dword(s, 2), dword(s, 3) + rotl<u32>(dword(d, 3), 30));
    case Crypto.SHA1MSG1: return i32x4(dword(s, 2) ^ dword(d, 0), dword(s, 3) ^ dword(d, 1), dword(d, 0) ^ dword(d, 2), dword(d, 1) ^ dword(d, 3));
    case Crypto.SHA1MSG2: {
      const w16 = rotl<u32>(dword(d, 3) ^ dword(s, 2), 1);
      return i32x4(rotl<u32>(dword(d, 0) ^ w16, 1), rotl<u32>(dword(d, 1) ^ dword(s, 0), 1), rotl<u32>(dword(d, 2) ^ dword(s, 1), 1), w16);
    }
    case Crypto.SHA256MSG1:
      return i32x4(dword(d, 0) + sigma0(dword(d, 1)), dword(d, 1) + sigma0(dword(d, 2)), dword(d, 2) + sigma0(dword(d, 3)), dword(d, 3) + sigma0(dword(s, 0)));
    default: { // SHA256MSG2
      const w16 = dword(d, 0) + sigma1(dword(s, 2)), w17 = dword(d, 1) + sigma1(dword(s, 3));
      return i32x4(w16, w17, dword(d, 2) + sigma1(w16), dword(d, 3) + sigma1(w17));
    }
  }
}
