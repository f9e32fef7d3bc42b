import { CR4, DR, INTERRUPTIBILITY, MSR_DEBUGCTL, PENDING_DEBUG, RUN_FLAGS } from "../../src/layout";
import { flushTlb } from "../mmu";
import { CR4_DE, currentRip, nextRip, updateAttention } from "../mode";
import { recReg, recRm } from "../record";
import { END, FAULT, OK } from "../status";
import { PRIMARY_MOV_DR_EXITING, primaryControl } from "../vmx/controls";
import { REASON_DEBUG_REGISTER, vmexit } from "../vmx/exits";
import { drQualification } from "../vmx/intercepts";
import { raise, raiseDebug, raiseError } from "./exceptions";
import { naturalSize, rmRegister } from "./operands";
import { GP, UD, cpl, rip } from "./registers";
/** Debug registers, breakpoints and single steps (SDM 3B chapter 18). */

const DR6 = DR + 48;
const DR7 = DR + 56;
const DR7_GD: u64 = 1 << 13;
const DR6_BD: u64 = 1 << 13;
const DR6_BS: u64 = 1 << 14;
const DEBUGCTL_BTF: u64 = 2;
/** Reserved bits that read as 1. */
const DR6_ONES: u64 = 0xffff0ff0;
const DR7_ONES: u64 = 0x400;
/** RUN_FLAGS of the run loop: an instruction ran alone, with the trap flag set before it. */
const STEPPED: u32 = 8;
const STEPPED_TF: u32 = 16;
/** Pending debug exceptions: an enabled breakpoint was met (SDM 3C table 25-4). */
const PENDING_ENABLED: u64 = 1 << 12;

/** R/W field of a breakpoint: 0 execution, 1 writes, 2 I/O (with CR4.DE), 3 reads and writes. */
const ON_EXECUTION: u32 = 0;
const ON_WRITE: u32 = 1;
const ON_IO: u32 = 2;

/** B0-B3 of the data breakpoints the current instruction has met. */
let dataHits: u32 = 0;

// @ts-ignore: decorator
@inline function enabled(dr7: u32, n: u32): bool { return ((dr7 >>> (n * 2)) & 3) != 0; }
// @ts-ignore: decorator
@inline function kind(dr7: u32, n: u32): u32 { return (dr7 >>> (16 + n * 4)) & 3; }
/** Bytes covered: 1, 2, 8, 4 for LEN 0 to 3. */
// @ts-ignore: decorator
@inline function lengthOf(dr7: u32, n: u32): u32 {
  const len = (dr7 >>> (18 + n * 4)) & 3;
  return len == 2 ? 8 : len + 1;
}

/** Breakpoints of a kind that [address, address + size) meets, as B0-B3. */
function matches(address: u64, size: u32, write: bool, io: bool): u32 {
  const dr7 = load<u32>(DR7);
  let hits: u32 = 0;
  for (let n: u32 = 0; n < 4; n++) {
    if (!enabled(dr7, n)) continue;
    const k = kind(dr7, n);
    if (k == ON_EXECUTION || (k == ON_IO) != io) continue;
    if (k == ON_WRITE && !write) continue;
    const length = lengthOf(dr7, n);
    const first = load<u64>(DR + (<usize>n << 3)) & ~<u64>(length - 1);
    if (address < first + length && first < address + size) hits |= 1 << n;
  }
  return hits;
}

/** The MMU reports each data access while DR7 enables anything. */
export function noteDataAccess(linear: u64, size: u32, write: bool): void { dataHits |= matches(linear, size, write, false); }
/** The instruction faulted: what it met does not count. */
export function forgetDataBreakpoints(): void { dataHits = 0; }
/** B0-B3 of I/O breakpoints at a port: whoever completes an I/O instruction adds them to the pending debug exceptions. */
export function ioBreakpoints(port: u32, size: u32): u32 {
  return (load<u64>(CR4) & CR4_DE) != 0 ? matches(port, size, true, true) : 0;
}

/** Before an instruction with RF clear: an execution breakpoint at its linear address is a fault. OK or FAULT. */
export function instructionBreakpoint(linear: u64): i32 {
  const dr7 = load<u32>(DR7);
  let hits: u32 = 0;
  for (let n: u32 = 0; n < 4; n++) {
    if (enabled(dr7, n) && kind(dr7, n) == ON_EXECUTION && load<u64>(DR + (<usize>n << 3)) == linear) hits |= 1 << n;
  }
  return hits != 0 ? raiseDebug(hits) : OK;
}

/** RIP at and behind the instruction that runs alone: elsewhere it has branched. */
let stepRip: u64 = 0;
let stepNext: u64 = 0;
export function beginStep(pc: usize): void {
  stepRip = currentRip(pc);
  stepNext = nextRip(pc);
}

/**
 * After an instruction that ran alone: single step (`trapFlag`: TF was set before it) and data breakpoints are one #DB. MOV SS and POP SS
 * hold them back until after the next instruction; a single step they hold back is lost (SDM 3A 6.8.3). OK or FAULT.
 */
export function afterInstruction(trapFlag: bool): i32 {
  let pending = load<u64>(PENDING_DEBUG) | <u64>dataHits;
  if (dataHits != 0) pending |= PENDING_ENABLED;
  dataHits = 0;
  if ((load<u32>(INTERRUPTIBILITY) & 2) != 0) {
    store<u64>(PENDING_DEBUG, pending);
    return OK;
  }
  // with IA32_DEBUGCTL.BTF only branches are traced
  const step = trapFlag && ((load<u64>(MSR_DEBUGCTL) & DEBUGCTL_BTF) == 0 || (rip() != stepNext && rip() != stepRip));
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
    const old = load<u64>(DR7);
    store<u64>(DR7, (value & 0xffff23ff) | DR7_ONES);
    watchChanged(old);
  } else store<u64>(DR + (<usize>n << 3), value);
  return END;
}

/** DR7 was `old`: translations are kept differently while breakpoints are enabled. */
export function watchChanged(old: u64): void {
  if (((old ^ load<u64>(DR7)) & 0xff) != 0) flushTlb();
  updateAttention();
}
