import { CODE_BASE } from "../../src/layout";
import { is64 } from "../mode";
import { AM_SHORT, isRegisterForm, recAddressMode, recReg, recRm, recSegment, recSize } from "../record";
/** The VM-exit instruction-information field and the displacement qualification, from a record (SDM 3C tables 28-8 to 28-15). */

/** Address size as encoded there: 0 16 bits, 1 32 bits, 2 64 bits. */
export function addressSizeCode(pc: usize): u32 {
  if ((load<u8>(pc, 10) & 0x80) != 0) return 0;
  return is64() && recAddressMode(pc) != AM_SHORT ? 2 : 1;
}
/** The same for instructions with implied addresses (INS, OUTS, MONITOR), whose records have the address size in bytes in byte 10. */
export function implicitSizeCode(pc: usize): u32 { return <u32>load<u8>(pc, 10) >>> 2; }
/** Mask of an implied offset. */
export function implicitMask(pc: usize): u64 {
  const size = load<u8>(pc, 10);
  return size == 8 ? <u64>-1 : size == 4 ? 0xffffffff : 0xffff;
}

/** Scale, address size, segment, index and base registers; bit 10 and the register for a register operand. */
export function operandInfo(pc: usize): u32 {
  if (isRegisterForm(pc)) return (1 << 10) | (recRm(pc) << 3);
  const base: u32 = load<u8>(pc, 8), index: u32 = load<u8>(pc, 9);
  let info: u32 = (load<u8>(pc, 10) & 3) | (addressSizeCode(pc) << 7) | (recSegment(pc) << 15);
  info |= index < 0x80 ? (index >>> 3) << 18 : 1 << 22;
  info |= base < 0x80 ? (base >>> 3) << 23 : 1 << 27;
  return info;
}
/** With the register operand (ModRM.reg) in bits 31:28. */
export function operandInfoWithRegister(pc: usize): u32 { return operandInfo(pc) | (recReg(pc) << 28); }

/** The displacement of a memory operand; the next instruction's address is added for RIP-relative ones. 0 for registers. */
export function displacement(pc: usize): u64 {
  if (isRegisterForm(pc)) return 0;
  const value = <u64><i64>load<i32>(pc, 16) + (load<u8>(pc, 8) == 0x88 ? load<u64>(CODE_BASE) : 0);
  return is64() ? value : value & 0xffffffff;
}

/** UMWAIT and TPAUSE: source register, whose low 32 bits count. */
export function waitInfo(pc: usize): u32 { return (recRm(pc) << 3) | (1 << 11); }
/** RDRAND and RDSEED: destination register and operand size. */
export function randomInfo(pc: usize): u32 {
  const size = recSize(pc);
  return (recRm(pc) << 3) | ((size == 8 ? 2 : size == 4 ? 1 : <u32>0) << 11);
}
