import { LF_AUX, LF_RESULT, YMM } from "../../src/layout";
import { commit, operandWrite } from "../mmu";
import { is64 } from "../mode";
import { isRegisterForm, recImm8, recReg } from "../record";
import { FAULT, OK } from "../status";
import { VARIANT_MMX, VARIANT_SSE, VARIANT_VEX256, Shuffle } from "./ops";
import {
  firstSource, generalReg, generalRm, generalSource, isWide, mmx, mmxSource, partialSource, regVector, rmVector, source, vectorRegister, writeGeneral,
  writeLow, writeMmx, touchMmx, zeroUpper,
} from "./operands";
import { bytesLeft, bytesRight } from "./shift";
/** Shuffles, blends, insertions and extractions with an immediate, widening moves and tests. */

/** Writes the lanes of a result; both are complete before the first is stored. */
// @ts-ignore: decorator
@inline function writeLanes(d: usize, variant: u32, low: v128, high: v128): i32 {
  v128.store(d, low);
  if (variant == VARIANT_VEX256) v128.store(d, high, 16);
  else if (variant != VARIANT_SSE) zeroUpper(d);
  return OK;
}

// Selections read their elements one by one: cheaper than making a byte shuffle from the immediate.
function selectDwords(a: usize, b: usize, imm: u32): v128 {
  let v = i32x4.splat(load<i32>(a + ((imm & 3) << 2)));
  v = i32x4.replace_lane(v, 1, load<i32>(a + (((imm >>> 2) & 3) << 2)));
  v = i32x4.replace_lane(v, 2, load<i32>(b + (((imm >>> 4) & 3) << 2)));
  return i32x4.replace_lane(v, 3, load<i32>(b + ((imm >>> 6) << 2)));
}
/** SHUFPD and VPERMILPD: bit 0 picks from a, bit 1 from b. */
export function selectQwords(a: usize, b: usize, imm: u32): v128 {
  return i64x2.replace_lane(i64x2.splat(load<i64>(a + ((imm & 1) << 3))), 1, load<i64>(b + ((imm & 2) << 2)));
}
export { selectDwords };
function selectLowWords(p: usize, imm: u32): v128 {
  let v = v128.load(p);
  v = i16x8.replace_lane(v, 0, load<i16>(p + ((imm & 3) << 1)));
  v = i16x8.replace_lane(v, 1, load<i16>(p + (((imm >>> 2) & 3) << 1)));
  v = i16x8.replace_lane(v, 2, load<i16>(p + (((imm >>> 4) & 3) << 1)));
  return i16x8.replace_lane(v, 3, load<i16>(p + ((imm >>> 6) << 1)));
}
function selectHighWords(p: usize, imm: u32): v128 {
  let v = v128.load(p);
  v = i16x8.replace_lane(v, 4, load<i16>(p + ((imm & 3) << 1), 8));
  v = i16x8.replace_lane(v, 5, load<i16>(p + (((imm >>> 2) & 3) << 1), 8));
  v = i16x8.replace_lane(v, 6, load<i16>(p + (((imm >>> 4) & 3) << 1), 8));
  return i16x8.replace_lane(v, 7, load<i16>(p + ((imm >>> 6) << 1), 8));
}

/** Bytes imm .. imm+15 of a:b (b low). */
function alignRight(a: v128, b: v128, imm: u32): v128 {
  if (imm <= 16) return v128.or(bytesRight(b, imm), bytesLeft(a, 16 - imm));
  return bytesRight(a, min<u32>(imm - 16, 16));
}
/** Eight sums of four absolute differences: bytes of a from 0 or 4 on, sliding, against four bytes of b. */
function slidingDifferences(a: v128, b: v128, imm: u32): v128 {
  let window = bytesRight(a, imm & 4);
  let block = bytesRight(b, (imm & 3) << 2);
  let sum: v128 = i64x2(0, 0);
  for (let j = 0; j < 4; j++) {
    const d = i16x8.sub(i16x8.extend_low_i8x16_u(window), i16x8.splat(<i16>i8x16.extract_lane_u(block, 0)));
    sum = i16x8.add(sum, i16x8.abs(d));
    window = bytesRight(window, 1);
    block = bytesRight(block, 1);
  }
  return sum;
}

/** Masks of the elements whose bit in imm is set. */
export function maskWords(imm: u32): v128 {
  const bits = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
  return i16x8.eq(v128.and(i16x8.splat(<i16>imm), bits), bits);
}
export function maskDwords(imm: u32): v128 {
  const bits = i32x4(1, 2, 4, 8);
  return i32x4.eq(v128.and(i32x4.splat(imm), bits), bits);
}
export function maskQwords(imm: u32): v128 {
  const bits = i64x2(1, 2);
  return i64x2.eq(v128.and(i64x2.splat(imm), bits), bits);
}
/** One lane of a two-operand instruction with an immediate. */
function immediateLane(op: i32, a: v128, b: v128, imm: u32, lane: u32): v128 {
  switch (op) {
    case Shuffle.PALIGNR: return alignRight(a, b, imm);
    case Shuffle.MPSADBW: return slidingDifferences(a, b, lane ? imm >>> 3 : imm);
    case Shuffle.PBLENDW: return v128.bitselect(b, a, maskWords(imm));
    case Shuffle.BLENDPS: return v128.bitselect(b, a, maskDwords(lane ? imm >>> 4 : imm));
    default: return v128.bitselect(b, a, maskQwords(lane ? imm >>> 2 : imm)); // BLENDPD
  }
}
function byImmediate(pc: usize, op: i32, variant: u32): i32 {
  const imm = recImm8(pc);
  if (variant == VARIANT_MMX) { // PALIGNR: the 16 bytes are one vector
    const s = mmxSource(pc, 8);
    if (!s) return FAULT;
    const n = recReg(pc);
    const both = v128.shuffle<i64>(v128.load64_zero(s), v128.load64_zero(mmx(n)), 0, 2);
    writeMmx(n, i64x2.extract_lane(bytesRight(both, min<u32>(imm, 16)), 0));
    return OK;
  }
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  const low = immediateLane(op, v128.load(f), v128.load(s), imm, 0);
  if (variant == VARIANT_VEX256) v128.store(d, immediateLane(op, v128.load(f, 16), v128.load(s, 16), imm, 1), 16);
  v128.store(d, low);
  if (variant > VARIANT_SSE && variant != VARIANT_VEX256) zeroUpper(d);
  return OK;
}

/** The selecting mask spread from the sign bits of each element. */
// @ts-ignore: decorator
@inline function signs(op: i32, m: v128): v128 {
  return op == Shuffle.PBLENDVB ? i8x16.shr_s(m, 7) : op == Shuffle.BLENDVPS ? i32x4.shr_s(m, 31) : i64x2.shr_s(m, 63);
}
/** PBLENDVB, BLENDVPS, BLENDVPD: the mask is XMM0, with VEX the register in imm[7:4] (imm[6:4] outside 64-bit mode). */
function byMask(pc: usize, op: i32, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const f = firstSource(pc, variant), d = regVector(pc);
  const m = variant == VARIANT_SSE ? YMM : vectorRegister((recImm8(pc) >>> 4) & (is64() ? 15 : 7));
  const low = v128.bitselect(v128.load(s), v128.load(f), signs(op, v128.load(m)));
  if (variant == VARIANT_VEX256) v128.store(d, v128.bitselect(v128.load(s, 16), v128.load(f, 16), signs(op, v128.load(m, 16))), 16);
  else if (variant != VARIANT_SSE) zeroUpper(d);
  v128.store(d, low);
  return OK;
}

/** Zero or sign extension of the elements at p to a full lane. */
function extend(op: i32, p: usize): v128 {
  switch (op) {
    case Shuffle.PMOVSXBW: return i16x8.extend_low_i8x16_s(v128.load64_zero(p));
    case Shuffle.PMOVSXBD: return i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(p)));
    case Shuffle.PMOVSXBQ: return i64x2(load<i8>(p), load<i8>(p, 1));
    case Shuffle.PMOVSXWD: return i32x4.extend_low_i16x8_s(v128.load64_zero(p));
    case Shuffle.PMOVSXWQ: return i64x2(load<i16>(p), load<i16>(p, 2));
    case Shuffle.PMOVSXDQ: return i64x2.extend_low_i32x4_s(v128.load64_zero(p));
    case Shuffle.PMOVZXBW: return i16x8.extend_low_i8x16_u(v128.load64_zero(p));
    case Shuffle.PMOVZXBD: return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(p)));
    case Shuffle.PMOVZXBQ: return i64x2(load<u8>(p), load<u8>(p, 1));
    case Shuffle.PMOVZXWD: return i32x4.extend_low_i16x8_u(v128.load64_zero(p));
    case Shuffle.PMOVZXWQ: return i64x2(load<u16>(p), load<u16>(p, 2));
    default: return i64x2.extend_low_i32x4_u(v128.load64_zero(p)); // PMOVZXDQ
  }
}
function widen(pc: usize, op: i32, variant: u32): i32 {
  const kind = op >= Shuffle.PMOVZXBW ? op - Shuffle.PMOVZXBW : op - Shuffle.PMOVSXBW;
  const bytes: u32 = kind == 2 ? 2 : kind == 1 || kind == 4 ? 4 : 8; // source bytes of one result lane
  const s = partialSource(pc, variant == VARIANT_VEX256 ? bytes << 1 : bytes);
  if (!s) return FAULT;
  const d = regVector(pc);
  const low = extend(op, s);
  if (variant == VARIANT_VEX256) return writeLanes(d, variant, low, extend(op, s + bytes));
  writeLow(d, variant, low);
  return OK;
}

/** ZF and CF as given, the other arithmetic flags clear. */
function setZeroCarry(zero: bool, carry: bool): void {
  store<i64>(LF_RESULT, zero ? 0 : 1);
  store<u32>(LF_AUX, (zero ? 0x100 : 0) | (carry ? 0xc0000000 : 0)); // parity of 0 is corrected; OF is bit 31 xor bit 30
}
/** PTEST looks at all bits, VTESTPS and VTESTPD at the signs. */
function test(pc: usize, op: i32, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const d = regVector(pc);
  let a = v128.load(d), b = v128.load(s);
  let both = v128.and(a, b), rest = v128.andnot(b, a);
  if (variant == VARIANT_VEX256) {
    a = v128.load(d, 16);
    b = v128.load(s, 16);
    both = v128.or(both, v128.and(a, b));
    rest = v128.or(rest, v128.andnot(b, a));
  }
  if (op == Shuffle.PTEST) setZeroCarry(!v128.any_true(both), !v128.any_true(rest));
  else if (op == Shuffle.VTESTPS) setZeroCarry(!i32x4.bitmask(both), !i32x4.bitmask(rest));
  else setZeroCarry(!i64x2.bitmask(both), !i64x2.bitmask(rest));
  return OK;
}

function minimumPosition(pc: usize, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  let least = <u32>load<u16>(s), at: u32 = 0;
  for (let i: u32 = 1; i < 8; i++) {
    const v = <u32>load<u16>(s + (i << 1));
    if (v < least) { least = v; at = i; }
  }
  writeLow(regVector(pc), variant, i64x2(<i64>(least | at << 16), 0));
  return OK;
}

/** Shuffles of one source with an immediate, and SHUFPS, SHUFPD. */
function select(pc: usize, op: i32, variant: u32): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const imm = recImm8(pc), f = firstSource(pc, variant), d = regVector(pc);
  let low: v128, high: v128 = i64x2(0, 0);
  const wide = variant == VARIANT_VEX256;
  if (op == Shuffle.PSHUFD) {
    low = selectDwords(s, s, imm);
    if (wide) high = selectDwords(s + 16, s + 16, imm);
  } else if (op == Shuffle.SHUFPS) {
    low = selectDwords(f, s, imm);
    if (wide) high = selectDwords(f + 16, s + 16, imm);
  } else if (op == Shuffle.SHUFPD) {
    low = selectQwords(f, s, imm);
    if (wide) high = selectQwords(f + 16, s + 16, imm >>> 2);
  } else if (op == Shuffle.PSHUFLW) {
    low = selectLowWords(s, imm);
    if (wide) high = selectLowWords(s + 16, imm);
  } else {
    low = selectHighWords(s, imm);
    if (wide) high = selectHighWords(s + 16, imm);
  }
  return writeLanes(d, variant, low, high);
}
function selectMmx(pc: usize): i32 { // PSHUFW
  const s = mmxSource(pc, 8);
  if (!s) return FAULT;
  const imm = recImm8(pc), v = load<u64>(s);
  const r = ((v >> ((imm & 3) << 4)) & 0xffff) | ((v >> (((imm >>> 2) & 3) << 4)) & 0xffff) << 16
    | ((v >> (((imm >>> 4) & 3) << 4)) & 0xffff) << 32 | (v >> ((imm >>> 6) << 4)) << 48;
  writeMmx(recReg(pc), r);
  return OK;
}

/** PINSRB, PINSRW, PINSRD/Q: the second operand is a general register or that much memory. */
function insert(pc: usize, op: i32, variant: u32): i32 {
  const bytes: u32 = op == Shuffle.PINSRB ? 1 : op == Shuffle.PINSRD ? (isWide(pc) ? 8 : 4) : 2;
  const s = generalSource(pc, bytes);
  if (!s) return FAULT;
  const imm = recImm8(pc);
  if (op == Shuffle.PINSRW_MMX) {
    const n = recReg(pc), shift = (imm & 3) << 4;
    writeMmx(n, (load<u64>(mmx(n)) & ~((<u64>0xffff) << shift)) | (<u64>load<u16>(s)) << shift);
    return OK;
  }
  const value = bytes == 1 ? <u64>load<u8>(s) : bytes == 2 ? <u64>load<u16>(s) : bytes == 4 ? <u64>load<u32>(s) : load<u64>(s);
  const d = regVector(pc);
  writeLow(d, variant, v128.load(firstSource(pc, variant)));
  const p = d + ((imm & (16 / bytes - 1)) * bytes);
  if (bytes == 1) store<u8>(p, <u8>value);
  else if (bytes == 2) store<u16>(p, <u16>value);
  else if (bytes == 4) store<u32>(p, <u32>value);
  else store<u64>(p, value);
  return OK;
}
/** INSERTPS: element imm[7:6] (memory: the single there) to imm[5:4], then the elements of imm[3:0] zeroed. */
function insertSingle(pc: usize, variant: u32): i32 {
  const s = partialSource(pc, 4);
  if (!s) return FAULT;
  const imm = recImm8(pc), d = regVector(pc);
  const value = load<i32>(isRegisterForm(pc) ? s + ((imm >>> 6) << 2) : s);
  const merged = v128.bitselect(i32x4.splat(value), v128.load(firstSource(pc, variant)), maskDwords(1 << ((imm >>> 4) & 3)));
  writeLow(d, variant, v128.andnot(merged, maskDwords(imm)));
  return OK;
}
/** PEXTRB, PEXTRW, PEXTRD/Q, EXTRACTPS: to a general register (zero-extended) or memory of the element's size. */
function extract(pc: usize, op: i32): i32 {
  const imm = recImm8(pc);
  if (op == Shuffle.PEXTRW) { // 0F C5: ModRM.reg is the general register
    writeGeneral(generalReg(pc), load<u16>(rmVector(pc) + ((imm & 7) << 1)));
    return OK;
  }
  if (op == Shuffle.PEXTRW_MMX) {
    touchMmx();
    writeGeneral(generalReg(pc), load<u16>(mmxSource(pc, 8) + ((imm & 3) << 1)));
    return OK;
  }
  const bytes: u32 = op == Shuffle.PEXTRB ? 1 : op == Shuffle.PEXTRW_STORE ? 2 : op == Shuffle.PEXTRD && isWide(pc) ? 8 : 4;
  const p = regVector(pc) + ((imm & (16 / bytes - 1)) * bytes);
  const value = bytes == 1 ? <u64>load<u8>(p) : bytes == 2 ? <u64>load<u16>(p) : bytes == 4 ? <u64>load<u32>(p) : load<u64>(p);
  if (isRegisterForm(pc)) {
    writeGeneral(generalRm(pc), value);
    return OK;
  }
  const t = operandWrite(pc, bytes);
  if (!t) return FAULT;
  if (bytes == 1) store<u8>(t, <u8>value);
  else if (bytes == 2) store<u16>(t, <u16>value);
  else if (bytes == 4) store<u32>(t, <u32>value);
  else store<u64>(t, value);
  return commit(t) ? OK : FAULT;
}

export function execShuffle(pc: usize, op: i32, variant: u32): i32 {
  switch (op) {
    case Shuffle.PSHUFW: return selectMmx(pc);
    case Shuffle.PSHUFD: case Shuffle.PSHUFHW: case Shuffle.PSHUFLW: case Shuffle.SHUFPS: case Shuffle.SHUFPD: return select(pc, op, variant);
    case Shuffle.PALIGNR: case Shuffle.MPSADBW: case Shuffle.PBLENDW: case Shuffle.BLENDPS: case Shuffle.BLENDPD: return byImmediate(pc, op, variant);
    case Shuffle.PBLENDVB: case Shuffle.BLENDVPS: case Shuffle.BLENDVPD: return byMask(pc, op, variant);
    case Shuffle.PINSRB: case Shuffle.PINSRW: case Shuffle.PINSRD: case Shuffle.PINSRW_MMX: return insert(pc, op, variant);
    case Shuffle.INSERTPS: return insertSingle(pc, variant);
    case Shuffle.PEXTRB: case Shuffle.PEXTRW: case Shuffle.PEXTRW_STORE: case Shuffle.PEXTRD: case Shuffle.EXTRACTPS:
    case Shuffle.PEXTRW_MMX: return extract(pc, op);
    case Shuffle.PTEST: case Shuffle.VTESTPS: case Shuffle.VTESTPD: return test(pc, op, variant);
    case Shuffle.PHMINPOSUW: return minimumPosition(pc, variant);
    default: return widen(pc, op, variant);
  }
}
