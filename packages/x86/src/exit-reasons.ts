/**
 * The VMX basic exit reasons (Intel SDM volume 3D, appendix C): the vocabulary of exits on every backend.
 *
 * The name is what hooks, reports and counters call a reason; the capability of a backend that can give the exit is
 * `exit.<name>`.
 */

/** [reason, name, title]. */
const TABLE = [
  [0, 'exception', 'Exception or NMI'],
  [1, 'external-interrupt', 'External interrupt'],
  [2, 'triple-fault', 'Triple fault'],
  [3, 'init', 'INIT signal'],
  [4, 'sipi', 'Start-up IPI'],
  [5, 'io-smi', 'I/O SMI'],
  [6, 'other-smi', 'Other SMI'],
  [7, 'interrupt-window', 'Interrupt window'],
  [8, 'nmi-window', 'NMI window'],
  [9, 'task-switch', 'Task switch'],
  [10, 'cpuid', 'CPUID'],
  [11, 'getsec', 'GETSEC'],
  [12, 'hlt', 'HLT'],
  [13, 'invd', 'INVD'],
  [14, 'invlpg', 'INVLPG'],
  [15, 'rdpmc', 'RDPMC'],
  [16, 'rdtsc', 'RDTSC'],
  [17, 'rsm', 'RSM'],
  [18, 'vmcall', 'VMCALL'],
  [19, 'vmclear', 'VMCLEAR'],
  [20, 'vmlaunch', 'VMLAUNCH'],
  [21, 'vmptrld', 'VMPTRLD'],
  [22, 'vmptrst', 'VMPTRST'],
  [23, 'vmread', 'VMREAD'],
  [24, 'vmresume', 'VMRESUME'],
  [25, 'vmwrite', 'VMWRITE'],
  [26, 'vmxoff', 'VMXOFF'],
  [27, 'vmxon', 'VMXON'],
  [28, 'control-register', 'Control-register access'],
  [29, 'debug-register', 'MOV DR'],
  [30, 'io', 'I/O instruction'],
  [31, 'rdmsr', 'RDMSR'],
  [32, 'wrmsr', 'WRMSR'],
  [33, 'entry-failure-guest-state', 'VM-entry failure: invalid guest state'],
  [34, 'entry-failure-msr-load', 'VM-entry failure: MSR loading'],
  [36, 'mwait', 'MWAIT'],
  [37, 'monitor-trap-flag', 'Monitor trap flag'],
  [39, 'monitor', 'MONITOR'],
  [40, 'pause', 'PAUSE'],
  [41, 'entry-failure-machine-check', 'VM-entry failure: machine check'],
  [43, 'tpr-below-threshold', 'TPR below threshold'],
  [44, 'apic-access', 'APIC access'],
  [45, 'virtualized-eoi', 'Virtualized EOI'],
  [46, 'gdtr-idtr', 'GDTR or IDTR access'],
  [47, 'ldtr-tr', 'LDTR or TR access'],
  [48, 'ept-violation', 'EPT violation'],
  [49, 'ept-misconfiguration', 'EPT misconfiguration'],
  [50, 'invept', 'INVEPT'],
  [51, 'rdtscp', 'RDTSCP'],
  [52, 'preemption-timer', 'VMX-preemption timer expired'],
  [53, 'invvpid', 'INVVPID'],
  [54, 'wbinvd', 'WBINVD or WBNOINVD'],
  [55, 'xsetbv', 'XSETBV'],
  [56, 'apic-write', 'APIC write'],
  [57, 'rdrand', 'RDRAND'],
  [58, 'invpcid', 'INVPCID'],
  [59, 'vmfunc', 'VMFUNC'],
  [60, 'encls', 'ENCLS'],
  [61, 'rdseed', 'RDSEED'],
  [62, 'page-modification-log-full', 'Page-modification log full'],
  [63, 'xsaves', 'XSAVES'],
  [64, 'xrstors', 'XRSTORS'],
  [65, 'pconfig', 'PCONFIG'],
  [66, 'spp', 'SPP-related event'],
  [67, 'umwait', 'UMWAIT'],
  [68, 'tpause', 'TPAUSE'],
  [69, 'loadiwkey', 'LOADIWKEY'],
  [70, 'enclv', 'ENCLV'],
  [72, 'enqcmd', 'ENQCMD PASID translation failure'],
  [73, 'enqcmds', 'ENQCMDS PASID translation failure'],
  [74, 'bus-lock', 'Bus-lock assertion'],
  [75, 'instruction-timeout', 'Instruction timeout'],
  [76, 'seamcall', 'SEAMCALL'],
  [77, 'tdcall', 'TDCALL'],
  [78, 'rdmsrlist', 'RDMSRLIST'],
  [79, 'wrmsrlist', 'WRMSRLIST'],
  [80, 'urdmsr', 'URDMSR'],
  [81, 'uwrmsr', 'UWRMSR'],
  [84, 'rdmsr-immediate', 'RDMSR, immediate form'],
  [85, 'wrmsrns-immediate', 'WRMSRNS, immediate form'],
] as const;

type Row = (typeof TABLE)[number];

/** The name of an exit reason, such as `cpuid`. */
export type ExitName = Row[1];

/** `ept-violation` as it is written in code: `EPT_VIOLATION`. */
type Constant<Name extends string> = Name extends `${infer First}-${infer Rest}`
  ? `${Uppercase<First>}_${Constant<Rest>}`
  : Uppercase<Name>;

/** What is known of a basic exit reason. */
export interface ExitReasonEntry {
  readonly reason: number;
  readonly name: ExitName;
  readonly title: string;
}

/** One more than the highest basic exit reason that can be told apart. */
export const EXIT_REASON_COUNT = 96;

const entries: (ExitReasonEntry | undefined)[] = new Array(EXIT_REASON_COUNT).fill(undefined);
for (const [reason, name, title] of TABLE) entries[reason] = { reason, name, title };
const numbers = new Map<string, number>(TABLE.map(([reason, name]) => [name, reason]));

/** Numbers of the exit reasons by the names used in code. */
export const ExitReason = Object.freeze(
  Object.fromEntries(TABLE.map(([reason, name]) => [name.toUpperCase().replaceAll('-', '_'), reason])),
) as { readonly [R in Row as Constant<R[1]>]: R[0] };

/** Every name, in the order of the numbers. */
export const EXIT_NAMES: readonly ExitName[] = TABLE.map(([, name]) => name);

/** Exits of the instructions by which a hypervisor runs guests; they exit whatever the controls say, VMREAD and VMWRITE unless VMCS shadowing lets them through. */
export const VMX_INSTRUCTION_EXITS: readonly ExitName[] = [
  'vmclear',
  'vmlaunch',
  'vmptrld',
  'vmptrst',
  'vmread',
  'vmresume',
  'vmwrite',
  'vmxoff',
  'vmxon',
  'invept',
  'invvpid',
];

/** What is known of a reason, or `undefined` for a number that the SDM does not define. */
export function exitReasonEntry(reason: number): ExitReasonEntry | undefined {
  return entries[reason & 0xffff];
}

/** The name of a basic exit reason (bits 15:0 of `reason`); `reason-<n>` for one that the SDM does not define. */
export function exitReasonName(reason: number): string {
  return entries[reason & 0xffff]?.name ?? `reason-${reason & 0xffff}`;
}

/** The number of a named reason, or `undefined` when there is none of that name. */
export function exitReasonByName(name: string): number | undefined {
  return numbers.get(name);
}

/** Bits of the exit-reason field besides the basic reason in 15:0 (SDM 3C 25.9.1). */
export const ExitReasonFlag = {
  SHADOW_STACK_BUSY: 1 << 25,
  BUS_LOCK: 1 << 26,
  ENCLAVE: 1 << 27,
  PENDING_MTF: 1 << 28,
  FROM_ROOT: 1 << 29,
  ENTRY_FAILURE: 0x80000000,
} as const;

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
