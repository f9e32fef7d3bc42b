import { FPU_TAG } from "../../src/layout";
import { commit, operandRead, operandWrite } from "../mmu";
import { is64 } from "../mode";
import { isRegisterForm, recReg, recRm, recVvvv } from "../record";
import { FAULT, OK } from "../status";
import { maskedStoreBytes } from "./masked";
import { VARIANT_SSE, VARIANT_VEX128, VARIANT_VEX256, Move } from "./ops";
import {
  bytesOf, firstSource, generalReg, generalRm, generalSource, isWide, memoryTarget, misaligned, mmx, mmxSource, partialSource, regVector, rmVector, source,
  touchMmx, vectorRegister, writeGeneral, writeLow, writeMmx, zeroUpper,
} from "./operands";
/** Data movement. */

// @ts-ignore: decorator
@inline function copyVector(d: usize, s: usize, variant: u32): void {
  if (variant == VARIANT_VEX256) v128.store(d, v128.load(s, 16), 16);
  else if (variant != VARIANT_SSE) zeroUpper(d);
  v128.store(d, v128.load(s));
}
/** A 32- or 64-bit load into the low element clears the rest. */
function loadScalar(pc: usize, variant: u32, size: u32): i32 {
  const s = partialSource(pc, size);
  if (!s) return FAULT;
  writeLow(regVector(pc), variant, size == 4 ? v128.load32_zero(s) : v128.load64_zero(s));
  return OK;
}
function storeVector(pc: usize, variant: u32, aligned: bool): i32 {
  const s = regVector(pc);
  if (isRegisterForm(pc)) {
    copyVector(rmVector(pc), s, variant);
    return OK;
  }
  const t = memoryTarget(pc, bytesOf(variant), aligned);
  if (!t) return FAULT;
  const low = v128.load(s);
  if (variant == VARIANT_VEX256) v128.store(t, v128.load(s, 16), 16);
  v128.store(t, low);
  return commit(t) ? OK : FAULT;
}
/** Stores the low 32 or 64 bits, from `offset` on, to memory. */
function storePart(pc: usize, size: u32, offset: u32): i32 {
  const t = operandWrite(pc, size);
  if (!t) return FAULT;
  const s = regVector(pc) + offset;
  if (size == 4) store<u32>(t, load<u32>(s));
  else store<u64>(t, load<u64>(s));
  return commit(t) ? OK : FAULT;
}
/** Both halves of a 128-bit result given. */
// @ts-ignore: decorator
@inline function writePair(pc: usize, variant: u32, low: u64, high: u64): i32 {
  writeLow(regVector(pc), variant, i64x2.replace_lane(i64x2.splat(low), 1, high));
  return OK;
}
function duplicateSingles(pc: usize, variant: u32, odd: bool): i32 {
  const s = source(pc, variant);
  if (!s) return FAULT;
  const d = regVector(pc);
  const low = v128.load(s);
  if (variant == VARIANT_VEX256) {
    const high = v128.load(s, 16);
    v128.store(d, odd ? v128.shuffle<i32>(high, high, 1, 1, 3, 3) : v128.shuffle<i32>(high, high, 0, 0, 2, 2), 16);
  } else if (variant == VARIANT_VEX128) zeroUpper(d);
  v128.store(d, odd ? v128.shuffle<i32>(low, low, 1, 1, 3, 3) : v128.shuffle<i32>(low, low, 0, 0, 2, 2));
  return OK;
}
function duplicateDouble(pc: usize, variant: u32): i32 {
  const s = partialSource(pc, variant == VARIANT_VEX256 ? 32 : 8);
  if (!s) return FAULT;
  const d = regVector(pc), low = v128.load64_splat(s);
  if (variant == VARIANT_VEX256) v128.store(d, v128.load64_splat(s + 16), 16);
  else if (variant == VARIANT_VEX128) zeroUpper(d);
  v128.store(d, low);
  return OK;
}
/** MOVSS, MOVSD between registers, in either direction of ModRM. */
function merge(d: usize, first: usize, second: usize, variant: u32, single: bool): i32 {
  const low: u64 = single ? (load<u64>(first) & 0xffffffff00000000) | load<u32>(second) : load<u64>(second);
  writeLow(d, variant, i64x2.replace_lane(v128.load(first), 0, low));
  return OK;
}
function signMask(pc: usize, op: i32, variant: u32): i32 {
  const s = rmVector(pc), low = v128.load(s);
  let m: u32;
  if (op == Move.MASK_SINGLES) m = i32x4.bitmask(low) | (variant == VARIANT_VEX256 ? i32x4.bitmask(v128.load(s, 16)) << 4 : 0);
  else if (op == Move.MASK_DOUBLES) m = i64x2.bitmask(low) | (variant == VARIANT_VEX256 ? i64x2.bitmask(v128.load(s, 16)) << 2 : 0);
  else m = i8x16.bitmask(low) | (variant == VARIANT_VEX256 ? i8x16.bitmask(v128.load(s, 16)) << 16 : 0);
  writeGeneral(generalReg(pc), m);
  return OK;
}
function zeroRegisters(variant: u32): i32 {
  const count: u32 = is64() ? 16 : 8;
  for (let i: u32 = 0; i < count; i++) {
    const r = vectorRegister(i);
    zeroUpper(r);
    if (variant == VARIANT_VEX256) v128.store(r, i64x2(0, 0)); // VZEROALL
  }
  return OK;
}
/** A general register to memory or to a general register, 32 or 64 bits of the vector or MMX register at `s`. */
function storeGeneral(pc: usize, s: usize): i32 {
  const wide = isWide(pc);
  if (isRegisterForm(pc)) {
    writeGeneral(generalRm(pc), wide ? load<u64>(s) : load<u32>(s));
    return OK;
  }
  const t = operandWrite(pc, wide ? 8 : 4);
  if (!t) return FAULT;
  if (wide) store<u64>(t, load<u64>(s));
  else store<u32>(t, load<u32>(s));
  return commit(t) ? OK : FAULT;
}
function storeMmx(pc: usize, n: u32): i32 {
  const v = load<u64>(mmx(n));
  if (isRegisterForm(pc)) {
    writeMmx(recRm(pc), v);
    return OK;
  }
  const t = operandWrite(pc, 8);
  if (!t) return FAULT;
  store<u64>(t, v);
  if (!commit(t)) return FAULT;
  touchMmx();
  return OK;
}

export function execMove(pc: usize, op: i32, variant: u32): i32 {
  switch (op) {
    case Move.LOAD: {
      const s = partialSource(pc, bytesOf(variant));
      if (!s) return FAULT;
      copyVector(regVector(pc), s, variant);
      return OK;
    }
    case Move.LOAD_ALIGNED: {
      let s: usize;
      if (isRegisterForm(pc)) s = rmVector(pc);
      else {
        const bytes = bytesOf(variant);
        if (misaligned(pc, bytes)) return FAULT;
        s = operandRead(pc, bytes);
        if (!s) return FAULT;
      }
      copyVector(regVector(pc), s, variant);
      return OK;
    }
    case Move.STORE: return storeVector(pc, variant, false);
    case Move.STORE_ALIGNED: return storeVector(pc, variant, true);
    case Move.SS_LOAD: return loadScalar(pc, variant, 4);
    case Move.SD_LOAD: case Move.QUAD_LOAD: return loadScalar(pc, variant, 8);
    case Move.SS_MERGE: return merge(regVector(pc), firstSource(pc, variant), rmVector(pc), variant, true);
    case Move.SD_MERGE: return merge(regVector(pc), firstSource(pc, variant), rmVector(pc), variant, false);
    case Move.SS_STORE: case Move.SD_STORE:
      if (!isRegisterForm(pc)) return storePart(pc, op == Move.SS_STORE ? 4 : 8, 0);
      return merge(rmVector(pc), variant >= VARIANT_VEX128 ? vectorRegister(recVvvv(pc)) : rmVector(pc), regVector(pc), variant, op == Move.SS_STORE);
    case Move.LOW_LOAD: {
      const s = operandRead(pc, 8);
      if (!s) return FAULT;
      return writePair(pc, variant, load<u64>(s), load<u64>(firstSource(pc, variant), 8));
    }
    case Move.HIGH_TO_LOW: return writePair(pc, variant, load<u64>(rmVector(pc), 8), load<u64>(firstSource(pc, variant), 8));
    case Move.HIGH_LOAD: {
      const s = operandRead(pc, 8);
      if (!s) return FAULT;
      return writePair(pc, variant, load<u64>(firstSource(pc, variant)), load<u64>(s));
    }
    case Move.LOW_TO_HIGH: return writePair(pc, variant, load<u64>(firstSource(pc, variant)), load<u64>(rmVector(pc)));
    case Move.LOW_STORE: return storePart(pc, 8, 0);
    case Move.HIGH_STORE: return storePart(pc, 8, 8);
    case Move.GPR_TO_VECTOR: {
      const wide = isWide(pc);
      const s = generalSource(pc, wide ? 8 : 4);
      if (!s) return FAULT;
      writeLow(regVector(pc), variant, wide ? v128.load64_zero(s) : v128.load32_zero(s));
      return OK;
    }
    case Move.VECTOR_TO_GPR: return storeGeneral(pc, regVector(pc));
    case Move.QUAD_STORE:
      if (!isRegisterForm(pc)) return storePart(pc, 8, 0);
      writeLow(rmVector(pc), variant, v128.load64_zero(regVector(pc)));
      return OK;
    case Move.DUPLICATE_EVEN_SINGLES: return duplicateSingles(pc, variant, false);
    case Move.DUPLICATE_ODD_SINGLES: return duplicateSingles(pc, variant, true);
    case Move.DUPLICATE_LOW_DOUBLE: return duplicateDouble(pc, variant);
    case Move.MASK_SINGLES: case Move.MASK_DOUBLES: case Move.MASK_BYTES: return signMask(pc, op, variant);
    case Move.MMX_LOAD: {
      const s = mmxSource(pc, 8);
      if (!s) return FAULT;
      writeMmx(recReg(pc), load<u64>(s));
      return OK;
    }
    case Move.MMX_STORE: return storeMmx(pc, recReg(pc));
    case Move.GPR_TO_MMX: {
      const wide = isWide(pc);
      const s = generalSource(pc, wide ? 8 : 4);
      if (!s) return FAULT;
      writeMmx(recReg(pc), wide ? load<u64>(s) : load<u32>(s));
      return OK;
    }
    case Move.MMX_TO_GPR: {
      const r = storeGeneral(pc, mmx(recReg(pc)));
      if (r == OK) touchMmx();
      return r;
    }
    case Move.MMX_TO_XMM:
      touchMmx();
      writeLow(regVector(pc), variant, v128.load64_zero(mmx(recRm(pc))));
      return OK;
    case Move.XMM_TO_MMX:
      writeMmx(recReg(pc), load<u64>(rmVector(pc)));
      return OK;
    case Move.MASK_BYTES_MMX:
      touchMmx();
      writeGeneral(generalReg(pc), i8x16.bitmask(v128.load64_zero(mmx(recRm(pc)))));
      return OK;
    case Move.NON_TEMPORAL_GPR: {
      const wide = isWide(pc);
      const t = operandWrite(pc, wide ? 8 : 4);
      if (!t) return FAULT;
      if (wide) store<u64>(t, load<u64>(generalReg(pc)));
      else store<u32>(t, load<u32>(generalReg(pc)));
      return commit(t) ? OK : FAULT;
    }
    case Move.MASKED_STORE: return maskedStoreBytes(pc, regVector(pc), rmVector(pc), 16);
    case Move.MASKED_STORE_MMX: {
      const r = maskedStoreBytes(pc, mmx(recReg(pc)), mmx(recRm(pc)), 8);
      if (r == OK) touchMmx();
      return r;
    }
    case Move.EMPTY_MMX:
      touchMmx();
      store<u8>(FPU_TAG, 0);
      return OK;
    default: return zeroRegisters(variant); // VZEROUPPER, VZEROALL
  }
}
