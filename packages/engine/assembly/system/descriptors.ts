import { GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, SEG_LDTR, SEG_TR } from "../../src/layout";
import { ZF, changeFlags } from "../flags";
import { commit, operandRead, operandWrite } from "../mmu";
import { is64, isLongMode, isV86 } from "../mode";
import { isRegisterForm, recSize, regPtr, rmPtr } from "../record";
import { FAULT, OK } from "../status";
import { SECONDARY_DESCRIPTOR_TABLE_EXITING, secondaryControl } from "../vmx/controls";
import { REASON_GDTR_IDTR, REASON_LDTR_TR } from "../generated/exit-reasons";
import { vmexit, vmexitInfo } from "../vmx/exits";
import { umipBlocks } from "./controlregs";
import { raise, raiseError } from "./raise";
import { displacement, operandInfo } from "./instructioninfo";
import { storeWordOperand, writeRegister } from "./operands";
import {
  AR_CODE, AR_CONFORMING, AR_P, AR_S, AR_UNUSABLE, AR_WRITABLE, GP, NP, TYPE_CALL_GATE, TYPE_CALL_GATE16, TYPE_LDT, TYPE_TASK_GATE, TYPE_TSS,
  TYPE_TSS16, TYPE_TSS16_BUSY, TYPE_TSS_BUSY, UD, cpl, dplOf, protectedMode, segmentSelector, setSegment,
} from "./registers";
import {
  canonicalBase, descriptorAr, descriptorBase, descriptorHigh, descriptorLimit, descriptorType, fetchSystemDescriptor, readDescriptor, setTypeBits,
  systemDescriptorValid,
} from "./segments";
/** Descriptor-table registers, LDTR and TR, and the instructions that look at descriptors without loading them (SDM 2; SDM 3A 5.10). */

/** Instructions that exist only in protected mode. */
function undefinedHere(): bool { return !protectedMode() || isV86(); }

// ---------------------------------------------------------------------------------------------- LAR, LSL, VERR, VERW, ARPL
/** The 16-bit selector operand; -1 with a fault recorded. */
function selectorOperand(pc: usize): i32 {
  if (isRegisterForm(pc)) return load<u16>(rmPtr(pc));
  const p = operandRead(pc, 2);
  return p == 0 ? -1 : <i32>load<u16>(p);
}
function setZero(value: bool): void { changeFlags(ZF, value ? ZF : 0); }

/** Is the descriptor last read visible at this privilege? Conforming code always is. */
function visible(selector: u32): bool {
  const ar = descriptorAr();
  if ((ar & (AR_S | AR_CODE | AR_CONFORMING)) == (AR_S | AR_CODE | AR_CONFORMING)) return true;
  const dpl = dplOf(ar);
  return dpl >= cpl() && dpl >= (selector & 3);
}

function larType(type: u32): bool {
  if (type == TYPE_LDT || type == TYPE_TSS || type == TYPE_TSS_BUSY || type == TYPE_CALL_GATE) return true;
  return !isLongMode() && (type == TYPE_TSS16 || type == TYPE_TSS16_BUSY || type == TYPE_CALL_GATE16 || type == TYPE_TASK_GATE);
}
function lslType(type: u32): bool {
  if (type == TYPE_LDT || type == TYPE_TSS || type == TYPE_TSS_BUSY) return true;
  return !isLongMode() && (type == TYPE_TSS16 || type == TYPE_TSS16_BUSY);
}

/** LAR (`limit` false) and LSL. */
export function loadRights(pc: usize, limit: bool): i32 {
  if (undefinedHere()) return raise(UD);
  const selector = selectorOperand(pc);
  if (selector < 0) return FAULT;
  if ((selector & 0xfffc) == 0) {
    setZero(false);
    return OK;
  }
  const status = readDescriptor(selector);
  if (status == FAULT) return FAULT;
  let ok = status == OK;
  if (ok && (descriptorAr() & AR_S) == 0) ok = limit ? lslType(descriptorType()) : larType(descriptorType());
  if (ok) ok = visible(selector);
  if (ok) writeRegister(regPtr(pc), recSize(pc), limit ? <u64>descriptorLimit() : <u64>(descriptorHigh & 0xffff00));
  setZero(ok);
  return OK;
}

/** VERR and VERW. */
export function verify(pc: usize, write: bool): i32 {
  if (undefinedHere()) return raise(UD);
  const selector = selectorOperand(pc);
  if (selector < 0) return FAULT;
  let ok = (selector & 0xfffc) != 0;
  if (ok) {
    const status = readDescriptor(selector);
    if (status == FAULT) return FAULT;
    ok = status == OK;
  }
  if (ok) {
    const ar = descriptorAr();
    ok = (ar & AR_S) != 0 && visible(selector);
    if (write) ok = ok && (ar & (AR_CODE | AR_WRITABLE)) == AR_WRITABLE;
    else ok = ok && ((ar & AR_CODE) == 0 || (ar & AR_WRITABLE) != 0);
  }
  setZero(ok);
  return OK;
}

export function arpl(pc: usize): i32 {
  if (undefinedHere()) return raise(UD);
  const target = selectorOperand(pc);
  if (target < 0) return FAULT;
  const rpl = <i32>load<u16>(regPtr(pc)) & 3, raises = (target & 3) < rpl;
  if (raises) { // written only then: a read-only operand whose RPL is high enough is no fault
    const p = isRegisterForm(pc) ? rmPtr(pc) : operandWrite(pc, 2);
    if (p == 0) return FAULT;
    store<u16>(p, <u16>((target & 0xfffc) | rpl));
    if (!isRegisterForm(pc) && !commit(p)) return FAULT;
  }
  setZero(raises);
  return OK;
}

// ---------------------------------------------------------------------------------------------- LDTR and TR
/** Reason 47: 0 SLDT, 1 STR, 2 LLDT, 3 LTR. */
function exitLdtrTr(pc: usize, identity: u32): i32 {
  const status = vmexit(pc, REASON_LDTR_TR, displacement(pc));
  vmexitInfo(operandInfo(pc) | (identity << 28));
  return status;
}

/** SLDT (`segment` LDTR) and STR. */
export function storeSystemSelector(pc: usize, segment: u32): i32 {
  if (undefinedHere()) return raise(UD);
  if (umipBlocks()) return raiseError(GP, 0);
  if (secondaryControl(SECONDARY_DESCRIPTOR_TABLE_EXITING)) return exitLdtrTr(pc, segment == SEG_LDTR ? 0 : 1);
  const value = segmentSelector(segment);
  return storeWordOperand(pc, value);
}

export function lldt(pc: usize): i32 {
  if (undefinedHere()) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  if (secondaryControl(SECONDARY_DESCRIPTOR_TABLE_EXITING)) return exitLdtrTr(pc, 2);
  const selector = selectorOperand(pc);
  if (selector < 0) return FAULT;
  const error = selector & 0xfffc;
  if (error == 0) {
    setSegment(SEG_LDTR, selector, 0, 0, AR_UNUSABLE);
    return OK;
  }
  if (checkSystemSegment(selector) != OK) return FAULT;
  if (descriptorType() != TYPE_LDT) return raiseError(GP, error);
  if ((descriptorAr() & AR_P) == 0) return raiseError(NP, error);
  if (!canonicalBase(descriptorBase())) return raiseError(GP, error);
  setSegment(SEG_LDTR, selector, descriptorBase(), descriptorLimit(), descriptorAr());
  return OK;
}

export function ltr(pc: usize): i32 {
  if (undefinedHere()) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  if (secondaryControl(SECONDARY_DESCRIPTOR_TABLE_EXITING)) return exitLdtrTr(pc, 3);
  const selector = selectorOperand(pc);
  if (selector < 0) return FAULT;
  const error = selector & 0xfffc;
  if (error == 0) return raiseError(GP, 0);
  if (checkSystemSegment(selector) != OK) return FAULT;
  const type = descriptorType();
  if (type != TYPE_TSS && (type != TYPE_TSS16 || isLongMode())) return raiseError(GP, error);
  if ((descriptorAr() & AR_P) == 0) return raiseError(NP, error);
  if (!canonicalBase(descriptorBase())) return raiseError(GP, error);
  if (!setTypeBits(2, 0)) return FAULT;
  setSegment(SEG_TR, selector, descriptorBase(), descriptorLimit(), descriptorAr() | 2);
  return OK;
}

/** Reads a system descriptor from the GDT. */
function checkSystemSegment(selector: u32): i32 {
  const error = selector & 0xfffc;
  if ((selector & 4) != 0) return raiseError(GP, error);
  if (fetchSystemDescriptor(selector, GP) != OK) return FAULT;
  return systemDescriptorValid() ? OK : raiseError(GP, error);
}

// ---------------------------------------------------------------------------------------------- GDTR and IDTR
/** Reason 46: 0 SGDT, 1 SIDT, 2 LGDT, 3 LIDT; bit 11 is the operand size. */
function exitGdtrIdtr(pc: usize, identity: u32): i32 {
  const status = vmexit(pc, REASON_GDTR_IDTR, displacement(pc));
  vmexitInfo(operandInfo(pc) | (recSize(pc) == 2 ? 0 : <u32>1 << 11) | (identity << 28));
  return status;
}

/** SGDT (`idt` false) and SIDT. */
export function storeTable(pc: usize, idt: bool): i32 {
  if (isRegisterForm(pc)) return raise(UD);
  if (umipBlocks()) return raiseError(GP, 0);
  if (secondaryControl(SECONDARY_DESCRIPTOR_TABLE_EXITING)) return exitGdtrIdtr(pc, idt ? 1 : 0);
  const long = is64();
  const p = operandWrite(pc, long ? 10 : 6);
  if (p == 0) return FAULT;
  const base = load<u64>(idt ? IDTR_BASE : GDTR_BASE);
  store<u16>(p, load<u16>(idt ? IDTR_LIMIT : GDTR_LIMIT));
  if (long) store<u64>(p, base, 2);
  else store<u32>(p, <u32>base, 2);
  return commit(p) ? OK : FAULT;
}

/** LGDT (`idt` false) and LIDT. */
export function loadTable(pc: usize, idt: bool): i32 {
  if (isRegisterForm(pc)) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  if (secondaryControl(SECONDARY_DESCRIPTOR_TABLE_EXITING)) return exitGdtrIdtr(pc, idt ? 3 : 2);
  const long = is64();
  const p = operandRead(pc, long ? 10 : 6);
  if (p == 0) return FAULT;
  const limit = <u32>load<u16>(p);
  let base = long ? load<u64>(p, 2) : <u64>load<u32>(p, 2);
  if (!long && recSize(pc) == 2) base &= 0xffffff;
  if (long && !canonicalBase(base)) return raiseError(GP, 0);
  store<u64>(idt ? IDTR_BASE : GDTR_BASE, base);
  store<u32>(idt ? IDTR_LIMIT : GDTR_LIMIT, limit);
  return OK;
}
