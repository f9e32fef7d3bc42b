import { VECTOR_SCRATCH } from "../../src/layout";
import { commit, operandWrite } from "../mmu";
import { isRegisterForm, recImm8 } from "../record";
import { FAULT, OK } from "../status";
import { execMasked } from "./masked";
import { VARIANT_VEX256, Permute } from "./ops";
import { firstSource, partialSource, regVector, rmVector, source, zeroUpper } from "./operands";
import { maskDwords, selectQwords, selectDwords } from "./shuffle";
/** Instructions of AVX and AVX2 that broadcast, move elements across lanes or by a vector of indices. VEX only. */

// @ts-ignore: decorator
@inline function writeBoth(d: usize, variant: u32, low: v128, high: v128): i32 {
  v128.store(d, low);
  v128.store(d, variant == VARIANT_VEX256 ? high : i64x2(0, 0), 16);
  return OK;
}
function broadcast(pc: usize, op: i32, variant: u32): i32 {
  const size: u32 = op == Permute.BROADCAST128 ? 16 : 1 << (op - Permute.BROADCAST8);
  const s = partialSource(pc, size);
  if (!s) return FAULT;
  let v: v128;
  switch (op) {
    case Permute.BROADCAST8: v = v128.load8_splat(s); break;
    case Permute.BROADCAST16: v = v128.load16_splat(s); break;
    case Permute.BROADCAST32: v = v128.load32_splat(s); break;
    case Permute.BROADCAST64: v = v128.load64_splat(s); break;
    default: v = v128.load(s);
  }
  return writeBoth(regVector(pc), variant, v, v);
}
/** A half named by two bits of VPERM2F128: low and high of the first, low and high of the second; bit 3 zeroes. */
// @ts-ignore: decorator
@inline function half(f: usize, s: usize, control: u32): v128 {
  return control & 8 ? i64x2(0, 0) : v128.load((control & 2 ? s : f) + <usize>((control & 1) << 4));
}
function insertHalf(pc: usize): i32 {
  const s = partialSource(pc, 16);
  if (!s) return FAULT;
  const f = firstSource(pc, VARIANT_VEX256), d = regVector(pc), v = v128.load(s);
  const low = recImm8(pc) & 1 ? v128.load(f) : v, high = recImm8(pc) & 1 ? v : v128.load(f, 16);
  return writeBoth(d, VARIANT_VEX256, low, high);
}
function extractHalf(pc: usize): i32 {
  const v = v128.load(regVector(pc) + ((recImm8(pc) & 1) << 4));
  if (isRegisterForm(pc)) {
    const d = rmVector(pc);
    v128.store(d, v);
    zeroUpper(d);
    return OK;
  }
  const t = operandWrite(pc, 16);
  if (!t) return FAULT;
  v128.store(t, v);
  return commit(t) ? OK : FAULT;
}
/** Elements of the 32 bytes at `s` by index: VPERMD and VPERMPS take three bits of each dword of `f`. */
function permuteDwords(pc: usize): i32 {
  const s = partialSource(pc, 32);
  if (!s) return FAULT;
  const f = firstSource(pc, VARIANT_VEX256), d = regVector(pc);
  for (let i: usize = 0; i < 32; i += 4) store<u32>(VECTOR_SCRATCH + i, load<u32>(s + ((load<u32>(f + i) & 7) << 2)));
  return writeBoth(d, VARIANT_VEX256, v128.load(VECTOR_SCRATCH), v128.load(VECTOR_SCRATCH, 16));
}
function permuteQwords(pc: usize): i32 {
  const s = partialSource(pc, 32);
  if (!s) return FAULT;
  const imm = recImm8(pc);
  const low = i64x2(load<i64>(s + ((imm & 3) << 3)), load<i64>(s + (((imm >>> 2) & 3) << 3)));
  const high = i64x2(load<i64>(s + (((imm >>> 4) & 3) << 3)), load<i64>(s + ((imm >>> 6) << 3)));
  return writeBoth(regVector(pc), VARIANT_VEX256, low, high);
}
/** The index operand's dwords select within the lane at f (VPERMILPS); bit 1 of its qwords (VPERMILPD). */
function selectByDwords(f: usize, x: usize): v128 {
  return i32x4(load<i32>(f + ((load<u32>(x) & 3) << 2)), load<i32>(f + ((load<u32>(x, 4) & 3) << 2)),
    load<i32>(f + ((load<u32>(x, 8) & 3) << 2)), load<i32>(f + ((load<u32>(x, 12) & 3) << 2)));
}
function selectByQwords(f: usize, x: usize): v128 {
  return i64x2(load<i64>(f + ((load<u32>(x) & 2) << 2)), load<i64>(f + ((load<u32>(x, 8) & 2) << 2)));
}

export function execPermute(pc: usize, op: i32, variant: u32): i32 {
  switch (op) {
    case Permute.BROADCAST8: case Permute.BROADCAST16: case Permute.BROADCAST32: case Permute.BROADCAST64: case Permute.BROADCAST128:
      return broadcast(pc, op, variant);
    case Permute.INSERT128: return insertHalf(pc);
    case Permute.EXTRACT128: return extractHalf(pc);
    case Permute.PERMQ: return permuteQwords(pc);
    case Permute.PERMD: return permuteDwords(pc);
    case Permute.PERM2X128: case Permute.PERMILPS: case Permute.PERMILPD: case Permute.PERMILPS_IMM: case Permute.PERMILPD_IMM: case Permute.BLENDD: {
      const s = source(pc, variant);
      if (!s) return FAULT;
      const f = firstSource(pc, variant), d = regVector(pc), imm = recImm8(pc);
      const wide = variant == VARIANT_VEX256;
      let low: v128, high: v128 = i64x2(0, 0);
      if (op == Permute.PERM2X128) {
        low = half(f, s, imm);
        high = half(f, s, imm >>> 4);
      } else if (op == Permute.PERMILPS) {
        low = selectByDwords(f, s);
        if (wide) high = selectByDwords(f + 16, s + 16);
      } else if (op == Permute.PERMILPD) {
        low = selectByQwords(f, s);
        if (wide) high = selectByQwords(f + 16, s + 16);
      } else if (op == Permute.PERMILPS_IMM) {
        low = selectDwords(s, s, imm);
        if (wide) high = selectDwords(s + 16, s + 16, imm);
      } else if (op == Permute.PERMILPD_IMM) {
        low = selectQwords(s, s, imm);
        if (wide) high = selectQwords(s + 16, s + 16, imm >>> 2);
      } else {
        low = v128.bitselect(v128.load(s), v128.load(f), maskDwords(imm));
        if (wide) high = v128.bitselect(v128.load(s, 16), v128.load(f, 16), maskDwords(imm >>> 4));
      }
      return writeBoth(d, variant, low, high);
    }
    default: return execMasked(pc, op, variant);
  }
}
