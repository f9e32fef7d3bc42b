import { EFLAGS, INTERRUPTIBILITY, RUN_FLAGS, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS, SEG_TR, CR4 } from "../../src/layout";
import { AC, AF, CF, DF, ID, IF, IOPL, NT, OF, PF, RF, SF, TF, VIF, VIP, VM, ZF, readFlags, writeFlags } from "../flags";
import { readableNow, systemRead } from "../mmu";
import { CR4_VME, currentRip, is64, isCanonical, isLongMode, isV86, modeChanged } from "../mode";
import { recLength, recSize } from "../record";
import { NMI_UNBLOCKED } from "../run-flags";
import { FAULT, JUMP, OK } from "../status";
import { PIN_NMI_EXITING, PIN_VIRTUAL_NMIS, pinControl } from "../vmx/controls";
import { markNmiUnblocked } from "../vmx/exits";
import { raiseError } from "./raise";
import { immediate } from "./operands";
import {
  AR_CODE, AR_CONFORMING, AR_DB, AR_P, AR_S, AR_UNUSABLE, GP, NP, RSP, cpl, dplOf, iopl, protectedMode, segmentBase, segmentLimit, setRip,
  setSegment,
} from "./registers";
import {
  USUAL_CODE, USUAL_CODE_MASK, USUAL_STACK, USUAL_STACK_MASK, checkLongBits, checkStackSegment, checkTarget, descriptorAr, descriptorIs64, dropPrivilegedSegments, fetchDescriptor, loadCsReal, loadV86,
  markAccessed, quickDescriptor, saveDescriptor, setQuickSegment, setSegmentFrom,
} from "./segments";
import { frameBegin, framePush, frameValue, popped, setStackPointer, stackHolds, stackRead, writeStackPointer } from "./stack";
import { TASK_IRET, taskSwitchExit } from "./taskswitch";
/** Far RET and IRET in every mode (SDM 2 RET, IRET; SDM 3A 5.8.6, 6.12.1, 21.2). */

export function farReturn(pc: usize, dropping: bool): i32 {
  const size = recSize(pc), extra: u32 = dropping ? immediate(pc) & 0xffff : 0;
  if (!stackHolds(0, size, 2)) return FAULT;
  if (!stackRead(0, size, pc)) return FAULT;
  const target = popped;
  if (!stackRead(size, size, pc)) return FAULT;
  const selector = <u32>popped & 0xffff;
  if (!protectedMode() || isV86()) {
    if (target > <u64>segmentLimit(SEG_CS)) return raiseError(GP, 0);
    setStackPointer(load<u64>(RSP) + 2 * size + extra);
    loadCsReal(selector);
    setRip(target);
    modeChanged();
    return JUMP;
  }
  return protectedReturn(pc, selector, target, size, 2 * size + extra, extra, false, false);
}

/** Checks CS of a return; leaves it as the descriptor last read. */
function checkReturnCode(selector: u32): i32 {
  const error = selector & 0xfffc, rpl = selector & 3;
  if (error == 0) return raiseError(GP, 0);
  if (fetchDescriptor(selector, GP) != OK) return FAULT;
  if (rpl < cpl()) return raiseError(GP, error);
  const ar = descriptorAr();
  if ((ar & (AR_S | AR_CODE)) != (AR_S | AR_CODE)) return raiseError(GP, error);
  if ((ar & AR_CONFORMING) != 0 ? dplOf(ar) > rpl : dplOf(ar) != rpl) return raiseError(GP, error);
  if (checkLongBits(error) != OK) return FAULT;
  if ((ar & AR_P) == 0) return raiseError(NP, error);
  return OK;
}

/**
 * The common end of far RET and IRET in protected mode. `used`: bytes popped before SP and SS; `extra`: bytes dropped from the outer stack;
 * `always`: SS:RSP is popped without a change of level too, and before CS is looked at (IRET in 64-bit mode). `iret`: the popped flags image is
 * loaded too.
 */
function protectedReturn(pc: usize, selector: u32, target: u64, size: u32, used: u32, extra: u32, always: bool, iret: bool): i32 {
  if (always && !popStack(pc, used, size)) return FAULT;
  if (checkReturnCode(selector) != OK) return FAULT;
  const rpl = selector & 3, level = cpl(), outer = rpl != level, long = descriptorIs64();
  if (!outer && !always) {
    if (checkTarget(target) != OK || !markAccessed()) return FAULT;
    saveDescriptor(0);
    setStackPointer(load<u64>(RSP) + used);
  } else {
    const badTarget = checkTarget(target) != OK;
    if (!markAccessed()) return FAULT;
    saveDescriptor(0);
    if (!always && !popStack(pc, used, size)) return FAULT;
    const ss = poppedSs;
    let mask: u64 = <u64>-1;
    const nullSs = (ss & 0xfffc) == 0;
    if (nullSs) {
      if (!long || rpl == 3) return raiseError(GP, 0);
    } else {
      if (checkStackSegment(ss, rpl, GP) != OK) return FAULT;
      if (!long) mask = (descriptorAr() & AR_DB) != 0 ? 0xffffffff : 0xffff;
    }
    if (badTarget) return raiseError(GP, 0);
    if (nullSs) setSegment(SEG_SS, ss, 0, 0, AR_UNUSABLE | (rpl << 5));
    else {
      if (!markAccessed()) return FAULT;
      saveDescriptor(1);
      setSegmentFrom(1, SEG_SS, ss);
    }
    writeStackPointer(poppedSp + extra, mask);
  }
  if (iret) writeIretFlags(level, size);
  setSegmentFrom(0, SEG_CS, selector);
  if (outer) dropPrivilegedSegments(rpl);
  setRip(target);
  modeChanged();
  return JUMP;
}

/** SP and SS of the outer stack. */
let poppedSp: u64 = 0, poppedSs: u32 = 0;
function popStack(pc: usize, at: u32, size: u32): bool {
  if (!stackHolds(at, size, 2) || !stackRead(at, size, pc)) return false;
  poppedSp = popped;
  if (!stackRead(at + size, size, pc)) return false;
  poppedSs = <u32>popped & 0xffff;
  return true;
}

/** The flags image popped by IRET. */
let iretImage: u32 = 0;

/** Flags that POPF and IRET change at every level. */
export const USER_FLAGS: u32 = CF | PF | AF | ZF | SF | TF | DF | OF | NT;

/** Flags after an IRET executed at `level`. */
function writeIretFlags(level: u32, size: u32): void {
  let mask = USER_FLAGS;
  if (size != 2) mask |= RF | AC | ID;
  if (level <= iopl()) mask |= IF;
  if (level == 0) {
    mask |= IOPL;
    if (size != 2) mask |= VIF | VIP;
  }
  writeFlags((load<u32>(EFLAGS) & ~mask) | (iretImage & mask)); // all arithmetic flags are in the mask
}

/** IRET ends blocking by NMI even when it faults (SDM 3C 26.3). If NMIs exit and are not virtual, IRET does not change the blocking. */
function endNmiBlocking(): void {
  if (!pinControl(PIN_VIRTUAL_NMIS) && pinControl(PIN_NMI_EXITING)) return;
  markNmiUnblocked();
  store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) & ~8);
}

export function iret(pc: usize): i32 {
  const status = returnFromInterrupt(pc);
  if (status == JUMP) store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~NMI_UNBLOCKED);
  return status;
}

function returnFromInterrupt(pc: usize): i32 {
  const size = recSize(pc), flags = load<u32>(EFLAGS);
  const real = !protectedMode(), v86 = (flags & VM) != 0;
  if (v86 && iopl() < 3 && !((load<u64>(CR4) & CR4_VME) != 0 && size == 2)) {
    endNmiBlocking();
    return raiseError(GP, 0);
  }
  endNmiBlocking();
  if (!real && !v86 && (flags & NT) != 0) return returnToTask(pc);
  if (size == 8 && is64() && quickReturn()) return JUMP;
  if (!stackHolds(0, size, 3) || !stackRead(0, size, pc)) return FAULT;
  const target = popped;
  if (!stackRead(size, size, pc)) return FAULT;
  const selector = <u32>popped & 0xffff;
  if (!stackRead(2 * size, size, pc)) return FAULT;
  iretImage = <u32>popped;
  if (real || v86) return returnReal(selector, target, size, v86);
  if ((iretImage & VM) != 0 && size == 4 && cpl() == 0 && !isLongMode()) return returnToV86(pc, selector, target);
  return protectedReturn(pc, selector, target, size, 3 * size, 0, is64(), true);
}

/**
 * The usual IRETQ: the frame is in a page whose translation is at hand, and so are the descriptors of CS, 64-bit code, and of SS, neither to be marked as
 * accessed; or SS is null, as it is where a kernel was interrupted that had been entered by an interrupt. False: something is not so, and nothing has been changed.
 */
function quickReturn(): bool {
  const sp = load<u64>(RSP), frame = readableNow(sp, 40);
  if (frame == 0) return false;
  const target = load<u64>(frame), cs = <u32>load<u16>(frame, 8), ss = <u32>load<u16>(frame, 32), rpl = cs & 3, level = cpl();
  if (rpl < level || !isCanonical(target)) return false;
  const noStack = ss < 4, stack = noStack ? 0 : quickDescriptor(ss, rpl, USUAL_STACK_MASK, USUAL_STACK);
  if (noStack ? rpl == 3 : stack == 0 || (ss & 3) != rpl) return false;
  const code = quickDescriptor(cs, rpl, USUAL_CODE_MASK, USUAL_CODE);
  if (code == 0) return false;
  iretImage = load<u32>(frame, 16);
  const newSp = load<u64>(frame, 24);
  if (noStack) setSegment(SEG_SS, ss, 0, 0, AR_UNUSABLE | (rpl << 5));
  else setQuickSegment(SEG_SS, ss, stack);
  store<u64>(RSP, newSp);
  writeIretFlags(level, 8);
  setQuickSegment(SEG_CS, cs, code);
  if (rpl != level) dropPrivilegedSegments(rpl);
  setRip(target);
  modeChanged();
  return true;
}

function returnReal(selector: u32, target: u64, size: u32, v86: bool): i32 {
  if (target > <u64>segmentLimit(SEG_CS)) return raiseError(GP, 0);
  const old = readFlags();
  let flags: u32;
  if (v86 && iopl() < 3) {
    // VME: the task's IF is VIF
    if ((iretImage & TF) != 0 || ((iretImage & IF) != 0 && (old & VIP) != 0)) return raiseError(GP, 0);
    const mask = USER_FLAGS;
    flags = (old & ~(mask | VIF)) | (iretImage & mask) | ((iretImage & IF) != 0 ? VIF : 0);
  } else {
    let mask = USER_FLAGS | IF;
    if (!v86) mask |= IOPL;
    if (size != 2) mask |= RF | AC | ID;
    flags = (old & ~mask) | (iretImage & mask);
  }
  setStackPointer(load<u64>(RSP) + 3 * size);
  loadCsReal(selector);
  writeFlags(flags);
  setRip(target);
  modeChanged();
  return JUMP;
}

/** IRET at CPL 0 with VM in the image: EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS are popped. */
function returnToV86(pc: usize, selector: u32, target: u64): i32 {
  if (!stackHolds(12, 4, 6)) return FAULT;
  if (target > 0xffff) return raiseError(GP, 0);
  frameBegin();
  for (let at: u32 = 12; at < 36; at += 4) {
    if (!stackRead(at, 4, pc)) return FAULT;
    framePush(popped);
  }
  writeFlags(iretImage);
  loadV86(SEG_CS, selector);
  loadV86(SEG_SS, <u32>frameValue(1) & 0xffff);
  loadV86(SEG_ES, <u32>frameValue(2) & 0xffff);
  loadV86(SEG_DS, <u32>frameValue(3) & 0xffff);
  loadV86(SEG_FS, <u32>frameValue(4) & 0xffff);
  loadV86(SEG_GS, <u32>frameValue(5) & 0xffff);
  store<u64>(RSP, frameValue(0));
  setRip(target);
  modeChanged();
  return JUMP;
}

/** IRET with NT: back to the task in the link field of the current TSS. */
function returnToTask(pc: usize): i32 {
  if (isLongMode()) return raiseError(GP, 0);
  const p = systemRead(segmentBase(SEG_TR) & 0xffffffff, 2);
  if (p == 0) return FAULT;
  setRip(currentRip(pc));
  return taskSwitchExit(load<u16>(p), TASK_IRET, recLength(pc));
}
