import { REGS, SEG_SS } from "../../src/layout";
import { segmentFailed, commit, effectiveAddress, linearRead, linearWrite, operandRead, operandWrite, segmentLinear } from "../mmu";
import { is64, isCanonical } from "../mode";
import { AM_SHORT, P_W, recAddressMode, recModrm, recPrefixes, recReg, recSegment, recVvvv } from "../record";
import { FAULT, OK } from "../status";
import { raise, raiseError } from "../system/raise";
import { VARIANT_VEX256, Permute } from "./ops";
import { bytesOf, regVector, vectorRegister, zeroUpper } from "./operands";
/** Loads and stores of selected elements: only the selected ones are accessed and can fault. */

/** Pointer to element `size` bytes at `offset` in the record's segment; 0 on a fault. */
function elementRead(pc: usize, offset: u64, size: u32): usize {
  const segment = recSegment(pc), linear = segmentLinear(segment, offset, size, false);
  return segmentFailed(linear) ? 0 : linearRead(linear, size, segment, pc);
}
function elementWrite(pc: usize, offset: u64, size: u32): usize {
  const segment = recSegment(pc), linear = segmentLinear(segment, offset, size, true);
  return segmentFailed(linear) ? 0 : linearWrite(linear, size, segment, pc);
}

/**
 * MASKMOVQ, MASKMOVDQU: bytes of `data` whose mask byte has its top bit set go to DS:rDI (or the segment given by prefix). In these
 * register forms byte 10 of the record is the address size in bytes.
 */
export function maskedStoreBytes(pc: usize, data: usize, mask: usize, count: u32): i32 {
  const size = load<u8>(pc, 10);
  const limit: u64 = size == 2 ? 0xffff : size == 4 ? 0xffffffff : <u64>-1;
  const di = load<u64>(REGS + 7 * 8);
  const first = di & limit, segment = recSegment(pc);
  // the addresses are checked as a whole, whatever the mask
  const linear = segmentLinear(segment, first, count, true);
  if (segmentFailed(linear)) return FAULT;
  if (is64() ? !isCanonical(linear) || !isCanonical(linear + count - 1) : <u32>first + (count - 1) < <u32>first) return raiseError(segment == SEG_SS ? 12 : 13, 0);
  for (let pass = 0; pass < 2; pass++) { // every selected byte is checked before the first is stored
    for (let i: u32 = 0; i < count; i++) {
      if (load<u8>(mask + i) < 0x80) continue;
      const t = elementWrite(pc, (di + i) & limit, 1);
      if (!t) return FAULT;
      if (!pass) continue;
      store<u8>(t, load<u8>(data + i));
      if (!commit(t)) return FAULT;
    }
  }
  return OK;
}

/** One bit for each element of `size` bytes whose mask sign is set. */
function selected(mask: usize, variant: u32, size: u32): u32 {
  let bits: u32 = size == 4 ? i32x4.bitmask(v128.load(mask)) : i64x2.bitmask(v128.load(mask));
  if (variant == VARIANT_VEX256) bits |= size == 4 ? i32x4.bitmask(v128.load(mask, 16)) << 4 : i64x2.bitmask(v128.load(mask, 16)) << 2;
  return bits;
}
/** VMASKMOVPS/PD and VPMASKMOVD/Q from memory: elements not selected become zero. */
function maskedLoad(pc: usize, variant: u32, size: u32): i32 {
  const bytes = bytesOf(variant), d = regVector(pc);
  const bits = selected(vectorRegister(recVvvv(pc)), variant, size);
  let low: v128 = i64x2(0, 0), high: v128 = i64x2(0, 0);
  if (bits == (1 << (bytes / size)) - 1) {
    const s = operandRead(pc, bytes);
    if (!s) return FAULT;
    low = v128.load(s);
    if (variant == VARIANT_VEX256) high = v128.load(s, 16);
  } else if (bits) {
    const address = effectiveAddress(pc);
    for (let i: u32 = 0; i * size < bytes; i++) {
      if (!(bits & (1 << i))) continue;
      const s = elementRead(pc, address + i * size, size);
      if (!s) return FAULT;
      const v = size == 4 ? i32x4.splat(load<i32>(s)) : i64x2.splat(load<i64>(s));
      const m = elementMask(i & (16 / size - 1), size);
      if (i * size < 16) low = v128.bitselect(v, low, m);
      else high = v128.bitselect(v, high, m);
    }
  }
  v128.store(d, low);
  v128.store(d, high, 16);
  return OK;
}
function elementMask(i: u32, size: u32): v128 {
  return size == 4 ? i32x4.eq(i32x4(0, 1, 2, 3), i32x4.splat(i)) : i64x2.eq(i64x2(0, 1), i64x2.splat(i));
}
function maskedStore(pc: usize, variant: u32, size: u32): i32 {
  const bytes = bytesOf(variant), s = regVector(pc);
  const bits = selected(vectorRegister(recVvvv(pc)), variant, size);
  if (bits == (1 << (bytes / size)) - 1) {
    const t = operandWrite(pc, bytes);
    if (!t) return FAULT;
    v128.store(t, v128.load(s));
    if (variant == VARIANT_VEX256) v128.store(t, v128.load(s, 16), 16);
    return commit(t) ? OK : FAULT;
  }
  const address = effectiveAddress(pc);
  for (let pass = 0; pass < 2; pass++) {
    for (let i: u32 = 0; i * size < bytes; i++) {
      if (!(bits & (1 << i))) continue;
      const t = elementWrite(pc, address + i * size, size);
      if (!t) return FAULT;
      if (!pass) continue;
      if (size == 4) store<u32>(t, load<u32>(s + (i << 2)));
      else store<u64>(t, load<u64>(s + (i << 3)));
      if (!commit(t)) return FAULT;
    }
  }
  return OK;
}

/**
 * VPGATHERxx, VGATHERxPx (SDM vol. 2, VSIB). The index is a vector register: byte 9 of the record is its number * 8, or 80h for
 * number 4, which no general index can be. An element read is written to the destination and its mask element cleared at once, so
 * that after a fault the instruction goes on where it stopped.
 */
function gather(pc: usize, variant: u32, longIndex: bool): i32 {
  const index: u32 = load<u8>(pc, 9) == 0x80 ? 4 : <u32>load<u8>(pc, 9) >>> 3;
  const destination = recReg(pc), maskNumber = recVvvv(pc);
  // no SIB byte, 16-bit addressing, or registers that coincide
  if ((recModrm(pc) & 7) != 4 || (load<u8>(pc, 10) & 0x80) != 0 || destination == index || destination == maskNumber || index == maskNumber) return raise(6);
  const size: u32 = recPrefixes(pc) & P_W ? 8 : 4;
  const count = bytesOf(variant) / (longIndex ? 8 : size);
  const d = vectorRegister(destination), m = vectorRegister(maskNumber), x = vectorRegister(index);
  const base = load<u64>(REGS + <usize>load<u8>(pc, 8)) + <u64><i64>load<i32>(pc, 16);
  const scale = <u64>(load<u8>(pc, 10) & 3);
  const limit: u64 = recAddressMode(pc) == AM_SHORT || !is64() ? 0xffffffff : <u64>-1;
  for (let i: u32 = 0; i < count; i++) {
    const at = i * size;
    if (load<i8>(m + at + size - 1) >= 0) continue;
    const offset = longIndex ? load<i64>(x + (i << 3)) : <i64>load<i32>(x + (i << 2));
    const s = elementRead(pc, (base + (<u64>offset << scale)) & limit, size);
    if (!s) return FAULT;
    if (size == 4) {
      store<u32>(d + at, load<u32>(s));
      store<u32>(m + at, 0);
    } else {
      store<u64>(d + at, load<u64>(s));
      store<u64>(m + at, 0);
    }
  }
  v128.store(m, i64x2(0, 0));
  zeroUpper(m);
  const filled = count * size;
  if (filled == 8) store<u64>(d, 0, 8);
  if (filled <= 16) zeroUpper(d);
  return OK;
}

export function execMasked(pc: usize, op: i32, variant: u32): i32 {
  switch (op) {
    case Permute.MASK_LOAD32: return maskedLoad(pc, variant, 4);
    case Permute.MASK_LOAD64: return maskedLoad(pc, variant, 8);
    case Permute.MASK_STORE32: return maskedStore(pc, variant, 4);
    case Permute.MASK_STORE64: return maskedStore(pc, variant, 8);
    case Permute.GATHER_D: return gather(pc, variant, false);
    default: return gather(pc, variant, true);
  }
}
