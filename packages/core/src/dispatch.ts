/**
 * Exit dispatch: the hooks flattened into one array of handlers per exit reason, made at start and made again at the first
 * exit after somebody taps or untaps. The path allocates nothing, waits for nothing and asks the container for nothing.
 */
import { VisorkitError } from './errors.js';
import type { Outcome, VmExit } from './exit.js';
import { HALT, RESUME, RETRY, WAIT } from './exit.js';
import { EXIT_REASON_COUNT, ExitReason, exitReasonName } from './exit-reasons.js';
import type { KernelHook } from './hook.js';
import type { ExitHandler, KernelHooks } from './hooks.js';
import type { Vcpu } from './vcpu.js';

/** A hook's handlers in order, with the plugin each belongs to. */
interface Compiled<F> {
  readonly functions: readonly F[];
  readonly plugins: readonly string[];
}

const NONE: Compiled<never> = { functions: [], plugins: [] };

/** Flattens a hook. One with interceptors is called as a whole, so that tapable runs them. */
function compiled<F extends (...args: never[]) => unknown>(hook: KernelHook<F> | undefined): Compiled<F> {
  if (hook === undefined) return NONE as Compiled<F>;
  const plugins = hook.taps.map(({ plugin, name }) => (plugin === '' ? name : plugin));
  if (!hook.intercepted) return { functions: hook.handlers, plugins };
  const whole = ((...args: Parameters<F>) => hook.call(...args)) as unknown as F;
  return { functions: [whole], plugins: [[...new Set(plugins)].join(' or ') || 'an interceptor'] };
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
const NOBODY = -1;
const AFTER_EXIT = -2;
const BEFORE_ENTRY = -3;

export class ExitDispatcher {
  /** Exits so far, by reason. */
  readonly counts = new Float64Array(EXIT_REASON_COUNT);
  /** The hooks changed since they were flattened. */
  stale = true;
  readonly #hooks: KernelHooks;
  /**
   * Whose code is running: a list (an exit reason, or one of those below) and a place in it. Numbers, because storing a pointer to a
   * name would also access the memory page of that name, at every exit.
   */
  #list = NOBODY;
  #place = 0;
  #table: Compiled<ExitHandler>[] = new Array(EXIT_REASON_COUNT).fill(NONE);
  readonly #fallback: (Outcome | undefined)[];
  #afterExit: Compiled<(exit: VmExit, vcpu: Vcpu, outcome: Outcome | undefined) => unknown> = NONE;
  #beforeEntry: Compiled<(vcpu: Vcpu) => unknown> = NONE;

  constructor(hooks: KernelHooks) {
    this.#hooks = hooks;
    this.#fallback = Array.from({ length: EXIT_REASON_COUNT }, (_unused, reason) =>
      KERNEL_EXITS.has(reason) ? RETRY : undefined,
    );
  }

  /** Reads the hooks. A dispatch that is under way continues with the handlers it began with. */
  compile(): void {
    const hooks = this.#hooks;
    this.stale = false;
    this.#table = Array.from({ length: EXIT_REASON_COUNT }, (_unused, reason) => compiled(hooks.exitHook(reason)));
    this.#afterExit = compiled(hooks.afterExit);
    this.#beforeEntry = compiled(hooks.beforeEntry);
  }

  /** The plugin whose code is running, '' for none. It is named when something throws, and owns the taps that are made meanwhile. */
  get current(): string {
    if (this.#list === NOBODY) return '';
    const { plugins } = this.#listOf(this.#list);
    return plugins[this.#place] ?? '';
  }

  /** Nobody's code is running any more: what ran has thrown. */
  clear(): void {
    this.#list = NOBODY;
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
      if (answer !== RESUME && answer !== RETRY && answer !== HALT && answer !== WAIT) {
        if (typeof answer !== 'object' || answer === null || !isEnd(answer.kind)) this.#badOutcome(answer, reason);
      }
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

  #listOf(list: number): { readonly plugins: readonly string[] } {
    return list === AFTER_EXIT ? this.#afterExit : list === BEFORE_ENTRY ? this.#beforeEntry : this.#table[list];
  }

  #badOutcome(answer: unknown, reason: number): never {
    const { current } = this;
    if (answer instanceof Promise) {
      answer.catch(() => {}); // nobody awaits it, so a later rejection must not end the process
      throw new VisorkitError(
        'EXIT_OUTCOME',
        `A handler of ${exitReasonName(reason)} exits in plugin ${current} is asynchronous: it returned a promise. The guest waits for a handler, which must answer at once: RESUME, RETRY, HALT, WAIT, stop(why) or nothing.`,
        { plugin: current, reason },
      );
    }
    throw new VisorkitError(
      'EXIT_OUTCOME',
      `A handler of ${exitReasonName(reason)} exits in plugin ${current} returned ${String(answer)}; it must return RESUME, RETRY, HALT, WAIT, stop(why) or nothing.`,
      { plugin: current, reason },
    );
  }
}

function isEnd(kind: unknown): boolean {
  return kind === 'stop' || kind === 'pause' || kind === 'reset';
}
