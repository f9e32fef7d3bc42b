import {
  EFER, MAXPHYADDR, MSR_CSTAR, MSR_DEBUGCTL, MSR_FMASK, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_MISC_ENABLE, MSR_MTRR_DEF_TYPE, MSR_MTRR_FIXED,
  MSR_MTRR_VARIABLE, MSR_PAT, MSR_PKRS, MSR_SPEC_CTRL, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC_ADJUST, MSR_TSC_AUX, MSR_XSS,
  RIP, SEG_BASE, TSC_BASE, CR0, SEG_FS, SEG_GS,
} from "../../src/layout";
import { F_BHI_CTRL, F_LM, F_NX, F_PKS, F_RDTSCP, F_SYSCALL, F_TSC_ADJUST, F_XSAVES, hasFeature } from "../features";
import { CR0_PG, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, modeChanged, nextRip } from "../mode";
import { END, OK } from "../status";
import { flushTlb } from "../tlb";
import { hostTsc } from "../time";
import { x2apicRead, x2apicReadVirtualized, x2apicWrite, x2apicWriteVirtualized } from "../vmx/apic";
import { DEBUGCTL_ALLOWED, patValid } from "../vmx/entry-values";
import { REASON_RDMSR, REASON_WRMSR } from "../generated/exit-reasons";
import { vmexit } from "../vmx/exits";
import { guestTsc, msrReadIntercepted, msrWriteIntercepted } from "../vmx/intercepts";
import { raiseError } from "./raise";
import { GP, RAX, RCX, RDX, cpl } from "./registers";
import { canonicalBase } from "./segments";
/**
 * RDMSR and WRMSR. The MSRs that the processor itself uses live in the state block; every other one exits with reason 31 or 32 whatever the
 * bitmap says, so that the framework decides.
 */

/** IA32_SPEC_CTRL is there when CPUID.7.0:EDX bits 26 or 27 or 31 say so; only their bits can be set. */
const F_SPEC_CTRL: u32 = 4 * 32 + 26;
const F_STIBP: u32 = 4 * 32 + 27;
const F_SSBD: u32 = 4 * 32 + 31;
/** IA32_MISC_ENABLE (SDM 4, table 2-2): BTS and PEBS are unavailable, which is read-only. */
const MISC_ENABLE_FIXED: u64 = 0x1800;
/** ... MONITOR and MWAIT; no execute-disable. */
export const MISC_ENABLE_MONITOR: u64 = 1 << 18;
const MISC_ENABLE_XD_DISABLE: u64 = 1 << 34;
/** IA32_MTRRCAP: 8 variable ranges, fixed ranges, write combining. */
const MTRRCAP: u64 = 0x508;

/** State-block address of an MSR that reads and writes as plain storage, 0 when there is none. */
export function storageOf(index: u32): usize {
  if (index >= 0x200 && index <= 0x20f) return MSR_MTRR_VARIABLE + ((index - 0x200) << 3);
  switch (index) {
    case 0x3b: return hasFeature(F_TSC_ADJUST) ? MSR_TSC_ADJUST : 0;
    case 0x48: return hasFeature(F_SPEC_CTRL) ? MSR_SPEC_CTRL : 0;
    case 0x174: return MSR_SYSENTER_CS;
    case 0x175: return MSR_SYSENTER_ESP;
    case 0x176: return MSR_SYSENTER_EIP;
    case 0x1a0: return MSR_MISC_ENABLE;
    case 0x1d9: return MSR_DEBUGCTL;
    case 0x250: return MSR_MTRR_FIXED;
    case 0x258: return MSR_MTRR_FIXED + 8;
    case 0x259: return MSR_MTRR_FIXED + 16;
    case 0x277: return MSR_PAT;
    case 0x2ff: return MSR_MTRR_DEF_TYPE;
    case 0x6e1: return hasFeature(F_PKS) ? MSR_PKRS : 0;
    case 0xda0: return hasFeature(F_XSAVES) ? MSR_XSS : 0;
    case 0xc0000080: return EFER;
    case 0xc0000081: return MSR_STAR;
    case 0xc0000082: return MSR_LSTAR;
    case 0xc0000083: return MSR_CSTAR;
    case 0xc0000084: return MSR_FMASK;
    case 0xc0000100: return SEG_BASE + SEG_FS * 8;
    case 0xc0000101: return SEG_BASE + SEG_GS * 8;
    case 0xc0000102: return MSR_KERNEL_GS_BASE;
    case 0xc0000103: return hasFeature(F_RDTSCP) ? MSR_TSC_AUX : 0;
  }
  if (index >= 0x268 && index <= 0x26f) return MSR_MTRR_FIXED + 24 + ((index - 0x268) << 3);
  return 0;
}

function setResult(value: u64): void {
  store<u64>(RAX, value & 0xffffffff);
  store<u64>(RDX, value >> 32);
}

export function rdmsr(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  const index = load<u32>(RCX);
  if (msrReadIntercepted(index)) return vmexit(pc, REASON_RDMSR, 0);
  if (x2apicReadVirtualized(index)) {
    setResult(x2apicRead(index));
    return OK;
  }
  if (index == 0x10) {
    setResult(guestTsc(hostTsc(pc)));
    return OK;
  }
  if (index == 0xfe) {
    setResult(MTRRCAP);
    return OK;
  }
  const at = storageOf(index);
  if (at == 0) return vmexit(pc, REASON_RDMSR, 0);
  setResult(load<u64>(at));
  return OK;
}

export function wrmsr(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  const index = load<u32>(RCX);
  if (msrWriteIntercepted(index)) return vmexit(pc, REASON_WRMSR, 0);
  const value = (<u64>load<u32>(RDX) << 32) | load<u32>(RAX);
  if (x2apicWriteVirtualized(index)) {
    store<u64>(RIP, nextRip(pc)); // an exit that follows is trap-like; a fault puts RIP back
    return x2apicWrite(index, value);
  }
  if (index == 0x10) {
    // the time-stamp counter moves, and IA32_TSC_ADJUST with it (SDM 3B 18.17.3)
    moveTsc(value - hostTsc(pc));
    return OK;
  }
  const at = storageOf(index);
  if (at == 0) return vmexit(pc, REASON_WRMSR, 0);
  if (!acceptable(index, value)) return raiseError(GP, 0);
  if (index == 0xc0000080) return writeEfer(value);
  if (index == 0x3b) {
    moveTsc(value - load<u64>(MSR_TSC_ADJUST));
    return OK;
  }
  store<u64>(at, index == 0x1a0 ? value | MISC_ENABLE_FIXED : value);
  if (index == 0x6e1) flushTlb();
  return OK;
}

function moveTsc(delta: u64): void {
  store<u64>(TSC_BASE, load<u64>(TSC_BASE) + delta);
  store<u64>(MSR_TSC_ADJUST, load<u64>(MSR_TSC_ADJUST) + delta);
}

/** Would WRMSR of this value be accepted (reserved bits, canonical addresses, memory types)? */
export function acceptable(index: u32, value: u64): bool {
  const physical = (<u64>1 << load<u32>(MAXPHYADDR)) - 1;
  if (index >= 0x200 && index <= 0x20f) {
    if ((value & ~physical) != 0) return false;
    return (index & 1) != 0 ? (value & 0x7ff) == 0 : (value & 0xf00) == 0 && memoryType(<u32>value & 0xff);
  }
  switch (index) {
    case 0x48: return (value & ~(1 | (hasFeature(F_STIBP) ? 2 : <u64>0) | (hasFeature(F_SSBD) ? 4 : <u64>0) | (hasFeature(F_BHI_CTRL) ? 0x400 : <u64>0))) == 0;
    case 0x174: return true;
    case 0x1a0: return (value & ~0x400c51889) == 0;
    case 0x1d9: return (value & ~DEBUGCTL_ALLOWED) == 0;
    case 0x277: return patValid(value);
    case 0x2ff: return (value & ~0xcff) == 0 && memoryType(<u32>value & 0xff);
    case 0xda0: return value == 0;
    case 0xc0000080: return eferAcceptable(value);
    case 0x6e1: case 0xc0000084: case 0xc0000103: return value >> 32 == 0;
    case 0x175: case 0x176: case 0xc0000082: case 0xc0000083: case 0xc0000100: case 0xc0000101: case 0xc0000102: return canonicalBase(value);
  }
  if (index == 0x250 || index == 0x258 || index == 0x259 || (index >= 0x268 && index <= 0x26f)) return memoryTypes(value);
  return true;
}

/** Memory types of MTRRs: UC 0, WC 1, WT 4, WP 5, WB 6. */
function memoryType(type: u32): bool { return type <= 1 || (type >= 4 && type <= 6); }
function memoryTypes(value: u64): bool {
  for (let i = 0; i < 8; i++) {
    if (!memoryType(<u32>value & 0xff)) return false;
    value >>= 8;
  }
  return true;
}

function eferAcceptable(value: u64): bool {
  let defined: u64 = EFER_LMA;
  if (hasFeature(F_SYSCALL)) defined |= EFER_SCE;
  if (hasFeature(F_LM)) defined |= EFER_LME;
  if (hasFeature(F_NX) && (load<u64>(MSR_MISC_ENABLE) & MISC_ENABLE_XD_DISABLE) == 0) defined |= EFER_NXE;
  if ((value & ~defined) != 0) return false;
  return (load<u64>(CR0) & CR0_PG) == 0 || ((value ^ load<u64>(EFER)) & EFER_LME) == 0;
}

/** LMA follows CR0.PG and LME; WRMSR cannot change it. */
function writeEfer(value: u64): i32 {
  const old = load<u64>(EFER);
  const efer = (value & ~EFER_LMA) | (old & EFER_LMA);
  store<u64>(EFER, efer);
  if (((efer ^ old) & EFER_NXE) != 0) flushTlb();
  modeChanged();
  return END;
}
