import { CR4, DR, INTERRUPTIBILITY, MSR_DEBUGCTL, PENDING_DEBUG, RUN_FLAGS, STEP_NEXT, STEP_RIP } from "../../src/layout";
import { CR4_DE, currentRip, nextRip, updateAttention } from "../mode";
import { recReg, recRm } from "../record";
import { STEPPED, STEPPED_TF } from "../run-flags";
import { END, FAULT, OK } from "../status";
import { watchTranslations } from "../tlb";
import { PRIMARY_MOV_DR_EXITING, primaryControl } from "../vmx/controls";
import { REASON_DEBUG_REGISTER } from "../generated/exit-reasons";
import { vmexit } from "../vmx/exits";
import { drQualification } from "../vmx/intercepts";
import { accessesWatched, takeDataBreakpoints } from "./breakpoints";
import { naturalSize, rmRegister } from "./operands";
import { raise, raiseDebug, raiseError } from "./raise";
import { GP, UD, cpl, rip } from "./registers";
/** Debug registers and single steps (SDM 3B chapter 18). Which accesses meet a breakpoint is in breakpoints.ts. */

const DR6 = DR + 48;
const DR7 = DR + 56;
const DR7_GD: u64 = 1 << 13;
const DR6_BD: u64 = 1 << 13;
const DR6_BS: u64 = 1 << 14;
const DEBUGCTL_BTF: u64 = 2;
/** Reserved bits that read as 1. */
const DR6_ONES: u64 = 0xffff0ff0;
const DR7_ONES: u64 = 0x400;
/** Pending debug exceptions: an enabled breakpoint was met (SDM 3C table 25-4). */
const PENDING_ENABLED: u64 = 1 << 12;

/** The instruction at pc runs alone. */
export function beginStep(pc: usize): void {
  store<u64>(STEP_RIP, currentRip(pc));
  store<u64>(STEP_NEXT, nextRip(pc));
}

/**
 * After an instruction that ran alone: single step (`trapFlag`: TF was set before it) and data breakpoints are one #DB. MOV SS and POP SS
 * hold them back until after the next instruction; a single step they hold back is lost (SDM 3A 6.8.3). OK or FAULT.
 */
export function afterInstruction(trapFlag: bool): i32 {
  const hits = takeDataBreakpoints();
  let pending = load<u64>(PENDING_DEBUG) | <u64>hits;
  if (hits != 0) pending |= PENDING_ENABLED;
  if ((load<u32>(INTERRUPTIBILITY) & 2) != 0) {
    store<u64>(PENDING_DEBUG, pending);
    return OK;
  }
  // with IA32_DEBUGCTL.BTF only branches are traced
  const step = trapFlag && ((load<u64>(MSR_DEBUGCTL) & DEBUGCTL_BTF) == 0 || (rip() != load<u64>(STEP_NEXT) && rip() != load<u64>(STEP_RIP)));
  if (step) pending |= DR6_BS;
  if ((pending & (DR6_BS | PENDING_ENABLED)) == 0) return OK;
  store<u64>(PENDING_DEBUG, 0);
  return raiseDebug(pending & (DR6_BS | 15));
}

/** A #DB is about to be delivered for another reason: data breakpoints held back so far go to DR6 with it. */
export function latchPendingBreakpoints(): void {
  const pending = load<u64>(PENDING_DEBUG);
  if ((pending & PENDING_ENABLED) == 0) return;
  store<u64>(DR6, (load<u64>(DR6) & ~15) | (pending & 15));
  store<u64>(PENDING_DEBUG, 0);
}

/** An event was delivered in place of the single step that would have followed (INT n, SYSCALL that masks TF). */
export function dropSingleStep(): void { store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~STEPPED_TF); }
/** SYSRET that sets TF traps at once, before the instruction it returns to. */
export function singleStepNow(): void { store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | STEPPED | STEPPED_TF); }

// ---------------------------------------------------------------------------------------------- MOV DR
/** DR4 and DR5 are names of DR6 and DR7 unless CR4.DE; -1: #UD was raised. */
function debugRegister(pc: usize): i32 {
  let n = recReg(pc);
  if (n > 7 || ((n == 4 || n == 5) && (load<u64>(CR4) & CR4_DE) != 0)) {
    raise(UD);
    return -1;
  }
  if (n == 4 || n == 5) n += 2;
  return n;
}

/** Privilege, MOV-DR exiting and general detect, in this order (SDM 3C 26.1.3). */
function mayAccess(pc: usize, from: bool): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_MOV_DR_EXITING)) return vmexit(pc, REASON_DEBUG_REGISTER, drQualification(recReg(pc) & 7, from, recRm(pc)));
  if ((load<u64>(DR7) & DR7_GD) != 0) return raiseDebug(DR6_BD);
  return OK;
}

export function movFromDr(pc: usize): i32 {
  const n = debugRegister(pc);
  if (n < 0) return FAULT;
  const status = mayAccess(pc, true);
  if (status != OK) return status;
  const value = load<u64>(DR + (<usize>n << 3));
  store<u64>(rmRegister(pc), naturalSize() == 8 ? value : value & 0xffffffff);
  return OK;
}

export function movToDr(pc: usize): i32 {
  const n = debugRegister(pc);
  if (n < 0) return FAULT;
  const status = mayAccess(pc, false);
  if (status != OK) return status;
  let value = load<u64>(rmRegister(pc));
  if (naturalSize() == 4) value &= 0xffffffff;
  if (n >= 6 && value >> 32 != 0) return raiseError(GP, 0);
  if (n == 6) store<u64>(DR6, (value & 0xe00f) | DR6_ONES);
  else if (n == 7) {
    store<u64>(DR7, (value & 0xffff23ff) | DR7_ONES);
    watchChanged();
  } else store<u64>(DR + (<usize>n << 3), value);
  return END;
}

/** DR7 has changed: translations are kept differently while breakpoints are enabled. */
export function watchChanged(): void {
  watchTranslations(accessesWatched());
  updateAttention();
}
