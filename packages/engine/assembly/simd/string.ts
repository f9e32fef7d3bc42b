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

// @ts-ignore: decorator
@inline function element(p: usize, i: u32, format: u32): i32 {
  switch (format) {
    case 0: return load<u8>(p + i);
    case 1: return load<u16>(p + (i << 1));
    case 2: return load<i8>(p + i);
    default: return load<i16>(p + (i << 1));
  }
}
/** Elements before the first zero. */
function implicitLength(p: usize, count: u32, format: u32): u32 {
  for (let i: u32 = 0; i < count; i++) if (!element(p, i, format & 1)) return i;
  return count;
}
/** |RAX| or |RDX|, at most the number of elements. */
function explicitLength(register: usize, wide: bool, count: u32): u32 {
  const v: i64 = wide ? load<i64>(register) : load<i32>(register);
  const magnitude = <u64>(v < 0 ? -v : v);
  return magnitude > count ? count : <u32>magnitude;
}
/** Result bit of each element of the text before polarity (IntRes1). */
function aggregate(a: usize, la: u32, b: usize, lb: u32, count: u32, format: u32, mode: u32): u32 {
  let bits: u32 = 0;
  for (let j: u32 = 0; j < count; j++) {
    let hit = false;
    switch (mode) {
      case 0:
        if (j < lb) for (let i: u32 = 0; i < la && !hit; i++) hit = element(a, i, format) == element(b, j, format);
        break;
      case 1:
        if (j < lb) for (let i: u32 = 0; i + 1 < la && !hit; i += 2) {
          const v = element(b, j, format);
          hit = v >= element(a, i, format) && v <= element(a, i + 1, format);
        }
        break;
      case 2: hit = j < la ? j < lb && element(a, j, format) == element(b, j, format) : j >= lb; break;
      default: // the needle's end matches everything, the text's end nothing
        hit = true;
        for (let i: u32 = 0; i < la && i + j < count && hit; i++) hit = i + j < lb && element(a, i, format) == element(b, i + j, format);
    }
    if (hit) bits |= 1 << j;
  }
  return bits;
}

export function execString(pc: usize, op: i32, variant: u32): i32 {
  const b = partialSource(pc, 16);
  if (!b) return FAULT;
  const a = regVector(pc), imm = recImm8(pc);
  const format = imm & 3, count: u32 = imm & 1 ? 8 : 16, all: u32 = (1 << count) - 1;
  let la: u32, lb: u32;
  if (op >= Crypto.PCMPISTRM) {
    la = implicitLength(a, count, format);
    lb = implicitLength(b, count, format);
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
