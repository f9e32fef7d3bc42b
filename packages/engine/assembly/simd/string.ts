import { REGS, YMM } from "../../src/layout";
import { setArithmeticFlags } from "../flags";
import { recImm8 } from "../record";
import { FAULT, OK } from "../status";
import { Crypto } from "./ops";
import { isWide, partialSource, regVector, writeGeneral, writeLow } from "./operands";
/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2A, 4.1). The first operand (ModRM.reg) is the set, the ranges or the needle,
 * the second the text. Memory operands need not be aligned.
 *
 * imm[0] words, [1] signed, [3:2] equal any / ranges / equal each / equal ordered, [5:4] polarity, [6] which output.
 */

// Elements are compared all at once: a text is one vector, and each element of the set, of a range or of the needle meets the whole of it.

/** Element `i` at `p` everywhere. */
// @ts-ignore: decorator
@inline function everywhere(p: usize, i: u32, words: u32): v128 {
  return words ? v128.load16_splat(p + <usize>(i << 1)) : v128.load8_splat(p + <usize>i);
}
// @ts-ignore: decorator
@inline function equal(a: v128, b: v128, words: u32): v128 { return words ? i16x8.eq(a, b) : i8x16.eq(a, b); }
/** A bit for each element. */
// @ts-ignore: decorator
@inline function bitsOf(v: v128, words: u32): u32 { return words ? i16x8.bitmask(v) : i8x16.bitmask(v); }
/** Elements of the range from `low` to `high`. */
function within(v: v128, low: v128, high: v128, format: u32): v128 {
  switch (format) {
    case 0: return v128.and(i8x16.ge_u(v, low), i8x16.le_u(v, high));
    case 1: return v128.and(i16x8.ge_u(v, low), i16x8.le_u(v, high));
    case 2: return v128.and(i8x16.ge_s(v, low), i8x16.le_s(v, high));
    default: return v128.and(i16x8.ge_s(v, low), i16x8.le_s(v, high));
  }
}
/** Elements before the first zero. */
function implicitLength(p: usize, count: u32, words: u32): u32 {
  const zeros = bitsOf(equal(v128.load(p), i64x2(0, 0), words), words);
  return zeros ? ctz<u32>(zeros) : count;
}
/** |RAX| or |RDX|, at most the number of elements. */
function explicitLength(register: usize, wide: bool, count: u32): u32 {
  const v: i64 = wide ? load<i64>(register) : load<i32>(register);
  const magnitude = <u64>(v < 0 ? -v : v);
  return magnitude > count ? count : <u32>magnitude;
}
/** Result bit of each element of the text before polarity (IntRes1). */
function aggregate(a: usize, la: u32, b: usize, lb: u32, count: u32, format: u32, mode: u32): u32 {
  const words = format & 1, text = v128.load(b), all: u32 = (1 << count) - 1, valid: u32 = (1 << lb) - 1;
  switch (mode) {
    case 0: {
      let hits: v128 = i64x2(0, 0);
      for (let i: u32 = 0; i < la; i++) hits = v128.or(hits, equal(text, everywhere(a, i, words), words));
      return bitsOf(hits, words) & valid;
    }
    case 1: {
      let hits: v128 = i64x2(0, 0);
      for (let i: u32 = 0; i + 1 < la; i += 2) hits = v128.or(hits, within(text, everywhere(a, i, words), everywhere(a, i + 1, words), format));
      return bitsOf(hits, words) & valid;
    }
    case 2: {
      const first: u32 = (1 << la) - 1; // behind both ends elements count as equal
      return (bitsOf(equal(v128.load(a), text, words), words) & first & valid) | (~(first | valid) & all);
    }
    default: { // the needle's end matches everything, the text's end nothing
      let bits = all;
      for (let i: u32 = 0; i < la; i++) {
        const hits = bitsOf(equal(text, everywhere(a, i, words), words), words) & valid;
        bits &= (hits >>> i) | (all << (count - i));
      }
      return bits;
    }
  }
}

export function execString(pc: usize, op: i32, variant: u32): i32 {
  const b = partialSource(pc, 16);
  if (!b) return FAULT;
  const a = regVector(pc), imm = recImm8(pc);
  const format = imm & 3, count: u32 = imm & 1 ? 8 : 16, all: u32 = (1 << count) - 1;
  let la: u32, lb: u32;
  if (op >= Crypto.PCMPISTRM) {
    la = implicitLength(a, count, imm & 1);
    lb = implicitLength(b, count, imm & 1);
  } else {
    const wide = isWide(pc);
    la = explicitLength(REGS, wide, count);
    lb = explicitLength(REGS + 16, wide, count);
  }
  let bits = aggregate(a, la, b, lb, count, format, (imm >>> 2) & 3);
  if (imm & 0x10) bits ^= imm & 0x20 ? (1 << lb) - 1 : all;
  if (op == Crypto.PCMPESTRI || op == Crypto.PCMPISTRI) {
    const at = bits == 0 ? count : imm & 0x40 ? 31 - clz<u32>(bits) : ctz<u32>(bits);
    writeGeneral(REGS + 8, at);
  } else if (imm & 0x40) writeLow(YMM, variant, count == 8 ? spreadWords(bits) : spreadBytes(bits));
  else writeLow(YMM, variant, i64x2(bits, 0));
  // CF any, ZF the text ends here, SF the first operand ends here, OF first bit
  setArithmeticFlags((bits ? 1 : 0) | (lb < count ? 0x40 : 0) | (la < count ? 0x80 : 0) | (bits & 1) << 11);
  return OK;
}
function spreadWords(bits: u32): v128 {
  const each = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
  return i16x8.eq(v128.and(i16x8.splat(<i16>bits), each), each);
}
function spreadBytes(bits: u32): v128 {
  const each = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const both = i8x16.shuffle(i8x16.splat(<i8>bits), i8x16.splat(<i8>(bits >>> 8)), 0, 0, 0, 0, 0, 0, 0, 0, 16, 16, 16, 16, 16, 16, 16, 16);
  return i8x16.eq(v128.and(both, each), each);
}
