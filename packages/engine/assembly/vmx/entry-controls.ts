/**
 * VM-entry checks on the VM-execution, VM-exit and VM-entry control fields (SDM 3C 27.2.1).
 *
 * Each function returns 0, or the number of the rule that failed: src/entry-rules.ts has its sentence and section.
 */
import { CR0 } from "../../src/layout";
import {
  V_APIC_ACCESS, V_CR3_TARGET_COUNT, V_ENTRY_CONTROLS, V_ENTRY_ERROR_CODE, V_ENTRY_INSTRUCTION_LENGTH, V_ENTRY_MSR_LOAD,
  V_ENTRY_MSR_LOAD_COUNT, V_EPTP, V_EPTP_LIST, V_EXIT_CONTROLS, V_EXIT_MSR_LOAD, V_EXIT_MSR_LOAD_COUNT, V_EXIT_MSR_STORE,
  V_EXIT_MSR_STORE_COUNT, V_IO_BITMAP_A, V_IO_BITMAP_B, V_MSR_BITMAP, V_PIN_CONTROLS, V_PML_ADDRESS, V_POSTED_INTERRUPT_DESCRIPTOR,
  V_POSTED_INTERRUPT_VECTOR, V_PRIMARY_CONTROLS, V_SECONDARY_CONTROLS, V_SPPTP, V_TPR_THRESHOLD, V_TSC_MULTIPLIER, V_VE_INFORMATION, V_VIRTUAL_APIC,
  V_VMREAD_BITMAP, V_VMWRITE_BITMAP, V_VM_FUNCTION_CONTROLS, V_VPID, ENTRY_ALLOWED, ENTRY_REQUIRED, EXIT_ALLOWED, EXIT_REQUIRED,
  PIN_ALLOWED, PIN_REQUIRED, PRIMARY_ALLOWED, PRIMARY_REQUIRED, SECONDARY_ALLOWED, VM_FUNCTIONS_ALLOWED,
} from "../../src/vmcs-layout";
import {
  ENTRY_DEACTIVATE_DUAL_MONITOR, ENTRY_TO_SMM, EXIT_ACKNOWLEDGE_INTERRUPT, EXIT_SAVE_PREEMPTION_TIMER, PIN_EXTERNAL_INTERRUPT_EXITING,
  PIN_NMI_EXITING, PIN_POSTED_INTERRUPTS, PIN_PREEMPTION_TIMER, PIN_VIRTUAL_NMIS, PRIMARY_ACTIVATE_SECONDARY, PRIMARY_IO_BITMAPS,
  PRIMARY_MSR_BITMAPS, PRIMARY_NMI_WINDOW_EXITING, PRIMARY_TPR_SHADOW, PRIMARY_TSC_OFFSETTING, SECONDARY_APIC_ACCESSES,
  SECONDARY_APIC_REGISTER_VIRTUALIZATION, SECONDARY_EPT, SECONDARY_EPT_VIOLATION_VE, SECONDARY_MODE_BASED_EXECUTE, SECONDARY_PML,
  SECONDARY_SUB_PAGE_WRITE, SECONDARY_TSC_SCALING, SECONDARY_UNRESTRICTED_GUEST, SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, SECONDARY_VMCS_SHADOWING,
  SECONDARY_VM_FUNCTIONS, SECONDARY_VPID, SECONDARY_X2APIC_MODE,
} from "./controls";
import { TYPE_HARDWARE_EXCEPTION, TYPE_NMI, TYPE_OTHER, TYPE_SOFTWARE_EXCEPTION, TYPE_SOFTWARE_INTERRUPT } from "./exits";

/** An address the processor may use as `bytes` bytes of host memory: aligned, and with memory behind it. */
export function badHostAddress(address: u64, alignment: u64, bytes: u64): bool {
  return (address & (alignment - 1)) != 0 || address + bytes > <u64>memory.size() << 16 || address + bytes < address;
}
// @ts-ignore: decorator
@inline function badPage(field: usize): bool { return badHostAddress(load<u64>(field), 4096, 4096); }

/** EPT pointer (27.2.1.1): memory type UC or WB, 4 levels, reserved bits, table within memory. */
export function eptPointerValid(eptp: u64): bool {
  const type = eptp & 7;
  if (type != 0 && type != 6) return false;
  if (((eptp >> 3) & 7) != 3) return false;
  if ((eptp & 0xf80) != 0) return false;
  return !badHostAddress(eptp & ~0xfff, 4096, 4096);
}

/** VM-execution controls (27.2.1.1). */
export function checkExecutionControls(): u32 {
  const pin = load<u32>(V_PIN_CONTROLS), primary = load<u32>(V_PRIMARY_CONTROLS);
  if ((pin & PIN_REQUIRED) != PIN_REQUIRED || (pin & ~PIN_ALLOWED) != 0) return 1;
  if ((primary & PRIMARY_REQUIRED) != PRIMARY_REQUIRED || (primary & ~PRIMARY_ALLOWED) != 0) return 2;
  const secondary: u32 = primary & PRIMARY_ACTIVATE_SECONDARY ? load<u32>(V_SECONDARY_CONTROLS) : 0;
  if ((secondary & ~SECONDARY_ALLOWED) != 0) return 3;
  if (load<u32>(V_CR3_TARGET_COUNT) > 4) return 4;
  if ((primary & PRIMARY_IO_BITMAPS) && (badPage(V_IO_BITMAP_A) || badPage(V_IO_BITMAP_B))) return 5;
  if ((primary & PRIMARY_MSR_BITMAPS) && badPage(V_MSR_BITMAP)) return 6;
  const delivery = secondary & SECONDARY_VIRTUAL_INTERRUPT_DELIVERY;
  if (primary & PRIMARY_TPR_SHADOW) {
    if (badPage(V_VIRTUAL_APIC)) return 7;
    if (delivery == 0) {
      const threshold = load<u32>(V_TPR_THRESHOLD);
      if ((threshold & ~0xf) != 0) return 8;
      if (!(secondary & SECONDARY_APIC_ACCESSES)) {
        const vtpr = <u32>load<u8>(<usize>load<u64>(V_VIRTUAL_APIC) + 0x80);
        if (threshold > vtpr >>> 4) return 9;
      }
    }
  } else if (secondary & (SECONDARY_X2APIC_MODE | SECONDARY_APIC_REGISTER_VIRTUALIZATION | SECONDARY_VIRTUAL_INTERRUPT_DELIVERY)) {
    return 10;
  }
  if (!(pin & PIN_NMI_EXITING) && (pin & PIN_VIRTUAL_NMIS)) return 11;
  if (!(pin & PIN_VIRTUAL_NMIS) && (primary & PRIMARY_NMI_WINDOW_EXITING)) return 12;
  if (secondary & SECONDARY_APIC_ACCESSES) {
    if (badPage(V_APIC_ACCESS)) return 13;
    if (secondary & SECONDARY_X2APIC_MODE) return 14;
  }
  if (delivery != 0 && !(pin & PIN_EXTERNAL_INTERRUPT_EXITING)) return 15;
  if (pin & PIN_POSTED_INTERRUPTS) {
    if (delivery == 0) return 16;
    if (!(load<u32>(V_EXIT_CONTROLS) & EXIT_ACKNOWLEDGE_INTERRUPT)) return 17;
    if (load<u16>(V_POSTED_INTERRUPT_VECTOR) > 255) return 18;
    if (badHostAddress(load<u64>(V_POSTED_INTERRUPT_DESCRIPTOR), 64, 64)) return 19;
  }
  if ((secondary & SECONDARY_VPID) && load<u16>(V_VPID) == 0) return 20;
  const ept = secondary & SECONDARY_EPT;
  if (ept != 0 && !eptPointerValid(load<u64>(V_EPTP))) return 21;
  if (secondary & SECONDARY_PML) {
    if (ept == 0) return 22;
    if (badPage(V_PML_ADDRESS)) return 23;
  }
  if ((secondary & SECONDARY_UNRESTRICTED_GUEST) && ept == 0) return 24;
  if ((secondary & SECONDARY_MODE_BASED_EXECUTE) && ept == 0) return 25;
  if (secondary & SECONDARY_VM_FUNCTIONS) {
    const functions = load<u64>(V_VM_FUNCTION_CONTROLS);
    if ((functions & ~(<u64>VM_FUNCTIONS_ALLOWED)) != 0) return 26;
    if (functions & 1) {
      if (ept == 0) return 27;
      if (badPage(V_EPTP_LIST)) return 28;
    }
  }
  if ((secondary & SECONDARY_VMCS_SHADOWING) && (badPage(V_VMREAD_BITMAP) || badPage(V_VMWRITE_BITMAP))) return 29;
  if (secondary & SECONDARY_EPT_VIOLATION_VE) {
    if (ept == 0) return 30;
    if (badPage(V_VE_INFORMATION)) return 31;
  }
  if ((secondary & SECONDARY_TSC_SCALING) && (primary & PRIMARY_TSC_OFFSETTING) && load<u64>(V_TSC_MULTIPLIER) == 0) return 32;
  if (secondary & SECONDARY_SUB_PAGE_WRITE) {
    if (ept == 0) return 33;
    if (badPage(V_SPPTP)) return 34;
  }
  return 0;
}

/** The three MSR areas: 16-byte aligned, inside memory (27.2.1.2, 27.2.1.3). */
function badMsrArea(address: usize, count: usize): bool {
  const entries = <u64>load<u32>(count);
  return entries != 0 && badHostAddress(load<u64>(address), 16, entries * 16);
}

/** VM-exit controls (27.2.1.2). */
export function checkExitControls(): u32 {
  const exit = load<u32>(V_EXIT_CONTROLS);
  if ((exit & EXIT_REQUIRED) != EXIT_REQUIRED || (exit & ~EXIT_ALLOWED) != 0) return 40;
  if (!(load<u32>(V_PIN_CONTROLS) & PIN_PREEMPTION_TIMER) && (exit & EXIT_SAVE_PREEMPTION_TIMER)) return 41;
  if (badMsrArea(V_EXIT_MSR_STORE, V_EXIT_MSR_STORE_COUNT)) return 42;
  if (badMsrArea(V_EXIT_MSR_LOAD, V_EXIT_MSR_LOAD_COUNT)) return 43;
  return 0;
}

/** VM-entry controls but for the event to inject (27.2.1.3). */
export function checkEntryControls(): u32 {
  const entry = load<u32>(V_ENTRY_CONTROLS);
  if ((entry & ENTRY_REQUIRED) != ENTRY_REQUIRED || (entry & ~ENTRY_ALLOWED) != 0) return 50;
  if (badMsrArea(V_ENTRY_MSR_LOAD, V_ENTRY_MSR_LOAD_COUNT)) return 51;
  if (entry & (ENTRY_TO_SMM | ENTRY_DEACTIVATE_DUAL_MONITOR)) return 52;
  return 0;
}

/** The event to inject (27.2.1.3); called when its valid bit is set. `unrestricted` is the control of that name. */
export function checkInjection(info: u32, unrestricted: bool): u32 {
  const type = (info >>> 8) & 7, vector = info & 0xff, hasError = (info >>> 11) & 1;
  if (type == 1) return 60;
  if (type == TYPE_NMI && vector != 2) return 61;
  if (type == TYPE_HARDWARE_EXCEPTION && vector > 31) return 62;
  if (type == TYPE_OTHER && vector != 0) return 63;
  // Which exceptions have an error code; in real mode (possible with "unrestricted guest" only) none has
  const protectedMode = !unrestricted || (load<u64>(CR0) & 1) != 0;
  const wantsError = u32(type == TYPE_HARDWARE_EXCEPTION && protectedMode && ((0x27d00 >>> vector) & 1) != 0);
  if (hasError != wantsError) return 64;
  if ((info & 0x7ffff000) != 0) return 65;
  if (hasError && (load<u32>(V_ENTRY_ERROR_CODE) & 0xffff0000) != 0) return 66;
  if (type >= TYPE_SOFTWARE_INTERRUPT && type <= TYPE_SOFTWARE_EXCEPTION && load<u32>(V_ENTRY_INSTRUCTION_LENGTH) > 15) return 67;
  return 0;
}
