/**
 * Exit dispatch: the hooks flattened into one array of handlers per exit reason, made at start and made again only when
 * somebody taps later. The path allocates nothing, waits for nothing and asks the container for nothing.
 */
import type { Outcome, VmExit } from './exit.js';
import { HALT, RESUME, RETRY, WAIT } from './exit.js';
import { EXIT_REASON_COUNT, ExitReason, exitReasonName } from './exit-reasons.js';
import type { ExitHandler, Hooks } from './hooks.js';
import { VisorkitError } from './errors.js';
import type { Vcpu } from './vcpu.js';

/** A hook's taps in order, with the plugin each belongs to. */
export interface CompiledTaps<F> {
  readonly functions: F[];
  readonly plugins: string[];
}

/** Flattens a tapable hook. */
export function compileTaps<F>(hook: unknown): CompiledTaps<F> {
  const taps = (hook as { taps: { fn: F; name: string; plugin?: string }[] }).taps;
  return { functions: taps.map((tap) => tap.fn), plugins: taps.map((tap) => tap.plugin ?? tap.name) };
}

/**
 * Exits the kernel itself asks for, to get control between two instructions. When no plugin takes them, the kernel looks
 * at timers and interrupts and enters again.
 */
export const KERNEL_EXITS: ReadonlySet<number> = new Set<number>([
  ExitReason.EXTERNAL_INTERRUPT,
  ExitReason.INTERRUPT_WINDOW,
  ExitReason.NMI_WINDOW,
  ExitReason.PREEMPTION_TIMER,
]);

/** Lists of taps beside those of the exit reasons. */
const NOBODY = -1,
  AFTER_EXIT = -2,
  BEFORE_ENTRY = -3;

export class ExitDispatcher {
  /** Exits so far, by reason. */
  readonly counts = new Float64Array(EXIT_REASON_COUNT);
  /**
   * Whose code is running: a list (an exit reason, or one of those below) and a place in it. Numbers, because storing a pointer to a
   * name makes the processor look at its page as well, at every exit.
   */
  #list = NOBODY;
  #place = 0;
  #table: CompiledTaps<ExitHandler>[] = [];
  #fallback: (Outcome | undefined)[] = [];
  #afterExit: CompiledTaps<(exit: VmExit, vcpu: Vcpu, outcome: Outcome | undefined) => void> = {
    functions: [],
    plugins: [],
  };
  #beforeEntry: CompiledTaps<(vcpu: Vcpu) => void> = { functions: [], plugins: [] };

  /** Reads the hooks. Call at start and after every later tap. */
  compile(hooks: Hooks): void {
    this.#table = Array.from({ length: EXIT_REASON_COUNT }, (_, reason) =>
      compileTaps<ExitHandler>(hooks.exit.for(reason)),
    );
    this.#fallback = Array.from({ length: EXIT_REASON_COUNT }, (_, reason) =>
      KERNEL_EXITS.has(reason) ? RETRY : undefined,
    );
    this.#afterExit = compileTaps(hooks.afterExit);
    this.#beforeEntry = compileTaps(hooks.beforeEntry);
  }

  /** The plugin whose code is running, '' for none: whom to name when something throws. */
  get current(): string {
    if (this.#list === NOBODY) return '';
    const { plugins } =
      this.#list === AFTER_EXIT
        ? this.#afterExit
        : this.#list === BEFORE_ENTRY
          ? this.#beforeEntry
          : this.#table[this.#list];
    return plugins[this.#place];
  }

  /** Whether anybody takes an exit of this reason. */
  handled(reason: number): boolean {
    return this.#table[reason].functions.length > 0;
  }

  /**
   * Offers the exit to each handler in order until one answers. `undefined`: nobody took it.
   * What a handler throws comes out as it is; `current` names its plugin.
   */
  dispatch(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const reason = exit.reason;
    this.counts[reason]++;
    const { functions } = this.#table[reason];
    let outcome: Outcome | undefined;
    this.#list = reason;
    for (let i = 0; i < functions.length; i++) {
      this.#place = i;
      const answer = functions[i](exit, vcpu);
      if (answer === undefined) continue;
      if (answer === RESUME || answer === RETRY || answer === HALT || answer === WAIT) {
        outcome = answer;
        break;
      }
      if (typeof answer !== 'object' || answer === null || answer.kind !== 'stop') this.#badOutcome(answer, reason);
      outcome = answer;
      break;
    }
    if (outcome === undefined && !exit.entryFailure) outcome = this.#fallback[reason];
    const after = this.#afterExit.functions;
    if (after.length > 0) this.#list = AFTER_EXIT;
    for (let i = 0; i < after.length; i++) {
      this.#place = i;
      after[i](exit, vcpu, outcome);
    }
    this.#list = NOBODY;
    return outcome;
  }

  beforeEntry(vcpu: Vcpu): void {
    const { functions } = this.#beforeEntry;
    if (functions.length === 0) return;
    this.#list = BEFORE_ENTRY;
    for (let i = 0; i < functions.length; i++) {
      this.#place = i;
      functions[i](vcpu);
    }
    this.#list = NOBODY;
  }

  /** Counts by name, only those that happened. */
  countsByName(): Record<string, number> {
    const counts: Record<string, number> = {};
    this.counts.forEach((count, reason) => {
      if (count > 0) counts[exitReasonName(reason)] = count;
    });
    return counts;
  }

  #badOutcome(answer: unknown, reason: number): never {
    if (answer instanceof Promise) {
      answer.catch(() => {}); // what it rejects with later is nobody's
      throw new VisorkitError(
        'EXIT_OUTCOME',
        `A handler of ${exitReasonName(reason)} exits in plugin ${this.current} is asynchronous: it returned a promise. The guest waits for a handler, which must answer at once: RESUME, RETRY, HALT, WAIT, stop(why) or nothing.`,
        { plugin: this.current, reason },
      );
    }
    throw new VisorkitError(
      'EXIT_OUTCOME',
      `A handler of ${exitReasonName(reason)} exits in plugin ${this.current} returned ${String(answer)}; it must return RESUME, RETRY, HALT, WAIT, stop(why) or nothing.`,
      { plugin: this.current, reason },
    );
  }
}
