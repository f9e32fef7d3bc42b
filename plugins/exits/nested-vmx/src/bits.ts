/** The controls as bits of 32-bit numbers (SDM 3C 25.6 to 25.8), and what other files of this package need of the architecture as numbers. */

export const Pin = {
  EXTERNAL_INTERRUPT: 1 << 0,
  NMI: 1 << 3,
  VIRTUAL_NMIS: 1 << 5,
  PREEMPTION_TIMER: 1 << 6,
  POSTED_INTERRUPTS: 1 << 7,
} as const;

export const Primary = {
  INTERRUPT_WINDOW: 1 << 2,
  TSC_OFFSETTING: 1 << 3,
  HLT: 1 << 7,
  INVLPG: 1 << 9,
  MWAIT: 1 << 10,
  RDPMC: 1 << 11,
  RDTSC: 1 << 12,
  CR3_LOAD: 1 << 15,
  CR3_STORE: 1 << 16,
  CR8_LOAD: 1 << 19,
  CR8_STORE: 1 << 20,
  TPR_SHADOW: 1 << 21,
  NMI_WINDOW: 1 << 22,
  MOV_DR: 1 << 23,
  UNCONDITIONAL_IO: 1 << 24,
  IO_BITMAPS: 1 << 25,
  MONITOR_TRAP: 1 << 27,
  MSR_BITMAPS: 1 << 28,
  MONITOR: 1 << 29,
  PAUSE: 1 << 30,
  SECONDARY: 1 << 31,
} as const;

export const Secondary = {
  APIC_ACCESSES: 1 << 0,
  EPT: 1 << 1,
  DESCRIPTOR_TABLE: 1 << 2,
  RDTSCP: 1 << 3,
  X2APIC: 1 << 4,
  VPID: 1 << 5,
  WBINVD: 1 << 6,
  UNRESTRICTED_GUEST: 1 << 7,
  APIC_REGISTERS: 1 << 8,
  VIRTUAL_INTERRUPT_DELIVERY: 1 << 9,
  PAUSE_LOOP: 1 << 10,
  RDRAND: 1 << 11,
  INVPCID: 1 << 12,
  VM_FUNCTIONS: 1 << 13,
  VMCS_SHADOWING: 1 << 14,
  RDSEED: 1 << 16,
  PML: 1 << 17,
  VIRTUALIZATION_EXCEPTION: 1 << 18,
  XSAVES: 1 << 20,
  MODE_BASED_EXECUTE: 1 << 22,
  TSC_SCALING: 1 << 25,
} as const;

export const Exit = {
  SAVE_DEBUG: 1 << 2,
  HOST_64: 1 << 9,
  PERF_GLOBAL: 1 << 12,
  ACKNOWLEDGE: 1 << 15,
  SAVE_PAT: 1 << 18,
  LOAD_PAT: 1 << 19,
  SAVE_EFER: 1 << 20,
  LOAD_EFER: 1 << 21,
  SAVE_TIMER: 1 << 22,
  SAVE_PERF_GLOBAL: 1 << 30,
} as const;

export const Entry = {
  LOAD_DEBUG: 1 << 2,
  IA32E: 1 << 9,
  SMM: 3 << 10,
  PERF_GLOBAL: 1 << 13,
  LOAD_PAT: 1 << 14,
  LOAD_EFER: 1 << 15,
} as const;

/** Interruption information (25.8.3, 25.9.2). */
export const INFO_VALID = 0x8000_0000;
export const INFO_ERROR = 0x800;
/** Type and vector of an NMI; pending MTF. */
export const INFO_NMI = 0x8000_0202;
export const INFO_MTF = 0x8000_0700;

export const PAGE = 4096;
export const TWO_32 = 0x1_0000_0000;
export const NO_LINK = 0xffff_ffff_ffff_ffffn;
export const ENTRY_FAILURE = 0x8000_0000;
/** Bit 31 of a revision identifier: a shadow VMCS. */
export const SHADOW = 0x8000_0000;
