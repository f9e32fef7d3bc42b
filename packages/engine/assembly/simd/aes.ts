import { Crypto } from "./ops";
/**
 * AES rounds (FIPS 197) on a 16-byte state in memory order: byte i is row i mod 4 of column i / 4. The S-boxes and the tables that join
 * them with MixColumns are worked out on first use.
 */
const S: usize = memory.data(256);
const INVERSE_S: usize = memory.data(256);
/** S[x] times 2, 1, 1, 3 (encryption) and inverse S[x] times 14, 9, 13, 11 (decryption) as four bytes, low first. */
const ENCRYPT: usize = memory.data(1024, 4);
const DECRYPT: usize = memory.data(1024, 4);
/** Whether the tables are there; in memory as they are, so that who takes stores back (the verifier) takes back both. */
const READY: usize = memory.data(1);

function times(a: u32, b: u32): u32 { // in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1
  let r: u32 = 0;
  for (; b; b >>>= 1) {
    if (b & 1) r ^= a;
    a = (a << 1) ^ (a & 0x80 ? 0x11b : 0);
  }
  return r;
}
function prepare(): void {
  let p: u32 = 1, q: u32 = 1;
  do { // p runs through the powers of 3, q through their inverses
    p = times(p, 3);
    q = times(q, 0xf6);
    const s = (q ^ (q << 1) ^ (q << 2) ^ (q << 3) ^ (q << 4)) & 0xfff;
    enterS(p, ((s ^ (s >>> 8)) & 0xff) ^ 0x63);
  } while (p != 1);
  enterS(0, 0x63);
  store<u8>(READY, 1);
}
function enterS(x: u32, s: u32): void {
  store<u8>(S + x, <u8>s);
  store<u8>(INVERSE_S + s, <u8>x);
  store<u32>(ENCRYPT + (x << 2), times(s, 2) | s << 8 | s << 16 | times(s, 3) << 24);
  store<u32>(DECRYPT + (s << 2), times(x, 14) | times(x, 9) << 8 | times(x, 13) << 16 | times(x, 11) << 24);
}

// @ts-ignore: decorator
@inline function row(p: usize, column: u32, r: u32): usize { return <usize>load<u8>(p + (((column & 3) << 2) + r)); }
function encryptColumn(p: usize, c: u32): u32 {
  return load<u32>(ENCRYPT + (row(p, c, 0) << 2)) ^ rotl<u32>(load<u32>(ENCRYPT + (row(p, c + 1, 1) << 2)), 8)
    ^ rotl<u32>(load<u32>(ENCRYPT + (row(p, c + 2, 2) << 2)), 16) ^ rotl<u32>(load<u32>(ENCRYPT + (row(p, c + 3, 3) << 2)), 24);
}
function decryptColumn(p: usize, c: u32): u32 {
  return load<u32>(DECRYPT + (row(p, c, 0) << 2)) ^ rotl<u32>(load<u32>(DECRYPT + (row(p, c + 3, 1) << 2)), 8)
    ^ rotl<u32>(load<u32>(DECRYPT + (row(p, c + 2, 2) << 2)), 16) ^ rotl<u32>(load<u32>(DECRYPT + (row(p, c + 1, 3) << 2)), 24);
}
/** Column of the last round, without MixColumns; `step` 1 shifts rows forwards, 3 backwards. */
function lastColumn(box: usize, p: usize, c: u32, step: u32): u32 {
  return <u32>load<u8>(box + row(p, c, 0)) | <u32>load<u8>(box + row(p, c + step, 1)) << 8
    | <u32>load<u8>(box + row(p, c + 2, 2)) << 16 | <u32>load<u8>(box + row(p, c + 3 * step, 3)) << 24;
}
function inverseMixColumn(p: usize, c: u32): u32 {
  return load<u32>(DECRYPT + (<usize>load<u8>(S + row(p, c, 0)) << 2)) ^ rotl<u32>(load<u32>(DECRYPT + (<usize>load<u8>(S + row(p, c, 1)) << 2)), 8)
    ^ rotl<u32>(load<u32>(DECRYPT + (<usize>load<u8>(S + row(p, c, 2)) << 2)), 16) ^ rotl<u32>(load<u32>(DECRYPT + (<usize>load<u8>(S + row(p, c, 3)) << 2)), 24);
}
function columns(a: u32, b: u32, c: u32, d: u32): v128 { return i32x4(a, b, c, d); }

/** AESENC, AESENCLAST, AESDEC, AESDECLAST: the round of the state at p, before the round key is added. AESIMC likewise. */
export function aesRound(op: i32, p: usize): v128 {
  if (load<u8>(READY) == 0) prepare();
  switch (op) {
    case Crypto.AESENC: return columns(encryptColumn(p, 0), encryptColumn(p, 1), encryptColumn(p, 2), encryptColumn(p, 3));
    case Crypto.AESENCLAST: return columns(lastColumn(S, p, 0, 1), lastColumn(S, p, 1, 1), lastColumn(S, p, 2, 1), lastColumn(S, p, 3, 1));
    case Crypto.AESDEC: return columns(decryptColumn(p, 0), decryptColumn(p, 1), decryptColumn(p, 2), decryptColumn(p, 3));
    case Crypto.AESDECLAST: {
      const b = INVERSE_S;
      return columns(lastColumn(b, p, 0, 3), lastColumn(b, p, 1, 3), lastColumn(b, p, 2, 3), lastColumn(b, p, 3, 3));
    }
    default: return columns(inverseMixColumn(p, 0), inverseMixColumn(p, 1), inverseMixColumn(p, 2), inverseMixColumn(p, 3));
  }
}
function substituteWord(x: u32): u32 {
  return <u32>load<u8>(S + (x & 0xff)) | <u32>load<u8>(S + ((x >>> 8) & 0xff)) << 8
    | <u32>load<u8>(S + ((x >>> 16) & 0xff)) << 16 | <u32>load<u8>(S + (x >>> 24)) << 24;
}
/** AESKEYGENASSIST. */
export function aesKeyAssist(p: usize, roundConstant: u32): v128 {
  if (load<u8>(READY) == 0) prepare();
  const x1 = substituteWord(load<u32>(p, 4)), x3 = substituteWord(load<u32>(p, 12));
  return i32x4(x1, rotr<u32>(x1, 8) ^ roundConstant, x3, rotr<u32>(x3, 8) ^ roundConstant);
}
