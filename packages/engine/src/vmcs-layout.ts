/**
 * Where the VMCS keeps its fields.
 *
 * This file is compiled into the processor (AssemblyScript) and into its wrapper. The working copy of the current VMCS is
 * the 4 KiB at `VMCS`; each group of fields (type and width, SDM 3D appendix B) is an array of 8-byte slots indexed by
 * bits 9:1 of the encoding. Guest-state fields that are registers live in the state block instead; their slots are used
 * only in a VMCS region that is not current. The numbers after a field are its encoding.
 */

/** The same number as VMCS of layout.ts: a module compiled by both compilers cannot import (their import endings differ). */
export const VMCS = 0x3000;

// ---------------------------------------------------------------------------------------------- header
/** u32 VMCS revision identifier. */
export const V_REVISION = VMCS;
/** u32 VMX-abort indicator. */
export const V_ABORT = VMCS + 4;
/** u32 launch state: 0 clear, 1 launched. */
export const V_LAUNCH_STATE = VMCS + 8;
/** u32 groups written since the last VM entry: see DIRTY_. */
export const V_DIRTY = VMCS + 12;
/** u32 address of the region the working copy belongs to; 0: it has none; NO_REGION: no VMCS is current, the working copy is not one. */
export const V_REGION = VMCS + 16;
export const NO_REGION = 0xffffffff;
/** u32 groups that the next VM entry has to load, and not to check: they are as they were when they last passed. */
export const V_TO_LOAD = VMCS + 20;
export const VMCS_REVISION = 0x00564b31;
export const VMCS_BYTES = 4096;
/** Bytes of a region that hold anything. */
export const VMCS_USED = 0xa00;

/** Control fields were written. */
export const DIRTY_CONTROLS = 1;
/** Host-state fields were written. */
export const DIRTY_HOST = 2;
/** Guest-state fields were written. */
export const DIRTY_GUEST = 4;
/** The EPT pointer or VPID was written. */
export const DIRTY_TRANSLATION = 8;
/** CR0, CR3, CR4, EFER or a PDPTE was written: translations are stale. */
export const DIRTY_PAGING = 16;
export const DIRTY_ALL = 31;

// ---------------------------------------------------------------------------------------------- groups
export const GROUP_CONTROL_16 = VMCS + 0x100;
export const GROUP_GUEST_16 = VMCS + 0x180;
export const GROUP_HOST_16 = VMCS + 0x200;
export const GROUP_CONTROL_64 = VMCS + 0x240;
export const GROUP_READONLY_64 = VMCS + 0x3c0;
export const GROUP_GUEST_64 = VMCS + 0x400;
export const GROUP_HOST_64 = VMCS + 0x500;
export const GROUP_CONTROL_32 = VMCS + 0x580;
export const GROUP_READONLY_32 = VMCS + 0x640;
export const GROUP_GUEST_32 = VMCS + 0x680;
export const GROUP_HOST_32 = VMCS + 0x740;
export const GROUP_CONTROL_N = VMCS + 0x780;
export const GROUP_READONLY_N = VMCS + 0x800;
export const GROUP_GUEST_N = VMCS + 0x840;
export const GROUP_HOST_N = VMCS + 0x940;

/** Fields by type, as sameFields and copyFields take them: controls, host state, and the guest state that every entry loads and every exit saves, whatever the controls say. */
export const FIELDS_CONTROL = 1;
export const FIELDS_HOST = 2;
export const FIELDS_GUEST = 4;

/** What loadHostState has changed in the VMCS that it writes to: CR0, CR3, CR4 or EFER; VM-entry controls. */
export const HOST_PAGING_CHANGED = 1;
export const HOST_CONTROLS_CHANGED = 2;

// ---------------------------------------------------------------------------------------------- 16-bit
export const V_VPID = GROUP_CONTROL_16; // 0000
export const V_POSTED_INTERRUPT_VECTOR = GROUP_CONTROL_16 + 0x08; // 0002
export const V_EPTP_INDEX = GROUP_CONTROL_16 + 0x10; // 0004
export const V_GUEST_INTERRUPT_STATUS = GROUP_GUEST_16 + 0x40; // 0810: RVI 7:0, SVI 15:8
export const V_PML_INDEX = GROUP_GUEST_16 + 0x48; // 0812
export const V_HOST_ES = GROUP_HOST_16; // 0C00
export const V_HOST_CS = GROUP_HOST_16 + 0x08;
export const V_HOST_SS = GROUP_HOST_16 + 0x10;
export const V_HOST_DS = GROUP_HOST_16 + 0x18;
export const V_HOST_FS = GROUP_HOST_16 + 0x20;
export const V_HOST_GS = GROUP_HOST_16 + 0x28;
export const V_HOST_TR = GROUP_HOST_16 + 0x30; // 0C0C

// ---------------------------------------------------------------------------------------------- 64-bit
export const V_IO_BITMAP_A = GROUP_CONTROL_64; // 2000
export const V_IO_BITMAP_B = GROUP_CONTROL_64 + 0x08; // 2002
export const V_MSR_BITMAP = GROUP_CONTROL_64 + 0x10; // 2004
export const V_EXIT_MSR_STORE = GROUP_CONTROL_64 + 0x18; // 2006
export const V_EXIT_MSR_LOAD = GROUP_CONTROL_64 + 0x20; // 2008
export const V_ENTRY_MSR_LOAD = GROUP_CONTROL_64 + 0x28; // 200A
export const V_PML_ADDRESS = GROUP_CONTROL_64 + 0x38; // 200E
export const V_TSC_OFFSET = GROUP_CONTROL_64 + 0x40; // 2010
export const V_VIRTUAL_APIC = GROUP_CONTROL_64 + 0x48; // 2012
export const V_APIC_ACCESS = GROUP_CONTROL_64 + 0x50; // 2014
export const V_POSTED_INTERRUPT_DESCRIPTOR = GROUP_CONTROL_64 + 0x58; // 2016
export const V_VM_FUNCTION_CONTROLS = GROUP_CONTROL_64 + 0x60; // 2018
export const V_EPTP = GROUP_CONTROL_64 + 0x68; // 201A
export const V_EOI_EXIT_BITMAP = GROUP_CONTROL_64 + 0x70; // 201C, 201E, 2020, 2022
export const V_EPTP_LIST = GROUP_CONTROL_64 + 0x90; // 2024
export const V_VMREAD_BITMAP = GROUP_CONTROL_64 + 0x98; // 2026
export const V_VMWRITE_BITMAP = GROUP_CONTROL_64 + 0xa0; // 2028
export const V_VE_INFORMATION = GROUP_CONTROL_64 + 0xa8; // 202A
export const V_XSS_EXITING = GROUP_CONTROL_64 + 0xb0; // 202C
export const V_SPPTP = GROUP_CONTROL_64 + 0xc0; // 2030
export const V_TSC_MULTIPLIER = GROUP_CONTROL_64 + 0xc8; // 2032
export const V_GUEST_PHYSICAL = GROUP_READONLY_64; // 2400
export const V_LINK_POINTER = GROUP_GUEST_64; // 2800
export const V_HOST_PAT = GROUP_HOST_64; // 2C00
export const V_HOST_EFER = GROUP_HOST_64 + 0x08; // 2C02
export const V_HOST_PERF_GLOBAL_CTRL = GROUP_HOST_64 + 0x10; // 2C04
export const V_HOST_PKRS = GROUP_HOST_64 + 0x18; // 2C06

// ---------------------------------------------------------------------------------------------- 32-bit
export const V_PIN_CONTROLS = GROUP_CONTROL_32; // 4000
export const V_PRIMARY_CONTROLS = GROUP_CONTROL_32 + 0x08; // 4002
export const V_EXCEPTION_BITMAP = GROUP_CONTROL_32 + 0x10; // 4004
export const V_PFEC_MASK = GROUP_CONTROL_32 + 0x18; // 4006
export const V_PFEC_MATCH = GROUP_CONTROL_32 + 0x20; // 4008
export const V_CR3_TARGET_COUNT = GROUP_CONTROL_32 + 0x28; // 400A
export const V_EXIT_CONTROLS = GROUP_CONTROL_32 + 0x30; // 400C
export const V_EXIT_MSR_STORE_COUNT = GROUP_CONTROL_32 + 0x38; // 400E
export const V_EXIT_MSR_LOAD_COUNT = GROUP_CONTROL_32 + 0x40; // 4010
export const V_ENTRY_CONTROLS = GROUP_CONTROL_32 + 0x48; // 4012
export const V_ENTRY_MSR_LOAD_COUNT = GROUP_CONTROL_32 + 0x50; // 4014
export const V_ENTRY_INTERRUPTION_INFO = GROUP_CONTROL_32 + 0x58; // 4016
export const V_ENTRY_ERROR_CODE = GROUP_CONTROL_32 + 0x60; // 4018
export const V_ENTRY_INSTRUCTION_LENGTH = GROUP_CONTROL_32 + 0x68; // 401A
export const V_TPR_THRESHOLD = GROUP_CONTROL_32 + 0x70; // 401C
export const V_SECONDARY_CONTROLS = GROUP_CONTROL_32 + 0x78; // 401E
export const V_PLE_GAP = GROUP_CONTROL_32 + 0x80; // 4020
export const V_PLE_WINDOW = GROUP_CONTROL_32 + 0x88; // 4022
export const V_INSTRUCTION_TIMEOUT = GROUP_CONTROL_32 + 0x90; // 4024
export const V_INSTRUCTION_ERROR = GROUP_READONLY_32; // 4400
export const V_EXIT_REASON = GROUP_READONLY_32 + 0x08; // 4402
export const V_EXIT_INTERRUPTION_INFO = GROUP_READONLY_32 + 0x10; // 4404
export const V_EXIT_ERROR_CODE = GROUP_READONLY_32 + 0x18; // 4406
export const V_IDT_VECTORING_INFO = GROUP_READONLY_32 + 0x20; // 4408
export const V_IDT_VECTORING_ERROR_CODE = GROUP_READONLY_32 + 0x28; // 440A
export const V_INSTRUCTION_LENGTH = GROUP_READONLY_32 + 0x30; // 440C
export const V_INSTRUCTION_INFO = GROUP_READONLY_32 + 0x38; // 440E
export const V_SMBASE = GROUP_GUEST_32 + 0xa0; // 4828
export const V_PREEMPTION_TIMER = GROUP_GUEST_32 + 0xb8; // 482E
export const V_HOST_SYSENTER_CS = GROUP_HOST_32; // 4C00

// ---------------------------------------------------------------------------------------------- natural width
export const V_CR0_MASK = GROUP_CONTROL_N; // 6000
export const V_CR4_MASK = GROUP_CONTROL_N + 0x08; // 6002
export const V_CR0_SHADOW = GROUP_CONTROL_N + 0x10; // 6004
export const V_CR4_SHADOW = GROUP_CONTROL_N + 0x18; // 6006
export const V_CR3_TARGETS = GROUP_CONTROL_N + 0x20; // 6008, 600A, 600C, 600E
export const V_EXIT_QUALIFICATION = GROUP_READONLY_N; // 6400
export const V_IO_RCX = GROUP_READONLY_N + 0x08; // 6402
export const V_IO_RSI = GROUP_READONLY_N + 0x10; // 6404
export const V_IO_RDI = GROUP_READONLY_N + 0x18; // 6406
export const V_IO_RIP = GROUP_READONLY_N + 0x20; // 6408
export const V_GUEST_LINEAR = GROUP_READONLY_N + 0x28; // 640A
export const V_HOST_CR0 = GROUP_HOST_N; // 6C00
export const V_HOST_CR3 = GROUP_HOST_N + 0x08; // 6C02
export const V_HOST_CR4 = GROUP_HOST_N + 0x10; // 6C04
export const V_HOST_FS_BASE = GROUP_HOST_N + 0x18; // 6C06
export const V_HOST_GS_BASE = GROUP_HOST_N + 0x20; // 6C08
export const V_HOST_TR_BASE = GROUP_HOST_N + 0x28; // 6C0A
export const V_HOST_GDTR_BASE = GROUP_HOST_N + 0x30; // 6C0C
export const V_HOST_IDTR_BASE = GROUP_HOST_N + 0x38; // 6C0E
export const V_HOST_SYSENTER_ESP = GROUP_HOST_N + 0x40; // 6C10
export const V_HOST_SYSENTER_EIP = GROUP_HOST_N + 0x48; // 6C12
export const V_HOST_RSP = GROUP_HOST_N + 0x50; // 6C14
export const V_HOST_RIP = GROUP_HOST_N + 0x58; // 6C16

// ---------------------------------------------------------------------------------------------- what enter() comes to
/** ENTER_RESULT: the deadline was reached; no VM exit took place. */
export const ENTER_DEADLINE = 0x10000;
/** ENTER_RESULT: VMfailValid; the number is in the VM-instruction error field. */
export const ENTER_VMFAIL = 0x20000;

// ---------------------------------------------------------------------------------------------- engine options
/** Task switches are done by the processor. Real VMX always exits with reason 9; that is what happens without this bit. */
export const OPTION_TASK_SWITCH = 1;
/** CPUID is answered by the processor from the framework's table. Real VMX always exits with reason 10. */
export const OPTION_CPUID = 2;

// ---------------------------------------------------------------------------------------------- capabilities
/**
 * Which controls this processor has: the two halves of the VMX capability MSRs (SDM 3D appendix A.3 to A.5). REQUIRED are the
 * bits that must be 1 (the reserved ones of the "true" MSRs), ALLOWED those that may be.
 */
export const PIN_REQUIRED = 0x16;
export const PIN_ALLOWED = 0x7f;
export const PRIMARY_REQUIRED = 0x04006172;
export const PRIMARY_ALLOWED = 0xfff9fffe;
export const SECONDARY_ALLOWED = 0xc6d77fff;
export const EXIT_REQUIRED = 0x36dfb;
export const EXIT_ALLOWED = 0x407fffff;
export const ENTRY_REQUIRED = 0x11fb;
export const ENTRY_ALLOWED = 0xf3ff;
/** EPTP switching. */
export const VM_FUNCTIONS_ALLOWED = 1;
