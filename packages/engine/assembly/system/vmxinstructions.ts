import { CR4 } from "../../src/layout";
import { CR4_SMXE, CR4_VMXE, is64, isLongMode, isV86 } from "../mode";
import { isRegisterForm } from "../record";
import { REASON_GETSEC, REASON_VMCALL, REASON_VMXON } from "../generated/exit-reasons";
import { vmexit, vmexitInfo } from "../vmx/exits";
import { raise } from "./raise";
import { displacement, operandInfo, operandInfoWithRegister } from "./instructioninfo";
import { UD, protectedMode } from "./registers";
/**
 * VMX instructions in VMX non-root operation: all exit, at any privilege level; where VMX itself cannot be used they are undefined
 * (SDM 3C 26.1.2, 31).
 */

function undefinedHere(): bool { return !protectedMode() || isV86() || (isLongMode() && !is64()); }

/** VMCALL exits in every mode. */
export function vmcall(pc: usize): i32 { return vmexit(pc, REASON_VMCALL, 0); }
/** VMLAUNCH, VMRESUME, VMXOFF. */
export function vmxPlain(pc: usize, reason: u32): i32 { return undefinedHere() ? raise(UD) : vmexit(pc, reason, 0); }
/** VMXON, VMCLEAR, VMPTRLD, VMPTRST: a memory operand. */
export function vmxMemory(pc: usize, reason: u32): i32 {
  if (undefinedHere() || isRegisterForm(pc)) return raise(UD);
  if (reason == REASON_VMXON && (load<u64>(CR4) & CR4_VMXE) == 0) return raise(UD);
  const status = vmexit(pc, reason, displacement(pc));
  vmexitInfo(operandInfo(pc));
  return status;
}
/** VMREAD, VMWRITE: register or memory, and a register. */
export function vmxField(pc: usize, reason: u32): i32 {
  if (undefinedHere()) return raise(UD);
  const status = vmexit(pc, reason, displacement(pc));
  vmexitInfo(operandInfoWithRegister(pc));
  return status;
}
/** INVEPT, INVVPID: a memory operand and a register. */
export function vmxInvalidate(pc: usize, reason: u32): i32 {
  if (undefinedHere() || isRegisterForm(pc)) return raise(UD);
  const status = vmexit(pc, reason, displacement(pc));
  vmexitInfo(operandInfoWithRegister(pc));
  return status;
}

/** GETSEC exists with CR4.SMXE only. */
export function getsec(pc: usize): i32 { return (load<u64>(CR4) & CR4_SMXE) != 0 ? vmexit(pc, REASON_GETSEC, 0) : raise(UD); }
