/**
 * The run loop: asynchronous outside, synchronous within a slice.
 *
 * A slice runs vCPUs until something needs the event loop: eight milliseconds of real time or some twenty of work in virtual
 * time, a halt to sleep through, a stop. How often the loop yields never changes what the guest sees: slices end on a
 * fixed grid of guest time, and an entry goes on exactly where the last one left.
 */
import type { ExitDispatcher } from './dispatch.js';
import { HALT, RESUME, WAIT } from './exit.js';
import type { StopOutcome } from './exit.js';
import { ExitReason } from './exit-reasons.js';
import { host } from './host.js';
import type { ExecutionClock, Timers } from './platform.js';
import type { VcpuRunner } from './vcpu-runner.js';

/** Guest time between two looks at the event loop. A look costs as much as ten exits of kvm, because the host's caches know nothing of it. */
const REAL_SLICE_NS = 8_000_000;
const VIRTUAL_SLICE_NS = 4_000_000;
/** Host time after which a slice of virtual time ends, however little the guest has done; looked at every few exits. */
const SLICE_HOST_MS = 20;
const EXITS_BETWEEN_LOOKS = 1024;
/** With several vCPUs, how long one runs before the next gets its turn. */
const TURN_NS = 50_000;

/** What the kernel is doing. Numbers, as everything that is stored at each exit. */
export const Phase = { GUEST: 0, EXIT: 1, ENTRY: 2, TIMER: 3, INTERRUPT: 4 } as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/** How a slice ended. */
export type SliceEnd = 'yield' | 'asleep' | 'stop' | 'unhandled' | 'limit';

export interface RunLoopParts {
  readonly clock: ExecutionClock;
  readonly timers: Timers;
  readonly runners: readonly VcpuRunner[];
  readonly dispatcher: ExitDispatcher;
  /** True while something outside the guest may wake it. */
  readonly canBeWoken: () => boolean;
}

export class RunLoop {
  /** Set by SystemControl, `pause`, `stop`; seen after the current exit. */
  stopRequest: StopOutcome | undefined;
  /** The vCPU that ran last. */
  current: VcpuRunner;
  /** What the kernel was doing when something threw: an exit being handled, or something else by name. */
  phase: Phase = Phase.GUEST;
  readonly #parts: RunLoopParts;
  #turn = 0;

  constructor(parts: RunLoopParts) {
    this.#parts = parts;
    this.current = parts.runners[0];
  }

  /** Runs until the slice ends. `instructionLimit` is on the sum over all vCPUs. */
  slice(instructionLimit: number): SliceEnd {
    const { clock, timers, runners, dispatcher } = this.#parts;
    const grid = clock.virtual ? VIRTUAL_SLICE_NS : REAL_SLICE_NS;
    let now = clock.now();
    const end = (Math.floor(now / grid) + 1) * grid;
    let given = NaN; // the timers' deadline that the only vCPU was told of; numbers that are passed on are made anew on the heap
    const alone = runners.length === 1;
    const limited = instructionLimit !== Infinity;
    const started = host.now();
    let looks = EXITS_BETWEEN_LOOKS;

    for (;;) {
      if (this.stopRequest !== undefined) return 'stop';
      if (clock.refresh === undefined) now = clock.now();
      else if (clock.refresh()) now = clock.last!;
      if (timers.nextDeadline() <= now) {
        this.phase = Phase.TIMER;
        timers.runDue();
        if (this.stopRequest !== undefined) return 'stop';
      }
      if (now >= end) return 'yield';
      if (--looks === 0) {
        looks = EXITS_BETWEEN_LOOKS;
        if (host.now() - started > SLICE_HOST_MS) return 'yield';
      }

      this.phase = Phase.INTERRUPT;
      const runner = alone ? runners[0] : this.#next();
      if (alone) runner.deliver();
      if (runner.activity !== 'active') {
        if (!this.#idle()) return 'asleep';
        continue;
      }
      if (this.current !== runner) this.current = runner;
      const vcpu = runner.vcpu;
      const next = timers.nextDeadline();
      if (!alone) vcpu.setDeadline(Math.min(next, end, now + TURN_NS));
      else if (next !== given) {
        given = next;
        vcpu.setDeadline(Math.min(next, end));
      }
      if (limited) {
        const left = instructionLimit - this.#instructions();
        if (left <= 0) return 'limit';
        vcpu.setInstructionLimit(vcpu.instructions + left);
      }
      this.phase = Phase.ENTRY;
      dispatcher.beforeEntry(vcpu);
      this.phase = Phase.GUEST;
      const exit = vcpu.run();
      this.phase = Phase.EXIT;
      const vectoring = exit.idtVectoringInfo >= 0x8000_0000 && exit.reason !== ExitReason.TASK_SWITCH;
      const outcome = dispatcher.dispatch(exit, vcpu);
      if (outcome === undefined) return 'unhandled';
      if (typeof outcome === 'object') {
        this.stopRequest ??= outcome;
        return 'stop';
      }
      if (outcome === RESUME) {
        vcpu.completeInstruction();
      } else if (outcome === HALT || outcome === WAIT) {
        vcpu.completeInstruction();
        if (!vcpu.trapPending()) runner.halt(outcome === WAIT);
      }
      if (vectoring) vcpu.reinjectEvent();
    }
  }

  /** How long a sleeping machine may sleep, in ns from now; Infinity until something outside wakes it. */
  sleepFor(): number {
    return this.#parts.timers.nextDeadline() - this.#parts.clock.now();
  }

  /** The next vCPU whose turn it is, an active one if there is any. */
  #next(): VcpuRunner {
    const runners = this.#parts.runners;
    for (let i = 0; i < runners.length; i++) runners[i].deliver();
    for (let i = 0; i < runners.length; i++) {
      this.#turn = (this.#turn + 1) % runners.length;
      if (runners[this.#turn].activity === 'active') break;
    }
    return runners[this.#turn];
  }

  #instructions(): number {
    let sum = 0;
    for (const runner of this.#parts.runners) sum += runner.vcpu.instructions;
    return sum;
  }

  /**
   * No vCPU runs. Virtual time jumps to the next deadline and true is returned; false means that the host has to sleep,
   * or, when nothing can ever wake the guest, that the run is over.
   */
  #idle(): boolean {
    const { clock, timers, runners, canBeWoken } = this.#parts;
    if (runners.every((runner) => runner.deaf || runner.activity === 'wait-for-sipi')) {
      this.stopRequest = {
        kind: 'stop',
        reason: 'halted',
        status: 0,
        why: 'The guest halted with interrupts off: nothing can wake it.',
      };
      return true;
    }
    const deadline = timers.nextDeadline();
    if (deadline === Infinity && !canBeWoken()) {
      this.stopRequest = {
        kind: 'stop',
        reason: 'halted',
        status: 0,
        why: 'The guest halted, and no timer or input can wake it.',
      };
      return true;
    }
    if (!clock.virtual || deadline === Infinity) return false;
    clock.skipTo(deadline);
    return true;
  }
}
