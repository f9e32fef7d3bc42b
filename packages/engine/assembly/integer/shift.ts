import { LF_AUX, LF_RESULT, SEG_BASE } from "../../src/layout";
import {
  rcl16, rcl32, rcl64, rcl8, rcr16, rcr32, rcr64, rcr8, rol16, rol32, rol64, rol8, ror16, ror32, ror64, ror8, rotateFlags, sar16, sar32, sar64, sar8, shl16, shl32,
  shl64, shl8, shr16, shr32, shr64, shr8,
} from "../alu";
import { setLogicFlags } from "../flags";
import { commit, effectiveAddress, linearModify, linearRead, operandModify, operandRead, segmentLinear } from "../mmu";
import { is64 } from "../mode";
import { AM_CHECKED, AM_SHORT, isRegisterForm, recSegment, regPtr, rmPtr } from "../record";
import { FAULT, OK } from "../status";
import { imm32, loadSized, setCarry, signed, storeRegister, storeSized } from "./operands";
/** Shifts and rotates in all forms, double shifts, and bit tests with their bit strings. */

export function shift(pc: usize, size: u32, count: u32): i32 {
  const kind = (load<u8>(pc, 20) >>> 3) & 7, n = count & (size == 8 ? 63 : 31);
  const isReg = isRegisterForm(pc);
  const p = isReg ? rmPtr(pc) : operandModify(pc, size);
  if (p == 0) return FAULT;
  const v = loadSized(p, size);
  let r = v;
  // flags are only final once a memory-mapped result is committed
  const result = load<u64>(LF_RESULT), aux = load<u32>(LF_AUX);
  if (n != 0) {
    switch (size) {
      case 1: r = <u64>shift8(<u8>v, n, kind); break;
      case 2: r = <u64>shift16(<u16>v, n, kind); break;
      case 4: r = <u64>shift32(<u32>v, n, kind); break;
      default: r = shift64(v, n, kind); break;
    }
  }
  if (isReg) storeRegister(p, size, r);
  else {
    storeSized(p, size, r);
    if (!commit(p)) { store<u64>(LF_RESULT, result); store<u32>(LF_AUX, aux); return FAULT; }
  }
  return OK;
}
function shift8(v: u8, n: u32, kind: u32): u8 {
  switch (kind) {
    case 0: return rol8(v, n & 7);
    case 1: return ror8(v, n & 7);
    case 2: return rcl8(v, n % 9);
    case 3: return rcr8(v, n % 9);
    case 5: return shr8(v, n);
    case 7: return sar8(v, n);
    default: return shl8(v, n);
  }
}
function shift16(v: u16, n: u32, kind: u32): u16 {
  switch (kind) {
    case 0: return rol16(v, n & 15);
    case 1: return ror16(v, n & 15);
    case 2: return rcl16(v, n % 17);
    case 3: return rcr16(v, n % 17);
    case 5: return shr16(v, n);
    case 7: return sar16(v, n);
    default: return shl16(v, n);
  }
}
function shift32(v: u32, n: u32, kind: u32): u32 {
  switch (kind) {
    case 0: return rol32(v, n);
    case 1: return ror32(v, n);
    case 2: return rcl32(v, n);
    case 3: return rcr32(v, n);
    case 5: return shr32(v, n);
    case 7: return sar32(v, n);
    default: return shl32(v, n);
  }
}
function shift64(v: u64, n: u32, kind: u32): u64 {
  switch (kind) {
    case 0: return rol64(v, n);
    case 1: return ror64(v, n);
    case 2: return rcl64(v, n);
    case 3: return rcr64(v, n);
    case 5: return shr64(v, n);
    case 7: return sar64(v, n);
    default: return shl64(v, n);
  }
}

export function shiftDouble(pc: usize, size: u32, count: u32, left: bool): i32 {
  const n = <u64>(count & (size == 8 ? 63 : 31)), bits = <u64>(size << 3);
  const isReg = isRegisterForm(pc);
  const p = isReg ? rmPtr(pc) : operandModify(pc, size);
  if (p == 0) return FAULT;
  const a = loadSized(p, size), b = loadSized(regPtr(pc), size);
  if (n == 0) {
    if (isReg) storeRegister(p, size, a); else if (!commit(p)) return FAULT;
    return OK;
  }
  let r: u64, cf: u32;
  if (size == 2) { // counts above 16 are undefined; processors shift the 48 bits dest:src:dest
    if (left) { const w = (a << 32) | (b << 16) | a; r = (w << n) >> 32; cf = u32(w >> (48 - n)) & 1; }
    else { const w = (a << 32) | (b << 16) | a; r = w >> n; cf = u32(w >> (n - 1)) & 1; }
    r &= 0xffff;
  } else if (left) { r = (a << n) | (b >> (bits - n)); cf = u32(a >> (bits - n)) & 1; }
  else { r = (a >> n) | (b << (bits - n)); cf = u32(a >> (n - 1)) & 1; }
  if (isReg) storeRegister(p, size, r);
  else { storeSized(p, size, r); if (!commit(p)) return FAULT; }
  setLogicFlags(signed(r, size));
  rotateFlags(cf, u32((r ^ a) >> (bits - 1)) & 1); // OF: the sign changed
  return OK;
}

export function bitTest(pc: usize, size: u32, kind: u32, immediate: bool): i32 {
  const bits = <i64>(size << 3);
  const index = immediate ? <i64>(<u32>imm32(pc) & <u32>(bits - 1)) : signed(load<u64>(regPtr(pc)), size);
  const bit = <u64>index & <u64>(bits - 1);
  let p: usize;
  const isReg = isRegisterForm(pc);
  if (isReg) p = rmPtr(pc);
  else if (immediate) p = kind == 0 ? operandRead(pc, size) : operandModify(pc, size);
  else {
    // a bit string: the register selects the operand-size unit, signed
    const displaced = load<i32>(pc, 16), unitOffset = (index >> (size == 8 ? 6 : size == 4 ? 5 : 4)) * <i64>size;
    const linear = stringLinear(pc, unitOffset, size, kind != 0);
    p = kind == 0 ? linearRead(linear, size, recSegment(pc), pc) : linearModify(linear, size, recSegment(pc), pc);
  }
  if (p == 0) return FAULT;
  const v = loadSized(p, size), mask = <u64>1 << bit;
  const r = kind == 1 ? v | mask : kind == 2 ? v & ~mask : v ^ mask;
  if (kind != 0) {
    if (isReg) storeRegister(p, size, r);
    else { storeSized(p, size, r); if (!commit(p)) return FAULT; }
  }
  setCarry(u32((v & mask) != 0));
  return OK;
}
/** Linear address of the operand displaced by `offset` bytes before segmentation. */
function stringLinear(pc: usize, offset: i64, size: u32, write: bool): u64 {
  const am = load<u8>(pc, 11), a = effectiveAddress(pc) + <u64>offset;
  if (am == AM_CHECKED) return segmentLinear(recSegment(pc), (load<u8>(pc, 10) & 0x80) != 0 ? a & 0xffff : a & 0xffffffff, size, write);
  const cut = am == AM_SHORT || !is64() ? a & 0xffffffff : a;
  return cut + load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3));
}
