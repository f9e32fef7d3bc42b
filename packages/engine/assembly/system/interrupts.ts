import { ACTIVITY, CR4, EFLAGS, RIP, RUN_FLAGS } from "../../src/layout";
import { AC, ID, IF, IOPL, RF, VIF, VIP, VM, getOF, readFlags, writeFlags } from "../flags";
import { operandRead } from "../mmu";
import { CR4_PVI, CR4_VME, blockInterrupts, currentRip, is64, modeChanged, isV86, nextRip, unblockInterrupts, updateAttention } from "../mode";
import { isRegisterForm, recImm8, recLength, recSize, regPtr } from "../record";
import { RIP_FINAL } from "../run-flags";
import { END, EXIT, FAULT, OK } from "../status";
import { PRIMARY_HLT_EXITING, primaryControl } from "../vmx/controls";
import { REASON_HLT } from "../generated/exit-reasons";
import { TYPE_PRIVILEGED_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT, exitException, vmexit } from "../vmx/exits";
import { interceptsException } from "../vmx/intercepts";
import { latchPendingBreakpoints } from "./debug";
import { deliverEvent } from "./exceptions";
import { raise, raiseError } from "./raise";
import { BP, BR, DB, GP, OVERFLOW, RSP, UD, cpl, iopl, protectedMode } from "./registers";
import { USER_FLAGS } from "./returns";
import { popped, push, setStackPointer, stackOperandSize, stackRead } from "./stack";
/** Software interrupts, the flags word, interrupt flag and HLT (SDM 2; SDM 3A 6.4, 21.3, 21.4). */

/** INT n: never looked at by the exception bitmap. */
export function intN(pc: usize): i32 {
  store<u64>(RIP, currentRip(pc));
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~RF);
  return deliverEvent(TYPE_SOFTWARE_INTERRUPT, recImm8(pc), 0, false, recLength(pc));
}

function softwareException(pc: usize, type: u32, vector: u32): i32 {
  store<u64>(RIP, currentRip(pc));
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~RF);
  if (interceptsException(vector, 0)) return exitException(type, vector, 0, false, recLength(pc));
  return deliverEvent(type, vector, 0, false, recLength(pc));
}
export function int3(pc: usize): i32 { return softwareException(pc, TYPE_SOFTWARE_EXCEPTION, BP); }
/** INT1: #DB without a debug condition. DR6 does not change, except that breakpoints held back by MOV SS are reported with this #DB. */
export function int1(pc: usize): i32 {
  if (!interceptsException(DB, 0)) latchPendingBreakpoints();
  return softwareException(pc, TYPE_PRIVILEGED_SOFTWARE_EXCEPTION, DB);
}
export function into(pc: usize): i32 {
  if (is64()) return raise(UD);
  return getOF() != 0 ? softwareException(pc, TYPE_SOFTWARE_EXCEPTION, OVERFLOW) : OK;
}

/** BOUND: signed index against a pair of bounds in memory. */
export function bound(pc: usize): i32 {
  if (is64() || isRegisterForm(pc)) return raise(UD);
  const size = recSize(pc);
  const p = operandRead(pc, size * 2);
  if (p == 0) return FAULT;
  if (size == 2) {
    const index = load<i16>(regPtr(pc));
    return index < load<i16>(p) || index > load<i16>(p, 2) ? raise(BR) : OK;
  }
  const index = load<i32>(regPtr(pc));
  return index < load<i32>(p) || index > load<i32>(p, 4) ? raise(BR) : OK;
}

export function pushf(pc: usize): i32 {
  const size = stackOperandSize(pc);
  let image = readFlags() & ~(VM | RF);
  if (isV86() && iopl() < 3) {
    if ((load<u64>(CR4) & CR4_VME) == 0 || size != 2) return raiseError(GP, 0);
    image = (image & ~IF) | IOPL | ((image & VIF) != 0 ? IF : 0);
  }
  return push(image, size);
}

export function popf(pc: usize): i32 {
  const size = stackOperandSize(pc), old = readFlags(), v86 = (old & VM) != 0;
  const virtual = v86 && iopl() < 3;
  if (virtual && ((load<u64>(CR4) & CR4_VME) == 0 || size != 2)) return raiseError(GP, 0);
  if (!stackRead(0, size, pc)) return FAULT;
  const image = <u32>popped;
  let mask = USER_FLAGS, flags: u32;
  if (size != 2) mask |= AC | ID;
  if (virtual) {
    if ((image & 0x100) != 0 || ((image & IF) != 0 && (old & VIP) != 0)) return raiseError(GP, 0);
    flags = (old & ~(mask | VIF)) | (image & mask) | ((image & IF) != 0 ? VIF : 0);
  } else {
    if (!protectedMode() || (cpl() == 0 && !v86)) mask |= IF | IOPL;
    else if (cpl() <= iopl()) mask |= IF;
    flags = (old & ~mask) | (image & mask);
  }
  setStackPointer(load<u64>(RSP) + size);
  writeFlags(flags & ~RF);
  if (((old ^ flags) & AC) != 0) modeChanged();
  else updateAttention();
  return END;
}

export function cli(): i32 {
  if (!protectedMode() || cpl() <= iopl()) {
    store<u32>(EFLAGS, load<u32>(EFLAGS) & ~IF);
    return OK;
  }
  if (!virtualInterruptFlag()) return raiseError(GP, 0);
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~VIF);
  return OK;
}

export function sti(): i32 {
  const flags = load<u32>(EFLAGS);
  if (!protectedMode() || cpl() <= iopl()) {
    if ((flags & IF) != 0) return OK;
    store<u32>(EFLAGS, flags | IF);
    blockInterrupts(1);
    return END;
  }
  if (!virtualInterruptFlag() || (flags & VIP) != 0) return raiseError(GP, 0);
  store<u32>(EFLAGS, flags | VIF);
  return OK;
}

/** Do CLI and STI work on VIF: virtual-8086 mode with VME, or CPL 3 with protected-mode virtual interrupts. */
function virtualInterruptFlag(): bool {
  if (isV86()) return (load<u64>(CR4) & CR4_VME) != 0;
  return cpl() == 3 && (load<u64>(CR4) & CR4_PVI) != 0;
}

export function hlt(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_HLT_EXITING)) return vmexit(pc, REASON_HLT, 0);
  // halted: enter() returns to the framework as at a deadline, and an event at a later entry ends the halt
  store<u32>(ACTIVITY, 1);
  store<u64>(RIP, nextRip(pc));
  unblockInterrupts();
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | RIP_FINAL);
  return EXIT;
}
