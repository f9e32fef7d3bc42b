import { SEG_CS, SEG_SS } from "../../src/layout";
import { linearRead, operandRead, segmentLinear, segmentFailed } from "../mmu";
import { currentRip, isLongMode, isV86, modeChanged, nextRip, stackMask } from "../mode";
import { isRegisterForm, recLength, recSize } from "../record";
import { FAULT, JUMP, OK } from "../status";
import { innerSp, innerSs, innerStack } from "./delivery";
import { readTssPointer, tssPointer } from "./delivery64";
import { raise, raiseError } from "./raise";
import { farPointerSize, farSelector, immediate } from "./operands";
import {
  AR_CODE, AR_CONFORMING, AR_DB, AR_L, AR_P, AR_S, GP, NP, RSP, TYPE_CALL_GATE, TYPE_CALL_GATE16, TYPE_TASK_GATE, TYPE_TSS, TYPE_TSS16, UD,
  cpl, dplOf, protectedMode, segmentLimit, segmentSelector, setRip,
} from "./registers";
import {
  canonicalAddress, checkCodeSegment, checkTarget, descriptorAr, descriptorBase, descriptorHigh, descriptorLimit, descriptorLow,
  descriptorTop, descriptorType, fetchDescriptor, fetchSystemDescriptor, loadCsReal, markAccessed, nullStack, saveDescriptor, setCs,
  setSegmentFrom, systemDescriptorValid,
} from "./segments";
import { frameBegin, frameCheck, framePush, frameRoom, frameRoomCurrent, frameSp, frameStore, frameStoreCurrent, writeStackPointer } from "./stack";
import { TASK_CALL, TASK_JMP, taskSwitchExit } from "./taskswitch";
/** Far JMP and CALL: direct, through call gates, and to tasks (SDM 3A 5.8, 8.3; SDM 2 CALL, JMP). */

export function farDirect(pc: usize, call: bool): i32 {
  return farTransfer(pc, farSelector(pc), <u64>immediate(pc), call, recSize(pc));
}

export function farIndirect(pc: usize, call: bool): i32 {
  if (isRegisterForm(pc)) return raise(UD);
  const size = farPointerSize(pc);
  const p = operandRead(pc, size + 2);
  if (p == 0) return FAULT;
  const offset: u64 = size == 8 ? load<u64>(p) : size == 4 ? <u64>load<u32>(p) : <u64>load<u16>(p);
  return farTransfer(pc, load<u16>(p + size), offset, call, size);
}

function farTransfer(pc: usize, selector: u32, target: u64, call: bool, size: u32): i32 {
  if (!protectedMode() || isV86()) {
    if (call && frameRoomCurrent(size, 2) != OK) return FAULT;
    if (target > <u64>segmentLimit(SEG_CS)) return raiseError(GP, 0);
    if (call && pushReturnAddress(pc) != OK) return FAULT;
    loadCsReal(selector);
    setRip(target);
    modeChanged();
    return JUMP;
  }
  if ((selector & 0xfffc) == 0) return raiseError(GP, 0);
  if (fetchDescriptor(selector, GP) != OK) return FAULT;
  if ((descriptorAr() & AR_S) == 0) return throughSystemDescriptor(pc, selector, call);
  const level = cpl();
  if (checkCodeSegment(selector, level) != OK) return FAULT;
  if (call && frameRoomCurrent(size, 2) != OK) return FAULT; // before the target is looked at (SDM 2A CALL)
  if (checkTarget(target) != OK || !markAccessed()) return FAULT;
  if (call && pushReturnAddress(pc) != OK) return FAULT;
  setCs(selector, level);
  setRip(target);
  modeChanged();
  return JUMP;
}

/** On the stack that has been seen to have room. */
function pushReturnAddress(pc: usize): i32 {
  frameBegin(pc);
  framePush(segmentSelector(SEG_CS));
  framePush(nextRip(pc));
  return frameStoreCurrent();
}

function throughSystemDescriptor(pc: usize, selector: u32, call: bool): i32 {
  const error = selector & 0xfffc, type = descriptorType(), long = isLongMode();
  const gate = type == TYPE_CALL_GATE || (!long && type == TYPE_CALL_GATE16);
  const task = !long && (type == TYPE_TASK_GATE || type == TYPE_TSS || type == TYPE_TSS16);
  if (!gate && !task) return raiseError(GP, error);
  const dpl = dplOf(descriptorAr());
  if (dpl < cpl() || dpl < (selector & 3)) return raiseError(GP, error);
  if (task) {
    let tss = selector;
    if (type == TYPE_TASK_GATE) {
      if ((descriptorAr() & AR_P) == 0) return raiseError(NP, error);
      tss = descriptorLow >>> 16;
    }
    setRip(currentRip(pc));
    return taskSwitchExit(tss, call ? TASK_CALL : TASK_JMP, recLength(pc));
  }
  if (long) {
    if (fetchSystemDescriptor(selector, GP) != OK) return FAULT;
    if (!systemDescriptorValid()) return raiseError(GP, error);
  }
  if ((descriptorAr() & AR_P) == 0) return raiseError(NP, error);
  return throughCallGate(pc, type == TYPE_CALL_GATE16, call);
}

/** The gate is the descriptor last read. */
function throughCallGate(pc: usize, narrow: bool, call: bool): i32 {
  const long = isLongMode(), level = cpl();
  const selector = descriptorLow >>> 16, error = selector & 0xfffc, parameters = long ? 0 : descriptorHigh & 31;
  let target: u64 = <u64>(descriptorLow & 0xffff);
  if (!narrow) target |= <u64>(descriptorHigh & 0xffff0000);
  if (long) target |= <u64>descriptorTop << 32;
  if (error == 0) return raiseError(GP, 0);
  if (fetchDescriptor(selector, GP) != OK) return FAULT;
  const ar = descriptorAr(), dpl = dplOf(ar), conforming = (ar & AR_CONFORMING) != 0;
  if ((ar & (AR_S | AR_CODE)) != (AR_S | AR_CODE) || dpl > level) return raiseError(GP, error);
  if (!call && !conforming && dpl != level) return raiseError(GP, error);
  if (long && (ar & (AR_L | AR_DB)) != AR_L) return raiseError(GP, error);
  if ((ar & AR_P) == 0) return raiseError(NP, error);
  const size: u32 = long ? 8 : narrow ? 2 : 4;
  if (call && !conforming && dpl < level) {
    const status = long ? innerCallLong(pc, target, dpl) : innerCall(pc, target, size, dpl, parameters);
    if (status != OK) return status;
    setSegmentFrom(0, SEG_CS, error | dpl);
  } else {
    if (call && (long ? frameRoom(0, 0, 0, load<u64>(RSP), 8, true, false, 0, 2) : frameRoomCurrent(size, 2)) != OK) return FAULT;
    if (checkTarget(target) != OK || !markAccessed()) return FAULT;
    if (call && long) {
      frameBegin(pc);
      framePush(segmentSelector(SEG_CS));
      framePush(nextRip(pc));
      if (frameStore() != OK) return FAULT;
      store<u64>(RSP, frameSp);
    } else if (call && pushReturnAddress(pc) != OK) return FAULT;
    setCs(selector, level);
  }
  setRip(target);
  modeChanged();
  return JUMP;
}

/** CALL to an inner level outside IA-32e mode: new stack from the TSS, parameters copied. CS is saved as descriptor 0. */
function innerCall(pc: usize, target: u64, size: u32, level: u32, parameters: u32): i32 {
  const outside = target > <u64>descriptorLimit();
  if (!markAccessed()) return FAULT;
  saveDescriptor(0);
  if (innerStack(level) != OK || !markAccessed()) return FAULT;
  saveDescriptor(1);
  const base = descriptorBase(), limit = descriptorLimit(), ar = descriptorAr();
  const sp = innerSp, ss = innerSs;
  if (frameRoom(base, limit, ar, sp, size, false, true, ss & 0xfffc, parameters + 4) != OK) return FAULT;
  if (outside) return raiseError(GP, 0);
  frameBegin();
  framePush(segmentSelector(SEG_SS));
  framePush(load<u64>(RSP));
  if (frameCheck(0) != OK) return FAULT; // pushed before the parameters are read
  for (let i = <i32>parameters - 1; i >= 0; i--) {
    const linear = segmentLinear(SEG_SS, (load<u64>(RSP) + <u32>i * size) & stackMask(), size, false);
    if (segmentFailed(linear)) return FAULT;
    const p = linearRead(linear, size, SEG_SS, pc);
    if (p == 0) return FAULT;
    framePush(size == 4 ? <u64>load<u32>(p) : <u64>load<u16>(p));
  }
  framePush(segmentSelector(SEG_CS));
  framePush(nextRip(pc));
  if (frameStore() != OK) return FAULT;
  setSegmentFrom(1, SEG_SS, ss);
  writeStackPointer(frameSp, (ar & AR_DB) != 0 ? 0xffffffff : 0xffff);
  return OK;
}

/** CALL to an inner level in IA-32e mode: RSP from the TSS, SS null. */
function innerCallLong(pc: usize, target: u64, level: u32): i32 {
  if (!markAccessed()) return FAULT;
  saveDescriptor(0);
  if (readTssPointer(4 + level * 8) != OK || frameRoom(0, 0, 0, tssPointer, 8, true, true, 0, 4) != OK) return FAULT;
  if (!canonicalAddress(target)) return raiseError(GP, 0);
  frameBegin();
  framePush(segmentSelector(SEG_SS));
  framePush(load<u64>(RSP));
  framePush(segmentSelector(SEG_CS));
  framePush(nextRip(pc));
  if (frameStore() != OK) return FAULT;
  store<u64>(RSP, frameSp);
  nullStack(level);
  return OK;
}
