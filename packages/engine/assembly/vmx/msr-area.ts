/**
 * MSRs of the guest by their index, and the areas of MSRs that VM entries load and VM exits store (SDM 3C 25.7.2, 25.8.2,
 * 27.4, 28.4). An area is an array of 16-byte entries: index, reserved, value.
 */
import { MSR_BNDCFGS, MSR_PERF_GLOBAL_CTRL, RETIRED, TSC_BASE, TSC_SHIFT } from "../../src/layout";
import {
  V_ENTRY_MSR_LOAD, V_ENTRY_MSR_LOAD_COUNT, V_EXIT_MSR_STORE, V_EXIT_MSR_STORE_COUNT, V_TSC_OFFSET,
} from "../../src/vmcs-layout";
import { acceptable, storageOf } from "../system/msr";
import { guestTsc } from "./intercepts";

const IA32_TSC: u32 = 0x10;
const IA32_PERF_GLOBAL_CTRL: u32 = 0x38f;
const IA32_BNDCFGS: u32 = 0xd90;

/**
 * Address of the 8 bytes that hold MSR `index`; 0 when the processor does not keep it. The VMCS has fields for two that RDMSR does not
 * reach.
 */
export function msrAddress(index: u32): usize {
  if (index == IA32_PERF_GLOBAL_CTRL) return MSR_PERF_GLOBAL_CTRL;
  if (index == IA32_BNDCFGS) return MSR_BNDCFGS;
  return storageOf(index);
}

/** Would WRMSR accept this value? */
export function msrAcceptable(index: u32, value: u64): bool { return acceptable(index, value); }

/** Loads the VM-entry MSR area. 0, or the number (from 1) of the entry that cannot be loaded (27.4). */
export function loadEntryMsrs(): u32 {
  const count = load<u32>(V_ENTRY_MSR_LOAD_COUNT);
  let entry = <usize>load<u64>(V_ENTRY_MSR_LOAD);
  for (let i: u32 = 1; i <= count; i++) {
    const index = load<u32>(entry), value = load<u64>(entry, 8);
    // FS.base and GS.base have fields of their own; x2APIC registers and IA32_SMM_MONITOR_CTL are not allowed
    if (index == 0xc0000100 || index == 0xc0000101 || (index >>> 8) == 8 || index == 0x9b) return i;
    if (load<u32>(entry, 4) != 0 || !acceptable(index, value)) return i;
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
  return load<u64>(TSC_BASE) + (load<u64>(RETIRED) >> load<u32>(TSC_SHIFT));
}
