/**
 * What a handler of an event may answer: an object whose fields may be combined, or nothing, and then the guest goes on as if nobody had looked. Each kind
 * of event has its own type, so that an answer that makes no sense for it does not compile; JavaScript callers get `VMI_EVENT_RESPONSE`.
 */
import type { GprName } from '@visorkit/core';
import type { MemoryView } from '@visorkit/machine';

/** Registers by name. `rip`: the guest goes on there, and what made the event is not executed. */
export type RegisterValues = Partial<Record<GprName | 'rip' | 'rflags', bigint>>;

/** What may be answered to every event. */
export interface CommonResponse {
  /** Values that the vCPU's registers take. */
  readonly registers?: RegisterValues;
  /** Single steps of this vCPU go to the subscribers of `singleStep`, or no longer do, or the other way round. */
  readonly singleStep?: boolean | 'toggle';
  /** The view that the vCPU is in from now on. */
  readonly view?: MemoryView;
  /** The view that the vCPU is in for the next instruction (or event) alone. */
  readonly viewOnce?: MemoryView;
  /** The next interrupt or exception of this vCPU goes to the subscribers of `interrupt` that wait to be asked. */
  readonly nextInterrupt?: true;
  /** Ends the run with this sentence as soon as the event is done with; the VM stands still, and may go on. */
  readonly pause?: string;
}

/** The instruction that made the event does nothing (besides `registers`), and the guest goes on behind it. */
export interface DenyResponse extends CommonResponse {
  readonly deny?: true;
}

/** For a read of memory. */
export interface ReadResponse {
  /** What the guest reads instead of what is there: as many bytes as the access has, or more. */
  readonly readData?: Uint8Array;
}
/** For a write to memory. */
export interface WriteResponse {
  /** The instruction is executed, but memory stays as it is. */
  readonly withoutWrite?: true;
}
/** Where code is about to be executed. */
export interface InstructionResponse {
  /** Executed once in the place of the instruction that is there: up to 15 bytes that begin with it. The guest goes on behind it by its own length. */
  readonly instruction?: Uint8Array;
}

/** Accesses to memory, as LibVMI combines them. `w2x`: code of a page that was written since. `rwx2n`: the first access to each page, of any kind. */
export type MemoryAccess = 'r' | 'w' | 'x' | 'rw' | 'rx' | 'wx' | 'rwx' | 'w2x' | 'rwx2n';

interface AccessResponses {
  r: ReadResponse;
  w: WriteResponse;
  x: InstructionResponse;
  rw: ReadResponse & WriteResponse;
  rx: ReadResponse & InstructionResponse;
  wx: WriteResponse & InstructionResponse;
  rwx: ReadResponse & WriteResponse & InstructionResponse;
  w2x: InstructionResponse;
  rwx2n: ReadResponse & WriteResponse & InstructionResponse;
}
export type MemoryResponse<A extends MemoryAccess = 'rwx'> = CommonResponse & AccessResponses[A];

/** For INT3 and debug exceptions. */
export interface ReinjectResponse extends CommonResponse, InstructionResponse {
  /** False: the guest does not see the exception. An INT3 or INT1 is skipped. */
  readonly reinject?: boolean;
}
export interface BreakpointResponse extends CommonResponse, InstructionResponse {}
/** For IN and OUT. */
export interface IoResponse extends DenyResponse {
  /** What IN gives: AL, AX or EAX. The port is not asked. */
  readonly value?: number;
}

/** Any answer, as the machinery sees it. */
export type AnyResponse = CommonResponse &
  Partial<DenyResponse & ReadResponse & WriteResponse & InstructionResponse & ReinjectResponse & IoResponse>;

const COMMON = ['registers', 'singleStep', 'view', 'viewOnce', 'nextInterrupt', 'pause'] as const;
const fields = (...own: readonly (keyof AnyResponse)[]): ReadonlySet<string> => new Set([...COMMON, ...own]);

/** Fields that may be answered, by kind of event. */
export const RESPONSES = {
  common: fields(),
  deny: fields('deny'),
  io: fields('deny', 'value'),
  reinject: fields('reinject', 'instruction'),
  breakpoint: fields('instruction'),
} as const;

const MEMORY_FIELDS = { r: 'readData', w: 'withoutWrite', x: 'instruction' } as const;

/** Fields that may be answered to an access. */
export function memoryResponses(access: MemoryAccess): ReadonlySet<string> {
  const kinds = access === 'w2x' ? 'x' : access === 'rwx2n' ? 'rwx' : access;
  return fields(...[...kinds].map((kind) => MEMORY_FIELDS[kind as 'r' | 'w' | 'x']));
}

/** What the handlers of one event have answered together. Where two have answered the same field, the first in their order counts. */
export class Answer {
  /** Somebody has answered something. */
  given = false;
  registers: RegisterValues | undefined;
  singleStep: boolean | 'toggle' | undefined;
  view: MemoryView | undefined;
  viewOnce: MemoryView | undefined;
  nextInterrupt: true | undefined;
  pause: string | undefined;
  deny: true | undefined;
  readData: Uint8Array | undefined;
  withoutWrite: true | undefined;
  instruction: Uint8Array | undefined;
  reinject: boolean | undefined;
  value: number | undefined;

  /** RIP is moved: what made the event is not executed. */
  get moved(): boolean {
    return this.registers?.rip !== undefined;
  }

  /** Cheap when nothing was answered since. */
  clear(): this {
    if (this.given) {
      this.given = false;
      this.registers = this.singleStep = this.view = this.viewOnce = this.nextInterrupt = this.pause = undefined;
      this.deny = this.readData = this.withoutWrite = this.instruction = this.reinject = this.value = undefined;
    }
    return this;
  }

  add(response: AnyResponse): void {
    this.given = true;
    this.registers ??= response.registers;
    this.singleStep ??= response.singleStep;
    this.view ??= response.view;
    this.viewOnce ??= response.viewOnce;
    this.nextInterrupt ??= response.nextInterrupt;
    this.pause ??= response.pause;
    this.deny ??= response.deny;
    this.readData ??= response.readData;
    this.withoutWrite ??= response.withoutWrite;
    this.instruction ??= response.instruction;
    this.reinject ??= response.reinject;
    this.value ??= response.value;
  }
}
