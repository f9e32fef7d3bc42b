/**
 * What `vcpu.run()` returns, and what a handler answers.
 *
 * One VmExit object exists per vCPU and is filled anew at every exit: a handler that wants to keep something copies it.
 * The numbers are those of the VMCS exit-information fields (SDM volume 3C, section 25.9, "VM-exit information fields").
 */

/** An I/O instruction (reason 30; exit qualification of SDM 3C table 28-5, already taken apart). */
export class IoExit {
  /** 0-0xFFFF. */
  port = 0;
  /** Bytes of one element: 1, 2 or 4. */
  size: 1 | 2 | 4 = 1;
  /** True for IN and INS. */
  input = false;
  /** True for INS and OUTS. */
  string = false;
  /** True with a REP prefix. */
  rep = false;
  /**
   * IN and OUT only. OUT: what AL/AX/EAX holds. IN: the handler leaves the result here and returns RESUME;
   * `completeInstruction` moves it into AL/AX/EAX. Unsigned.
   */
  value = 0;
  /** INS and OUTS: bytes of the instruction's address size, 2, 4 or 8 (how much of RCX, RSI and RDI counts). */
  addressSize: 2 | 4 | 8 = 8;
  /** OUTS: the segment register in force, by its number in the encoding (0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS); INS: always 0. */
  segment = 3;
  /**
   * INS and OUTS where the backend carries the data itself (kvm): `count` elements of `size` bytes, which an INS handler
   * fills. Otherwise null: the handler moves the elements with the vCPU's registers and guest memory.
   */
  data: Uint8Array | null = null;
  count = 0;
}

/**
 * A guest access to an address with no RAM behind it (reason 48), already decoded by the backend.
 * A read: the handler leaves the result in `value` (and `valueHigh` for 8 bytes) and returns RESUME; the processor then
 * finishes the instruction with it.
 */
export class MmioExit {
  /** False when the exit is an EPT violation for another reason; the other fields then mean nothing. */
  valid = false;
  gpa = 0;
  /** Bytes: 1, 2, 4 or 8. Wider accesses come as several exits. */
  size: 1 | 2 | 4 | 8 = 1;
  write = false;
  /** Low 32 bits, unsigned. */
  value = 0;
  /** High 32 bits, unsigned; for size 8. */
  valueHigh = 0;
}

/** The reused record of one exit. */
export class VmExit {
  /** Basic exit reason, 0-95. */
  reason = 0;
  /** Bit 31 of the exit reason: the entry failed (reasons 33, 34, 41). */
  entryFailure = false;
  /** Exit qualification, low 32 bits, unsigned. */
  qualification = 0;
  /** Exit qualification, high 32 bits, unsigned. */
  qualificationHigh = 0;
  /** VM-exit instruction length in bytes. */
  instructionLength = 0;
  /** VM-exit instruction information (layout by instruction). */
  instructionInfo = 0;
  /** Guest-physical address of an EPT violation or misconfiguration. */
  gpa = 0;
  /** Guest-linear address, low and high 32 bits, unsigned. */
  guestLinearLow = 0;
  guestLinearHigh = 0;
  /** VM-exit interruption information, bit 31 valid; as unsigned number. */
  interruptionInfo = 0;
  interruptionErrorCode = 0;
  /** IDT-vectoring information, bit 31 valid; as unsigned number. */
  idtVectoringInfo = 0;
  idtVectoringErrorCode = 0;
  // Instances of classes, not object literals: V8 gives all literals with the same field names one shape, and because a schema has these
  // names too, every address stored here would become a new number on the heap.
  readonly io = new IoExit();
  readonly mmio = new MmioExit();

  /** Guest-linear address. Not for hot paths: makes a bigint. */
  get guestLinear(): bigint {
    return (BigInt(this.guestLinearHigh >>> 0) << 32n) | BigInt(this.guestLinearLow >>> 0);
  }

  /** The whole exit qualification. Not for hot paths: makes a bigint. */
  get qualification64(): bigint {
    return (BigInt(this.qualificationHigh >>> 0) << 32n) | BigInt(this.qualification >>> 0);
  }
}

// The outcomes are numbers that nothing returns by accident: a handler such as `() => seen.push(exit)` would otherwise answer 1.

/** The instruction is done: the processor goes on behind it. */
export const RESUME = 0x1669_0001;
/** Enter again at the same RIP: the handler changed what made the guest exit, or injected an event. */
export const RETRY = 0x1669_0002;
/** The instruction is done and the vCPU now waits for an interrupt, NMI or INIT (HLT, MWAIT). */
export const HALT = 0x1669_0003;
/** Like HALT, but a pending interrupt ends the wait even while IF = 0; it is not delivered then (MWAIT with ECX[0] = 1). */
export const WAIT = 0x1669_0004;

/** What is done with the exit at which a run ended, when the VM continues later. */
export type ExitAnswer = typeof RESUME | typeof RETRY | typeof HALT | typeof WAIT;

/** Ends the run. The VM stands still then and may go on. Made by {@link stop}, {@link pause} and {@link reset}. */
export interface EndOutcome {
  /** `stop`: the run is over. `pause`: somebody wants to look. `reset`: the machine starts again, or is about to. */
  readonly kind: 'stop' | 'pause' | 'reset';
  /** A sentence. */
  readonly why: string;
  /** Exit status for the process that runs the VM. */
  readonly status: number;
  /** What to call it in the report. */
  readonly reason: string;
  /** What is done with the exit: RESUME unless given, so that the guest goes on behind the instruction. */
  readonly answer?: ExitAnswer;
}

/** What a handler answers; `undefined` passes the exit on to the next handler. */
export type Outcome = ExitAnswer | EndOutcome;

/** Details of an end, besides the sentence that says why. */
export interface EndDetails {
  /** 0 unless given. */
  readonly status?: number;
  /** See StopReport.reason. */
  readonly reason?: string;
  /** RETRY: the exiting instruction runs again when the VM goes on. RESUME unless given. */
  readonly answer?: ExitAnswer;
}

/** Makes the outcome that ends the run, with reason `stopped` unless another is given. */
export function stop(why: string, details: EndDetails | number = {}): EndOutcome {
  return end('stop', why, 'stopped', details);
}

/** Makes the outcome that ends the run so that somebody can look and let it go on; its reason is `paused`. */
export function pause(why: string, details: EndDetails = {}): EndOutcome {
  return end('pause', why, 'paused', details);
}

/** Makes the outcome that resets the machine, in the way that `onReset` says; its reason is `reset`. */
export function reset(why: string, details: EndDetails = {}): EndOutcome {
  return end('reset', why, 'reset', details);
}

function end(kind: EndOutcome['kind'], why: string, name: string, details: EndDetails | number): EndOutcome {
  const { status = 0, reason = name, answer } = typeof details === 'number' ? { status: details } : details;
  return { kind, why, status, reason, ...(answer === undefined ? {} : { answer }) };
}

/** The outcomes in one object, as plugins get them. */
export const outcomes = Object.freeze({ RESUME, RETRY, HALT, WAIT, stop, pause, reset } as const);
export type Outcomes = typeof outcomes;
