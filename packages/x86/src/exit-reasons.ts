/** Basic VM-exit reasons (Intel SDM volume 3D, appendix C). */

export const ExitReason = {
  EXCEPTION_OR_NMI: 0,
  EXTERNAL_INTERRUPT: 1,
  TRIPLE_FAULT: 2,
  INIT: 3,
  SIPI: 4,
  IO_SMI: 5,
  OTHER_SMI: 6,
  INTERRUPT_WINDOW: 7,
  NMI_WINDOW: 8,
  TASK_SWITCH: 9,
  CPUID: 10,
  GETSEC: 11,
  HLT: 12,
  INVD: 13,
  INVLPG: 14,
  RDPMC: 15,
  RDTSC: 16,
  RSM: 17,
  VMCALL: 18,
  VMCLEAR: 19,
  VMLAUNCH: 20,
  VMPTRLD: 21,
  VMPTRST: 22,
  VMREAD: 23,
  VMRESUME: 24,
  VMWRITE: 25,
  VMXOFF: 26,
  VMXON: 27,
  CONTROL_REGISTER: 28,
  DEBUG_REGISTER: 29,
  IO: 30,
  RDMSR: 31,
  WRMSR: 32,
  ENTRY_FAILURE_GUEST_STATE: 33,
  ENTRY_FAILURE_MSR_LOAD: 34,
  MWAIT: 36,
  MONITOR_TRAP_FLAG: 37,
  MONITOR: 39,
  PAUSE: 40,
  ENTRY_FAILURE_MACHINE_CHECK: 41,
  TPR_BELOW_THRESHOLD: 43,
  APIC_ACCESS: 44,
  VIRTUALIZED_EOI: 45,
  GDTR_IDTR: 46,
  LDTR_TR: 47,
  EPT_VIOLATION: 48,
  EPT_MISCONFIGURATION: 49,
  INVEPT: 50,
  RDTSCP: 51,
  PREEMPTION_TIMER: 52,
  INVVPID: 53,
  WBINVD: 54,
  XSETBV: 55,
  APIC_WRITE: 56,
  RDRAND: 57,
  INVPCID: 58,
  VMFUNC: 59,
  ENCLS: 60,
  RDSEED: 61,
  PML_FULL: 62,
  XSAVES: 63,
  XRSTORS: 64,
  PCONFIG: 65,
  SPP: 66,
  UMWAIT: 67,
  TPAUSE: 68,
  LOADIWKEY: 69,
  ENCLV: 70,
  ENQCMD: 72,
  ENQCMDS: 73,
  BUS_LOCK: 74,
  INSTRUCTION_TIMEOUT: 75,
  SEAMCALL: 76,
  TDCALL: 77,
  RDMSRLIST: 78,
  WRMSRLIST: 79,
  URDMSR: 80,
  UWRMSR: 81,
  RDMSR_IMMEDIATE: 84,
  WRMSRNS_IMMEDIATE: 85,
} as const;
export type ExitReasonName = keyof typeof ExitReason;

/** Bits of the exit-reason field besides the basic reason in 15:0 (SDM 3C 25.9.1). */
export const ExitReasonFlag = {
  SHADOW_STACK_BUSY: 1 << 25,
  BUS_LOCK: 1 << 26,
  ENCLAVE: 1 << 27,
  PENDING_MTF: 1 << 28,
  FROM_ROOT: 1 << 29,
  ENTRY_FAILURE: 0x80000000,
} as const;

const NAMES: (ExitReasonName | undefined)[] = [];
for (const [name, reason] of Object.entries(ExitReason) as [ExitReasonName, number][]) NAMES[reason] = name;

/** Name of a basic exit reason, or undefined for numbers that are not assigned. */
export function exitReasonName(reason: number): ExitReasonName | undefined {
  return NAMES[reason & 0xffff];
}

/** What the exit-qualification field means for a reason. Reasons not listed leave it 0. */
export const QUALIFICATION_KIND: {
  readonly [reason: number]:
    | 'debug'
    | 'linear'
    | 'displacement'
    | 'task-switch'
    | 'control-register'
    | 'debug-register'
    | 'io'
    | 'sipi'
    | 'ept'
    | 'apic-access'
    | 'vector'
    | 'page-offset'
    | 'entry-failure'
    | 'mwait';
} = {
  0: 'debug',
  4: 'sipi',
  9: 'task-switch',
  14: 'linear',
  19: 'displacement',
  21: 'displacement',
  22: 'displacement',
  23: 'displacement',
  25: 'displacement',
  27: 'displacement',
  28: 'control-register',
  29: 'debug-register',
  30: 'io',
  33: 'entry-failure',
  34: 'entry-failure',
  36: 'mwait',
  44: 'apic-access',
  45: 'vector',
  46: 'displacement',
  47: 'displacement',
  48: 'ept',
  50: 'displacement',
  53: 'displacement',
  56: 'page-offset',
  58: 'displacement',
  63: 'displacement',
  64: 'displacement',
};

/** Exits taken after the instruction: RIP already points behind it (SDM 3C 28.1). */
export const TRAP_LIKE: ReadonlySet<number> = new Set<number>([
  ExitReason.TPR_BELOW_THRESHOLD,
  ExitReason.VIRTUALIZED_EOI,
  ExitReason.APIC_WRITE,
  ExitReason.BUS_LOCK,
]);
