/**
 * The virtual processor in three parts: what handlers and plugins see of it ({@link Vcpu}), what the run loop does with it
 * ({@link VcpuExecution}), and what saves it ({@link VcpuSaving}). Backends implement all three ({@link BackendVcpu}).
 *
 * Register values are bigint here; handlers on hot paths use the 32-bit accessors, which make none.
 */
import type { MergedControls } from './controls.js';
import type { VmExit } from './exit.js';

/** General registers by their number in the encoding. */
export const Gpr = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
  R8: 8,
  R9: 9,
  R10: 10,
  R11: 11,
  R12: 12,
  R13: 13,
  R14: 14,
  R15: 15,
} as const;

/** Segment registers by their number in the encoding, then LDTR and TR. */
export const Segment = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;
export type SegmentName = 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldtr' | 'tr';
export const SEGMENT_NAMES: readonly SegmentName[] = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];

/** A segment register with its hidden part. */
export interface SegmentState {
  selector: number;
  base: bigint;
  /** In bytes, the granularity bit already applied. */
  limit: number;
  /** VMX format (SDM 3C, 25.4.1): 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G, 16 unusable. */
  accessRights: number;
}

export interface DescriptorTable {
  base: bigint;
  limit: number;
}

/** The first state of a vCPU, as a boot loader gives it. What is left out is as after INIT, or 0. */
export interface InitialState {
  mode: 'real16' | 'protected32' | 'long64';
  rip: bigint;
  rsp?: bigint;
  rflags?: bigint;
  /** By name: rax, rbx, … r15. */
  registers?: Partial<Record<GprName, bigint>>;
  segments?: Partial<Record<SegmentName, SegmentState>>;
  cr0?: bigint;
  cr3?: bigint;
  cr4?: bigint;
  efer?: bigint;
  gdtr?: DescriptorTable;
  idtr?: DescriptorTable;
}

export type GprName =
  | 'rax'
  | 'rcx'
  | 'rdx'
  | 'rbx'
  | 'rsp'
  | 'rbp'
  | 'rsi'
  | 'rdi'
  | 'r8'
  | 'r9'
  | 'r10'
  | 'r11'
  | 'r12'
  | 'r13'
  | 'r14'
  | 'r15';
export const GPR_NAMES: readonly GprName[] = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];

/** Why a linear address could not be translated. */
export interface TranslationFault {
  /** 14 (#PF), 13 (#GP, not canonical); 0 when the fault is the EPT's. */
  vector: number;
  errorCode: number;
  linear: bigint;
}

/**
 * How a handler of an EPT violation in memory lets the guest go on although the view stays as it is: by one of these, and RETRY. What is asked for holds
 * for the instruction at RIP alone, on this vCPU alone, and no interrupt comes before that instruction is done. An event for the guest or another RIP takes
 * it back.
 */
export interface Emulation {
  /** What the exit is about: data, the code to be executed, or paging structures that the processor walks. */
  readonly kind: 'data' | 'fetch' | 'walk';
  /** Bytes of a data access, 1 to 64; an access across pages, and a read before a write, are accesses of their own. 0 for the other kinds. */
  readonly size: number;
  /** What a write puts there: low and high 32 bits of its first 8 bytes, unsigned. */
  readonly valueLow: number;
  readonly valueHigh: number;
  /** A copy of all bytes that a write puts there. */
  bytes(): Uint8Array;
  /**
   * The access happens, as if the view allowed it: on the page that the view shows, or on the machine's own. Read and write of one instruction stay
   * as atomic as they are.
   */
  allow(page?: 'shown' | 'own'): void;
  /** A data read gives these bytes, at least `size`. Throws `EMULATION_ACCESS` for any other access, and for too few bytes. */
  supply(bytes: Uint8Array): void;
  /** A data write changes nothing. Throws `EMULATION_ACCESS` for any other access. */
  discard(): void;
  /** Executes the instruction that `bytes` begin with, at most 15, in the place of the one at RIP. At any exit that is answered by RETRY. */
  execute(bytes: Uint8Array): void;
  /** Executes the instruction at RIP as the machine's own pages have it, whatever the view shows or allows. At any exit that is answered by RETRY. */
  executeOwn(): void;
}

/** Fields of a VMCS by their encoding (SDM 3D, appendix B). */
export interface VmcsFields {
  /** 16- and 32-bit fields, and the low half of wider ones; unsigned. */
  read32(field: number): number;
  write32(field: number, value: number): void;
  read64(field: number): bigint;
  write64(field: number, value: bigint): void;
}

/** The current VMCS. */
export interface VmcsAccess extends VmcsFields {
  /** Where its region is, in the memory of the hypervisor. */
  readonly region: number;
}

/** Everything of a vCPU that a report shows: plain text, values in hexadecimal. */
export interface VcpuSnapshot {
  index: number;
  mode: 'real16' | 'virtual8086' | 'protected16' | 'protected32' | 'compatibility' | 'long64';
  cpl: number;
  rip: string;
  rflags: string;
  registers: Record<string, string>;
  segments: Record<string, { selector: string; base: string; limit: string; accessRights: string }>;
  controlRegisters: Record<string, string>;
  gdtr: { base: string; limit: string };
  idtr: { base: string; limit: string };
}

/** A virtual processor as handlers, plugins and boot loaders see it. */
export interface Vcpu {
  readonly index: number;
  /** The record that `run` fills and returns. */
  readonly exit: VmExit;
  /** Instructions retired by this vCPU since its creation. */
  readonly instructions: number;

  /** IF = 1, no blocking by STI or MOV SS, and no event queued: an interrupt could be injected now. */
  canTakeInterrupt(): boolean;
  /** No blocking by NMI or MOV SS and no event queued. */
  canTakeNmi(): boolean;
  /** RFLAGS.IF. */
  interruptsEnabled(): boolean;
  /** Queues an external interrupt for the next entry; `vector` 0-255. */
  injectInterrupt(vector: number): void;
  injectNmi(): void;
  /**
   * Queues a hardware exception for the next entry: RIP stays on the instruction. `errorCode` where the vector has one.
   * Combines with an event that was being delivered, as the processor does (#DF, triple fault).
   */
  injectException(vector: number, errorCode?: number): void;
  /**
   * Queues any event in the format of the VM-entry interruption-information field (SDM 3C, 25.8.3): 7:0 vector, 10:8 type,
   * 11 error code valid, 31 valid. `instructionLength` matters for software events (types 4, 5, 6).
   */
  injectEvent(interruptionInfo: number, errorCode: number, instructionLength: number): void;
  /** Low half of a general register, unsigned. */
  getRegister32(index: number): number;
  /** Writes 32 bits and clears the upper half, as a 32-bit instruction does. */
  setRegister32(index: number, value: number): void;
  /** Writes the low 16 bits, the rest stays. */
  setRegister16(index: number, value: number): void;
  /** Writes the low 8 bits, the rest stays. */
  setRegister8(index: number, value: number): void;
  getRegister(index: number): bigint;
  setRegister(index: number, value: bigint): void;

  rax: bigint;
  rcx: bigint;
  rdx: bigint;
  rbx: bigint;
  rsp: bigint;
  rbp: bigint;
  rsi: bigint;
  rdi: bigint;
  r8: bigint;
  r9: bigint;
  r10: bigint;
  r11: bigint;
  r12: bigint;
  r13: bigint;
  r14: bigint;
  r15: bigint;
  rip: bigint;
  rflags: bigint;

  /** Reads a segment register; `index` as in {@link Segment}. A new object each time. */
  getSegment(index: number): SegmentState;
  setSegment(index: number, state: SegmentState): void;
  gdtr: DescriptorTable;
  idtr: DescriptorTable;

  /**
   * Control registers 0, 2, 3, 4 and 8 as the guest reads them. Writing has the effects of the instruction (TLB, mode, PDPTEs) without its
   * checks, except those that only the processor can make (features it lacks): they throw `CONTROL_REGISTER_VALUE`.
   */
  getControlRegister(index: number): bigint;
  setControlRegister(index: number, value: bigint): void;
  getDebugRegister(index: number): bigint;
  setDebugRegister(index: number, value: bigint): void;
  efer: bigint;
  xcr0: bigint;
  /** An MSR that the processor itself keeps. Throws `MSR_UNKNOWN` for any other. */
  readMsr(index: number): bigint;
  /** The low or the high half of what `readMsr` gives, unsigned, for handlers on hot paths: no bigint is made where the backend can do without. */
  readMsrHalf(index: number, half: 'low' | 'high'): number;
  /** Throws `MSR_UNKNOWN`, and `MSR_VALUE` for a value for which WRMSR in the guest would raise #GP. */
  writeMsr(index: number, value: bigint): void;
  /** True when the processor itself keeps this MSR. */
  hasMsr(index: number): boolean;

  /** Current privilege level, 0-3. */
  readonly cpl: number;
  /** Default size of code: 16, 32 or 64. */
  readonly codeBits: 16 | 32 | 64;

  /**
   * Translates a linear address through the guest's page tables, without side effects when `access` is `probe`; the other
   * kinds set accessed and dirty bits. Returns the guest-physical address, or -1 with the reason in `translationFault`.
   */
  translate(linear: bigint, access: 'probe' | 'read' | 'write' | 'execute'): number;
  readonly translationFault: TranslationFault;

  setInitialState(state: InitialState): void;
  /**
   * A handler has carried out one iteration of a string instruction on a port (exit.io.string), whose memory operand is at `linear`; registers and port are
   * done, and `more` says that others follow. True: something is due before the next one (single step, breakpoint, a deadline or limit), so the handler writes RCX and the
   * index register and answers RETRY. Left out by a backend that gives the data itself.
   */
  iterationDone?(linear: bigint, more: boolean): boolean;
  /** For reports. */
  snapshot(): VcpuSnapshot;

  /** After an exit with `entryFailure`: the rule of VM entry that the guest state breaks, where the backend knows it. */
  readonly brokenEntryRule?: string;
  /** After a triple fault of which the processor has kept no registers: a sentence that says so. */
  readonly lostState?: string;
  /** Only on a backend with VMX (capability `vmcs`). */
  readonly vmcs?: VmcsAccess;
  /** Only with the capability `emulation`. */
  readonly emulation?: Emulation;
}

/** Qualification of an exit 52 by which a vCPU gives its turn to the others (PAUSE in a loop). */
export const TURN_GIVEN_UP = 1;
/** Qualification of an exit 52 by which the processor says that it halted without an exit: nothing but an event can go on with it. */
export const PROCESSOR_HALTED = 2;

/** How the run loop drives a vCPU. */
export interface VcpuExecution {
  /**
   * Runs the guest until it exits. Returns the same object every time.
   * When a deadline or the instruction limit is reached, the exit is `preemption-timer` (52), taken between instructions
   * and invisible to the guest. A deadline already past gives that exit before the first instruction. With several vCPUs it also
   * comes, with qualification {@link TURN_GIVEN_UP}, from one that waits in a loop for another; with {@link PROCESSOR_HALTED}, from one whose
   * processor is in the HLT state, or waits for a start-up IPI.
   */
  run(): VmExit;
  /** The time of the execution clock, in ns, at which `run` returns with exit 52. Infinity: none. */
  setDeadline(ns: number): void;
  /** The value of `instructions` at which `run` returns with exit 52, exact. Infinity: none. */
  setInstructionLimit(count: number): void;

  /**
   * The exiting instruction has been carried out. Moves RIP over it (by exit.instructionLength, wrapped to the mode) and
   * ends blocking by STI and MOV SS; for IN moves exit.io.value into AL/AX/EAX; for an exit with `mmio.valid` leaves RIP
   * alone, and the processor finishes the instruction with the value at the next entry; for trap-like exits (43, 45, 56,
   * 74) and those between instructions does nothing.
   */
  completeInstruction(): void;
  /**
   * The exit came while an event was being delivered (exit.idtVectoringInfo valid): delivers it again at the next entry
   * (SDM 3C, 28.2.4 and 32.7.1.1), unless another event is queued already.
   */
  reinjectEvent(): void;

  /**
   * The exit will not be carried out, and the guest continues elsewhere: forgets a half-done exit (an access to a device in
   * several pieces).
   */
  dropExit(): void;
  /** A debug exception of the instruction just completed is due: it ends a halt at once (SDM 2A, HLT). */
  trapPending(): boolean;
  /** Asks for exit 7 as soon as an interrupt could be taken. */
  requestInterruptWindow(on: boolean): void;
  /** Asks for exit 8 as soon as an NMI could be taken. */
  requestNmiWindow(on: boolean): void;
  /** Puts the vCPU in the state after INIT (SDM 3A, table 10-1); the bootstrap processor starts at F000:FFF0. */
  init(): void;
  /** Start-up IPI: real mode at vector << 12. */
  startup(vector: number): void;
  /**
   * What the processor is to trap for this vCPU from the next entry on. Called between exits, when holders of controls came or
   * went; `controls` is one object for each vCPU whose contents change.
   */
  setControls(controls: MergedControls): void;
}

/** How a vCPU is saved. */
export interface VcpuSaving {
  /** Everything the processor holds as plain data. */
  saveState(): unknown;
  restoreState(state: unknown): void;
}

/** A virtual processor as a backend makes it. */
export interface BackendVcpu extends Vcpu, VcpuExecution, VcpuSaving {}
