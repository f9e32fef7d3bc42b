/**
 * The VMX basic exit reasons (Intel SDM volume 3, appendix C): the vocabulary of exits on every backend.
 *
 * `name` is what hooks, reports and counters call it; the capability of a backend that can give the exit is
 * `exit.<name>`. `taker` says which package's handler takes the exit, for the report of an exit that nobody took.
 */
export interface ExitReasonEntry {
  readonly reason: number;
  readonly name: string;
  readonly title: string;
  readonly taker?: string;
}

const EXITS = '@visorkit/exits';

/** [reason, name, title, who takes it]. */
const TABLE = [
  [0, 'exception', 'Exception or NMI', `exception() of ${EXITS}`],
  [1, 'external-interrupt', 'External interrupt', undefined],
  [2, 'triple-fault', 'Triple fault', `tripleFault() of ${EXITS}`],
  [3, 'init', 'INIT signal', undefined],
  [4, 'sipi', 'Start-up IPI', undefined],
  [5, 'io-smi', 'I/O SMI', undefined],
  [6, 'other-smi', 'Other SMI', undefined],
  [7, 'interrupt-window', 'Interrupt window', undefined],
  [8, 'nmi-window', 'NMI window', undefined],
  [9, 'task-switch', 'Task switch', undefined],
  [10, 'cpuid', 'CPUID', `cpuid() of ${EXITS}`],
  [11, 'getsec', 'GETSEC', `undefinedInstructions() of ${EXITS}`],
  [12, 'hlt', 'HLT', `hlt() of ${EXITS}`],
  [13, 'invd', 'INVD', `cacheControl() of ${EXITS}`],
  [14, 'invlpg', 'INVLPG', undefined],
  [15, 'rdpmc', 'RDPMC', `rdtsc() of ${EXITS}`],
  [16, 'rdtsc', 'RDTSC', `rdtsc() of ${EXITS}`],
  [17, 'rsm', 'RSM', undefined],
  [18, 'vmcall', 'VMCALL', `vmcall() of ${EXITS}`],
  [19, 'vmclear', 'VMCLEAR', `undefinedInstructions() of ${EXITS}`],
  [20, 'vmlaunch', 'VMLAUNCH', `undefinedInstructions() of ${EXITS}`],
  [21, 'vmptrld', 'VMPTRLD', `undefinedInstructions() of ${EXITS}`],
  [22, 'vmptrst', 'VMPTRST', `undefinedInstructions() of ${EXITS}`],
  [23, 'vmread', 'VMREAD', `undefinedInstructions() of ${EXITS}`],
  [24, 'vmresume', 'VMRESUME', `undefinedInstructions() of ${EXITS}`],
  [25, 'vmwrite', 'VMWRITE', `undefinedInstructions() of ${EXITS}`],
  [26, 'vmxoff', 'VMXOFF', `undefinedInstructions() of ${EXITS}`],
  [27, 'vmxon', 'VMXON', `undefinedInstructions() of ${EXITS}`],
  [28, 'control-register', 'Control-register access', `controlRegister() of ${EXITS}`],
  [29, 'debug-register', 'MOV DR', `debugRegister() of ${EXITS}`],
  [30, 'io', 'I/O instruction', `io() of ${EXITS}`],
  [31, 'rdmsr', 'RDMSR', `msr() of ${EXITS}`],
  [32, 'wrmsr', 'WRMSR', `msr() of ${EXITS}`],
  [33, 'entry-failure-guest-state', 'VM-entry failure: invalid guest state', undefined],
  [34, 'entry-failure-msr-load', 'VM-entry failure: MSR loading', undefined],
  [36, 'mwait', 'MWAIT', `monitorMwait() of ${EXITS}`],
  [37, 'monitor-trap-flag', 'Monitor trap flag', undefined],
  [39, 'monitor', 'MONITOR', `monitorMwait() of ${EXITS}`],
  [40, 'pause', 'PAUSE', `monitorMwait() of ${EXITS}`],
  [41, 'entry-failure-machine-check', 'VM-entry failure: machine check', undefined],
  [43, 'tpr-below-threshold', 'TPR below threshold', undefined],
  [44, 'apic-access', 'APIC access', '@visorkit/apic'],
  [45, 'virtualized-eoi', 'Virtualized EOI', '@visorkit/apic'],
  [46, 'gdtr-idtr', 'GDTR or IDTR access', undefined],
  [47, 'ldtr-tr', 'LDTR or TR access', undefined],
  [48, 'ept-violation', 'EPT violation', `eptViolation() of ${EXITS}`],
  [49, 'ept-misconfiguration', 'EPT misconfiguration', `eptViolation() of ${EXITS}`],
  [50, 'invept', 'INVEPT', `undefinedInstructions() of ${EXITS}`],
  [51, 'rdtscp', 'RDTSCP', `rdtsc() of ${EXITS}`],
  [52, 'preemption-timer', 'VMX-preemption timer expired', undefined],
  [53, 'invvpid', 'INVVPID', `undefinedInstructions() of ${EXITS}`],
  [54, 'wbinvd', 'WBINVD or WBNOINVD', `cacheControl() of ${EXITS}`],
  [55, 'xsetbv', 'XSETBV', `xsetbv() of ${EXITS}`],
  [56, 'apic-write', 'APIC write', '@visorkit/apic'],
  [57, 'rdrand', 'RDRAND', undefined],
  [58, 'invpcid', 'INVPCID', undefined],
  [59, 'vmfunc', 'VMFUNC', `undefinedInstructions() of ${EXITS}`],
  [60, 'encls', 'ENCLS', `undefinedInstructions() of ${EXITS}`],
  [61, 'rdseed', 'RDSEED', undefined],
  [62, 'page-modification-log-full', 'Page-modification log full', undefined],
  [63, 'xsaves', 'XSAVES', undefined],
  [64, 'xrstors', 'XRSTORS', undefined],
  [65, 'pconfig', 'PCONFIG', undefined],
  [66, 'spp', 'SPP-related event', undefined],
  [67, 'umwait', 'UMWAIT', undefined],
  [68, 'tpause', 'TPAUSE', undefined],
  [69, 'loadiwkey', 'LOADIWKEY', undefined],
  [70, 'enclv', 'ENCLV', undefined],
  [72, 'enqcmd', 'ENQCMD PASID translation failure', undefined],
  [73, 'enqcmds', 'ENQCMDS PASID translation failure', undefined],
  [74, 'bus-lock', 'Bus-lock assertion', undefined],
  [75, 'instruction-timeout', 'Instruction timeout', undefined],
  [76, 'seamcall', 'SEAMCALL', undefined],
  [77, 'tdcall', 'TDCALL', undefined],
  [78, 'rdmsrlist', 'RDMSRLIST', undefined],
  [79, 'wrmsrlist', 'WRMSRLIST', undefined],
  [80, 'urdmsr', 'URDMSR', undefined],
  [81, 'uwrmsr', 'UWRMSR', undefined],
  [84, 'rdmsr-immediate', 'RDMSR, immediate form', undefined],
  [85, 'wrmsrns-immediate', 'WRMSRNS, immediate form', undefined],
] as const;

/** The name of an exit reason, e.g. `cpuid`. */
export type ExitName = (typeof TABLE)[number][1];

/** One more than the highest basic exit reason the kernel dispatches. */
export const EXIT_REASON_COUNT = 96;

const byReason: (ExitReasonEntry | undefined)[] = new Array(EXIT_REASON_COUNT).fill(undefined);
const byName = new Map<string, number>();
for (const [reason, name, title, taker] of TABLE) {
  byReason[reason] = taker === undefined ? { reason, name, title } : { reason, name, title, taker };
  byName.set(name, reason);
}

/** What is known of a reason, or `undefined` for a number the SDM does not define. */
export function exitReasonEntry(reason: number): ExitReasonEntry | undefined {
  return byReason[reason];
}

/** The name of a reason; `reason-<n>` for one the SDM does not define. */
export function exitReasonName(reason: number): string {
  return byReason[reason]?.name ?? `reason-${reason}`;
}

/** The number of a named reason, or `undefined` when there is none of that name. */
export function exitReasonByName(name: string): number | undefined {
  return byName.get(name);
}

/** Numbers of the exit reasons by the names used in code. */
export const ExitReason = {
  EXCEPTION: 0,
  EXTERNAL_INTERRUPT: 1,
  TRIPLE_FAULT: 2,
  INIT: 3,
  SIPI: 4,
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
  UMWAIT: 67,
  TPAUSE: 68,
  BUS_LOCK: 74,
  INSTRUCTION_TIMEOUT: 75,
} as const;
