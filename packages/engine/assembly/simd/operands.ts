import { FPR, FPU_SW, FPU_TAG, REGS, SEG_BASE, YMM } from "../../src/layout";
import { operandRead, operandWrite } from "../mmu";
import { is64 } from "../mode";
import { P_W, isRegisterForm, recPrefixes, recReg, recRm, recVvvv } from "../record";
import { raiseError } from "../system/raise";
import { VARIANT_SSE, VARIANT_VEX128, VARIANT_VEX256 } from "./ops";
/** Operands of vector instructions: registers as addresses in the state block, memory as the pointers of mmu.ts. */

// @ts-ignore: decorator
@inline export function vectorRegister(n: u32): usize { return YMM + (<usize>n << 5); }
/** Register ModRM.reg names. */
// @ts-ignore: decorator
@inline export function regVector(pc: usize): usize { return YMM + (<usize>recReg(pc) << 5); }
// @ts-ignore: decorator
@inline export function rmVector(pc: usize): usize { return YMM + (<usize>recRm(pc) << 5); }
/** First source: VEX.vvvv, or the destination in legacy instructions. */
// @ts-ignore: decorator
@inline export function firstSource(pc: usize, variant: u32): usize {
  return YMM + (<usize>(variant >= VARIANT_VEX128 ? recVvvv(pc) : recReg(pc)) << 5);
}
// @ts-ignore: decorator
@inline export function generalReg(pc: usize): usize { return REGS + (<usize>recReg(pc) << 3); }
// @ts-ignore: decorator
@inline export function generalRm(pc: usize): usize { return REGS + (<usize>recRm(pc) << 3); }
/** Whether a general-register operand has 64 bits: W counts in 64-bit mode only. */
// @ts-ignore: decorator
@inline export function isWide(pc: usize): bool { return (recPrefixes(pc) & P_W) != 0 && is64(); }
// @ts-ignore: decorator
@inline export function bytesOf(variant: u32): u32 { return variant == VARIANT_VEX256 ? 32 : 16; }

/** The low bits of the operand's linear address: segmentation and wrapping to 16 or 32 bits leave them alone. */
// @ts-ignore: decorator
@inline function linearLow(pc: usize): u32 {
  return load<u32>(REGS + <usize>load<u8>(pc, 8)) + (load<u32>(REGS + <usize>load<u8>(pc, 9)) << (load<u8>(pc, 10) & 3))
    + load<u32>(pc, 16) + load<u32>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3));
}
/** Raises #GP(0) and returns true unless the memory operand is aligned to `size` bytes, a power of two (SDM vol. 2, 2.4). */
export function misaligned(pc: usize, size: u32): bool {
  if (!(linearLow(pc) & (size - 1))) return false;
  raiseError(13, 0);
  return true;
}

function memorySource(pc: usize, variant: u32): usize {
  if (variant == VARIANT_SSE && misaligned(pc, 16)) return 0;
  return operandRead(pc, bytesOf(variant));
}
/** Pointer to the full-width register or memory operand, which legacy instructions want aligned; 0 on a fault. */
// @ts-ignore: decorator
@inline export function source(pc: usize, variant: u32): usize {
  return isRegisterForm(pc) ? rmVector(pc) : memorySource(pc, variant);
}
/** Pointer to a vector register or to `size` bytes of memory with no alignment asked for; 0 on a fault. */
// @ts-ignore: decorator
@inline export function partialSource(pc: usize, size: u32): usize {
  return isRegisterForm(pc) ? rmVector(pc) : operandRead(pc, size);
}
/** Pointer to a general register or to `size` bytes of memory; 0 on a fault. */
// @ts-ignore: decorator
@inline export function generalSource(pc: usize, size: u32): usize {
  return isRegisterForm(pc) ? generalRm(pc) : operandRead(pc, size);
}
/** Pointer for storing `size` bytes to memory, aligned if asked; 0 on a fault. The caller stores and commits. */
export function memoryTarget(pc: usize, size: u32, aligned: bool): usize {
  if (aligned && misaligned(pc, size)) return 0;
  return operandWrite(pc, size);
}

// @ts-ignore: decorator
@inline export function zeroUpper(register: usize): void { v128.store(register, i64x2(0, 0), 16); }
/** Writes a 128-bit result: VEX zeroes the upper half, legacy keeps it. */
// @ts-ignore: decorator
@inline export function writeLow(register: usize, variant: u32, value: v128): void {
  v128.store(register, value);
  if (variant >= VARIANT_VEX128) zeroUpper(register);
}

/** MMn is the significand of physical R n. */
// @ts-ignore: decorator
@inline export function mmx(n: u32): usize { return FPR + (<usize>(n & 7) << 4); }
// @ts-ignore: decorator
@inline export function mmxSource(pc: usize, size: u32): usize {
  return isRegisterForm(pc) ? mmx(recRm(pc)) : operandRead(pc, size);
}
/** What every MMX instruction but EMMS does to the x87: TOP becomes 0, all tags valid (SDM vol. 1, 9.5.1). */
// @ts-ignore: decorator
@inline export function touchMmx(): void {
  store<u16>(FPU_SW, load<u16>(FPU_SW) & 0xc7ff);
  store<u8>(FPU_TAG, 0xff);
}
/** Writes an MMX register; sign and exponent of the x87 register become ones. */
// @ts-ignore: decorator
@inline export function writeMmx(n: u32, value: u64): void {
  touchMmx();
  store<u64>(mmx(n), value);
  store<u16>(mmx(n), 0xffff, 8);
}
/** Writes a general register: 32-bit values are zero-extended. */
// @ts-ignore: decorator
@inline export function writeGeneral(register: usize, value: u64): void { store<u64>(register, value); }
