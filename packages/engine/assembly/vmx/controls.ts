/**
 * The VM-execution, VM-exit and VM-entry controls as bits, and tests of those in force (SDM 3C 25.6 to 25.8).
 *
 * A test is one load and one AND. The secondary controls are read from a copy that VM entry clears when "activate secondary
 * controls" is 0, so that their tests are one load too.
 */
import { ENGINE_OPTIONS, SECONDARY_IN_FORCE } from "../../src/layout";
import { V_ENTRY_CONTROLS, V_EXIT_CONTROLS, V_PIN_CONTROLS, V_PRIMARY_CONTROLS } from "../../src/vmcs-layout";

// Pin-based
export const PIN_EXTERNAL_INTERRUPT_EXITING: u32 = 1 << 0;
export const PIN_NMI_EXITING: u32 = 1 << 3;
export const PIN_VIRTUAL_NMIS: u32 = 1 << 5;
export const PIN_PREEMPTION_TIMER: u32 = 1 << 6;
export const PIN_POSTED_INTERRUPTS: u32 = 1 << 7;

// Primary processor-based
export const PRIMARY_INTERRUPT_WINDOW_EXITING: u32 = 1 << 2;
export const PRIMARY_TSC_OFFSETTING: u32 = 1 << 3;
export const PRIMARY_HLT_EXITING: u32 = 1 << 7;
export const PRIMARY_INVLPG_EXITING: u32 = 1 << 9;
export const PRIMARY_MWAIT_EXITING: u32 = 1 << 10;
export const PRIMARY_RDPMC_EXITING: u32 = 1 << 11;
export const PRIMARY_RDTSC_EXITING: u32 = 1 << 12;
export const PRIMARY_CR3_LOAD_EXITING: u32 = 1 << 15;
export const PRIMARY_CR3_STORE_EXITING: u32 = 1 << 16;
export const PRIMARY_CR8_LOAD_EXITING: u32 = 1 << 19;
export const PRIMARY_CR8_STORE_EXITING: u32 = 1 << 20;
export const PRIMARY_TPR_SHADOW: u32 = 1 << 21;
export const PRIMARY_NMI_WINDOW_EXITING: u32 = 1 << 22;
export const PRIMARY_MOV_DR_EXITING: u32 = 1 << 23;
export const PRIMARY_UNCONDITIONAL_IO_EXITING: u32 = 1 << 24;
export const PRIMARY_IO_BITMAPS: u32 = 1 << 25;
export const PRIMARY_MONITOR_TRAP_FLAG: u32 = 1 << 27;
export const PRIMARY_MSR_BITMAPS: u32 = 1 << 28;
export const PRIMARY_MONITOR_EXITING: u32 = 1 << 29;
export const PRIMARY_PAUSE_EXITING: u32 = 1 << 30;
export const PRIMARY_ACTIVATE_SECONDARY: u32 = 1 << 31;

// Secondary processor-based
export const SECONDARY_APIC_ACCESSES: u32 = 1 << 0;
export const SECONDARY_EPT: u32 = 1 << 1;
export const SECONDARY_DESCRIPTOR_TABLE_EXITING: u32 = 1 << 2;
export const SECONDARY_RDTSCP: u32 = 1 << 3;
export const SECONDARY_X2APIC_MODE: u32 = 1 << 4;
export const SECONDARY_VPID: u32 = 1 << 5;
export const SECONDARY_WBINVD_EXITING: u32 = 1 << 6;
export const SECONDARY_UNRESTRICTED_GUEST: u32 = 1 << 7;
export const SECONDARY_APIC_REGISTER_VIRTUALIZATION: u32 = 1 << 8;
export const SECONDARY_VIRTUAL_INTERRUPT_DELIVERY: u32 = 1 << 9;
export const SECONDARY_PAUSE_LOOP_EXITING: u32 = 1 << 10;
export const SECONDARY_RDRAND_EXITING: u32 = 1 << 11;
export const SECONDARY_INVPCID: u32 = 1 << 12;
export const SECONDARY_VM_FUNCTIONS: u32 = 1 << 13;
export const SECONDARY_VMCS_SHADOWING: u32 = 1 << 14;
export const SECONDARY_RDSEED_EXITING: u32 = 1 << 16;
export const SECONDARY_PML: u32 = 1 << 17;
export const SECONDARY_EPT_VIOLATION_VE: u32 = 1 << 18;
export const SECONDARY_XSAVES: u32 = 1 << 20;
export const SECONDARY_MODE_BASED_EXECUTE: u32 = 1 << 22;
export const SECONDARY_SUB_PAGE_WRITE: u32 = 1 << 23;
export const SECONDARY_TSC_SCALING: u32 = 1 << 25;
export const SECONDARY_USER_WAIT: u32 = 1 << 26;
export const SECONDARY_BUS_LOCK_DETECTION: u32 = 1 << 30;
export const SECONDARY_INSTRUCTION_TIMEOUT: u32 = 1 << 31;

// VM-exit
export const EXIT_SAVE_DEBUG_CONTROLS: u32 = 1 << 2;
export const EXIT_HOST_64_BIT: u32 = 1 << 9;
export const EXIT_LOAD_PERF_GLOBAL_CTRL: u32 = 1 << 12;
export const EXIT_ACKNOWLEDGE_INTERRUPT: u32 = 1 << 15;
export const EXIT_SAVE_PAT: u32 = 1 << 18;
export const EXIT_LOAD_PAT: u32 = 1 << 19;
export const EXIT_SAVE_EFER: u32 = 1 << 20;
export const EXIT_LOAD_EFER: u32 = 1 << 21;
export const EXIT_SAVE_PREEMPTION_TIMER: u32 = 1 << 22;
export const EXIT_CLEAR_BNDCFGS: u32 = 1 << 23;
export const EXIT_LOAD_PKRS: u32 = 1 << 29;
export const EXIT_SAVE_PERF_GLOBAL_CTRL: u32 = 1 << 30;

// VM-entry
export const ENTRY_LOAD_DEBUG_CONTROLS: u32 = 1 << 2;
export const ENTRY_IA32E_GUEST: u32 = 1 << 9;
export const ENTRY_TO_SMM: u32 = 1 << 10;
export const ENTRY_DEACTIVATE_DUAL_MONITOR: u32 = 1 << 11;
export const ENTRY_LOAD_PERF_GLOBAL_CTRL: u32 = 1 << 13;
export const ENTRY_LOAD_PAT: u32 = 1 << 14;
export const ENTRY_LOAD_EFER: u32 = 1 << 15;
export const ENTRY_LOAD_BNDCFGS: u32 = 1 << 16;
export const ENTRY_LOAD_PKRS: u32 = 1 << 22;

// @ts-ignore: decorator
@inline export function pinControl(bit: u32): bool { return (load<u32>(V_PIN_CONTROLS) & bit) != 0; }
// @ts-ignore: decorator
@inline export function primaryControl(bit: u32): bool { return (load<u32>(V_PRIMARY_CONTROLS) & bit) != 0; }
// @ts-ignore: decorator
@inline export function secondaryControl(bit: u32): bool { return (load<u32>(SECONDARY_IN_FORCE) & bit) != 0; }
// @ts-ignore: decorator
@inline export function exitControl(bit: u32): bool { return (load<u32>(V_EXIT_CONTROLS) & bit) != 0; }
// @ts-ignore: decorator
@inline export function entryControl(bit: u32): bool { return (load<u32>(V_ENTRY_CONTROLS) & bit) != 0; }
/** An OPTION_ bit of vmcs-layout.ts. */
// @ts-ignore: decorator
@inline export function engineOption(bit: u32): bool { return (load<u32>(ENGINE_OPTIONS) & bit) != 0; }
