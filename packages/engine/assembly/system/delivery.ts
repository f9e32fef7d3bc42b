import { CR4, EFLAGS, IDTR_BASE, IDTR_LIMIT, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS, SEG_TR } from "../../src/layout";
import { AC, IF, IOPL, NT, RF, TF, VIF, VM, readFlags } from "../flags";
import { systemRead } from "../mmu";
import { CR4_VME, modeChanged } from "../mode";
import { FAULT, JUMP, OK } from "../status";
import { TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT } from "../vmx/exits";
import { raiseError } from "./raise";
import {
  AR_CODE, AR_CONFORMING, AR_DB, AR_P, AR_S, GP, NP, RSP, TS, TYPE_INTERRUPT_GATE, TYPE_INTERRUPT_GATE16, TYPE_TASK_GATE, TYPE_TRAP_GATE,
  TYPE_TRAP_GATE16, cpl, dplOf, iopl, rip, segmentAr, segmentBase, segmentLimit, segmentSelector, setRip,
} from "./registers";
import {
  checkStackSegment, checkTarget, descriptorAr, descriptorBase, descriptorLimit, fetchDescriptor, loadCsReal, markAccessed, nullSegment, setCs,
  setSegmentFrom, saveDescriptor,
} from "./segments";
import { frameBegin, framePush, frameRoom, frameRoomCurrent, frameSp, frameStore, frameStoreCurrent, frameWriteCurrent, writeStackPointer } from "./stack";
import { TASK_GATE, taskSwitchExit } from "./taskswitch";
/** Event delivery in real-address mode, virtual-8086 mode and through the gates of a protected-mode IDT (SDM 3A 6.12, 21.1.4, 21.3). */

/** Real-address mode: through the interrupt vector table at IDTR.base. */
export function deliverThroughIvt(vector: u32, length: u32): i32 {
  const offset = vector << 2;
  if (offset + 3 > load<u32>(IDTR_LIMIT)) return raiseError(GP, (vector << 3) | 2);
  return enterIvt((load<u64>(IDTR_BASE) + offset) & 0xffffffff, readFlags(), length, IF | TF | RF | AC);
}

/** Pushes FLAGS, CS and IP as words and goes to the far pointer at `entry`. */
function enterIvt(entry: u64, image: u32, length: u32, clear: u32): i32 {
  const p = systemRead(entry, 4);
  if (p == 0) return FAULT;
  const target = load<u32>(p);
  frameBegin();
  framePush(image);
  framePush(segmentSelector(SEG_CS));
  framePush(rip() + length);
  if (frameWriteCurrent(2) != OK) return FAULT;
  loadCsReal(target >>> 16);
  setRip(target & 0xffff);
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~clear);
  modeChanged();
  return JUMP;
}

/**
 * INT n in virtual-8086 mode. With CR4.VME the redirection bitmap of the TSS says whether the task's own table at address 0 is used
 * (SDM 3A 21.3.3). -1: go on through the IDT.
 */
function softwareInterruptV86(vector: u32, length: u32): i32 {
  if ((load<u64>(CR4) & CR4_VME) != 0) {
    const redirected = redirectionBit(vector);
    if (redirected < 0) return FAULT;
    if (redirected == 0) {
      let image = readFlags();
      if (iopl() == 3) return enterIvt(<u64>(vector << 2), image, length, IF | TF | RF | AC);
      image = (image & ~IF) | IOPL | ((image & VIF) != 0 ? IF : 0);
      return enterIvt(<u64>(vector << 2), image, length, VIF | TF | RF | AC);
    }
  }
  if (iopl() < 3) return raiseError(GP, 0);
  return -1;
}

/** Bit of the interrupt-redirection bitmap, the 32 bytes below the I/O permission bitmap; -1 with a fault recorded. */
function redirectionBit(vector: u32): i32 {
  const limit = segmentLimit(SEG_TR), base = segmentBase(SEG_TR);
  if (limit < 103) { raiseError(GP, 0); return -1; }
  let p = systemRead((base + 102) & 0xffffffff, 2);
  if (p == 0) return -1;
  const offset = <u32>load<u16>(p) - 32 + (vector >>> 3);
  if (offset > limit) { raiseError(GP, 0); return -1; }
  p = systemRead((base + offset) & 0xffffffff, 1);
  if (p == 0) return -1;
  return (load<u8>(p) >>> (vector & 7)) & 1;
}

/** Stack pointer and selector for an inner level, from innerStack(). */
export let innerSp: u64 = 0;
export let innerSs: u32 = 0;

/** Reads SS:ESP of `level` from the current TSS (outside IA-32e mode) and checks SS: its descriptor is the one last read. */
export function innerStack(level: u32): i32 {
  const wide = (segmentAr(SEG_TR) & 8) != 0;
  const offset = wide ? level * 8 + 4 : level * 4 + 2, size: u32 = wide ? 6 : 4;
  if (offset + size - 1 > segmentLimit(SEG_TR)) return raiseError(TS, segmentSelector(SEG_TR) & 0xfffc);
  const p = systemRead((segmentBase(SEG_TR) + offset) & 0xffffffff, 8);
  if (p == 0) return FAULT;
  innerSp = wide ? load<u32>(p) : <u64>load<u16>(p);
  innerSs = wide ? load<u16>(p, 4) : load<u16>(p, 2);
  return checkStackSegment(innerSs, level, TS);
}

/** Protected mode outside IA-32e: interrupt, trap and task gates. */
export function deliverThroughGate(type: u32, vector: u32, error: u32, hasError: bool, length: u32): i32 {
  const flags = readFlags(), v86 = (flags & VM) != 0;
  if (v86 && type == TYPE_SOFTWARE_INTERRUPT) {
    const status = softwareInterruptV86(vector, length);
    if (status != -1) return status;
  }
  const offset = vector << 3, gateError = offset | 2;
  if (offset + 7 > load<u32>(IDTR_LIMIT)) return raiseError(GP, gateError);
  const p = systemRead((load<u64>(IDTR_BASE) + offset) & 0xffffffff, 8);
  if (p == 0) return FAULT;
  const low = load<u32>(p), high = load<u32>(p, 4), gate = (high >>> 8) & 31;
  if (gate != TYPE_TASK_GATE && gate != TYPE_INTERRUPT_GATE && gate != TYPE_TRAP_GATE && gate != TYPE_INTERRUPT_GATE16 && gate != TYPE_TRAP_GATE16) {
    return raiseError(GP, gateError);
  }
  const level = cpl();
  if ((type == TYPE_SOFTWARE_INTERRUPT || type == TYPE_SOFTWARE_EXCEPTION) && ((high >>> 13) & 3) < level) return raiseError(GP, gateError);
  if ((high & 0x8000) == 0) return raiseError(NP, gateError);
  const selector = low >>> 16;
  if (gate == TYPE_TASK_GATE) return taskSwitchExit(selector, TASK_GATE, length);
  const wide = (gate & 8) != 0, size: u32 = wide ? 4 : 2;
  const target: u64 = <u64>((low & 0xffff) | (wide ? high & 0xffff0000 : 0));
  if ((selector & 0xfffc) == 0) return raiseError(GP, 0);
  if (fetchDescriptor(selector, GP) != OK) return FAULT;
  const ar = descriptorAr(), csError = selector & 0xfffc;
  if ((ar & (AR_S | AR_CODE)) != (AR_S | AR_CODE) || dplOf(ar) > level) return raiseError(GP, csError);
  const inner = (ar & AR_CONFORMING) == 0 && dplOf(ar) < level;
  if (v86 && (!inner || dplOf(ar) != 0)) return raiseError(GP, csError);
  if ((ar & AR_P) == 0) return raiseError(NP, csError);
  const newLevel = inner ? dplOf(ar) : level;
  frameBegin();
  if (inner) {
    // the stack is checked before the target, the target before anything is written
    const outside = target > <u64>descriptorLimit();
    if (!markAccessed()) return FAULT;
    saveDescriptor(0);
    if (innerStack(newLevel) != OK) return FAULT;
    const stackAr = descriptorAr(), slots: u32 = (v86 ? 9 : 5) + u32(hasError);
    if (frameRoom(descriptorBase(), descriptorLimit(), stackAr, innerSp, size, false, true, innerSs & 0xfffc, slots) != OK) return FAULT;
    if (outside) return raiseError(GP, 0);
    if (!markAccessed()) return FAULT;
    saveDescriptor(1);
    if (v86) {
      framePush(segmentSelector(SEG_GS));
      framePush(segmentSelector(SEG_FS));
      framePush(segmentSelector(SEG_DS));
      framePush(segmentSelector(SEG_ES));
    }
    framePush(segmentSelector(SEG_SS));
    framePush(load<u64>(RSP));
    pushReturn(flags, length, error, hasError);
    if (frameStore() != OK) return FAULT;
    if (v86) {
      nullSegment(SEG_GS, 0);
      nullSegment(SEG_FS, 0);
      nullSegment(SEG_DS, 0);
      nullSegment(SEG_ES, 0);
    }
    setSegmentFrom(1, SEG_SS, innerSs);
    writeStackPointer(frameSp, (stackAr & AR_DB) != 0 ? 0xffffffff : 0xffff);
    setSegmentFrom(0, SEG_CS, csError | newLevel);
  } else {
    if (frameRoomCurrent(size, 3 + u32(hasError)) != OK || checkTarget(target) != OK || !markAccessed()) return FAULT;
    pushReturn(flags, length, error, hasError);
    if (frameStoreCurrent() != OK) return FAULT;
    setCs(selector, level);
  }
  setRip(target);
  let clear = TF | NT | RF | VM;
  if ((gate & 1) == 0) clear |= IF;
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~clear);
  modeChanged();
  return JUMP;
}

function pushReturn(flags: u32, length: u32, error: u32, hasError: bool): void {
  framePush(flags);
  framePush(segmentSelector(SEG_CS));
  framePush((rip() + length) & 0xffffffff);
  if (hasError) framePush(error);
}
