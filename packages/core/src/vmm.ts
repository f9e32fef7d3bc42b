/** A virtual machine monitor, from composition to disposal. */
import { BackendToken } from './backend.js';
import type { Backend } from './backend.js';
import { PHASES, errorForReport, isThenable, pluginFailure } from './blame.js';
import type { MergedControls } from './controls.js';
import { mergeControls } from './controls.js';
import { warnOfDeafHandlers } from './deaf-handlers.js';
import { ExitDispatcher } from './dispatch.js';
import { DisposalStack } from './disposal.js';
import { describeError, fail, isVisorkitError } from './errors.js';
import { outcomes, stop } from './exit.js';
import type { StopOutcome } from './exit.js';
import { exitReasonName } from './exit-reasons.js';
import { reportFailure, suggestTaker } from './failure.js';
import { createHooks } from './hooks.js';
import type { Hooks } from './hooks.js';
import { host } from './host.js';
import { Lifecycle } from './lifecycle.js';
import type { VmmState } from './lifecycle.js';
import { inTime } from './in-time.js';
import { createLogger, silentLogSink } from './logger.js';
import type { Logger, LogSink } from './logger.js';
import {
  ClockToken,
  DisassemblerToken,
  ExternalInterruptSourceToken,
  GuestMemoryToken,
  InterruptSourceToken,
  MachineConfigToken,
  SystemControlToken,
  TimersToken,
  WakeupToken,
} from './platform.js';
import type { GuestMemory, SystemControl, Timers, Wakeup } from './platform.js';
import type { Services } from './plugin.js';
import type { ListedPlugin, PluginEntry } from './plugin-list.js';
import { checkCapabilities, listPlugins, orderPlugins } from './plugin-list.js';
import { EXIT_STATUS } from './report.js';
import type { StopReport } from './report.js';
import { Phase, RunLoop } from './run-loop.js';
import { ServiceContainer } from './services.js';
import { Sleeper } from './sleeper.js';
import type { Vcpu } from './vcpu.js';
import { VcpuRunner, sourceOf } from './vcpu-runner.js';

export interface VmmOptions {
  readonly backend: Backend;
  /** RAM in bytes, whole 4096-byte pages. */
  readonly memory: number;
  /** 1 by default. */
  readonly cpus?: number;
  /** `real` by default. */
  readonly time?: 'virtual' | 'real';
  readonly plugins?: readonly PluginEntry[];
  /** What happens when the guest asks for a reset: the run ends (default), or the machine starts again. */
  readonly onReset?: 'stop' | 'restart';
  readonly log?: LogSink;
  /** Other backends the caller knows of, so that a missing capability can say who has it. */
  readonly alternatives?: readonly Pick<Backend, 'name' | 'capabilities'>[];
}

export interface RunOptions {
  /** Stops once the guest has retired so many instructions, over all runs of this VM. */
  readonly maxInstructions?: number;
  /** Seconds of host time; as many again for getting the machine ready, where `run` does that. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

const NO_TIMERS: Timers = { nextDeadline: () => Infinity, runDue() {} };

/** Services the kernel provides before any plugin is applied. */
const KERNEL_SERVICES: ReadonlySet<symbol> = new Set<symbol>([
  BackendToken,
  ClockToken,
  GuestMemoryToken,
  MachineConfigToken,
  SystemControlToken,
  WakeupToken,
]);

export class Vmm implements AsyncDisposable {
  readonly hooks: Hooks;
  readonly logger: Logger;
  readonly backend: Backend;
  readonly controls: MergedControls;
  /** The report of the last run. */
  report: StopReport | undefined;

  readonly #lifecycle = new Lifecycle();
  readonly #options: VmmOptions;
  readonly #plugins: readonly ListedPlugin[];
  readonly #disposal = new DisposalStack();
  readonly #services: ServiceContainer;
  readonly #dispatcher = new ExitDispatcher();
  readonly #sleeper = new Sleeper();
  readonly #wakeSources = new Set<object>();
  #applying = '';
  /** Whose tap of a lifecycle hook ran last, and of which hook. */
  #tapping = '';
  #guarded = '';
  #hooksChanged = true;
  readonly #warned = new Set<string>();
  #memory: GuestMemory | undefined;
  #vcpus: readonly Vcpu[] = [];
  #runners: readonly VcpuRunner[] = [];
  #loop: RunLoop | undefined;
  #pendingReset: string | undefined;
  #running: Promise<StopReport> | undefined;
  #wallMs = 0;
  #idleMs = 0;
  #started = false;
  /** The run ended at an exit that nobody took. */
  #unhandled = false;
  #disposed: Promise<void> | undefined;

  /** Use `compose`. Throws when the plugins do not fit together or the backend cannot serve them. */
  constructor(options: VmmOptions) {
    const { memory, cpus = 1 } = options;
    if (!Number.isSafeInteger(memory) || memory < 4096 || memory % 4096 !== 0) {
      fail('MEMORY_SIZE', `Guest memory must be whole 4096-byte pages, at least one, not ${String(memory)} bytes.`, {
        memory,
      });
    }
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > 255)
      fail('CPU_COUNT', `A VM has 1 to 255 CPUs, not ${String(cpus)}.`, { cpus });
    const listed = listPlugins(options.plugins ?? []).filter(({ declaration }) =>
      (declaration.appliesTo ?? []).every((capability) => options.backend.capabilities.has(capability)),
    );
    checkCapabilities(listed, options.backend, options.alternatives);
    this.controls = mergeControls(
      options.backend.controls,
      options.backend.name,
      listed.map(({ name, declaration }) =>
        declaration.needs === undefined ? { name } : { name, needs: declaration.needs },
      ),
    );
    this.#plugins = orderPlugins(listed, new Set([...KERNEL_SERVICES, ...(options.backend.provides ?? [])]));
    this.#options = options;
    this.backend = options.backend;
    this.logger = createLogger(options.log ?? silentLogSink);
    this.hooks = createHooks(
      () => this.#applying,
      () => {
        this.#hooksChanged = true;
      },
      (plugin) => {
        this.#tapping = plugin;
      },
    );
    this.#services = new ServiceContainer(() => this.#applying, this.#disposal);
  }

  get state(): VmmState {
    return this.#lifecycle.state;
  }

  get services(): Services {
    return this.#services;
  }

  /** RAM. Throws before `create`. */
  get memory(): GuestMemory {
    return (
      this.#memory ??
      fail('LIFECYCLE_MOVE', `A VM that is ${this.state} has no memory; call create() first.`, { state: this.state })
    );
  }

  get vcpus(): readonly Vcpu[] {
    return this.#vcpus;
  }

  /** Instructions retired by the guest so far, over all vCPUs. */
  get instructions(): number {
    let sum = 0;
    for (const vcpu of this.#vcpus) sum += vcpu.instructions;
    return sum;
  }

  /** Opens the backend, makes memory and vCPUs, applies the plugins. What it made is undone when it fails. */
  async create(): Promise<void> {
    this.#lifecycle.check('create');
    try {
      await this.#lifecycle.moveAfter('create', () => this.#create());
    } catch (error) {
      await this.dispose().catch(() => {});
      throw error;
    }
  }

  /** Has the boot loader put the image in memory. */
  async load(): Promise<void> {
    if (this.state === 'composed') await this.create();
    await this.#lifecycle.moveAfter('load', async () => {
      await this.#guard('load', () => this.hooks.load.promise());
      await this.#guard('loaded', () => this.hooks.loaded.promise());
    });
  }

  /**
   * Runs the guest until it ends, something goes wrong, or `pause` or `stop` is called. Does `create` and `load` first when they have
   * not been done. Resolves with the report also when the guest or a plugin failed.
   */
  async run(options: RunOptions = {}): Promise<StopReport> {
    const { maxInstructions = Infinity, timeout = Infinity } = options;
    if (!(maxInstructions > 0))
      fail('RUN_LIMIT', `maxInstructions must be a positive number, not ${String(maxInstructions)}.`, {
        maxInstructions,
      });
    if (!(timeout > 0))
      fail('RUN_LIMIT', `timeout must be a positive number of seconds, not ${String(timeout)}.`, { timeout });
    if (maxInstructions !== Infinity && !this.backend.capabilities.has('instruction-count')) {
      fail(
        'RUN_LIMIT',
        `Backend ${this.backend.name} does not count what the guest retires, so a run cannot end after ${maxInstructions} instructions. Give it a timeout instead.`,
        { maxInstructions },
      );
    }
    if (this.state === 'composed' || this.state === 'created') {
      const early = await this.#prepare(timeout, options.signal);
      if (early !== undefined) return early;
    }
    const resuming = this.state === 'paused';
    this.#lifecycle.move('run');
    this.#running = this.#run(options, maxInstructions, timeout, resuming);
    return this.#running;
  }

  /** Stops between two instructions so that `run` can go on later; resolves when the VM stands still. */
  async pause(): Promise<void> {
    this.#lifecycle.check('pause');
    this.#request(stop('The run was paused.', 0, 'paused'));
    await this.#running;
  }

  /** Ends the run for good; resolves when the VM stands still. */
  async stop(why = 'The run was stopped from outside.'): Promise<void> {
    this.#lifecycle.check('stop');
    if (this.state === 'running') {
      this.#request(stop(why));
      await this.#running;
    } else this.#lifecycle.move('stop');
  }

  /** Undoes everything in reverse order, once. Calling it again gives the same promise. */
  dispose(): Promise<void> {
    return (this.#disposed ??= this.#dispose());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  // ---- creation

  /** `create`, if it has not been done, and `load`. A report when they are not done in time, or the run is aborted meanwhile. */
  async #prepare(timeout: number, signal: AbortSignal | undefined): Promise<StopReport | undefined> {
    const began = host.now();
    const work = (async () => {
      if (this.state === 'composed') await this.create();
      await this.load();
    })();
    const late = await inTime(work, timeout, signal, () =>
      this.#tapping === '' ? '' : ` Plugin ${this.#tapping} was still busy in the hook ${this.#guarded}.`,
    );
    return late === undefined ? undefined : (this.report = this.#makeReport(late, host.now() - began, 0));
  }

  async #create(): Promise<void> {
    const { backend, memory, cpus = 1, time = 'real' } = this.#options;
    await this.#guard('composed', () => this.hooks.composed.call());
    if (openBackends.has(backend)) {
      fail('BACKEND_IN_USE', `Backend ${backend.name} already serves another VM; make a backend object for each VM.`, {
        backend: backend.name,
      });
    }
    openBackends.add(backend);
    this.#disposal.add(`backend ${backend.name}`, () => backend.dispose());
    await backend.open({ memory, cpus, time, controls: this.controls });
    this.#memory = backend.createMemory(memory);
    const services = this.#services;
    services.provide(BackendToken, backend);
    services.provide(GuestMemoryToken, this.#memory);
    services.provide(ClockToken, backend.clock);
    services.provide(MachineConfigToken, { memory, cpus, time });
    services.provide(SystemControlToken, this.#systemControl());
    services.provide(WakeupToken, this.#wakeup());
    this.#vcpus = Array.from({ length: cpus }, (_unused, index) => backend.createVcpu(index));
    backend.provideServices?.(services);
    for (const plugin of this.#plugins) this.#apply(plugin);
    await this.#guard('created', () => this.hooks.created.promise());
    if (this.hooks.vcpuState.taps.length > 0)
      for (const vcpu of this.#vcpus) this.hooks.vcpuState.call(vcpu, 'created');
    const source = services.find(InterruptSourceToken) ?? services.find(ExternalInterruptSourceToken);
    this.#runners = this.#vcpus.map((vcpu) => new VcpuRunner(vcpu, sourceOf(source, vcpu.index), this.hooks));
    this.#loop = new RunLoop({
      clock: backend.clock,
      timers: services.find(TimersToken) ?? NO_TIMERS,
      runners: this.#runners,
      dispatcher: this.#dispatcher,
      canBeWoken: () => this.#wakeSources.size > 0,
    });
  }

  #apply(plugin: ListedPlugin): void {
    this.#applying = plugin.name;
    const services = this.#services;
    try {
      const result: unknown = plugin.apply(
        {
          hooks: this.hooks,
          services,
          vcpus: this.#vcpus,
          logger: this.logger.child(plugin.name),
          options: plugin.options,
          outcomes,
          onDispose: (undo) => this.#disposal.add(plugin.name, undo),
        },
        services,
      );
      if (isThenable(result)) {
        result.then(undefined, () => {}); // what it rejects with later is nobody's
        throw new Error(
          'its apply is asynchronous. apply has to be done when it returns; what takes time belongs in hooks.created.tapPromise or hooks.load.tapPromise',
        );
      }
    } catch (error) {
      throw pluginFailure(plugin.name, 'while it was applied', error);
    } finally {
      this.#applying = '';
    }
    for (const service of plugin.declaration.provides ?? []) {
      if (!services.has(service)) {
        fail(
          'SERVICE_MISSING',
          `Plugin ${plugin.name} says that it provides "${service.description?.replace('visorkit:', '')}" but did not.`,
          { plugin: plugin.name },
        );
      }
    }
  }

  /** Calls a lifecycle hook; what throws there is named by plugin. */
  async #guard(hook: keyof Hooks, call: () => unknown): Promise<void> {
    this.#guarded = hook;
    try {
      await call();
    } catch (error) {
      if (isVisorkitError(error)) throw error;
      throw pluginFailure(this.#tapping, `in the hook ${hook}`, error);
    }
  }

  #systemControl(): SystemControl {
    const tell = (kind: string, message: string): void => {
      if (this.hooks.guestEvent.taps.length > 0)
        this.hooks.guestEvent.call({ kind, source: 'system-control', message });
    };
    return {
      powerOff: (why) => {
        tell('power-off', why);
        this.#request(stop(why, 0, 'power-off'));
      },
      exit: (status, why) => {
        tell('exit', why);
        this.#request(stop(why, status, 'exit'));
      },
      reset: (why) => {
        tell('reset', why);
        this.#pendingReset = why;
        this.#request(stop(why, 0, 'reset'));
      },
    };
  }

  #wakeup(): Wakeup {
    return {
      notify: () => this.#sleeper.wake(),
      addSource: () => {
        const source = {};
        this.#wakeSources.add(source);
        return () => {
          this.#wakeSources.delete(source);
          this.#sleeper.wake();
        };
      },
    };
  }

  /** The first request wins, but a request from outside does not hide what the guest did. */
  #request(outcome: StopOutcome): void {
    if (this.#loop === undefined) return;
    this.#loop.stopRequest ??= outcome;
    this.#sleeper.wake();
  }

  // ---- running

  async #run(options: RunOptions, maxInstructions: number, timeout: number, resuming: boolean): Promise<StopReport> {
    const loop = this.#loop!;
    const began = host.now();
    const idleBefore = this.#idleMs;
    const abort = (): void => this.#request(stop('The run was aborted.', EXIT_STATUS.aborted, 'aborted'));
    if (options.signal?.aborted) abort();
    options.signal?.addEventListener('abort', abort, { once: true });
    let outcome: StopOutcome;
    let failure: StopReport['failure'];
    let error: unknown;
    try {
      if (this.#started && resuming) await this.#guard('resumed', () => this.hooks.resumed.call());
      this.#started = true;
      await this.#guard('started', () => this.hooks.started.call());
      outcome = await this.#runUntilStop(maxInstructions, began + timeout * 1000);
      if (outcome.reason === 'unhandled-exit' || outcome.reason === 'triple-fault') failure = this.#failure();
    } catch (thrown) {
      error = thrown;
      const plugin = this.#dispatcher.current;
      const inExit = loop.phase === Phase.EXIT;
      const what = inExit
        ? `while it handled the exit ${exitReasonName(loop.current.vcpu.exit.reason)}`
        : PHASES[loop.phase];
      const inHook = isVisorkitError(thrown) && thrown.code === 'PLUGIN_FAILED';
      const guilty = inHook || plugin !== '' || loop.phase !== Phase.GUEST;
      outcome = stop(
        inHook
          ? thrown.message
          : guilty
            ? pluginFailure(plugin || (loop.phase === Phase.TIMER ? 'a device' : 'the machine'), what, thrown).message
            : `Backend ${this.backend.name} failed: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
        EXIT_STATUS[guilty ? 'plugin-error' : 'backend-error'],
        guilty ? 'plugin-error' : 'backend-error',
      );
      failure = this.#failure(plugin);
    } finally {
      options.signal?.removeEventListener('abort', abort);
    }
    loop.stopRequest = undefined;
    this.#wallMs += host.now() - began;
    const report = this.#makeReport(outcome, host.now() - began, this.#idleMs - idleBefore);
    const statistics = this.backend.statistics?.();
    if (statistics !== undefined && Object.keys(statistics).length > 0) report.statistics = statistics;
    if (failure !== undefined) report.failure = failure;
    if (failure !== undefined && this.#unhandled)
      failure.suggestion = suggestTaker(loop.current.vcpu.exit, loop.current.vcpu.brokenEntryRule);
    if (error !== undefined) report.error = errorForReport(error);
    this.report = report;
    if (outcome.reason === 'paused') {
      if (this.state === 'running') this.#lifecycle.move('pause');
      this.#callSafely('paused', () => this.hooks.paused.call());
    } else {
      this.#callSafely('stopping', () => this.hooks.stopping.call(outcome.why));
      if (this.state === 'running') this.#lifecycle.move('stop');
      this.#callSafely('stopped', () => this.hooks.stopped.call(report));
    }
    return report;
  }

  async #runUntilStop(maxInstructions: number, endAt: number): Promise<StopOutcome> {
    const loop = this.#loop!;
    for (;;) {
      if (this.#hooksChanged) {
        this.#hooksChanged = false;
        this.#dispatcher.compile(this.hooks);
        warnOfDeafHandlers(this.hooks, this.backend, this.#options.alternatives ?? [], this.logger, this.#warned);
      }
      const end = loop.slice(maxInstructions);
      switch (end) {
        case 'stop': {
          const outcome = loop.stopRequest!;
          if (outcome.reason !== 'reset' || this.#options.onReset !== 'restart') return outcome;
          await this.#restart();
          break;
        }
        case 'limit':
          return stop(
            `The guest retired ${this.instructions} instructions, the limit it was given.`,
            EXIT_STATUS['max-instructions'],
            'max-instructions',
          );
        case 'unhandled': {
          this.#unhandled = true;
          const { vcpu } = loop.current,
            { exit } = vcpu;
          const what = exit.entryFailure
            ? `VM entry failed (${exitReasonName(exit.reason)})`
            : `Nobody handled the exit ${exitReasonName(exit.reason)}`;
          return stop(
            `${what} of vCPU ${vcpu.index} at RIP 0x${vcpu.rip.toString(16)}. ${suggestTaker(exit, vcpu.brokenEntryRule)}`,
            EXIT_STATUS['unhandled-exit'],
            'unhandled-exit',
          );
        }
        case 'asleep': {
          const before = host.now();
          await this.#sleeper.sleep(loop.sleepFor() / 1e6, endAt - before);
          this.#idleMs += host.now() - before;
          break;
        }
        case 'yield':
          await this.#sleeper.yield();
      }
      if (host.now() >= endAt && loop.stopRequest === undefined) {
        return stop('The run took longer than its time limit.', EXIT_STATUS.timeout, 'timeout');
      }
    }
  }

  /** The guest asked for a reset and the machine starts again, image and all. */
  async #restart(): Promise<void> {
    this.logger.info(`reset: ${this.#pendingReset ?? ''}`);
    this.#pendingReset = undefined;
    this.#loop!.stopRequest = undefined;
    for (const vcpu of this.#vcpus) vcpu.init();
    for (const runner of this.#runners) runner.reset();
    await this.#guard('reset', () => this.hooks.reset.call());
    await this.#guard('load', () => this.hooks.load.promise());
    await this.#guard('loaded', () => this.hooks.loaded.promise());
  }

  #failure(plugin?: string): NonNullable<StopReport['failure']> | undefined {
    try {
      return reportFailure(this.#loop!.current.vcpu, this.memory, this.#services.find(DisassemblerToken), plugin);
    } catch (error) {
      this.logger.warn(`the failure could not be described: ${describeError(error)}`);
      return undefined;
    }
  }

  #makeReport(outcome: StopOutcome, wallMs: number, idleMs: number): StopReport {
    const counts = this.#dispatcher.countsByName();
    const instructions = this.instructions;
    const clock = this.#memory === undefined ? undefined : this.backend.clock; // a backend that is not open has none
    const busySeconds = Math.max((this.#wallMs - this.#idleMs) / 1000, 1e-9);
    return {
      reason: outcome.reason,
      why: outcome.why,
      exitStatus: outcome.status,
      backend: this.backend.name,
      time: clock?.virtual ? 'virtual' : 'real',
      guestInstructions: instructions,
      guestNanoseconds: clock?.now() ?? 0,
      wallSeconds: round(wallMs / 1000),
      mips: round(instructions / busySeconds / 1e6),
      idleSeconds: round(idleMs / 1000),
      exits: counts,
      totalExits: Object.values(counts).reduce((sum, count) => sum + count, 0),
    };
  }

  /** Observers of the end do not change it. */
  #callSafely(hook: keyof Hooks, call: () => void): void {
    try {
      call();
    } catch (error) {
      this.logger.error(`plugin ${this.#tapping} failed in the hook ${hook}: ${describeError(error)}`);
    }
  }

  async #dispose(): Promise<void> {
    if (this.state === 'running') {
      this.#request(stop('The VM was disposed of.'));
      await this.#running?.catch(() => {});
    }
    this.#lifecycle.move('dispose');
    this.#callSafely('disposed', () => this.hooks.disposed.call());
    try {
      await this.#disposal.dispose();
    } finally {
      this.#services.clear();
      this.#runners = [];
      this.#loop = undefined;
    }
  }
}

/** Backends that serve a VM already; weak, so it keeps none of them alive. */
const openBackends = new WeakSet<Backend>();

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** Puts a VM together. Throws when the plugins do not fit or the backend lacks something. */
export function composeVmm(options: VmmOptions): Vmm {
  return new Vmm(options);
}
