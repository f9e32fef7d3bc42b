/**
 * Events of a guest that runs: what LibVMI's events.h has, as a service. Nothing is trapped for an event that nobody subscribes to, and the last subscriber
 * to go takes everything with it.
 */
import {
  BackendToken,
  GuestMemoryToken,
  SystemControlToken,
  checkFields,
  definePlugin,
  fail,
  optional,
  token,
  watchVms,
} from '@visorkit/core';
import type { Fields, GuestMemory, Plugin, PluginHost, SystemControl, Token, Undo, Vcpu } from '@visorkit/core';
import { MemoryViewsToken } from '@visorkit/machine';
import type { MemoryViews } from '@visorkit/machine';
import * as v from 'valibot';
import { LiveMemory } from '../live-memory.js';
import { SingleStepEvent } from './event.js';
import type {
  BreakpointEvent,
  CpuidEvent,
  DescriptorEvent,
  DomainEvent,
  ExceptionEvent,
  FailedEmulationEvent,
  GuestRequestEvent,
  InterruptEvent,
  IoEvent,
  MemoryEvent,
  RegisterEvent,
  VmExitEvent,
} from './event.js';
import { ExceptionEvents } from './exception-events.js';
import type { InterruptFilter, VcpuFilter } from './exception-events.js';
import { HiddenBreakpoints } from './hidden-breakpoints.js';
import type { BreakpointPlace } from './hidden-breakpoints.js';
import { InstructionEvents } from './instruction-events.js';
import type { CpuidFilter, GuestRequestFilter, IoFilter, VmExitFilter } from './instruction-events.js';
import { MemoryEvents } from './memory-events.js';
import type { MemoryFilter } from './memory-events.js';
import { RegisterEvents } from './register-events.js';
import type { RegisterFilter } from './register-events.js';
import { Answer, RESPONSES } from './responses.js';
import type {
  BreakpointResponse,
  CommonResponse,
  DenyResponse,
  IoResponse,
  MemoryAccess,
  MemoryResponse,
  ReinjectResponse,
} from './responses.js';
import { Stepper } from './stepper.js';
import { Subscribers, once, subscription, together } from './subscribers.js';
import type { OnError, SubscribeOptions } from './subscribers.js';
import { EventSurroundings } from './surroundings.js';
import { traceFunction } from './trace-function.js';
import type { FunctionCall, SymbolResolver, TraceOptions } from './trace-function.js';

/** A handler: what it answers is carried out; nothing lets the guest go on as if nobody had looked. It must not wait for anything. */
export type EventHandler<E, R = CommonResponse> = (event: E) => R | undefined | void;

/**
 * The events of one VM. Each method subscribes and returns what takes the subscription back, at any time, also from inside a handler. All throw
 * `CAPABILITY_MISSING` where the backend cannot give the event, and `VMI_EVENT_FILTER` for a filter that makes no sense.
 */
export interface VmiEvents {
  /** Accesses to memory by the guest. Those of devices and handlers are none. */
  memory<A extends MemoryAccess>(
    filter: MemoryFilter<A>,
    handler: EventHandler<MemoryEvent, MemoryResponse<A>>,
    options?: SubscribeOptions,
  ): Undo;
  /** Writes to a register, before they are carried out. */
  register(
    filter: RegisterFilter,
    handler: EventHandler<RegisterEvent, DenyResponse>,
    options?: SubscribeOptions,
  ): Undo;
  /** Each instruction, behind it. With `enabled: false` only after an answer with `singleStep`. */
  singleStep(
    filter: VcpuFilter & { readonly enabled?: boolean },
    handler: EventHandler<SingleStepEvent>,
    options?: SubscribeOptions,
  ): Undo;
  /** Calls `then` when a vCPU has executed so many instructions. */
  afterSteps(vcpu: Pick<Vcpu, 'index'>, steps: number, then: (vcpu: Vcpu) => void): Undo;
  /** INT3 of the guest's own; it gets it afterwards unless the answer says otherwise. */
  breakpoint(
    filter: VcpuFilter,
    handler: EventHandler<ExceptionEvent, ReinjectResponse>,
    options?: SubscribeOptions,
  ): Undo;
  /** A breakpoint that the guest cannot see, neither by reading nor by writing there. */
  breakpointAt(
    place: BreakpointPlace,
    handler: EventHandler<BreakpointEvent, BreakpointResponse>,
    options?: SubscribeOptions,
  ): Undo;
  /** Calls of a function, by its address or, with a resolver, by its name. Throws `VMI_SYMBOL` for a name that the resolver does not know. */
  traceFunction(
    where: bigint | { readonly name: string; readonly resolve: SymbolResolver },
    onCall: (call: FunctionCall) => void,
    options?: TraceOptions,
  ): Undo;
  /** Debug exceptions (#DB): breakpoint registers, single steps of the guest's own, INT1. */
  debugException(
    filter: VcpuFilter,
    handler: EventHandler<ExceptionEvent, ReinjectResponse>,
    options?: SubscribeOptions,
  ): Undo;
  /** Interrupts and NMIs when they are injected, and exceptions if asked for. INT n is none of these. */
  interrupt(filter: InterruptFilter, handler: EventHandler<InterruptEvent>, options?: SubscribeOptions): Undo;
  /** VMCALL. The guest goes on behind it, with the registers of the answer. */
  guestRequest(filter: GuestRequestFilter, handler: EventHandler<GuestRequestEvent>, options?: SubscribeOptions): Undo;
  /** CPUID. With `deny` the registers of the answer are what it gives. */
  cpuid(filter: CpuidFilter, handler: EventHandler<CpuidEvent, DenyResponse>, options?: SubscribeOptions): Undo;
  /** Accesses to GDTR, IDTR, LDTR and TR. */
  descriptor(
    filter: VcpuFilter,
    handler: EventHandler<DescriptorEvent, DenyResponse>,
    options?: SubscribeOptions,
  ): Undo;
  /** IN, OUT, INS and OUTS. */
  io(filter: IoFilter, handler: EventHandler<IoEvent, IoResponse>, options?: SubscribeOptions): Undo;
  /** Exits of the kinds that are named, as far as they happen: nothing is trapped for it. */
  vmexit(filter: VmExitFilter, handler: EventHandler<VmExitEvent>, options?: SubscribeOptions): Undo;
  /** An answer to a memory event could not be carried out. */
  failedEmulation(handler: EventHandler<FailedEmulationEvent>, options?: SubscribeOptions): Undo;
  /** VMs of this process come and go; this one is told of too. */
  domainWatch(handler: (event: DomainEvent) => void): Undo;
  /** ARM's SMC: refused, there is nothing of the kind on x86. It is here so that the list of LibVMI's events is whole. */
  privilegedCall(): never;
}

export const VmiEventsToken: Token<VmiEvents> = token('vmi-events', '@visorkit/vmi');

export interface IntrospectionEventsOptions {
  /** What becomes of the run when a subscriber throws; `stop` unless given. */
  readonly onError?: OnError;
}

const OPTIONS: Fields = { onError: [v.picklist(['stop', 'go-on']), '"stop" or "go-on"'] };

/** Gives a VM its events: `uses: { events: VmiEventsToken }`. */
export function introspectionEvents(options: IntrospectionEventsOptions = {}): Plugin {
  checkFields(options, OPTIONS, { code: 'PLUGIN_OPTIONS', kind: 'an option of introspectionEvents', where: '' });
  return definePlugin({
    name: 'introspection-events',
    uses: {
      memory: GuestMemoryToken,
      views: optional(MemoryViewsToken),
      system: SystemControlToken,
      backend: BackendToken,
    },
    provides: [
      {
        token: VmiEventsToken,
        make: ({ memory, views, system, backend }, host) =>
          new Events(host, memory, views, system, backend.capabilities.has('vmcs'), options.onError ?? 'stop'),
      },
    ],
  });
}

class Events implements VmiEvents {
  readonly #around: EventSurroundings;
  readonly #memory: MemoryEvents;
  readonly #registers: RegisterEvents;
  readonly #exceptions: ExceptionEvents;
  readonly #hidden: HiddenBreakpoints;
  readonly #instructions: InstructionEvents;
  readonly #steps: Subscribers<SingleStepEvent>;
  readonly #step = new SingleStepEvent();
  readonly #stepAnswer = new Answer();
  readonly #domains = new Set<Undo>();
  #live: LiveMemory | undefined;

  constructor(
    host: PluginHost,
    memory: GuestMemory,
    views: MemoryViews | undefined,
    system: SystemControl,
    carriedOut: boolean,
    onError: OnError,
  ) {
    const around = (this.#around = new EventSurroundings(host, memory, system, views, onError));
    this.#steps = new Subscribers(around);
    around.stepper = new Stepper(host, carriedOut, (vcpu) => this.#stepped(vcpu));
    this.#memory = new MemoryEvents(around);
    this.#registers = new RegisterEvents(around);
    this.#exceptions = new ExceptionEvents(around);
    this.#hidden = new HiddenBreakpoints(around, this.#memory, this.#exceptions);
    this.#instructions = new InstructionEvents(around);
    host.hooks.saving.tap(() => this.#memory.suspend());
    host.hooks.saved.tap(() => this.#memory.resume());
    host.hooks.restored.tap(() => {
      around.stepper.forget();
      this.#memory.resume();
    });
  }

  memory<A extends MemoryAccess>(
    filter: MemoryFilter<A>,
    handler: EventHandler<MemoryEvent, MemoryResponse<A>>,
    options: SubscribeOptions = {},
  ): Undo {
    check('memory', filter, options, 'gpa', 'range', 'everywhere', 'access', 'vcpus', 'view');
    return this.#memory.subscribe(filter, handler, options);
  }

  register(
    filter: RegisterFilter,
    handler: EventHandler<RegisterEvent, DenyResponse>,
    options: SubscribeOptions = {},
  ): Undo {
    check('register', filter, options, 'register', 'equal', 'onChange', 'vcpus');
    return this.#registers.subscribe(filter, handler, options);
  }

  singleStep(
    filter: VcpuFilter & { readonly enabled?: boolean },
    handler: EventHandler<SingleStepEvent>,
    options: SubscribeOptions = {},
  ): Undo {
    check('single-step', filter, options, 'vcpus', 'enabled');
    const { vcpus, enabled = true } = filter,
      around = this.#around;
    around.require('single-step', 'mtf');
    const one = subscription<SingleStepEvent>(around, 'single-step', RESPONSES.common, handler, options, vcpus);
    const forget = this.#steps.add(one);
    const stop = (): void => {
      if (!this.#steps.used) for (const { index } of around.host.vcpus) around.stepper.setTold(index, false);
    };
    if (enabled) for (const index of vcpus ?? around.host.vcpus.keys()) around.stepper.setTold(index, true);
    return together(stop, forget);
  }

  afterSteps({ index }: Pick<Vcpu, 'index'>, steps: number, then: (vcpu: Vcpu) => void): Undo {
    const { stepper, host } = this.#around;
    this.#around.require('single-step', 'mtf');
    if (!Number.isInteger(steps) || steps < 1)
      fail('VMI_EVENT_FILTER', `The number of steps is a whole number from 1 on; it is ${String(steps)}.`);
    const vcpu = host.vcpus[index];
    if (vcpu === undefined)
      fail('VMI_EVENT_FILTER', `There is no vCPU ${String(index)}; this VM has ${host.vcpus.length}.`);
    let left = steps;
    const step = (): void => {
      if (left <= 0) return;
      if (--left > 0) stepper.behindNext(vcpu, step);
      else then(vcpu);
    };
    stepper.behindNext(vcpu, step);
    return () => {
      left = 0;
    };
  }

  breakpoint(
    filter: VcpuFilter,
    handler: EventHandler<ExceptionEvent, ReinjectResponse>,
    options: SubscribeOptions = {},
  ): Undo {
    check('breakpoint', filter, options, 'vcpus');
    return this.#exceptions.subscribe('breakpoint', filter, handler, options);
  }

  breakpointAt(
    place: BreakpointPlace,
    handler: EventHandler<BreakpointEvent, BreakpointResponse>,
    options: SubscribeOptions = {},
  ): Undo {
    check('hidden breakpoint', place, options, 'gpa', 'linear', 'root', 'onlyRoot', 'vcpus', 'view');
    return this.#hidden.subscribe(place, handler, options);
  }

  traceFunction(
    where: bigint | { readonly name: string; readonly resolve: SymbolResolver },
    onCall: (call: FunctionCall) => void,
    options: TraceOptions = {},
  ): Undo {
    const address = typeof where === 'bigint' ? where : where.resolve(where.name);
    if (address === undefined)
      return fail(
        'VMI_SYMBOL',
        `There is no symbol "${(where as { name: string }).name}" in what was given to look it up.`,
      );
    const name = typeof where === 'bigint' ? `0x${where.toString(16)}` : where.name;
    this.#live ??= new LiveMemory(this.#around.memory);
    return traceFunction(this, this.#live, address, name, onCall, options);
  }

  debugException(
    filter: VcpuFilter,
    handler: EventHandler<ExceptionEvent, ReinjectResponse>,
    options: SubscribeOptions = {},
  ): Undo {
    check('debug exception', filter, options, 'vcpus');
    return this.#exceptions.subscribe('debug exception', filter, handler, options);
  }

  interrupt(filter: InterruptFilter, handler: EventHandler<InterruptEvent>, options: SubscribeOptions = {}): Undo {
    check('interrupt', filter, options, 'vcpus', 'asked', 'exceptions');
    return this.#exceptions.subscribeInterrupts(filter, handler, options);
  }

  guestRequest(
    filter: GuestRequestFilter,
    handler: EventHandler<GuestRequestEvent>,
    options: SubscribeOptions = {},
  ): Undo {
    check('guest request', filter, options, 'rax', 'vcpus');
    return this.#instructions.guestRequest(filter, handler, options);
  }

  cpuid(filter: CpuidFilter, handler: EventHandler<CpuidEvent, DenyResponse>, options: SubscribeOptions = {}): Undo {
    check('CPUID', filter, options, 'leaf', 'subleaf', 'vcpus');
    return this.#instructions.cpuid(filter, handler, options);
  }

  descriptor(
    filter: VcpuFilter,
    handler: EventHandler<DescriptorEvent, DenyResponse>,
    options: SubscribeOptions = {},
  ): Undo {
    check('descriptor', filter, options, 'vcpus');
    return this.#instructions.descriptor(filter, handler, options);
  }

  io(filter: IoFilter, handler: EventHandler<IoEvent, IoResponse>, options: SubscribeOptions = {}): Undo {
    check('I/O', filter, options, 'ports', 'direction', 'vcpus');
    return this.#instructions.io(filter, handler, options);
  }

  vmexit(filter: VmExitFilter, handler: EventHandler<VmExitEvent>, options: SubscribeOptions = {}): Undo {
    check('VM exit', filter, options, 'exits', 'vcpus');
    return this.#instructions.vmexit(filter, handler, options);
  }

  failedEmulation(handler: EventHandler<FailedEmulationEvent>, options: SubscribeOptions = {}): Undo {
    return this.#memory.subscribeFailures(handler, options);
  }

  domainWatch(handler: (event: DomainEvent) => void): Undo {
    const undo = once(watchVms(({ kind, vm }) => handler({ created: kind === 'created', domain: vm.id, vm })));
    this.#domains.add(undo);
    return () => {
      this.#domains.delete(undo);
      undo();
    };
  }

  privilegedCall(): never {
    return fail(
      'VMI_EVENT_ARM',
      'Privileged calls (SMC) are ARM instructions; an x86 guest asks by VMCALL: guestRequest.',
    );
  }

  /** With the VM. Taps and controls go with it anyway; the watch of the process does not. */
  dispose(): void {
    for (const undo of this.#domains) undo();
  }

  #stepped(vcpu: Vcpu): void {
    const event = this.#step,
      answer = this.#stepAnswer.clear();
    event.vcpu = vcpu;
    this.#steps.tell(event, answer);
    this.#around.carryOut(answer, vcpu);
  }
}

const anything = v.unknown();
const SUBSCRIBE = { order: [anything, ''], name: [v.string(), 'a name'], onError: [anything, ''] } as const;

/** Refuses fields that do not exist; their values are checked where they are used. */
function check(kind: string, filter: object, options: object, ...fields: readonly string[]): void {
  if (typeof filter !== 'object' || filter === null)
    fail(
      'VMI_EVENT_FILTER',
      `The first argument of ${kind} events is an object that says which; it is ${String(filter)}.`,
    );
  const known: Fields = Object.fromEntries(
    fields.map((field) => [
      field,
      field === 'vcpus' ? [v.array(v.number()), 'a list of indices of vCPUs'] : [anything, ''],
    ]),
  );
  checkFields(filter, known, { code: 'VMI_EVENT_FILTER', kind: `a field of ${kind} events`, where: '' });
  checkFields(options, SUBSCRIBE, { code: 'VMI_EVENT_FILTER', kind: 'an option of a subscriber', where: '' });
}
