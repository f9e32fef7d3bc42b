/** The controls as bits of 32-bit numbers (SDM 3C 25.6 to 25.8), and what other files of this package need of the architecture as numbers. */
import {
  Cr0,
  Cr4,
  Efer,
  ENTRY_CONTROLS,
  EXIT_CONTROLS,
  PIN_CONTROLS,
  PRIMARY_CONTROLS,
  SECONDARY_CONTROLS,
} from '@visorkit/x86';

const bitOf =
  <Name extends string>(table: Readonly<Record<Name, number>>) =>
  (name: Name): number =>
    1 << table[name];
const pin = bitOf(PIN_CONTROLS);
const primary = bitOf(PRIMARY_CONTROLS);
const secondary = bitOf(SECONDARY_CONTROLS);
const exit = bitOf(EXIT_CONTROLS);
const entry = bitOf(ENTRY_CONTROLS);

export const Pin = {
  EXTERNAL_INTERRUPT: pin('external-interrupt-exiting'),
  NMI: pin('nmi-exiting'),
  VIRTUAL_NMIS: pin('virtual-nmis'),
  PREEMPTION_TIMER: pin('activate-preemption-timer'),
  POSTED_INTERRUPTS: pin('process-posted-interrupts'),
} as const;

export const Primary = {
  INTERRUPT_WINDOW: primary('interrupt-window-exiting'),
  TSC_OFFSETTING: primary('use-tsc-offsetting'),
  HLT: primary('hlt-exiting'),
  INVLPG: primary('invlpg-exiting'),
  MWAIT: primary('mwait-exiting'),
  RDPMC: primary('rdpmc-exiting'),
  RDTSC: primary('rdtsc-exiting'),
  CR3_LOAD: primary('cr3-load-exiting'),
  CR3_STORE: primary('cr3-store-exiting'),
  CR8_LOAD: primary('cr8-load-exiting'),
  CR8_STORE: primary('cr8-store-exiting'),
  TPR_SHADOW: primary('use-tpr-shadow'),
  NMI_WINDOW: primary('nmi-window-exiting'),
  MOV_DR: primary('mov-dr-exiting'),
  UNCONDITIONAL_IO: primary('unconditional-io-exiting'),
  IO_BITMAPS: primary('use-io-bitmaps'),
  MONITOR_TRAP: primary('monitor-trap-flag'),
  MSR_BITMAPS: primary('use-msr-bitmaps'),
  MONITOR: primary('monitor-exiting'),
  PAUSE: primary('pause-exiting'),
  SECONDARY: primary('activate-secondary-controls'),
} as const;

export const Secondary = {
  APIC_ACCESSES: secondary('virtualize-apic-accesses'),
  EPT: secondary('enable-ept'),
  DESCRIPTOR_TABLE: secondary('descriptor-table-exiting'),
  RDTSCP: secondary('enable-rdtscp'),
  X2APIC: secondary('virtualize-x2apic-mode'),
  VPID: secondary('enable-vpid'),
  WBINVD: secondary('wbinvd-exiting'),
  UNRESTRICTED_GUEST: secondary('unrestricted-guest'),
  APIC_REGISTERS: secondary('apic-register-virtualization'),
  VIRTUAL_INTERRUPT_DELIVERY: secondary('virtual-interrupt-delivery'),
  PAUSE_LOOP: secondary('pause-loop-exiting'),
  RDRAND: secondary('rdrand-exiting'),
  INVPCID: secondary('enable-invpcid'),
  VM_FUNCTIONS: secondary('enable-vm-functions'),
  VMCS_SHADOWING: secondary('vmcs-shadowing'),
  RDSEED: secondary('rdseed-exiting'),
  PML: secondary('enable-pml'),
  VIRTUALIZATION_EXCEPTION: secondary('ept-violation-ve'),
  XSAVES: secondary('enable-xsaves'),
  MODE_BASED_EXECUTE: secondary('mode-based-execute-control'),
  SUB_PAGES: secondary('sub-page-write-permissions'),
  TSC_SCALING: secondary('use-tsc-scaling'),
  USER_WAIT: secondary('enable-user-wait-and-pause'),
  BUS_LOCK: secondary('vmm-bus-lock-detection'),
  INSTRUCTION_TIMEOUT: secondary('instruction-timeout'),
} as const;

export const Exit = {
  SAVE_DEBUG: exit('save-debug-controls'),
  HOST_64: exit('host-address-space-size'),
  PERF_GLOBAL: exit('load-perf-global-ctrl'),
  ACKNOWLEDGE: exit('acknowledge-interrupt-on-exit'),
  SAVE_PAT: exit('save-pat'),
  LOAD_PAT: exit('load-pat'),
  SAVE_EFER: exit('save-efer'),
  LOAD_EFER: exit('load-efer'),
  SAVE_TIMER: exit('save-preemption-timer'),
  SAVE_PERF_GLOBAL: exit('save-perf-global-ctrl'),
} as const;

export const Entry = {
  LOAD_DEBUG: entry('load-debug-controls'),
  IA32E: entry('ia-32e-mode-guest'),
  SMM: entry('entry-to-smm') | entry('deactivate-dual-monitor'),
  PERF_GLOBAL: entry('load-perf-global-ctrl'),
  LOAD_PAT: entry('load-pat'),
  LOAD_EFER: entry('load-efer'),
} as const;

/** Bits of CR0, CR4 and EFER, whose upper halves are 0 in VMX operation. */
export const CR0 = { PE: Number(Cr0.PE), NE: Number(Cr0.NE), PG: Number(Cr0.PG) } as const;
export const CR4 = { PAE: Number(Cr4.PAE), PCIDE: Number(Cr4.PCIDE), LA57: Number(Cr4.LA57) } as const;
export const EFER = { LME: Number(Efer.LME), LMA: Number(Efer.LMA) } as const;

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
/** Bit 26 of an exit reason: before the exit a bus lock was asserted that no exit has told of yet (25.9.1). */
export const BUS_LOCK_ASSERTED = 1 << 26;
/** Bit 31 of a revision identifier: a shadow VMCS. */
export const SHADOW = 0x8000_0000;
