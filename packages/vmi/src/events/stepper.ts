/** Single steps of vCPUs by the monitor trap flag (SDM 3C 26.5.2): for subscribers, and for what has to happen right behind one instruction. */
import { ExitReason, HALT, RESUME, RETRY } from '@visorkit/core';
import type { Outcome, PluginHost, Undo, Vcpu, VmExit } from '@visorkit/core';
import { WhileUsed, once } from './subscribers.js';

/** Makes an MTF exit pending for the next entry (27.6.2): valid, type 7, vector 0. */
const PENDING_MTF = 0x8000_0700;

/** Exits that RESUME does not carry out an instruction for. */
const BETWEEN: ReadonlySet<number> = new Set([
  ExitReason.EXTERNAL_INTERRUPT,
  ExitReason.INTERRUPT_WINDOW,
  ExitReason.NMI_WINDOW,
  ExitReason.PREEMPTION_TIMER,
  ExitReason.MONITOR_TRAP_FLAG,
  ExitReason.TASK_SWITCH,
]);

class SteppedVcpu {
  /** What to do behind the next instruction. */
  readonly waiting: (() => void)[] = [];
  /** Steps go to subscribers. */
  told = false;
  /** Steps were switched on in an exit that is still being handled: the instruction of that exit is not one of them. */
  begun = false;
  release: Undo | undefined;
}

export class Stepper {
  readonly #host: PluginHost;
  readonly #vcpus: readonly SteppedVcpu[];
  readonly #tapped: WhileUsed;
  /** Tells subscribers of a step. */
  readonly #tell: (vcpu: Vcpu) => void;

  /** `carriedOut`: on this backend handlers carry instructions out, behind which no step is seen. */
  constructor(host: PluginHost, carriedOut: boolean, tell: (vcpu: Vcpu) => void) {
    this.#host = host;
    this.#tell = tell;
    this.#vcpus = host.vcpus.map(() => new SteppedVcpu());
    this.#tapped = new WhileUsed(() => {
      const untap = host.hooks.exit.for('monitor-trap-flag').tap((_exit, vcpu) => this.#stepped(vcpu));
      const unwatch = carriedOut
        ? host.hooks.afterExit.tap((exit, vcpu, outcome) => this.#carriedOut(exit, vcpu, outcome))
        : undefined;
      return () => {
        untap();
        unwatch?.();
      };
    });
  }

  /** Keeps what steps need ready: what follows costs less then. */
  use(): Undo {
    this.#host.require(['mtf'], 'single steps');
    return this.#tapped.use();
  }

  /** Calls `then` when the vCPU has executed one instruction, or an event has been delivered instead. */
  behindNext(vcpu: Vcpu, then: () => void): void {
    this.#vcpus[vcpu.index].waiting.push(then);
    this.#update(vcpu.index);
  }

  /** Whether steps of a vCPU go to subscribers. */
  isTold(index: number): boolean {
    return this.#vcpus[index].told;
  }
  setTold(index: number, told: boolean): void {
    this.#vcpus[index].told = told;
    this.#update(index);
  }

  /** The VM is another one now: nothing is left of what was half done. */
  forget(): void {
    for (const [index, { waiting }] of this.#vcpus.entries()) {
      waiting.length = 0;
      this.#update(index);
    }
  }

  #update(index: number): void {
    const state = this.#vcpus[index];
    const needed = state.told || state.waiting.length > 0;
    if (needed === (state.release !== undefined)) return;
    if (needed) {
      state.begun = this.#tapped.used; // a tap that is made in an exit is not called for it
      const unuse = this.use();
      const release = this.#host.controls.hold({ primary: ['monitor-trap-flag'] }, { index });
      state.release = once(() => {
        release();
        unuse();
      });
    } else {
      state.release!();
      state.release = undefined;
    }
  }

  #stepped(vcpu: Vcpu): Outcome | undefined {
    const state = this.#vcpus[vcpu.index];
    if (state.release === undefined) return undefined;
    const { waiting } = state;
    state.begun = false;
    // What is called may wait for the next step
    for (let left = waiting.length; left > 0; left--) waiting.shift()!();
    if (state.told) this.#tell(vcpu);
    this.#update(vcpu.index);
    return RETRY;
  }

  /** A handler has carried out the instruction that was stepped over: its step is told at the next entry, before anything is executed. */
  #carriedOut(exit: VmExit, vcpu: Vcpu, outcome: Outcome | undefined): void {
    const state = this.#vcpus[vcpu.index];
    if (state.release === undefined) return;
    if (state.begun) {
      state.begun = false;
      return;
    }
    if (outcome !== RESUME && outcome !== HALT) return;
    if (exit.mmio.valid || BETWEEN.has(exit.reason) || exit.idtVectoringInfo >= 0x8000_0000) return;
    if (outcome === HALT) {
      const { waiting } = state;
      for (let left = waiting.length; left > 0; left--) waiting.shift()!();
      this.#update(vcpu.index);
    } else vcpu.injectEvent(PENDING_MTF, 0, 0);
  }
}
