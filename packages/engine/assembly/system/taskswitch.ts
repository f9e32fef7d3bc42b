import { CR0, CR3, CR4, DR, EVENT_ERROR, EVENT_INFO, INTERRUPTIBILITY, REGS, RUN_FLAGS, SEG_CS, SEG_LDTR, SEG_SS, SEG_TR } from "../../src/layout";
import { OPTION_TASK_SWITCH, V_CR0_SHADOW } from "../../src/vmcs-layout";
import { NT, VM, readFlags, writeFlags } from "../flags";
import { commit, systemRead, systemWrite } from "../mmu";
import { CR0_PG, CR0_TS, CR4_PAE, modeChanged } from "../mode";
import { EXIT_RECORDED, RIP_FINAL } from "../run-flags";
import { FAULT, JUMP, OK } from "../status";
import { flushNonGlobal } from "../tlb";
import { exitTaskSwitch } from "../vmx/exits";
import { engineOption } from "../vmx/controls";
import { watchChanged } from "./debug";
import { raiseDebug, raiseError } from "./raise";
import { loadPdptes } from "./controlregs";
import {
  AR_CODE, AR_CONFORMING, AR_P, AR_S, AR_UNUSABLE, GP, NP, TS, TYPE_LDT, TYPE_TSS, TYPE_TSS16, TYPE_TSS16_BUSY, TYPE_TSS_BUSY, dplOf, rip,
  segmentAr, segmentBase, segmentLimit, segmentSelector, setRip, setSegment,
} from "./registers";
import {
  BEYOND, checkDataSegment, checkStackSegment, descriptorAr, descriptorBase, descriptorLimit, descriptorType, fetchDescriptor, loadV86,
  markAccessed, readDescriptor, setCs, setSs, setTypeBitsAt, lastDescriptorAddress,
} from "./segments";
import { push } from "./stack";
/**
 * Hardware task switching (SDM 3A chapter 8).
 *
 * In VMX non-root operation every attempt exits after the checks of SDM 3C 26.4.2; the framework then has it carried out with
 * performTaskSwitch().
 */

/** Sources, as in the exit qualification (SDM 3C table 28-2). */
export const TASK_CALL: u32 = 0;
export const TASK_IRET: u32 = 1;
export const TASK_JMP: u32 = 2;
export const TASK_GATE: u32 = 3;

/** The 104 bytes of the new TSS, read before anything is written. */
const NEW: usize = memory.data(112, 16);

/** Reads and checks the descriptor of the new TSS (SDM 3A table 8-1), which is then the descriptor last read. */
function checkNewTss(selector: u32, source: u32): i32 {
  const error = selector & 0xfffc;
  const vector = source == TASK_IRET ? TS : GP;
  if (error == 0 || (selector & 4) != 0) return raiseError(vector, error);
  if (fetchDescriptor(selector, vector) != OK) return FAULT;
  const type = descriptorType();
  const wanted = source == TASK_IRET ? type == TYPE_TSS_BUSY || type == TYPE_TSS16_BUSY : type == TYPE_TSS || type == TYPE_TSS16;
  if (!wanted) return raiseError(vector, error);
  if ((descriptorAr() & AR_P) == 0) return raiseError(NP, error);
  if (descriptorLimit() < ((type & 8) != 0 ? 103 : <u32>43)) return raiseError(TS, error);
  return OK;
}

/**
 * An attempt to switch tasks: privilege was checked by the caller, RIP is at the instruction, `length` is its length (0 for events that
 * have none). FAULT, or EXIT with reason 9; JUMP when the engine option says that the processor does it by itself.
 */
export function taskSwitchExit(selector: u32, source: u32, length: u32): i32 {
  if (checkNewTss(selector, source) != OK) return FAULT;
  if (!engineOption(OPTION_TASK_SWITCH)) return exitTaskSwitch(selector, source, length);
  const hasError = source == TASK_GATE && (load<u32>(EVENT_INFO) & 0x800) != 0;
  if (switchTask(selector, source, length, hasError, load<u32>(EVENT_ERROR)) != OK) return FAULT;
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) & ~RIP_FINAL);
  return JUMP;
}

/** Switches tasks: OK, or FAULT with an exception raised or an exit recorded; RIP_FINAL says that it belongs to the new task. */
export function switchTask(selector: u32, source: u32, length: u32, hasError: bool, error: u32): i32 {
  if (checkNewTss(selector, source) != OK) return FAULT;
  const wide = (descriptorType() & 8) != 0;
  const newBase = descriptorBase(), newLimit = descriptorLimit(), newAr = descriptorAr(), newDescriptor = lastDescriptorAddress();
  const nested = source == TASK_CALL || source == TASK_GATE;
  // everything is translated before anything is written
  if (!readNewTss(newBase, wide)) return FAULT;
  const oldBase = segmentBase(SEG_TR), oldAr = segmentAr(SEG_TR), oldSelector = segmentSelector(SEG_TR);
  const oldWide = (oldAr & 8) != 0;
  if (segmentLimit(SEG_TR) < (oldWide ? 95 : <u32>41)) return raiseError(TS, oldSelector & 0xfffc);
  const area = (oldBase + (oldWide ? 0x20 : 14)) & 0xffffffff, areaSize: u32 = oldWide ? 64 : 28;
  if (systemWrite(area, areaSize) == 0) return FAULT;
  if (nested && systemWrite(newBase, 2) == 0) return FAULT;
  if (source != TASK_IRET && systemWrite(newDescriptor + 5, 1) == 0) return FAULT;
  let oldDescriptor: u64 = 0;
  if (!nested) {
    const found = readDescriptor(oldSelector);
    if (found == FAULT) return FAULT;
    if (found == BEYOND) return raiseError(TS, oldSelector & 0xfffc);
    oldDescriptor = lastDescriptorAddress();
    if (systemWrite(oldDescriptor + 5, 1) == 0) return FAULT;
  }
  // the old task's state
  let flags = readFlags();
  if (source == TASK_IRET) flags &= ~NT;
  if (!saveOldTask(area, areaSize, oldWide, flags, rip() + length)) return FAULT;
  if (nested) {
    const p = systemWrite(newBase, 2);
    if (p == 0) return FAULT;
    store<u16>(p, <u16>oldSelector);
    if (!commit(p)) return FAULT;
  } else if (!setTypeBitsAt(oldDescriptor, 0, 2)) return FAULT;
  if (source != TASK_IRET && !setTypeBitsAt(newDescriptor, 2, 0)) return FAULT;

  // commit point: from here on faults belong to the new task, whose RIP stays
  store<u32>(RUN_FLAGS, load<u32>(RUN_FLAGS) | RIP_FINAL);
  setSegment(SEG_TR, selector, newBase, newLimit, newAr | 2);
  store<u64>(CR0, load<u64>(CR0) | CR0_TS);
  store<u64>(V_CR0_SHADOW, load<u64>(V_CR0_SHADOW) | CR0_TS);
  store<u64>(DR, load<u64>(DR, 56) & ~0x155, 56);
  watchChanged();
  if (source == TASK_IRET) store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) & ~8);
  return loadNewTask(selector, wide, nested, hasError, error);
}

function readNewTss(base: u64, wide: bool): bool {
  let p = systemRead(base, wide ? 64 : 44);
  if (p == 0) return false;
  memory.copy(NEW, p, wide ? 64 : 44);
  if (!wide) return true;
  p = systemRead((base + 64) & 0xffffffff, 40);
  if (p == 0) return false;
  memory.copy(NEW + 64, p, 40);
  return true;
}

function saveOldTask(area: u64, size: u32, wide: bool, flags: u32, returnRip: u64): bool {
  const p = systemWrite(area, size);
  if (p == 0) return false;
  const step: usize = wide ? 4 : 2;
  if (wide) {
    store<u32>(p, <u32>returnRip);
    store<u32>(p, flags, 4);
    for (let i: usize = 0; i < 8; i++) store<u32>(p + 8 + i * 4, load<u32>(REGS + i * 8));
  } else {
    store<u16>(p, <u16>returnRip);
    store<u16>(p, <u16>flags, 2);
    for (let i: usize = 0; i < 8; i++) store<u16>(p + 4 + i * 2, load<u16>(REGS + i * 8));
  }
  const selectors = p + step * 10, count: u32 = wide ? 6 : 4;
  for (let s: u32 = 0; s < count; s++) store<u16>(selectors + <usize>s * step, <u16>segmentSelector(s));
  return commit(p);
}

function newSelector(wide: bool, index: u32): u32 {
  return wide ? <u32>load<u16>(NEW + 0x48 + <usize>index * 4) : <u32>load<u16>(NEW + 0x22 + <usize>index * 2);
}

function loadNewTask(selector: u32, wide: bool, nested: bool, hasError: bool, error: u32): i32 {
  let flags: u32;
  if (wide) {
    setRip(<u64>load<u32>(NEW + 0x20));
    flags = load<u32>(NEW + 0x24);
    for (let i: usize = 0; i < 8; i++) store<u64>(REGS + i * 8, <u64>load<u32>(NEW + 0x28 + i * 4));
  } else {
    setRip(<u64>load<u16>(NEW + 14));
    flags = load<u16>(NEW + 16);
    for (let i: usize = 0; i < 8; i++) store<u64>(REGS + i * 8, <u64>(0xffff0000 | <u32>load<u16>(NEW + 18 + i * 2)));
  }
  if (nested) flags |= NT;
  writeFlags(flags);
  const v86 = (flags & VM) != 0;
  // all selectors are in place, and unusable, before the first descriptor is looked at
  const csSelector = newSelector(wide, 1), level: u32 = v86 ? 3 : csSelector & 3;
  const count: u32 = wide ? 6 : 4;
  for (let s: u32 = 0; s < 6; s++) {
    const value: u32 = s < count ? newSelector(wide, s) : 0;
    if (v86) loadV86(s, value);
    else setSegment(s, value, 0, 0, AR_UNUSABLE | (s == SEG_SS ? level << 5 : 0));
  }
  const ldt = wide ? <u32>load<u16>(NEW + 0x60) : <u32>load<u16>(NEW + 42);
  setSegment(SEG_LDTR, ldt, 0, 0, AR_UNUSABLE);
  modeChanged();
  if (wide && (load<u64>(CR0) & CR0_PG) != 0) {
    const cr3 = <u64>load<u32>(NEW + 0x1c);
    if ((load<u64>(CR4) & CR4_PAE) != 0) {
      if (loadPdptes(cr3) != OK) return (load<u32>(RUN_FLAGS) & EXIT_RECORDED) != 0 ? FAULT : raiseError(TS, selector & 0xfffc);
    }
    store<u64>(CR3, cr3);
    flushNonGlobal();
  }
  if ((ldt & 0xfffc) != 0) {
    const ldtError = ldt & 0xfffc;
    if ((ldt & 4) != 0) return raiseError(TS, ldtError);
    if (fetchDescriptor(ldt, TS) != OK) return FAULT;
    if (descriptorType() != TYPE_LDT || (descriptorAr() & AR_P) == 0) return raiseError(TS, ldtError);
    setSegment(SEG_LDTR, ldt, descriptorBase(), descriptorLimit(), descriptorAr());
  }
  if (!v86 && loadTaskSegments(csSelector, level, wide) != OK) {
    modeChanged();
    return FAULT;
  }
  modeChanged();
  if (rip() > <u64>segmentLimit(SEG_CS)) return raiseError(GP, 0);
  if (hasError && push(error, wide ? 4 : 2) != OK) return FAULT;
  if (wide && (load<u16>(NEW + 0x64) & 1) != 0) {
    store<u32>(EVENT_INFO, 0);
    return raiseDebug(0x8000);
  }
  return OK;
}

/** SS comes before CS, so that a fault of CS finds a stack to be delivered on (SDM 3A table 8-1). */
function loadTaskSegments(csSelector: u32, level: u32, wide: bool): i32 {
  const ss = newSelector(wide, 2);
  if (checkStackSegment(ss, level, TS) != OK || !markAccessed()) return FAULT;
  setSs(ss);
  const csError = csSelector & 0xfffc;
  if (csError == 0) return raiseError(TS, 0);
  if (fetchDescriptor(csSelector, TS) != OK) return FAULT;
  const ar = descriptorAr();
  if ((ar & (AR_S | AR_CODE)) != (AR_S | AR_CODE)) return raiseError(TS, csError);
  if ((ar & AR_CONFORMING) != 0 ? dplOf(ar) > level : dplOf(ar) != level) return raiseError(TS, csError);
  if ((ar & AR_P) == 0) return raiseError(NP, csError);
  if (!markAccessed()) return FAULT;
  setCs(csSelector, level);
  for (let s: u32 = 0; s < u32(wide ? 6 : 4); s++) {
    if (s == SEG_CS || s == SEG_SS) continue;
    const selector = newSelector(wide, s);
    if ((selector & 0xfffc) == 0) continue;
    if (checkDataSegment(selector, level, TS, NP) != OK || !markAccessed()) return FAULT;
    setSegment(s, selector, descriptorBase(), descriptorLimit(), descriptorAr());
  }
  return OK;
}
