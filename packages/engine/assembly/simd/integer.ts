import { FAULT, OK } from "../status";
import { recReg } from "../record";
import { VARIANT_MMX, VARIANT_SSE, VARIANT_VEX256, Int } from "./ops";
import { firstSource, mmx, mmxSource, regVector, source, writeMmx, zeroUpper } from "./operands";
/** Integer arithmetic, comparison, logic, packing and interleaving: result = f(first, second) in 16-byte lanes. */

/** Even and odd lanes of two vectors one after the other, for horizontal operations. */
// @ts-ignore: decorator
@inline function evenWords(a: v128, b: v128): v128 { return v128.shuffle<i16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
// @ts-ignore: decorator
@inline function oddWords(a: v128, b: v128): v128 { return v128.shuffle<i16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
// @ts-ignore: decorator
@inline function evenDwords(a: v128, b: v128): v128 { return v128.shuffle<i32>(a, b, 0, 2, 4, 6); }
// @ts-ignore: decorator
@inline function oddDwords(a: v128, b: v128): v128 { return v128.shuffle<i32>(a, b, 1, 3, 5, 7); }

// @ts-ignore: decorator
@inline function maddUnsignedSigned(a: v128, b: v128): v128 {
  const even = i16x8.mul(v128.and(a, i16x8.splat(0xff)), i16x8.shr_s(i16x8.shl(b, 8), 8));
  const odd = i16x8.mul(i16x8.shr_u(a, 8), i16x8.shr_s(b, 8));
  return i16x8.add_sat_s(even, odd);
}
// @ts-ignore: decorator
@inline export function sumOfDifferences(a: v128, b: v128): v128 {
  const d = i8x16.sub(i8x16.max_u(a, b), i8x16.min_u(a, b));
  const s = i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(d));
  return i64x2.add(v128.and(s, i64x2.splat(0xffffffff)), i64x2.shr_u(s, 32));
}
/** q15mulr saturates 8000h * 8000h to 7FFFh where PMULHRSW gives 8000h. */
// @ts-ignore: decorator
@inline function roundedHighProduct(a: v128, b: v128): v128 {
  const least = i16x8.splat(-32768);
  const both = v128.and(i16x8.eq(a, least), i16x8.eq(b, least));
  return v128.xor(i16x8.q15mulr_sat_s(a, b), both);
}

/** One 16-byte lane. */
export function integerLane(op: i32, a: v128, b: v128): v128 {
  switch (op) {
    case Int.PUNPCKLBW: return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    case Int.PUNPCKLWD: return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    case Int.PUNPCKLDQ: return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    case Int.PUNPCKLQDQ: return v128.shuffle<i64>(a, b, 0, 2);
    case Int.PUNPCKHBW: return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    case Int.PUNPCKHWD: return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    case Int.PUNPCKHDQ: return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    case Int.PUNPCKHQDQ: return v128.shuffle<i64>(a, b, 1, 3);
    case Int.PACKSSWB: return i8x16.narrow_i16x8_s(a, b);
    case Int.PACKSSDW: return i16x8.narrow_i32x4_s(a, b);
    case Int.PACKUSWB: return i8x16.narrow_i16x8_u(a, b);
    case Int.PACKUSDW: return i16x8.narrow_i32x4_u(a, b);
    case Int.PCMPGTB: return i8x16.gt_s(a, b);
    case Int.PCMPGTW: return i16x8.gt_s(a, b);
    case Int.PCMPGTD: return i32x4.gt_s(a, b);
    case Int.PCMPGTQ: return i64x2.gt_s(a, b);
    case Int.PCMPEQB: return i8x16.eq(a, b);
    case Int.PCMPEQW: return i16x8.eq(a, b);
    case Int.PCMPEQD: return i32x4.eq(a, b);
    case Int.PCMPEQQ: return i64x2.eq(a, b);
    case Int.PADDB: return i8x16.add(a, b);
    case Int.PADDW: return i16x8.add(a, b);
    case Int.PADDD: return i32x4.add(a, b);
    case Int.PADDQ: return i64x2.add(a, b);
    case Int.PSUBB: return i8x16.sub(a, b);
    case Int.PSUBW: return i16x8.sub(a, b);
    case Int.PSUBD: return i32x4.sub(a, b);
    case Int.PSUBQ: return i64x2.sub(a, b);
    case Int.PADDSB: return i8x16.add_sat_s(a, b);
    case Int.PADDSW: return i16x8.add_sat_s(a, b);
    case Int.PADDUSB: return i8x16.add_sat_u(a, b);
    case Int.PADDUSW: return i16x8.add_sat_u(a, b);
    case Int.PSUBSB: return i8x16.sub_sat_s(a, b);
    case Int.PSUBSW: return i16x8.sub_sat_s(a, b);
    case Int.PSUBUSB: return i8x16.sub_sat_u(a, b);
    case Int.PSUBUSW: return i16x8.sub_sat_u(a, b);
    case Int.PMULLW: return i16x8.mul(a, b);
    case Int.PMULHW: return oddWords(i32x4.extmul_low_i16x8_s(a, b), i32x4.extmul_high_i16x8_s(a, b));
    case Int.PMULHUW: return oddWords(i32x4.extmul_low_i16x8_u(a, b), i32x4.extmul_high_i16x8_u(a, b));
    case Int.PMULHRSW: return roundedHighProduct(a, b);
    case Int.PMULLD: return i32x4.mul(a, b);
    case Int.PMULUDQ: return i64x2.extmul_low_i32x4_u(evenDwords(a, a), evenDwords(b, b));
    case Int.PMULDQ: return i64x2.extmul_low_i32x4_s(evenDwords(a, a), evenDwords(b, b));
    case Int.PMADDWD: return i32x4.dot_i16x8_s(a, b);
    case Int.PMADDUBSW: return maddUnsignedSigned(a, b);
    case Int.PSADBW: return sumOfDifferences(a, b);
    case Int.PAND: return v128.and(a, b);
    case Int.PANDN: return v128.andnot(b, a);
    case Int.POR: return v128.or(a, b);
    case Int.PXOR: return v128.xor(a, b);
    case Int.PAVGB: return i8x16.avgr_u(a, b);
    case Int.PAVGW: return i16x8.avgr_u(a, b);
    case Int.PMINUB: return i8x16.min_u(a, b);
    case Int.PMINUW: return i16x8.min_u(a, b);
    case Int.PMINUD: return i32x4.min_u(a, b);
    case Int.PMINSB: return i8x16.min_s(a, b);
    case Int.PMINSW: return i16x8.min_s(a, b);
    case Int.PMINSD: return i32x4.min_s(a, b);
    case Int.PMAXUB: return i8x16.max_u(a, b);
    case Int.PMAXUW: return i16x8.max_u(a, b);
    case Int.PMAXUD: return i32x4.max_u(a, b);
    case Int.PMAXSB: return i8x16.max_s(a, b);
    case Int.PMAXSW: return i16x8.max_s(a, b);
    case Int.PMAXSD: return i32x4.max_s(a, b);
    case Int.PSHUFB: return i8x16.swizzle(a, v128.and(b, i8x16.splat(<i8>0x8f)));
    case Int.PHADDW: return i16x8.add(evenWords(a, b), oddWords(a, b));
    case Int.PHADDD: return i32x4.add(evenDwords(a, b), oddDwords(a, b));
    case Int.PHADDSW: return i16x8.add_sat_s(evenWords(a, b), oddWords(a, b));
    case Int.PHSUBW: return i16x8.sub(evenWords(a, b), oddWords(a, b));
    case Int.PHSUBD: return i32x4.sub(evenDwords(a, b), oddDwords(a, b));
    case Int.PHSUBSW: return i16x8.sub_sat_s(evenWords(a, b), oddWords(a, b));
    case Int.PSIGNB: {
      const m = i8x16.shr_s(b, 7);
      return v128.andnot(i8x16.sub(v128.xor(a, m), m), i8x16.eq(b, i64x2(0, 0)));
    }
    case Int.PSIGNW: {
      const m = i16x8.shr_s(b, 15);
      return v128.andnot(i16x8.sub(v128.xor(a, m), m), i16x8.eq(b, i64x2(0, 0)));
    }
    case Int.PSIGND: {
      const m = i32x4.shr_s(b, 31);
      return v128.andnot(i32x4.sub(v128.xor(a, m), m), i32x4.eq(b, i64x2(0, 0)));
    }
    case Int.PABSB: return i8x16.abs(b);
    case Int.PABSW: return i16x8.abs(b);
    default: return i32x4.abs(b); // PABSD
  }
}

/** The 64-bit form in terms of the 128-bit one: operands are laid so that the low half of the result is right. */
function execMmx(pc: usize, op: i32): i32 {
  // the low unpacks read 32 bits of memory only
  const s = mmxSource(pc, op <= Int.PUNPCKLDQ ? 4 : 8);
  if (!s) return FAULT;
  const n = recReg(pc);
  let a = v128.load64_zero(mmx(n));
  let b = op <= Int.PUNPCKLDQ ? v128.load32_zero(s) : v128.load64_zero(s);
  if (op >= Int.PUNPCKHBW && op <= Int.PUNPCKHDQ) {
    a = i64x2.shr_u(a, 32);
    b = i64x2.shr_u(b, 32);
    op -= Int.PUNPCKHBW - Int.PUNPCKLBW;
  } else if ((op >= Int.PACKSSWB && op <= Int.PACKUSWB) || (op >= Int.PHADDW && op <= Int.PHSUBSW)) {
    a = v128.shuffle<i64>(a, b, 0, 2);
    b = a;
  } else if (op == Int.PSHUFB) b = v128.and(b, i8x16.splat(<i8>0x87));
  writeMmx(n, i64x2.extract_lane(integerLane(op, a, b), 0));
  return OK;
}

export function execInteger(pc: usize, op: i32, variant: u32): i32 {
  if (variant == VARIANT_MMX) return execMmx(pc, op);
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  if (variant == VARIANT_VEX256) {
    const high = integerLane(op, v128.load(f, 16), v128.load(s, 16));
    v128.store(d, integerLane(op, v128.load(f), v128.load(s)));
    v128.store(d, high, 16);
    return OK;
  }
  v128.store(d, integerLane(op, v128.load(f), v128.load(s)));
  if (variant != VARIANT_SSE) zeroUpper(d);
  return OK;
}
