/** What the kinds of events share: the VM, its steps, and how answers are carried out. */
import { Gpr, fail } from '@visorkit/core';
import type { Capability, GuestMemory, PluginHost, SystemControl, Undo, Vcpu } from '@visorkit/core';
import type { MemoryViews } from '@visorkit/machine';
import type { Answer, RegisterValues } from './responses.js';
import type { Stepper } from './stepper.js';
import type { OnError, Surroundings } from './subscribers.js';

const GENERAL = Object.fromEntries(Object.entries(Gpr).map(([name, index]) => [name.toLowerCase(), index]));

export class EventSurroundings implements Surroundings {
  readonly plugin: string;
  readonly cpus: number;
  readonly logger: PluginHost['logger'];
  /** Set by whoever has them. */
  stepper!: Stepper;
  armInterrupts: (vcpu: Vcpu) => void = () => {};

  constructor(
    readonly host: PluginHost,
    readonly memory: GuestMemory,
    private readonly system: SystemControl,
    private readonly viewsOrNone: MemoryViews | undefined,
    readonly onError: OnError,
  ) {
    this.plugin = host.name;
    this.cpus = host.vcpus.length;
    this.logger = host.logger;
  }

  /** Only after `require` of `ept.views`. */
  get views(): MemoryViews {
    return this.viewsOrNone!;
  }

  /** Refuses what the backend cannot, with the names of those that can. */
  require(kind: string, ...capabilities: readonly Capability[]): void {
    this.host.require(capabilities, `${kind} events`);
  }

  /** Holds controls on some vCPUs, or on all of them. */
  hold(needs: Parameters<PluginHost['controls']['hold']>[0], vcpus: readonly number[] | undefined): Undo {
    if (vcpus === undefined) return this.host.controls.hold(needs);
    const undos: Undo[] = [];
    try {
      for (const index of new Set(vcpus)) undos.push(this.host.controls.hold(needs, { index }));
    } catch (error) {
      for (const undo of undos) undo();
      throw error;
    }
    return () => {
      for (const undo of undos) undo();
    };
  }

  /** Does what may be answered to every event. */
  carryOut(answer: Answer, vcpu: Vcpu): void {
    if (!answer.given) return;
    const { registers, view, viewOnce, singleStep, nextInterrupt, pause } = answer;
    if (registers !== undefined) setRegisters(vcpu, registers);
    if (view !== undefined) this.#needViews().use(view, vcpu);
    if (viewOnce !== undefined) {
      const views = this.#needViews(),
        before = views.current(vcpu);
      views.use(viewOnce, vcpu);
      this.stepper.behindNext(vcpu, () => {
        if (views.current(vcpu) === viewOnce && !before.destroyed) views.use(before, vcpu);
      });
    }
    if (singleStep !== undefined)
      this.stepper.setTold(vcpu.index, singleStep === 'toggle' ? !this.stepper.isTold(vcpu.index) : singleStep);
    if (nextInterrupt === true) this.armInterrupts(vcpu);
    if (pause !== undefined) this.system.pause(pause);
  }

  #needViews(): MemoryViews {
    this.host.require(['ept.views'], 'an answer with a view');
    return this.views;
  }
}

function setRegisters(vcpu: Vcpu, registers: RegisterValues): void {
  for (const [name, value] of Object.entries(registers)) {
    if (value === undefined) continue;
    if (typeof value !== 'bigint')
      fail('VMI_EVENT_RESPONSE', `A register takes a bigint; ${name} was given ${String(value)}.`);
    if (name === 'rip') vcpu.rip = value;
    else if (name === 'rflags') vcpu.rflags = value;
    else if (Object.hasOwn(GENERAL, name)) vcpu.setRegister(GENERAL[name], value);
    else fail('VMI_EVENT_RESPONSE', `There is no register "${name}": rax to r15, rip and rflags may be answered.`);
  }
}
