import { SEG_CS, SEG_LIMIT } from "../../src/layout";
import { addFlags16, addFlags32, addFlags64, addFlags8, rotateFlags, subFlags16, subFlags32, subFlags64, subFlags8 } from "../alu";
import { getOF } from "../flags";
import { operandRead } from "../mmu";
import { is64, isCanonical } from "../mode";
import { isRegisterForm, rmPtr } from "../record";
/** Operands and flags of the integer unit, for operand sizes of 1, 2, 4 or 8 bytes. */

export function loadSized(p: usize, size: u32): u64 {
  return size == 4 ? <u64>load<u32>(p) : size == 8 ? load<u64>(p) : size == 2 ? <u64>load<u16>(p) : <u64>load<u8>(p);
}
/** Stores into memory. */
export function storeSized(p: usize, size: u32, v: u64): void {
  if (size == 4) store<u32>(p, <u32>v); else if (size == 8) store<u64>(p, v); else if (size == 2) store<u16>(p, <u16>v); else store<u8>(p, <u8>v);
}
/** Stores into a register: 32 bits clear the upper half. */
export function storeRegister(p: usize, size: u32, v: u64): void {
  if (size == 4) store<u64>(p, v & 0xffffffff); else storeSized(p, size, v);
}
/** Sign-extends from an operand size. */
export function signed(v: u64, size: u32): i64 {
  return size == 4 ? <i64><i32>v : size == 8 ? <i64>v : size == 2 ? <i64><i16>v : <i64><i8>v;
}
/** Pointer to the r/m operand for reading; 0 on a fault. */
export function source(pc: usize, size: u32): usize { return isRegisterForm(pc) ? rmPtr(pc) : operandRead(pc, size); }

export function addFlags(a: u64, b: u64, r: u64, size: u32): void {
  if (size == 4) addFlags32(<u32>a, <u32>b, <u32>r); else if (size == 8) addFlags64(a, b, r);
  else if (size == 2) addFlags16(<u16>a, <u16>b, <u16>r); else addFlags8(<u8>a, <u8>b, <u8>r);
}
export function subFlags(a: u64, b: u64, r: u64, size: u32): void {
  if (size == 4) subFlags32(<u32>a, <u32>b, <u32>r); else if (size == 8) subFlags64(a, b, r);
  else if (size == 2) subFlags16(<u16>a, <u16>b, <u16>r); else subFlags8(<u8>a, <u8>b, <u8>r);
}
/** CF alone; OF keeps its value. */
export function setCarry(cf: u32): void { rotateFlags(cf, getOF()); }
/** CF after a logic operation (OF is 0). */
export function setCarryOnly(cf: u32): void { rotateFlags(cf, 0); }

export function cutTarget(target: u64, size: u32): u64 { return size == 8 ? target : size == 4 ? target & 0xffffffff : target & 0xffff; }
/** May the near target be jumped to? Outside 64-bit mode it must lie within CS.limit (SDM 2A JMP, #GP(0)). */
export function insideCode(target: u64): bool {
  return is64() ? isCanonical(target) : target <= <u64>load<u32>(SEG_LIMIT + SEG_CS * 4);
}
/** Low 32 bits of the record's immediate: its upper half holds the instruction's number. */
// @ts-ignore: decorator
@inline export function imm32(pc: usize): i32 { return load<i32>(pc, 24); }
