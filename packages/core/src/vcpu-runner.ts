/** What the run loop keeps about one vCPU: whether it runs, and the events that wait for it. */
import * as v from 'valibot';
import { SAVED_EXIT, restoreExit, saveExit } from './saved-exit.js';
import type { KernelHooks } from './hooks.js';
import type { EventGate, InterruptSource } from './platform.js';
import type { BackendVcpu } from './vcpu.js';

/** SDM 3C, 25.4.2: activity states. */
export type Activity = 'active' | 'halted' | 'wait-for-sipi';

/** What is saved of a runner. */
export const SAVED_RUNNER = v.object({
  activity: v.picklist(['active', 'halted', 'wait-for-sipi']),
  nmis: v.number(),
  anyInterrupt: v.boolean(),
  interruptWindow: v.boolean(),
  nmiWindow: v.boolean(),
  /** An INIT that the gate has asked to come later. */
  init: v.optional(v.boolean()),
  /** An exit that nobody has carried out, and RIP then. */
  exit: v.optional(v.object({ at: v.bigint(), record: SAVED_EXIT })),
});
export type SavedRunner = v.InferOutput<typeof SAVED_RUNNER>;

export class VcpuRunner {
  activity: Activity;
  /** The last exit has not been carried out: nobody took it, or a handler threw. */
  exitOpen = false;
  /** RIP when the last run ended. */
  stoodAt = 0n;
  readonly #vcpu: BackendVcpu;
  readonly #source: InterruptSource | undefined;
  readonly #hooks: KernelHooks;
  readonly #signals: boolean;
  readonly #gate: EventGate | undefined;
  /** An INIT that came in and has had no effect yet. */
  #init = false;
  /** NMIs that came in and were not injected yet; the processor remembers one besides the one it handles. */
  #nmis = 0;
  #anyInterrupt = false;
  #interruptWindow = false;
  #nmiWindow = false;

  constructor(vcpu: BackendVcpu, source: InterruptSource | undefined, hooks: KernelHooks, gate?: EventGate) {
    this.#vcpu = vcpu;
    this.#gate = gate;
    this.#source = source;
    this.#hooks = hooks;
    this.activity = vcpu.index === 0 ? 'active' : 'wait-for-sipi';
    this.#signals =
      source?.takeNmi !== undefined || source?.takeInit !== undefined || source?.takeStartup !== undefined;
  }

  get vcpu(): BackendVcpu {
    return this.#vcpu;
  }

  /** `anyInterrupt`: an interrupt that cannot be delivered because IF = 0 ends the halt too. */
  halt(anyInterrupt: boolean): void {
    this.activity = 'halted';
    this.#anyInterrupt = anyInterrupt;
    if (this.#hooks.vcpuState.isUsed()) this.#hooks.vcpuState.call(this.#vcpu, 'halted');
  }

  /** After a reset of the machine. */
  reset(): void {
    this.activity = this.#vcpu.index === 0 ? 'active' : 'wait-for-sipi';
    this.#nmis = 0;
    this.#init = false;
    this.#wantInterruptWindow(false);
    this.#wantNmiWindow(false);
    if (this.#hooks.vcpuState.isUsed()) this.#hooks.vcpuState.call(this.#vcpu, 'reset');
  }

  save(): SavedRunner {
    return {
      activity: this.activity,
      nmis: this.#nmis,
      anyInterrupt: this.#anyInterrupt,
      interruptWindow: this.#interruptWindow,
      nmiWindow: this.#nmiWindow,
      ...(this.#init ? { init: true } : {}),
      exit: this.exitOpen ? { at: this.stoodAt, record: saveExit(this.#vcpu.exit) } : undefined,
    };
  }

  /** The vCPU's own state, with the interrupt windows it waits for, has been restored already. */
  restore(state: SavedRunner): void {
    this.activity = state.activity;
    this.#nmis = state.nmis;
    this.#anyInterrupt = state.anyInterrupt;
    this.#interruptWindow = state.interruptWindow;
    this.#nmiWindow = state.nmiWindow;
    this.#init = state.init ?? false;
    this.exitOpen = state.exit !== undefined;
    this.stoodAt = state.exit?.at ?? this.#vcpu.rip;
    if (state.exit === undefined) return;
    restoreExit(this.#vcpu.exit, state.exit.record);
  }

  /** Injects what can be injected now, asks for windows for what cannot, and wakes a halted vCPU for it. */
  deliver(): void {
    const source = this.#source,
      vcpu = this.#vcpu;
    if (this.activity === 'halted' && this.#gate?.wakes(vcpu) === true) this.#wake();
    if (source === undefined) return;
    if (this.#signals) {
      this.#takeSignals(source);
      if (this.activity === 'wait-for-sipi') return;
      if (this.#nmis > 0) this.#deliverNmi();
    }
    let waiting = source.pending();
    if (waiting && this.#gate !== undefined) {
      const answer = this.#gate.interrupt(vcpu, source, this.activity === 'halted');
      if (answer === 'later') return;
      if (answer === 'taken') {
        this.#wake();
        waiting = source.pending();
      }
    }
    if (waiting && this.#anyInterrupt) this.#wake();
    if (waiting && vcpu.canTakeInterrupt()) {
      const vector = source.acknowledge();
      vcpu.injectInterrupt(vector);
      this.#wake();
      if (this.#hooks.interrupt.isUsed()) this.#hooks.interrupt.call(vcpu, 'interrupt', vector);
      waiting = source.pending();
    }
    if (waiting !== this.#interruptWindow) this.#wantInterruptWindow(waiting);
  }

  /** A halted vCPU that no interrupt can wake: IF = 0. */
  get deaf(): boolean {
    if (this.activity !== 'halted' || this.#anyInterrupt || this.#vcpu.interruptsEnabled()) return false;
    return this.#gate?.listens(this.#vcpu) !== true;
  }

  #deliverNmi(): void {
    const vcpu = this.#vcpu;
    const answer = this.#gate?.nmi(vcpu, this.activity === 'halted') ?? 'guest';
    if (answer === 'later') return;
    const taken = answer === 'taken';
    if (taken || vcpu.canTakeNmi()) {
      this.#nmis--;
      if (!taken) vcpu.injectNmi();
      this.#wake();
      if (this.#hooks.interrupt.isUsed()) this.#hooks.interrupt.call(vcpu, 'nmi', 2);
    }
    this.#wantNmiWindow(this.#nmis > 0);
  }

  #takeSignals(source: InterruptSource): void {
    const vcpu = this.#vcpu;
    if (source.takeInit?.()) this.#init = true;
    if (this.#init) this.#takeInit();
    if (source.takeStartup !== undefined) {
      const vector = source.takeStartup();
      if (vector >= 0 && this.#gate?.startup(vcpu, vector) === true) this.#wake();
      else if (vector >= 0 && this.activity === 'wait-for-sipi') {
        vcpu.startup(vector);
        this.activity = 'active';
        if (this.#hooks.vcpuState.isUsed()) this.#hooks.vcpuState.call(vcpu, 'startup');
      }
    }
    // While one is handled, a single further one is remembered (SDM 3A, 7.7.1).
    if (source.takeNmi?.() && this.#nmis < (vcpu.canTakeNmi() ? 2 : 1)) this.#nmis++;
  }

  #takeInit(): void {
    const vcpu = this.#vcpu;
    const answer = this.#gate?.init(vcpu, this.activity === 'halted') ?? 'guest';
    if (answer === 'later') return;
    this.#init = false;
    if (answer === 'taken') {
      this.#wake();
      return;
    }
    vcpu.init();
    this.#nmis = 0;
    this.#wantNmiWindow(false);
    this.activity = vcpu.index === 0 ? 'active' : 'wait-for-sipi';
    if (this.#hooks.vcpuState.isUsed()) this.#hooks.vcpuState.call(vcpu, 'reset');
  }

  #wake(): void {
    if (this.activity !== 'halted') return;
    this.activity = 'active';
    if (this.#hooks.vcpuState.isUsed()) this.#hooks.vcpuState.call(this.#vcpu, 'running');
  }

  #wantInterruptWindow(on: boolean): void {
    if (on !== this.#interruptWindow) {
      this.#interruptWindow = on;
      this.#vcpu.requestInterruptWindow(on);
    }
  }

  #wantNmiWindow(on: boolean): void {
    if (on !== this.#nmiWindow) {
      this.#nmiWindow = on;
      this.#vcpu.requestNmiWindow(on);
    }
  }
}

/** Where a vCPU's interrupts come from: the machine's source has a part for each vCPU, or belongs to the first one alone. */
export function sourceOf(source: InterruptSource | undefined, index: number): InterruptSource | undefined {
  if (source?.forVcpu !== undefined) return source.forVcpu(index);
  return index === 0 ? source : undefined;
}
