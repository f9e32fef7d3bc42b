/**
 * What the kernel must know of a machine in order to run it. `@visorkit/machine` implements these and exports them again.
 */
import type { SavedMemory } from './saving.js';
import type { Vcpu } from './vcpu.js';
import { token } from './token.js';
import type { Token } from './token.js';

/** One stretch of RAM. */
export interface MemoryRegion {
  /** First guest-physical address. */
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  /** Where the region starts in the buffer, in bytes. */
  readonly hostOffset: number;
}

/**
 * The RAM of a machine. RAM below 3 GiB (0xC0000000) starts at 0; what is beyond starts at 4 GiB.
 * Every access outside RAM throws `GUEST_MEMORY_RANGE`. Numbers are little endian and may be unaligned.
 */
export interface GuestMemory {
  /** Bytes of RAM in total. */
  readonly size: number;
  readonly regions: readonly MemoryRegion[];
  /** The buffer that the regions lie in, after all late content has been loaded. Listeners of `onWrite` are not called for direct writes to it. */
  readonly buffer: SharedArrayBuffer | ArrayBuffer;
  /** Whether content of a saved VM is still to come: what is in the buffer then is not all of it. */
  readonly late: boolean;
  /** A part of the buffer, of RAM of one region, whose content is there. What is written to it directly, listeners of `onWrite` are not told. */
  view(gpa: number, length: number): Uint8Array;
  /** True when all `length` bytes from `gpa` are RAM of one region. */
  contains(gpa: number, length: number): boolean;
  /** A copy of the bytes. */
  read(gpa: number, length: number): Uint8Array;
  readInto(gpa: number, target: Uint8Array): void;
  write(gpa: number, bytes: Uint8Array): void;
  fill(gpa: number, length: number, value: number): void;
  readU8(gpa: number): number;
  readU16(gpa: number): number;
  readU32(gpa: number): number;
  readU64(gpa: number): bigint;
  writeU8(gpa: number, value: number): void;
  writeU16(gpa: number, value: number): void;
  writeU32(gpa: number, value: number): void;
  writeU64(gpa: number, value: bigint): void;
  /**
   * Restores whole pages of a saved VM into RAM that is all zeros. Memory that can load its content late reads the `bytes` of a piece
   * only when somebody first needs them.
   */
  restore(pieces: readonly SavedMemory[]): void;
  /** Calls `listener` for every write made through this interface, so that a processor can drop decoded code. */
  onWrite(listener: (gpa: number, length: number) => void): void;
}

/** Time as the guest sees it. */
export interface Clock {
  /** True when time advances with retired instructions, false when it follows the host's clock. */
  readonly virtual: boolean;
  /** Nanoseconds since the VM started. */
  now(): number;
}

/** The clock of a backend: execution time, of which the kernel can skip a part while every vCPU is halted. */
export interface ExecutionClock extends Clock {
  /**
   * Virtual time only: sets the clock forward to `ns` (a halted CPU retires nothing). A time in the past changes nothing.
   * A real clock ignores it.
   */
  skipTo(ns: number): void;
  /**
   * Reads the host's clock again if the last reading is more than some microseconds old. True when `last` has changed since the
   * previous call. The run loop calls this between exits, because `now` there would cost as much as the rest of a short exit and
   * would make a heap number. A clock that is cheap to read has neither `refresh` nor `last`.
   */
  refresh?(): boolean;
  /** The last reading in ns. Comes with `refresh`. */
  readonly last?: number;
  /**
   * The guest has slept, or the VM has not run: all the time since the last reading has passed for it too. A real clock that does not let a guest see at
   * once what the host's other work took from it has this; the run loop calls it before the first reading afterwards.
   */
  slept?(): void;
}

/** What the run loop asks of the timers. */
export interface Timers {
  /** The earliest deadline in ns, Infinity when there is none. */
  nextDeadline(): number;
  /** Fires everything due, in order of deadline. */
  runDue(): void;
}

/** Where a vCPU looks for interrupts before each entry: the local APIC (which asks the PIC for ExtINT), or the PIC alone. */
export interface InterruptSource {
  /** An interrupt the CPU could take now if IF = 1. */
  pending(): boolean;
  /** INTA: gives the vector, 0-255. Only when `pending()`. */
  acknowledge(): number;
  /** True once for each NMI that came in. */
  takeNmi?(): boolean;
  /** True once for each INIT that came in. */
  takeInit?(): boolean;
  /** The vector of a start-up IPI that came in, or -1. */
  takeStartup?(): number;
  /** Machines with several CPUs: the source of vCPU `index`. Without it vCPU 0 alone has a source. */
  forVcpu?(index: number): InterruptSource;
}

/** What a {@link EventGate} makes of an event. */
export type GateAnswer = 'guest' | 'taken' | 'later';

/**
 * Stands between the events of a vCPU and the guest that it runs: a plugin in whose guest there is another one gives an event to the one or to the
 * other. Asked by the run loop before an entry, for each event that is there. `guest`: the event goes the usual way. `taken`: the gate has done what
 * is to be done, and a vCPU that halted goes on. `later`: the event stays, and is asked about again before the next entry.
 */
export interface EventGate {
  /** An interrupt is pending; the gate that takes it asks `source` for the vector, or leaves it pending. `halted`: the vCPU waits for it. */
  interrupt(vcpu: Vcpu, source: InterruptSource, halted: boolean): GateAnswer;
  nmi(vcpu: Vcpu, halted: boolean): GateAnswer;
  init(vcpu: Vcpu, halted: boolean): GateAnswer;
  /** A start-up IPI; one that is not taken goes the usual way, and is not remembered. */
  startup(vcpu: Vcpu, vector: number): boolean;
  /** Asked of a vCPU that halted: true when something else than an event has ended that, and the gate has done what is to be done. */
  wakes(vcpu: Vcpu): boolean;
  /** True when a vCPU that halted may be woken although its RFLAGS.IF is 0. */
  listens(vcpu: Vcpu): boolean;
}

/** How a device ends or restarts the machine. Takes effect after the current exit. */
export interface SystemControl {
  /** The guest switched the machine off. Exit status 0. */
  powerOff(why: string): void;
  /** The guest asked for a reset. */
  reset(why: string): void;
  /** The guest ended the run with an exit status (isa-debug-exit). */
  exit(status: number, why: string): void;
  /** Somebody wants to look: the run ends after the current exit, and the VM may go on. */
  pause(why: string): void;
}

/** Lets things outside the guest (a terminal, a socket) wake a halted VM. */
export interface Wakeup {
  /** Something happened: a sleeping run loop looks at interrupts again. */
  notify(): void;
  /**
   * Says that `name` may wake the VM at any time, so that a halted guest with no timer waits instead of stopping.
   * Returns the function that takes it back.
   */
  addSource(name: string): () => void;
}

/** Turns machine code into text for reports. */
export interface Disassembler {
  /** Up to `count` lines for `bytes` at `address`; `bits` is the code's default size. */
  disassemble(bytes: Uint8Array, address: bigint, bits: 16 | 32 | 64, count: number): string[];
}

/** What the machine was asked to be. */
export interface MachineConfig {
  /** RAM in bytes. */
  readonly memory: number;
  readonly cpus: number;
  readonly time: 'virtual' | 'real';
}

export const GuestMemoryToken: Token<GuestMemory> = token('guest-memory');
export const ClockToken: Token<Clock> = token('clock');
/** The same service as `TimerQueueToken` of `@visorkit/machine`, reduced to what the kernel needs of it. */
export const TimersToken: Token<Timers> = token('timer-queue');
/** The local APIC. If there is none, the kernel asks {@link ExternalInterruptSourceToken} instead. */
export const InterruptSourceToken: Token<InterruptSource> = token('interrupt-source');
/** The 8259 pair: what a local APIC asks for ExtINT, and what the kernel asks when there is no local APIC. */
export const ExternalInterruptSourceToken: Token<InterruptSource> = token('external-interrupt-source');
export const EventGateToken: Token<EventGate> = token('event-gate', '@visorkit/nested-vmx');
export const SystemControlToken: Token<SystemControl> = token('system-control');
export const WakeupToken: Token<Wakeup> = token('wakeup');
export const DisassemblerToken: Token<Disassembler> = token('disassembler');
export const MachineConfigToken: Token<MachineConfig> = token('machine-config');
