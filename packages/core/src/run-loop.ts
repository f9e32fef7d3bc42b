/**
 * The run loop: asynchronous outside, synchronous within a slice.
 *
 * A slice runs vCPUs until something needs the event loop: eight milliseconds of real time or some twenty of work in virtual
 * time, a halt to sleep through, a stop. How often the loop yields never changes what the guest sees: slices end on a
 * fixed grid of guest time, and an entry goes on exactly where the last one left.
 */
import * as v from 'valibot';
import type { ExitDispatcher } from './dispatch.js';
import { HALT, RESUME, WAIT } from './exit.js';
import type { EndOutcome } from './exit.js';
import { ExitReason } from './exit-reasons.js';
import { host } from './host.js';
import { Phase } from './phase.js';
import type { ExecutionClock, Timers } from './platform.js';
import { PROCESSOR_HALTED } from './vcpu.js';
import { SAVED_RUNNER } from './vcpu-runner.js';
import type { VcpuRunner } from './vcpu-runner.js';

/** Guest time between two looks at the event loop. A look costs as much as ten exits of kvm, because its code is not in the host's caches. */
const REAL_SLICE_NS = 8_000_000;
const VIRTUAL_SLICE_NS = 4_000_000;
/** Host time after which a slice of virtual time ends, however little the guest has done; looked at every few exits. */
const SLICE_HOST_MS = 20;
const EXITS_BETWEEN_LOOKS = 1024;
/** With several vCPUs, how long one runs before the next gets its turn. */
const TURN_NS = 50_000;

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

/** What is saved of the run loop of a VM with so many vCPUs. */
export const savedLoop = (cpus: number) => {
  const index = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(cpus - 1));
  return v.object({
    cutFor: v.pipe(v.number(), v.minValue(0)),
    current: index,
    turn: index,
    runners: v.pipe(v.array(SAVED_RUNNER), v.length(cpus)),
  });
};
export type SavedLoop = v.InferOutput<ReturnType<typeof savedLoop>>;

export class RunLoop {
  /** Set by SystemControl, `pause`, `stop`; seen after the current exit. */
  stopRequest: EndOutcome | undefined;
  /** The vCPU that ran last. */
  current: VcpuRunner;
  /** What the kernel was doing when something threw: an exit being handled, or something else by name. */
  phase: Phase = Phase.GUEST;
  readonly #parts: RunLoopParts;
  #turn = 0;
  /** With several vCPUs: the clock's time at which the present turn ends. */
  #turnEnd = 0;
  /** ns that were left of a turn when a limit ended the run. The next run first finishes this turn, so that a limit does not change what follows. */
  #cutFor = 0;
  /** A run has ended, and no other has begun. */
  #stands = false;
  /** The guest has slept since the last slice, or has not run yet. */
  #slept = true;

  constructor(parts: RunLoopParts) {
    this.#parts = parts;
    this.current = parts.runners[0];
  }

  /** Runs until the slice ends. `instructionLimit` is on the sum over all vCPUs. */
  slice(instructionLimit: number): SliceEnd {
    const { clock, timers, runners, dispatcher } = this.#parts;
    const grid = clock.virtual ? VIRTUAL_SLICE_NS : REAL_SLICE_NS;
    if (this.#slept) clock.slept?.();
    this.#slept = false;
    let now = clock.now();
    const end = (Math.floor(now / grid) + 1) * grid;
    let given = NaN; // the deadline last given to the only vCPU; it is given only when it changes, because passing a number on makes a new one on the heap
    const alone = runners.length === 1;
    const limited = instructionLimit !== Infinity;
    const started = host.now();
    let looks = EXITS_BETWEEN_LOOKS;

    if (limited && alone) runners[0].vcpu.setInstructionLimit(instructionLimit);
    if (this.#stands) this.#goOn();
    if (this.current.exitOpen) {
      const over = this.#offerAgain();
      if (over !== undefined) return over;
    }
    for (;;) {
      if (this.stopRequest !== undefined) return 'stop';
      if (limited && this.#instructions() >= instructionLimit) {
        if (!alone) this.#cutTurn();
        return 'limit';
      }
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
      const goesOn = this.#cutFor > 0;
      const runner = alone ? runners[0] : goesOn ? this.current : this.#next();
      if (alone) runner.deliver();
      if (runner.activity !== 'active') {
        if (this.#idle()) continue;
        this.#slept = true;
        return 'asleep';
      }
      if (this.current !== runner) this.current = runner;
      const vcpu = runner.vcpu;
      const next = timers.nextDeadline();
      if (!alone) {
        this.#turnEnd = goesOn ? now + this.#cutFor : Math.min(next, end, now + TURN_NS);
        this.#cutFor = 0;
        vcpu.setDeadline(this.#turnEnd);
      } else if (next !== given) {
        given = next;
        vcpu.setDeadline(Math.min(next, end));
      }
      if (limited && !alone) vcpu.setInstructionLimit(vcpu.instructions + instructionLimit - this.#instructions());
      this.phase = Phase.ENTRY;
      if (dispatcher.stale) dispatcher.compile();
      dispatcher.beforeEntry(vcpu);
      this.phase = Phase.GUEST;
      vcpu.run();
      const over = this.#handle(runner);
      if (over !== undefined) return over;
    }
  }

  /** Offers the vCPU's exit to the handlers and does what they answer. `exitOpen` stays set when nobody has. */
  #handle(runner: VcpuRunner): SliceEnd | undefined {
    const { vcpu } = runner;
    const { exit } = vcpu;
    this.phase = Phase.EXIT;
    runner.exitOpen = true;
    const vectoring = exit.idtVectoringInfo >= 0x8000_0000 && exit.reason !== ExitReason.TASK_SWITCH;
    const { dispatcher } = this.#parts;
    if (dispatcher.stale) dispatcher.compile(); // a tap before the entry may want to hear of this very exit
    const outcome = dispatcher.dispatch(exit, vcpu);
    if (outcome === undefined) return 'unhandled';
    runner.exitOpen = false;
    const answer = typeof outcome === 'object' ? (outcome.answer ?? RESUME) : outcome;
    if (answer === RESUME) {
      vcpu.completeInstruction();
    } else if (answer === HALT || answer === WAIT) {
      vcpu.completeInstruction();
      if (!vcpu.trapPending()) runner.halt(answer === WAIT);
    } else if (exit.reason === ExitReason.PREEMPTION_TIMER && exit.qualification === PROCESSOR_HALTED)
      runner.halt(false);
    if (vectoring) vcpu.reinjectEvent();
    if (typeof outcome !== 'object') return undefined;
    this.stopRequest ??= outcome;
    return 'stop';
  }

  /** The last run ended at an exit that nobody carried out: it is offered again, to handlers that may be new. */
  #offerAgain(): SliceEnd | undefined {
    if (this.stopRequest !== undefined) return 'stop';
    return this.#handle(this.current);
  }

  /** A run begins. If somebody has changed RIP since the last run, the guest continues there, and its half-done exit is forgotten. */
  #goOn(): void {
    this.#stands = false;
    for (const runner of this.#parts.runners) {
      if (runner.vcpu.rip === runner.stoodAt) continue;
      runner.exitOpen = false;
      runner.vcpu.dropExit();
    }
  }

  /** The run has ended: remembers the RIP of each vCPU. */
  standStill(): void {
    this.stopRequest = undefined;
    this.#stands = this.#slept = true;
    for (const runner of this.#parts.runners) {
      try {
        runner.stoodAt = runner.vcpu.rip;
      } catch {
        // The backend has failed, and the report says so
      }
    }
  }

  /** The run ends at its limit: if that was in the middle of a turn, the turn goes on later. */
  #cutTurn(): void {
    const { current } = this;
    const left = this.#turnEnd - this.#parts.clock.now();
    const { exit } = current.vcpu;
    const timed = exit.reason === ExitReason.PREEMPTION_TIMER && exit.qualification === 0;
    const byLimit = timed && current.activity === 'active';
    if (byLimit && left > 0) this.#cutFor = left;
  }

  save(): SavedLoop {
    return {
      cutFor: this.#cutFor,
      current: this.#parts.runners.indexOf(this.current),
      turn: this.#turn,
      runners: this.#parts.runners.map((runner) => runner.save()),
    };
  }

  restore(state: SavedLoop): void {
    const { runners } = this.#parts;
    runners.forEach((runner, index) => runner.restore(state.runners[index]));
    this.current = runners[state.current];
    this.#turn = state.turn;
    this.#cutFor = state.cutFor;
    this.#stands = true;
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
