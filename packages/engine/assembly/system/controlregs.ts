import { CR0, CR2, CR3, CR4, EFER, MAXPHYADDR, PDPTE, SEG_CS, SEG_TR } from "../../src/layout";
import {
  F_DE, F_FSGSBASE, F_FXSR, F_LA57, F_MCE, F_PAE, F_PCID, F_PGE, F_PKS, F_PKU, F_PSE, F_SMAP, F_SMEP, F_SSE, F_TSC, F_UMIP, F_VME, F_VMX, F_XSAVE, hasFeature,
} from "../features";
import { linearOf, operandRead, physicalPointer } from "../mmu";
import {
  CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE, CR4_FSGSBASE, CR4_LA57, CR4_MCE, CR4_OSXMMEXCPT, CR4_OSFXSR, CR4_OSXSAVE, CR4_PAE,
  CR4_PCE, CR4_PVI, CR4_TSD, CR4_VME, CR4_PCIDE, CR4_PGE, CR4_PKE, CR4_PKS, CR4_PSE, CR4_SMAP, CR4_SMEP, CR4_UMIP, CR4_VMXE, EFER_LMA, EFER_LME, is64, isLongMode, modeChanged,
} from "../mode";
import { isRegisterForm, recReg, recRm, rmPtr } from "../record";
import { END, FAULT, OK } from "../status";
import { flushNonGlobal, flushTlb } from "../tlb";
import { cr8LoadIntercepted, cr8StoreIntercepted, readCr8, writeCr8 } from "../vmx/apic";
import { PRIMARY_CR3_STORE_EXITING, SECONDARY_UNRESTRICTED_GUEST, primaryControl, secondaryControl } from "../vmx/controls";
import { CR0_FIXED0 } from "../vmx/entry-values";
import { REASON_CONTROL_REGISTER } from "../generated/exit-reasons";
import { vmexit, vmexitLinear } from "../vmx/exits";
import {
  cltsChangesTs, cltsIntercepted, cr0Merge, cr0Visible, cr0WriteIntercepted, cr3LoadIntercepted, cr4Merge, cr4Visible, cr4WriteIntercepted,
  crQualification, lmswIntercepted,
} from "../vmx/intercepts";
import { raise, raiseError } from "./raise";
import { naturalSize, rmRegister, storeWordOperand } from "./operands";
import { AR_L, GP, UD, cpl, protectedMode, segmentAr } from "./registers";
/** Control registers (SDM 3A 2.5, 5.1; in VMX non-root operation SDM 3C 26.3). */

/** Qualification types (SDM 3C table 28-3). */
const TO_CR: u32 = 0;
const FROM_CR: u32 = 1;
const CLTS: u32 = 2;
const LMSW: u32 = 3;

// ---------------------------------------------------------------------------------------------- MOV CR
export function movFromCr(pc: usize): i32 {
  const cr = recReg(pc);
  if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  let value: u64 = 0;
  if (cr == 0) value = cr0Visible();
  else if (cr == 2) value = load<u64>(CR2);
  else if (cr == 3) {
    if (primaryControl(PRIMARY_CR3_STORE_EXITING)) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(3, FROM_CR, recRm(pc), false, 0));
    value = load<u64>(CR3);
  } else if (cr == 4) value = cr4Visible();
  else {
    if (cr8StoreIntercepted()) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(8, FROM_CR, recRm(pc), false, 0));
    value = readCr8();
  }
  store<u64>(rmRegister(pc), naturalSize() == 8 ? value : value & 0xffffffff);
  return OK;
}

export function movToCr(pc: usize): i32 {
  const cr = recReg(pc);
  if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  let value = load<u64>(rmRegister(pc));
  if (!is64()) value &= 0xffffffff;
  if (cr == 0) {
    if (cr0WriteIntercepted(value)) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(0, TO_CR, recRm(pc), false, 0));
    return writeCr0(cr0Merge(value));
  }
  if (cr == 2) {
    store<u64>(CR2, value);
    return OK;
  }
  if (cr == 3) {
    if (cr3LoadIntercepted(value)) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(3, TO_CR, recRm(pc), false, 0));
    return writeCr3(value);
  }
  if (cr == 4) {
    if (cr4WriteIntercepted(value)) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(4, TO_CR, recRm(pc), false, 0));
    return writeCr4(cr4Merge(value));
  }
  if (cr8LoadIntercepted()) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(8, TO_CR, recRm(pc), false, 0));
  return value > 15 ? raiseError(GP, 0) : writeCr8(value);
}

// ---------------------------------------------------------------------------------------------- CR0
/** Bits of CR0 that exist. */
const CR0_DEFINED: u64 = 0xe005003f;

/** Writes CR0 with all its rules: OK is never returned; END, or FAULT (#GP(0), or an exit at the PDPTEs). */
export function writeCr0(value: u64): i32 {
  const old = load<u64>(CR0), efer = load<u64>(EFER), cr4 = load<u64>(CR4);
  if (value >> 32 != 0) return raiseError(GP, 0);
  value = (value & CR0_DEFINED) | CR0_ET;
  if ((value & CR0_PG) != 0 && (value & CR0_PE) == 0) return raiseError(GP, 0);
  if ((value & CR0_NW) != 0 && (value & CR0_CD) == 0) return raiseError(GP, 0);
  // bits fixed in VMX operation (SDM 3C A.7)
  if (!secondaryControl(SECONDARY_UNRESTRICTED_GUEST) && (value & CR0_FIXED0) != CR0_FIXED0) return raiseError(GP, 0);
  const enabling = (value & CR0_PG) != 0 && (old & CR0_PG) == 0, disabling = (value & CR0_PG) == 0 && (old & CR0_PG) != 0;
  let newEfer = efer;
  if (enabling && (efer & EFER_LME) != 0) {
    const tss16 = (segmentAr(SEG_TR) & 15) <= 3;
    if ((cr4 & CR4_PAE) == 0 || (segmentAr(SEG_CS) & AR_L) != 0 || tss16) return raiseError(GP, 0);
    newEfer |= EFER_LMA;
  }
  if (disabling) {
    if (is64() || (cr4 & CR4_PCIDE) != 0) return raiseError(GP, 0);
    newEfer &= ~EFER_LMA;
  }
  const changed = value ^ old;
  if ((value & CR0_PG) != 0 && (cr4 & CR4_PAE) != 0 && (newEfer & EFER_LMA) == 0 && (changed & (CR0_PG | CR0_CD | CR0_NW)) != 0) {
    if (loadPdptes(load<u64>(CR3)) != OK) return FAULT;
  }
  store<u64>(CR0, value);
  store<u64>(EFER, newEfer);
  if ((changed & (CR0_PG | CR0_PE | CR0_WP)) != 0) flushTlb();
  modeChanged();
  return END;
}

// ---------------------------------------------------------------------------------------------- CR3
/** Loads the four PDPTEs of PAE paging from the table at `cr3` (SDM 3A 5.4.1). OK, or FAULT with #GP(0) or an exit. */
export function loadPdptes(cr3: u64): i32 {
  const p = physicalPointer(cr3 & 0xffffffe0);
  if (p == 0) return FAULT;
  const physical = (<u64>1 << load<u32>(MAXPHYADDR)) - 1;
  for (let i: usize = 0; i < 4; i++) {
    const entry = load<u64>(p + i * 8);
    if ((entry & 1) != 0 && (entry & (~physical | 0x1e6)) != 0) return raiseError(GP, 0);
  }
  memory.copy(PDPTE, p, 32);
  return OK;
}

function writeCr3(value: u64): i32 {
  const cr4 = load<u64>(CR4), pcid = (cr4 & CR4_PCIDE) != 0;
  let keep = false;
  if (pcid && value >> 63 != 0) {
    keep = true;
    value &= 0x7fffffffffffffff;
  }
  const physical = (<u64>1 << load<u32>(MAXPHYADDR)) - 1;
  if ((value & ~physical) != 0) {
    if (isLongMode() || value >> 32 != 0) return raiseError(GP, 0);
  }
  if ((load<u64>(CR0) & CR0_PG) != 0 && (cr4 & CR4_PAE) != 0 && !isLongMode() && loadPdptes(value) != OK) return FAULT;
  const same = load<u64>(CR3) == value;
  store<u64>(CR3, value);
  // translations carry no PCID: keeping them is only right for the address space they belong to
  if (!keep || !same) flushNonGlobal();
  return END;
}

// ---------------------------------------------------------------------------------------------- CR4
/** Bits of CR4 that this processor has. */
export function cr4Defined(): u64 {
  let bits: u64 = CR4_PCE;
  if (hasFeature(F_VME)) bits |= CR4_VME | CR4_PVI;
  if (hasFeature(F_TSC)) bits |= CR4_TSD;
  if (hasFeature(F_DE)) bits |= CR4_DE;
  if (hasFeature(F_PSE)) bits |= CR4_PSE;
  if (hasFeature(F_PAE)) bits |= CR4_PAE;
  if (hasFeature(F_MCE)) bits |= CR4_MCE;
  if (hasFeature(F_PGE)) bits |= CR4_PGE;
  if (hasFeature(F_FXSR)) bits |= CR4_OSFXSR;
  if (hasFeature(F_SSE)) bits |= CR4_OSXMMEXCPT;
  if (hasFeature(F_UMIP)) bits |= CR4_UMIP;
  if (hasFeature(F_LA57)) bits |= CR4_LA57;
  if (hasFeature(F_FSGSBASE)) bits |= CR4_FSGSBASE;
  if (hasFeature(F_PCID)) bits |= CR4_PCIDE;
  if (hasFeature(F_XSAVE)) bits |= CR4_OSXSAVE;
  if (hasFeature(F_SMEP)) bits |= CR4_SMEP;
  if (hasFeature(F_SMAP)) bits |= CR4_SMAP;
  if (hasFeature(F_PKU)) bits |= CR4_PKE;
  if (hasFeature(F_PKS)) bits |= CR4_PKS;
  // the framework may have set VMXE without reporting VMX to the guest
  if (hasFeature(F_VMX)) bits |= CR4_VMXE;
  return bits | (load<u64>(CR4) & CR4_VMXE);
}

export function writeCr4(value: u64): i32 {
  const old = load<u64>(CR4), changed = value ^ old;
  if ((value & ~cr4Defined()) != 0) return raiseError(GP, 0);
  if (isLongMode()) {
    if ((value & CR4_PAE) == 0 || (changed & CR4_LA57) != 0) return raiseError(GP, 0);
  }
  if ((changed & value & CR4_PCIDE) != 0 && (!isLongMode() || (load<u64>(CR3) & 0xfff) != 0)) return raiseError(GP, 0);
  if ((load<u64>(CR0) & CR0_PG) != 0 && (value & CR4_PAE) != 0 && !isLongMode() && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) != 0) {
    if (loadPdptes(load<u64>(CR3)) != OK) return FAULT;
  }
  store<u64>(CR4, value);
  if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PKE | CR4_PKS)) != 0) flushTlb();
  modeChanged();
  return END;
}

// ---------------------------------------------------------------------------------------------- CLTS, LMSW, SMSW
export function clts(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  if (cltsIntercepted()) return vmexit(pc, REASON_CONTROL_REGISTER, crQualification(0, CLTS, 0, false, 0));
  if (cltsChangesTs()) {
    store<u64>(CR0, load<u64>(CR0) & ~CR0_TS);
    modeChanged();
  }
  return OK;
}

export function lmsw(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  const memory = !isRegisterForm(pc);
  let p = rmPtr(pc);
  if (memory) {
    p = operandRead(pc, 2);
    if (p == 0) return FAULT;
  }
  const source = <u32>load<u16>(p);
  if (lmswIntercepted(source)) {
    const status = vmexit(pc, REASON_CONTROL_REGISTER, crQualification(0, LMSW, 0, memory, source));
    if (memory) vmexitLinear(linearOf(pc, 2, false));
    return status;
  }
  // PE can be set, not cleared
  const old = load<u64>(CR0);
  return writeCr0(cr0Merge((old & ~0xe) | (<u64>source & 15)));
}

export function smsw(pc: usize): i32 {
  if (umipBlocks()) return raiseError(GP, 0);
  const value = cr0Visible();
  return storeWordOperand(pc, value);
}

/** CR4.UMIP keeps SGDT, SIDT, SLDT, SMSW and STR from CPL 3 (and virtual-8086 mode). */
export function umipBlocks(): bool { return (load<u64>(CR4) & CR4_UMIP) != 0 && cpl() > 0 && protectedMode(); }
