import { REGS } from "../../src/layout";
import { F_AMD, hasFeature } from "../features";
import { commit, operandWrite } from "../mmu";
import { is64 } from "../mode";
import { isRegisterForm, recRm, recSize, rmPtr } from "../record";
import { FAULT, OK } from "../status";
/** Operand conventions of the system instructions' records, in one place: what the decoder puts where. */

/** Immediate of a system instruction: 32 bits, sign-extended from its size in the code. */
// @ts-ignore: decorator
@inline export function immediate(pc: usize): u32 { return load<u32>(pc, 24); }
/** Direct far pointer: the offset is the immediate, the selector follows the unit's number. */
// @ts-ignore: decorator
@inline export function farSelector(pc: usize): u32 { return load<u16>(pc, 30); }

/** Bytes of the offset of a far pointer in memory. AMD's processors do not look at REX.W (APM 3: JMP far, LSS). */
export function farPointerSize(pc: usize): u32 {
  const size = recSize(pc);
  return size == 8 && hasFeature(F_AMD) ? 4 : size;
}

/** Address of the register ModRM.rm names with its full number (never AH-BH). */
// @ts-ignore: decorator
@inline export function rmRegister(pc: usize): usize { return REGS + <usize>(recRm(pc) << 3); }

/** Operand size of MOV CR, MOV DR and others that are always 64 bits in 64-bit code and 32 bits elsewhere. */
// @ts-ignore: decorator
@inline export function naturalSize(): u32 { return is64() ? 8 : 4; }

/** Writes a general register with an operand size: 16 bits keep the rest, 32 bits clear the upper half. */
export function writeRegister(register: usize, size: u32, value: u64): void {
  if (size == 2) store<u16>(register, <u16>value);
  else store<u64>(register, size == 4 ? value & 0xffffffff : value);
}
/** Stores a selector or the machine status word: a register of the operand's size, or always 16 bits of memory. */
export function storeWordOperand(pc: usize, value: u64): i32 {
  if (isRegisterForm(pc)) {
    writeRegister(rmPtr(pc), recSize(pc), value);
    return OK;
  }
  const p = operandWrite(pc, 2);
  if (p == 0) return FAULT;
  store<u16>(p, <u16>value);
  return commit(p) ? OK : FAULT;
}
/** Reads the register that ModRM.rm names, cut to 16 bits. */
// @ts-ignore: decorator
@inline export function rmWord(pc: usize): u32 { return load<u16>(rmPtr(pc)); }
