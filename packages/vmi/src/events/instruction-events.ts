/** Instructions that exit: CPUID, VMCALL, accesses to ports and to descriptor-table registers; and exits of any kind. */
import { Gpr, RESUME, RETRY, exitReasonByName, fail } from '@visorkit/core';
import type { Capability, ExitName, Outcome, Undo, Vcpu, VmExit } from '@visorkit/core';
import { CpuidEvent, DescriptorEvent, GuestRequestEvent, IoEvent, VmExitEvent } from './event.js';
import type { VmiEvent } from './event.js';
import type { VcpuFilter } from './exception-events.js';
import { Answer, RESPONSES } from './responses.js';
import type { CommonResponse, DenyResponse, IoResponse } from './responses.js';
import { Subscribers, WhileUsed, once, subscription, together } from './subscribers.js';
import type { SubscribeOptions, Subscription } from './subscribers.js';
import type { EventSurroundings } from './surroundings.js';

export interface CpuidFilter extends VcpuFilter {
  readonly leaf?: number;
  readonly subleaf?: number;
}
export interface GuestRequestFilter extends VcpuFilter {
  /** What RAX has to hold, the hypercall's number; any number unless given. */
  readonly rax?: bigint | number;
}
export interface IoFilter extends VcpuFilter {
  /** A port, or the first and the last of a range; all of them unless given. */
  readonly ports?: number | readonly [first: number, last: number];
  readonly direction?: 'in' | 'out';
}
export interface VmExitFilter extends VcpuFilter {
  /** Exits by name, as the hooks have them. */
  readonly exits: readonly ExitName[];
}

/** Bits 29:28 of the instruction information (SDM 3C, tables 28-10 and 28-11). */
const DESCRIPTOR_WRITE = 1 << 29;
const SECOND_REGISTER = 1 << 28;
const ONES = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff } as const;

/** What handles one kind of instruction: its subscribers, and its taps while there are any. */
class Kind<E extends VmiEvent> {
  readonly subscribers: Subscribers<E>;
  readonly answer = new Answer();
  readonly #around: EventSurroundings;
  readonly #taps: WhileUsed;

  constructor(
    around: EventSurroundings,
    private readonly name: string,
    exits: readonly ExitName[],
    private readonly fields: ReadonlySet<string>,
    private readonly capabilities: readonly Capability[],
    handle: (exit: VmExit, vcpu: Vcpu) => Outcome | undefined,
  ) {
    this.#around = around;
    this.subscribers = new Subscribers<E>(around);
    this.#taps = new WhileUsed(() => together(...exits.map((exit) => around.host.hooks.exit.for(exit).tap(handle))));
  }

  subscribe(
    handler: Subscription<E>['handler'],
    options: SubscribeOptions,
    vcpus: readonly number[] | undefined,
    wants: ((event: E) => boolean) | undefined,
    hold: () => Undo = () => () => {},
  ): Undo {
    this.#around.require(this.name, ...this.capabilities);
    const one = subscription(this.#around, this.name, this.fields, handler, options, vcpus, wants);
    const release = hold();
    return together(release, this.#taps.use(), this.subscribers.add(one));
  }

  /** Tells the subscribers and does what all may answer. Undefined: none of them wants the event. */
  tell(event: E, vcpu: Vcpu): Answer | undefined {
    const answer = this.answer.clear();
    event.vcpu = vcpu;
    if (!this.subscribers.tell(event, answer)) return undefined;
    this.#around.carryOut(answer, vcpu);
    return answer;
  }
}

export class InstructionEvents {
  readonly #around: EventSurroundings;
  readonly #cpuid: Kind<CpuidEvent>;
  readonly #requests: Kind<GuestRequestEvent>;
  readonly #io: Kind<IoEvent>;
  readonly #descriptors: Kind<DescriptorEvent>;
  readonly #events = {
    cpuid: new CpuidEvent(),
    request: new GuestRequestEvent(),
    io: new IoEvent(),
    descriptor: new DescriptorEvent(),
    exit: new VmExitEvent(),
  };
  readonly #exitAnswer = new Answer();
  /** What each subscriber of descriptor tables holds, by vCPU: let go for the one instruction that is carried out. */
  readonly #descriptorHolds = new Set<(Undo | undefined)[]>();

  constructor(around: EventSurroundings) {
    this.#around = around;
    this.#cpuid = new Kind(around, 'CPUID', ['cpuid'], RESPONSES.deny, ['exit.cpuid'], (_exit, vcpu) => {
      const event = this.#events.cpuid;
      event.leaf = vcpu.getRegister32(Gpr.RAX);
      event.subleaf = vcpu.getRegister32(Gpr.RCX);
      return denied(this.#cpuid.tell(event, vcpu));
    });
    this.#requests = new Kind(around, 'guest request', ['vmcall'], RESPONSES.common, ['exit.vmcall'], (_exit, vcpu) => {
      const answer = this.#requests.tell(this.#events.request, vcpu);
      return answer === undefined ? undefined : answer.moved ? RETRY : RESUME;
    });
    this.#io = new Kind(around, 'I/O', ['io'], RESPONSES.io, ['exit.io'], (exit, vcpu) => this.#port(exit, vcpu));
    this.#descriptors = new Kind(
      around,
      'descriptor',
      ['gdtr-idtr', 'ldtr-tr'],
      RESPONSES.deny,
      ['exit.gdtr-idtr', 'exit.ldtr-tr', 'mtf'],
      (exit, vcpu) => this.#descriptor(exit, vcpu),
    );
  }

  cpuid(
    { leaf, subleaf, vcpus }: CpuidFilter,
    handler: (event: CpuidEvent) => DenyResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const wants =
      leaf === undefined && subleaf === undefined
        ? undefined
        : (event: CpuidEvent): boolean =>
            (leaf === undefined || event.leaf === leaf >>> 0) &&
            (subleaf === undefined || event.subleaf === subleaf >>> 0);
    return this.#cpuid.subscribe(handler, options, vcpus, wants);
  }

  guestRequest(
    { rax, vcpus }: GuestRequestFilter,
    handler: (event: GuestRequestEvent) => CommonResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const number = rax === undefined ? undefined : BigInt(rax);
    const wants = number === undefined ? undefined : ({ vcpu }: GuestRequestEvent): boolean => vcpu.rax === number;
    return this.#requests.subscribe(handler, options, vcpus, wants);
  }

  io(
    { ports, direction, vcpus }: IoFilter,
    handler: (event: IoEvent) => IoResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const [first, last] = ports === undefined ? [0, 0xffff] : typeof ports === 'number' ? [ports, ports] : ports;
    if (direction !== undefined && direction !== 'in' && direction !== 'out')
      fail('VMI_EVENT_FILTER', `The direction of I/O is "in" or "out"; it is ${JSON.stringify(direction)}.`);
    const wants = ({ port, size, input }: IoEvent): boolean =>
      port <= last && port + size > first && (direction === undefined || input === (direction === 'in'));
    const needs = { ports: [[first, last]] as const };
    return this.#io.subscribe(handler, options, vcpus, wants, () => this.#around.hold(needs, vcpus));
  }

  descriptor(
    { vcpus }: VcpuFilter,
    handler: (event: DescriptorEvent) => DenyResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    return this.#descriptors.subscribe(handler, options, vcpus, undefined, () => this.#holdDescriptors(vcpus));
  }

  vmexit(
    { exits, vcpus }: VmExitFilter,
    handler: (event: VmExitEvent) => CommonResponse | undefined | void,
    options: SubscribeOptions,
  ): Undo {
    const around = this.#around;
    if (!Array.isArray(exits) || exits.length === 0)
      fail('VMI_EVENT_FILTER', 'Events of exits are of the exits that are named: { exits: ["cpuid", …] }.');
    // A name that does not exist is refused by the hook
    const known = (exits as readonly ExitName[]).filter((name) => exitReasonByName(name) !== undefined);
    around.require('VM exit', ...known.map((name): Capability => `exit.${name}`));
    const one = subscription<VmExitEvent>(around, 'VM exit', RESPONSES.common, handler, options, vcpus);
    const list = new Subscribers<VmExitEvent>(around);
    const forget = list.add(one);
    const handle = (_exit: VmExit, vcpu: Vcpu): Outcome | undefined => {
      const event = this.#events.exit,
        answer = this.#exitAnswer.clear();
      event.vcpu = vcpu;
      list.tell(event, answer);
      if (!answer.given) return undefined;
      around.carryOut(answer, vcpu);
      return answer.moved ? RETRY : undefined;
    };
    return together(forget, ...exits.map((name) => around.host.hooks.exit.for(name).tap(one.name, handle)));
  }

  #port({ io }: VmExit, vcpu: Vcpu): Outcome | undefined {
    const event = this.#events.io;
    event.port = io.port;
    event.size = io.size;
    event.input = io.input;
    event.string = io.string;
    event.value = io.value;
    const answer = this.#io.tell(event, vcpu);
    if (answer === undefined || !answer.given) return undefined;
    if (answer.moved) return RETRY;
    if (answer.deny !== true && answer.value === undefined) return undefined;
    if (io.string) {
      if (answer.value !== undefined)
        fail('VMI_EVENT_RESPONSE', 'An answer with a value is for IN alone; INS and OUTS can be denied.');
      // All that is left of a repeated instruction does nothing
      if (io.data !== null) io.data.fill(0xff);
      else if (io.rep) vcpu.setRegister(Gpr.RCX, 0n);
      return RESUME;
    }
    if (io.input) io.value = ((answer.value ?? ONES[io.size]) & ONES[io.size]) >>> 0;
    return RESUME;
  }

  #holdDescriptors(vcpus: readonly number[] | undefined): Undo {
    const { host, cpus } = this.#around;
    const holds: (Undo | undefined)[] = new Array<Undo | undefined>(cpus).fill(undefined);
    for (const index of vcpus ?? holds.keys())
      holds[index] = host.controls.hold({ secondary: ['descriptor-table-exiting'] }, { index });
    this.#descriptorHolds.add(holds);
    const unuse = this.#around.stepper.use();
    return once(() => {
      this.#descriptorHolds.delete(holds);
      for (const release of holds) release?.();
      unuse();
    });
  }

  #descriptor(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const event = this.#events.descriptor,
      info = exit.instructionInfo,
      second = (info & SECOND_REGISTER) !== 0;
    event.register =
      exit.reason === exitReasonByName('gdtr-idtr') ? (second ? 'idtr' : 'gdtr') : second ? 'tr' : 'ldtr';
    event.write = (info & DESCRIPTOR_WRITE) !== 0;
    const answer = this.#descriptors.tell(event, vcpu);
    if (answer?.moved === true) return RETRY;
    if (answer?.deny === true) return RESUME;
    return this.#executeOnce(vcpu) ? RETRY : undefined;
  }

  /** The processor itself executes the instruction: it does not exit on this vCPU until that is done. False: it is not for us that it exits. */
  #executeOnce(vcpu: Vcpu): boolean {
    const { index } = vcpu;
    const holds = [...this.#descriptorHolds].filter((held) => held[index] !== undefined);
    if (holds.length === 0) return false;
    for (const held of holds) {
      held[index]!();
      held[index] = () => {};
    }
    this.#around.stepper.behindNext(vcpu, () => {
      for (const held of holds)
        if (this.#descriptorHolds.has(held))
          held[index] = this.#around.host.controls.hold({ secondary: ['descriptor-table-exiting'] }, { index });
    });
    return true;
  }
}

function denied(answer: Answer | undefined): Outcome | undefined {
  return answer === undefined || !answer.given
    ? undefined
    : answer.moved
      ? RETRY
      : answer.deny === true
        ? RESUME
        : undefined;
}
