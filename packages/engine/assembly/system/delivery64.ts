import { EFLAGS, IDTR_BASE, IDTR_LIMIT, SEG_CS, SEG_SS, SEG_TR } from "../../src/layout";
import { IF, NT, RF, TF, VM, readFlags } from "../flags";
import { systemRead, writableNow } from "../mmu";
import { is64, modeChanged } from "../mode";
import { FAULT, JUMP, OK } from "../status";
import { TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT } from "../vmx/exits";
import { raiseError } from "./raise";
import {
  AR_CODE, AR_CONFORMING, AR_DB, AR_L, AR_P, AR_S, GP, NP, RSP, TS, TYPE_INTERRUPT_GATE, TYPE_TRAP_GATE, cpl, dplOf, rip, segmentBase,
  segmentLimit, segmentSelector, setRip,
} from "./registers";
import {
  USUAL_CODE, USUAL_CODE_MASK, canonicalAddress, descriptorAr, fetchDescriptor, markAccessed, nullStack, quickDescriptor, setCs, setQuickSegment,
} from "./segments";
import { frameBegin, framePush, frameRoom, frameSp, frameStore } from "./stack";
/** Event delivery in IA-32e mode (SDM 3A 6.14): 16-byte gates, 64-bit handlers, the interrupt stack table. */

/** Reads a stack pointer from the 64-bit TSS at `offset`; 0 and a fault recorded when that is impossible. The value is in tssValue. */
export let tssPointer: u64 = 0;
export function readTssPointer(offset: u32): i32 {
  if (offset + 7 > segmentLimit(SEG_TR)) return raiseError(TS, segmentSelector(SEG_TR) & 0xfffc);
  const p = systemRead(segmentBase(SEG_TR) + offset, 8);
  if (p == 0) return FAULT;
  tssPointer = load<u64>(p);
  return OK;
}

export function deliverLong(type: u32, vector: u32, error: u32, hasError: bool, length: u32): i32 {
  const gateError = (vector << 3) | 2, offset = vector << 4;
  if (offset + 15 > load<u32>(IDTR_LIMIT)) return raiseError(GP, gateError);
  const p = systemRead(load<u64>(IDTR_BASE) + offset, 16);
  if (p == 0) return FAULT;
  const low = load<u32>(p), high = load<u32>(p, 4), top = load<u32>(p, 8), gate = (high >>> 8) & 31;
  if (gate != TYPE_INTERRUPT_GATE && gate != TYPE_TRAP_GATE) return raiseError(GP, gateError);
  const level = cpl();
  if ((type == TYPE_SOFTWARE_INTERRUPT || type == TYPE_SOFTWARE_EXCEPTION) && ((high >>> 13) & 3) < level) return raiseError(GP, gateError);
  if ((high & 0x8000) == 0) return raiseError(NP, gateError);
  const selector = low >>> 16, csError = selector & 0xfffc, ist = high & 7;
  const target: u64 = (<u64>top << 32) | (high & 0xffff0000) | (low & 0xffff);
  if (csError == 0) return raiseError(GP, 0);
  const usual = quickDescriptor(selector, 0, USUAL_CODE_MASK, USUAL_CODE);
  let ar: u32;
  if (usual != 0) ar = u32(usual >> 40) & 0xf0ff;
  else {
    if (fetchDescriptor(selector, GP) != OK) return FAULT;
    ar = descriptorAr();
    if ((ar & (AR_S | AR_CODE)) != (AR_S | AR_CODE) || dplOf(ar) > level) return raiseError(GP, csError);
    if ((ar & (AR_L | AR_DB)) != AR_L) return raiseError(GP, csError);
    if ((ar & AR_P) == 0) return raiseError(NP, csError);
  }
  const inner = (ar & AR_CONFORMING) == 0 && dplOf(ar) < level;
  const newLevel = inner ? dplOf(ar) : level;
  let sp = is64() ? load<u64>(RSP) : load<u64>(RSP) & 0xffffffff;
  const oldSp = sp;
  if (ist != 0) {
    if (readTssPointer(28 + ist * 8) != OK) return FAULT;
    sp = tssPointer;
  } else if (inner) {
    if (readTssPointer(4 + newLevel * 8) != OK) return FAULT;
    sp = tssPointer;
  }
  sp &= ~0xf;
  const bytes: u32 = hasError ? 48 : 40, bottom = sp - bytes, frame = usual != 0 && canonicalAddress(target) ? writableNow(bottom, bytes, inner) : 0;
  const ip = is64() ? rip() + length : (rip() + length) & 0xffffffff, oldCs = segmentSelector(SEG_CS), oldSs = segmentSelector(SEG_SS), flags = readFlags();
  if (frame != 0) { // where the frame goes is at hand too: nothing can fail any more
    if (hasError) store<u64>(frame, error);
    const top = frame + bytes - 40;
    store<u64>(top, ip);
    store<u64>(top, oldCs, 8);
    store<u64>(top, flags, 16);
    store<u64>(top, oldSp, 24);
    store<u64>(top, oldSs, 32);
    store<u64>(RSP, bottom);
    setQuickSegment(SEG_CS, csError | newLevel, usual);
  } else {
    if (frameRoom(0, 0, 0, sp, 8, true, inner, 0, 5 + u32(hasError)) != OK) return FAULT;
    if (!canonicalAddress(target)) return raiseError(GP, 0);
    if (usual != 0 && fetchDescriptor(selector, GP) != OK) return FAULT;
    if (!markAccessed()) return FAULT;
    frameBegin();
    framePush(oldSs);
    framePush(oldSp);
    framePush(flags);
    framePush(oldCs);
    framePush(ip);
    if (hasError) framePush(error);
    if (frameStore() != OK) return FAULT;
    store<u64>(RSP, frameSp);
    setCs(selector, newLevel);
  }
  if (inner) nullStack(newLevel);
  setRip(target);
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~(TF | NT | RF | VM | ((gate & 1) == 0 ? IF : 0)));
  modeChanged();
  return JUMP;
}
