/**
 * MSRs of the guest by their index, and the areas of MSRs that VM entries load and VM exits store (SDM 3C 25.7.2, 25.8.2,
 * 27.4, 28.4). An area is an array of 16-byte entries: index, reserved, value.
 */
import {
  EFER, MSR_BNDCFGS, MSR_CSTAR, MSR_DEBUGCTL, MSR_FMASK, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_MISC_ENABLE, MSR_MISC_FEATURES,
  MSR_MTRR_DEF_TYPE, MSR_MTRR_FIXED, MSR_MTRR_VARIABLE, MSR_PAT, MSR_PERF_GLOBAL_CTRL, MSR_PKRS, MSR_SPEC_CTRL, MSR_STAR,
  MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC_ADJUST, MSR_TSC_AUX, MSR_XSS, RETIRED, SEG_BASE, SEG_FS, SEG_GS, TSC_BASE,
  TSC_STEP,
} from "../../src/layout";
import {
  V_ENTRY_MSR_LOAD, V_ENTRY_MSR_LOAD_COUNT, V_EXIT_MSR_STORE, V_EXIT_MSR_STORE_COUNT, V_TSC_OFFSET,
} from "../../src/vmcs-layout";
import { isCanonical } from "../mode";
import { EFER_ALLOWED, patValid } from "./entry-values";
import { guestTsc } from "./intercepts";

const IA32_TSC: u32 = 0x10;
const IA32_PAT: u32 = 0x277;
const IA32_EFER: u32 = 0xc0000080;

/** Address of the 8 bytes that hold MSR `index`; 0 when the processor does not keep it as plain storage. */
export function msrAddress(index: u32): usize {
  switch (index) {
    case 0x3b: return MSR_TSC_ADJUST;
    case 0x48: return MSR_SPEC_CTRL;
    case 0x140: return MSR_MISC_FEATURES;
    case 0x174: return MSR_SYSENTER_CS;
    case 0x175: return MSR_SYSENTER_ESP;
    case 0x176: return MSR_SYSENTER_EIP;
    case 0x1a0: return MSR_MISC_ENABLE;
    case 0x1d9: return MSR_DEBUGCTL;
    case 0x250: return MSR_MTRR_FIXED;
    case 0x258: return MSR_MTRR_FIXED + 8;
    case 0x259: return MSR_MTRR_FIXED + 16;
    case IA32_PAT: return MSR_PAT;
    case 0x2ff: return MSR_MTRR_DEF_TYPE;
    case 0x38f: return MSR_PERF_GLOBAL_CTRL;
    case 0x6e1: return MSR_PKRS;
    case 0xd90: return MSR_BNDCFGS;
    case 0xda0: return MSR_XSS;
    case IA32_EFER: return EFER;
    case 0xc0000081: return MSR_STAR;
    case 0xc0000082: return MSR_LSTAR;
    case 0xc0000083: return MSR_CSTAR;
    case 0xc0000084: return MSR_FMASK;
    case 0xc0000100: return SEG_BASE + SEG_FS * 8;
    case 0xc0000101: return SEG_BASE + SEG_GS * 8;
    case 0xc0000102: return MSR_KERNEL_GS_BASE;
    case 0xc0000103: return MSR_TSC_AUX;
  }
  if (index >= 0x200 && index <= 0x20f) return MSR_MTRR_VARIABLE + (index - 0x200) * 8;
  if (index >= 0x268 && index <= 0x26f) return MSR_MTRR_FIXED + 24 + (index - 0x268) * 8;
  return 0;
}

/** Would WRMSR of this value raise #GP? */
function badValue(index: u32, value: u64): bool {
  switch (index) {
    case IA32_PAT: return !patValid(value);
    case IA32_EFER: return (value & ~EFER_ALLOWED) != 0;
    case 0x175: case 0x176: case 0xc0000082: case 0xc0000083: case 0xc0000102: return !isCanonical(value);
    case 0xc0000084: case 0xc0000103: return (value >> 32) != 0;
    default: return false;
  }
}

/** Loads the VM-entry MSR area. 0, or the number (from 1) of the entry that cannot be loaded (27.4). */
export function loadEntryMsrs(): u32 {
  const count = load<u32>(V_ENTRY_MSR_LOAD_COUNT);
  let entry = <usize>load<u64>(V_ENTRY_MSR_LOAD);
  for (let i: u32 = 1; i <= count; i++) {
    const index = load<u32>(entry), value = load<u64>(entry, 8);
    // FS.base and GS.base have fields of their own; x2APIC registers and IA32_SMM_MONITOR_CTL are not allowed
    if (index == 0xc0000100 || index == 0xc0000101 || (index >>> 8) == 8 || index == 0x9b) return i;
    if (load<u32>(entry, 4) != 0 || badValue(index, value)) return i;
    if (index == IA32_TSC) {
      // Writing the TSC moves it for the guest: host TSC plus offset reads as `value`
      store<u64>(V_TSC_OFFSET, load<u64>(V_TSC_OFFSET) + value - guestTsc(hostTscNow()));
    } else {
      const address = msrAddress(index);
      if (address == 0) return i;
      store<u64>(address, value);
    }
    entry += 16;
  }
  return 0;
}

/** Fills the VM-exit MSR-store area (28.4). False: an entry names no such MSR, which is a VMX abort. */
export function storeExitMsrs(): bool {
  const count = load<u32>(V_EXIT_MSR_STORE_COUNT);
  let entry = <usize>load<u64>(V_EXIT_MSR_STORE);
  for (let i: u32 = 0; i < count; i++) {
    const index = load<u32>(entry);
    if ((index >>> 8) == 8 || load<u32>(entry, 4) != 0) return false;
    // A VM exit stores the TSC as the host reads it: without the offset (SDM 3C 26.3)
    if (index == IA32_TSC) store<u64>(entry, hostTscNow(), 8);
    else {
      const address = msrAddress(index);
      if (address == 0) return false;
      store<u64>(entry, load<u64>(address), 8);
    }
    entry += 16;
  }
  return true;
}

/** The host's TSC while no instruction is in flight: RETIRED is exact then. */
function hostTscNow(): u64 {
  return load<u64>(TSC_BASE) + load<u64>(RETIRED) * <u64>load<u32>(TSC_STEP);
}
