import { CR4 } from "../../src/layout";
import {
  GROUP_CONTROL_16, GROUP_CONTROL_32, GROUP_CONTROL_64, GROUP_CONTROL_N, GROUP_GUEST_16, GROUP_GUEST_32, GROUP_GUEST_64, GROUP_GUEST_N,
  GROUP_HOST_16, GROUP_HOST_32, GROUP_HOST_64, GROUP_HOST_N, GROUP_READONLY_32, GROUP_READONLY_64, GROUP_READONLY_N, VMCS, V_LINK_POINTER,
  V_VMREAD_BITMAP, V_VMWRITE_BITMAP,
} from "../../src/vmcs-layout";
import { CF, setArithmeticFlags } from "../flags";
import { commit, operandRead, operandWrite } from "../mmu";
import { CR4_SMXE, CR4_VMXE, is64, isLongMode, isV86 } from "../mode";
import { isRegisterForm, regPtr, rmPtr } from "../record";
import { FAULT, OK } from "../status";
import { REASON_GETSEC, REASON_VMCALL, REASON_VMREAD, REASON_VMXON } from "../generated/exit-reasons";
import { SECONDARY_VMCS_SHADOWING, secondaryControl } from "../vmx/controls";
import { vmexit, vmexitInfo } from "../vmx/exits";
import { raise, raiseError } from "./raise";
import { displacement, operandInfo, operandInfoWithRegister } from "./instructioninfo";
import { GP, UD, cpl, protectedMode } from "./registers";
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
  if (secondaryControl(SECONDARY_VMCS_SHADOWING) && isShadowed(pc, reason)) return cpl() != 0 ? raiseError(GP, 0) : accessShadow(pc, reason);
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

// ---------------------------------------------------------------------------------------------- VMCS shadowing
const NO_LINK: u64 = 0xffffffffffffffff;
/** Where each group of fields begins in a region, by width and type (bits 14:13 and 11:10 of the encoding): 16, 64, 32 bits, natural width. */
const GROUPS = memory.data<i32>([
  GROUP_CONTROL_16 - VMCS, 0, GROUP_GUEST_16 - VMCS, GROUP_HOST_16 - VMCS,
  GROUP_CONTROL_64 - VMCS, GROUP_READONLY_64 - VMCS, GROUP_GUEST_64 - VMCS, GROUP_HOST_64 - VMCS,
  GROUP_CONTROL_32 - VMCS, GROUP_READONLY_32 - VMCS, GROUP_GUEST_32 - VMCS, GROUP_HOST_32 - VMCS,
  GROUP_CONTROL_N - VMCS, GROUP_READONLY_N - VMCS, GROUP_GUEST_N - VMCS, GROUP_HOST_N - VMCS,
]);
const WIDTH_16: u32 = 0;
const WIDTH_32: u32 = 2;

function fieldOperand(pc: usize): u64 {
  const value = load<u64>(regPtr(pc));
  return is64() ? value : value & 0xffffffff;
}

/** The bitmap lets the guest have the field in its shadow VMCS (SDM 3C 25.6.15). Encodings above 15 bits exit. */
function isShadowed(pc: usize, reason: u32): bool {
  const field = fieldOperand(pc);
  if (field > 0x7fff) return false;
  const bitmap = <usize>load<u64>(reason == REASON_VMREAD ? V_VMREAD_BITMAP : V_VMWRITE_BITMAP);
  return ((load<u8>(bitmap + (<usize>field >>> 3)) >>> (<u32>field & 7)) & 1) == 0;
}

/** VMREAD or VMWRITE of the VMCS at the link pointer. Which fields there are, the bitmaps say. */
function accessShadow(pc: usize, reason: u32): i32 {
  const region = load<u64>(V_LINK_POINTER);
  if (region == NO_LINK) { // VMfailInvalid
    setArithmeticFlags(CF);
    return OK;
  }
  const field = <u32>fieldOperand(pc), width = (field >>> 13) & 3, high = (field & 1) != 0;
  const slot = <usize>region + load<u32>(GROUPS + (((width << 2) + ((field >>> 10) & 3)) << 2)) + ((field >>> 1) & 0x1ff) * 8 + (high ? 4 : 0);
  const size: u32 = is64() ? 8 : 4;
  if (reason == REASON_VMREAD) {
    const value = width == WIDTH_16 ? <u64>load<u16>(slot) : width == WIDTH_32 || high || size == 4 ? <u64>load<u32>(slot) : load<u64>(slot);
    if (isRegisterForm(pc)) store<u64>(rmPtr(pc), value);
    else {
      const p = operandWrite(pc, size);
      if (p == 0) return FAULT;
      if (size == 8) store<u64>(p, value);
      else store<u32>(p, <u32>value);
      if (!commit(p)) return FAULT;
    }
  } else {
    const p = isRegisterForm(pc) ? rmPtr(pc) : operandRead(pc, size);
    if (p == 0) return FAULT;
    const value = size == 8 ? load<u64>(p) : <u64>load<u32>(p);
    if (width == WIDTH_16) store<u16>(slot, <u16>value);
    else if (width == WIDTH_32 || high) store<u32>(slot, <u32>value);
    else store<u64>(slot, value);
  }
  setArithmeticFlags(0); // VMsucceed
  return OK;
}
