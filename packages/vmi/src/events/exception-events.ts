/**
 * Exceptions that exit: INT3 and debug exceptions for those who subscribe to them, INT3 of breakpoints that the guest cannot see, and whatever is the next
 * interrupt of a vCPU.
 */
import { RESUME, RETRY } from '@visorkit/core';
import type { Outcome, Undo, Vcpu, VmExit } from '@visorkit/core';
import { EventType, Vector } from '@visorkit/x86';
import { ExceptionEvent, InterruptEvent } from './event.js';
import { Answer, RESPONSES } from './responses.js';
import type { CommonResponse, ReinjectResponse } from './responses.js';
import { Subscribers, WhileUsed, once, subscription, together } from './subscribers.js';
import type { SubscribeOptions } from './subscribers.js';
import type { EventSurroundings } from './surroundings.js';

export interface VcpuFilter {
  /** Of these vCPUs alone. */
  readonly vcpus?: readonly number[];
}

export interface InterruptFilter extends VcpuFilter {
  /** Only the next one after an answer with `nextInterrupt`, exceptions included. */
  readonly asked?: boolean;
  /** Exceptions by their vectors, besides external interrupts and NMIs; each of them exits. */
  readonly exceptions?: readonly number[];
}

const ALL_EXCEPTIONS = Array.from({ length: 32 }, (_unused, vector) => vector).filter(
  (vector) => vector !== Vector.NMI,
);
const HAS_ERROR = 0x800;

export class ExceptionEvents {
  readonly #around: EventSurroundings;
  readonly #breakpoints: Subscribers<ExceptionEvent>;
  readonly #debug: Subscribers<ExceptionEvent>;
  readonly #interrupts: Subscribers<InterruptEvent>;
  readonly #exception = new ExceptionEvent();
  readonly #interrupt = new InterruptEvent();
  readonly #answer = new Answer();
  readonly #tapped: WhileUsed;
  readonly #injections: WhileUsed;
  /** By vCPU: holds all exceptions until the next interrupt or exception. */
  readonly #armed: (Undo | undefined)[];
  #asked = 0;
  /** Takes the INT3 of a hidden breakpoint. Set by those. */
  hidden: (vcpu: Vcpu) => Outcome | undefined = () => undefined;

  constructor(around: EventSurroundings) {
    this.#around = around;
    const { hooks } = around.host;
    this.#breakpoints = new Subscribers(around);
    this.#debug = new Subscribers(around);
    this.#interrupts = new Subscribers(around);
    this.#armed = new Array<Undo | undefined>(around.cpus).fill(undefined);
    this.#tapped = new WhileUsed(() => hooks.exit.for('exception').tap((exit, vcpu) => this.#raised(exit, vcpu)));
    this.#injections = new WhileUsed(() =>
      hooks.interrupt.tap((vcpu, kind, vector) =>
        this.#delivered(vcpu, kind === 'nmi' ? 'nmi' : 'external', vector, -1),
      ),
    );
    around.armInterrupts = (vcpu) => this.#arm(vcpu.index);
  }

  /** Takes exits of exceptions as long as it is used. */
  use(): Undo {
    return this.#tapped.use();
  }

  subscribe(
    kind: 'breakpoint' | 'debug exception',
    { vcpus }: VcpuFilter,
    handler: (event: ExceptionEvent) => ReinjectResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const around = this.#around;
    around.require(kind, 'exit.exception');
    const one = subscription<ExceptionEvent>(around, kind, RESPONSES.reinject, handler, options, vcpus);
    const [vector, list] = kind === 'breakpoint' ? [Vector.BP, this.#breakpoints] : [Vector.DB, this.#debug];
    const release = around.hold({ exceptions: [vector] }, vcpus);
    return together(release, this.use(), list.add(one));
  }

  subscribeInterrupts(
    { vcpus, asked = false, exceptions = [] }: InterruptFilter,
    handler: (event: InterruptEvent) => CommonResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const around = this.#around;
    around.require('interrupt', 'exit.interrupt-window'); // where they are injected by the kernel of the host, nobody is told
    if (asked || exceptions.length > 0) around.require('interrupt (of exceptions)', 'exception-exits');
    const vectors = new Set(exceptions);
    const one = subscription<InterruptEvent>(
      around,
      'interrupt',
      RESPONSES.common,
      handler,
      options,
      vcpus,
      asked
        ? ({ vcpu }) => this.#armed[vcpu.index] !== undefined
        : ({ kind, vector }) => kind !== 'exception' || vectors.has(vector),
    );
    const release = exceptions.length > 0 ? around.hold({ exceptions }, vcpus) : () => {};
    if (asked) this.#asked++;
    return together(
      () => {
        if (asked && --this.#asked === 0) this.#disarmAll();
      },
      release,
      this.use(),
      this.#injections.use(),
      this.#interrupts.add(one),
    );
  }

  #arm(index: number): void {
    if (this.#asked === 0 || this.#armed[index] !== undefined) return;
    this.#armed[index] = once(this.#around.hold({ exceptions: ALL_EXCEPTIONS }, [index]));
  }

  #disarmAll(): void {
    for (const [index, release] of this.#armed.entries()) {
      release?.();
      this.#armed[index] = undefined;
    }
  }

  #raised(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const info = exit.interruptionInfo,
      vector = info & 0xff,
      type = (info >>> 8) & 7;
    if (vector === Vector.BP && type === EventType.SOFTWARE_EXCEPTION) {
      const outcome = this.hidden(vcpu);
      if (outcome !== undefined) return outcome;
    }
    const nmi = type === EventType.NMI;
    const error = (info & HAS_ERROR) !== 0 ? exit.interruptionErrorCode : -1;
    if (!nmi && this.#interrupts.used && this.#delivered(vcpu, 'exception', vector, error)) return RETRY;
    const list = nmi
      ? undefined
      : vector === Vector.BP
        ? this.#breakpoints
        : vector === Vector.DB
          ? this.#debug
          : undefined;
    if (list === undefined || !list.used) return undefined;
    const event = this.#exception,
      answer = this.#answer.clear();
    event.vcpu = vcpu;
    event.vector = vector;
    event.type = type;
    list.tell(event, answer);
    this.#around.carryOut(answer, vcpu);
    if (answer.moved) return RETRY;
    if (answer.instruction !== undefined) {
      this.#around.host.require(['emulation'], 'an answer with an instruction');
      vcpu.emulation!.execute(answer.instruction);
      return RETRY;
    }
    if (answer.reinject !== false) return undefined; // whoever carries out exceptions gives it to the guest
    return isSoftware(type) ? RESUME : RETRY;
  }

  /** Tells of an event for the guest. True: RIP is elsewhere now. */
  #delivered(vcpu: Vcpu, kind: InterruptEvent['kind'], vector: number, errorCode: number): boolean {
    const event = this.#interrupt,
      answer = this.#answer.clear();
    event.vcpu = vcpu;
    event.kind = kind;
    event.vector = vector;
    event.errorCode = errorCode;
    this.#interrupts.tell(event, answer);
    const release = this.#armed[vcpu.index];
    if (release !== undefined) {
      this.#armed[vcpu.index] = undefined;
      release();
    }
    this.#around.carryOut(answer, vcpu);
    return answer.moved;
  }
}

function isSoftware(type: number): boolean {
  return type === EventType.SOFTWARE_EXCEPTION || type === EventType.PRIVILEGED_SOFTWARE_EXCEPTION;
}
