/** A virtual machine monitor, from composition to disposal. */
import { BackendToken } from './backend.js';
import type { Backend } from './backend.js';
import { endOfFailure, errorForReport, isThenable, pluginFailure } from './blame.js';
import { checkValue } from './check.js';
import { checkComposition } from './composition.js';
import type { Composition, VmmOptions } from './composition.js';
import { warnOfDeafHandlers } from './deaf-handlers.js';
import { ExitDispatcher } from './dispatch.js';
import { DisposalStack } from './disposal.js';
import { describeError, fail, isVisorkitError } from './errors.js';
import { pause, stop } from './exit.js';
import type { EndOutcome } from './exit.js';
import { exitReasonName } from './exit-reasons.js';
import { reportFailure, suggestTaker } from './failure.js';
import { KernelHooks } from './hooks.js';
import type { Hooks } from './hooks.js';
import { host } from './host.js';
import { inTime } from './in-time.js';
import { Lifecycle } from './lifecycle.js';
import type { VmmState } from './lifecycle.js';
import { createLogger, silentLogSink } from './logger.js';
import type { Logger } from './logger.js';
import {
  ClockToken,
  DisassemblerToken,
  EventGateToken,
  ExternalInterruptSourceToken,
  GuestMemoryToken,
  InterruptSourceToken,
  MachineConfigToken,
  SystemControlToken,
  TimersToken,
  WakeupToken,
} from './platform.js';
import type { GuestMemory, Timers } from './platform.js';
import { pluginHost } from './plugin-host.js';
import type { Services } from './plugin.js';
import { EXIT_STATUS, makeReport } from './report.js';
import type { StopReport } from './report.js';
import { RunLoop, savedLoop } from './run-loop.js';
import { runLimits } from './run-options.js';
import type { RunLimits, RunOptions } from './run-options.js';
import { SAVED_FORMAT, checkMemory, checkSaved, saveMemory, saveProcessors, savedComposition } from './saving.js';
import type { SavedPart, SavedState, SavedVm } from './saving.js';
import { ServiceContainer } from './services.js';
import { Sleeper } from './sleeper.js';
import { systemControl, wakeup } from './system-services.js';
import type { BackendVcpu, Vcpu } from './vcpu.js';
import { KERNEL_VERSION } from './version.js';
import { living } from './living-vms.js';
import { VcpuRunner, sourceOf } from './vcpu-runner.js';

const NO_TIMERS: Timers = { nextDeadline: () => Infinity, runDue() {} };

export class Vmm implements AsyncDisposable {
  readonly logger: Logger;
  readonly backend: Backend;
  /** The report of the last run. */
  report: StopReport | undefined;
  /** Which of this process's VMs it is: from 1, in the order in which they are composed. */
  readonly id = living.nextId();

  readonly #composition: Composition;
  readonly #lifecycle = new Lifecycle();
  readonly #disposal = new DisposalStack();
  readonly #services = new ServiceContainer(this.#disposal);
  readonly #hooks: KernelHooks;
  readonly #dispatcher: ExitDispatcher;
  readonly #sleeper = new Sleeper();
  readonly #wakeSources = new Set<object>();
  /** The plugin that is being applied. */
  #applying = '';
  /** The plugin whose tap of a lifecycle hook ran last, and the name of that hook. */
  #tapping = '';
  #guarded = '';
  readonly #warned = new Set<string>();
  /** What plugins keep, by their names. */
  readonly #parts = new Map<string, SavedPart>();
  #memory: GuestMemory | undefined;
  #vcpus: readonly BackendVcpu[] = [];
  #runners: readonly VcpuRunner[] = [];
  #loop: RunLoop | undefined;
  /** A reset that the guest asked for when its run ended: done when the VM runs again. */
  #resetDue: EndOutcome | undefined;
  #preparing: Promise<void> | undefined;
  #running: Promise<StopReport> | undefined;
  #wallMs = 0;
  #idleMs = 0;
  #started = false;
  /** Instructions that were retired before the VM was restored here. */
  #restoredInstructions = 0;
  #disposed: Promise<void> | undefined;

  /** Use `compose`. Throws when the plugins do not fit together or the backend cannot serve them. */
  constructor(options: VmmOptions) {
    this.#composition = checkComposition(options);
    this.backend = options.backend;
    this.logger = createLogger(options.log ?? silentLogSink);
    this.#hooks = new KernelHooks({
      currentPlugin: () => this.#applying || this.#dispatcher.current,
      changed: () => {
        this.#dispatcher.stale = true;
      },
      running: (plugin) => {
        this.#tapping = plugin;
      },
    });
    this.#dispatcher = new ExitDispatcher(this.#hooks);
  }

  /** The hooks, for the application; a plugin taps those of its host. */
  get hooks(): Hooks {
    return this.#hooks;
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
      living.add(this);
    } catch (error) {
      await this.dispose().catch(() => {});
      throw error;
    }
  }

  /** Has the boot loader put the image in memory. */
  async load(): Promise<void> {
    if (this.state === 'composed') await this.create();
    await this.#lifecycle.moveAfter('load', () => this.#load());
  }

  /**
   * Runs the guest until it ends, something goes wrong, a limit is reached, or `pause` or `stop` is called; does `create` and `load`
   * first when they have not been done. Resolves with the report also when the guest or a plugin failed. However the run ended, the
   * VM is paused then: one may look, change registers, tap hooks, and call `run` again. An exit that nobody took, or whose
   * handler threw, is offered again, unless RIP was moved. Limits count from the beginning of each run.
   */
  async run(options: RunOptions = {}): Promise<StopReport> {
    const limits = runLimits(options, this.backend);
    if (this.state === 'composed' || this.state === 'created') {
      const early = await this.#prepare(limits);
      if (early !== undefined) return early;
    }
    this.#lifecycle.move('run');
    this.#running = this.#run(limits);
    return this.#running;
  }

  /** Ends the run between two instructions; resolves when the VM stands still. */
  async pause(): Promise<void> {
    this.#lifecycle.check('pause');
    this.#request(pause('The run was paused.'));
    await this.#running;
  }

  /** Like `pause`, for a run that is not meant to go on: its report says `stopped`. */
  async stop(why = 'The run was stopped from outside.'): Promise<void> {
    this.#lifecycle.check('stop');
    this.#request(stop(why));
    await this.#running;
  }

  /**
   * The whole VM as plain data, RAM without its zero pages: it goes on, here or in a VM of the same composition, as if nothing had
   * happened. For a VM that is loaded or paused. Throws `SAVE_UNSUPPORTED` where the backend cannot.
   */
  save(): SavedVm {
    this.#lifecycle.check('save');
    this.#hooks.saving.call();
    try {
      return this.#save();
    } finally {
      this.#hooks.saved.call();
    }
  }

  #save(): SavedVm {
    const { vcpus, backend } = saveProcessors(this.backend, this.#vcpus);
    const state: SavedState = {
      format: SAVED_FORMAT,
      kernel: KERNEL_VERSION,
      composition: savedComposition(this.#composition, this.#parts.keys()),
      loop: this.#loop!.save(),
      vcpus,
      backend,
      parts: Object.fromEntries([...this.#parts].map(([name, part]) => [name, part.save()])),
    };
    return { state, memory: saveMemory(this.memory, this.backend.recentPages?.() ?? new Set()) };
  }

  /**
   * Takes the state of a saved VM instead of loading an image; does `create` first when it has not been done. The VM is paused then.
   * Throws `SAVED_MISMATCH` with all that differs when it does not fit this VM, and `SAVED_STATE` when it is damaged; nothing has been
   * changed then.
   */
  async restore(saved: SavedVm): Promise<void> {
    if (this.state === 'composed') await this.create();
    await this.#lifecycle.moveAfter('restore', async () => this.#restore(saved));
  }

  /** Undoes everything in reverse order, once. Calling it again gives the same promise. */
  dispose(): Promise<void> {
    return (this.#disposed ??= this.#dispose());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  // ---- creation

  /**
   * Does `create`, if it has not been done, and `load`. Returns a report if they do not finish in time or the run is aborted meanwhile;
   * they continue then, and the next run waits for them.
   */
  async #prepare({ timeout, signal }: RunLimits): Promise<StopReport | undefined> {
    const began = host.now();
    this.#preparing ??= this.load().finally(() => {
      this.#preparing = undefined;
    });
    const late = await inTime(this.#preparing, timeout, signal, () =>
      this.#tapping === '' ? '' : ` Plugin ${this.#tapping} was still busy in the hook ${this.#guarded}.`,
    );
    return late === undefined ? undefined : (this.report = this.#makeReport(late, host.now() - began, 0));
  }

  async #create(): Promise<void> {
    const { backend } = this;
    const { options, cpus, time, controls } = this.#composition;
    const { memory } = options;
    await this.#guard('composed', () => this.#hooks.composed.call());
    if (openBackends.has(backend)) {
      fail('BACKEND_IN_USE', `Backend ${backend.name} already serves another VM; make a backend object for each VM.`, {
        backend: backend.name,
      });
    }
    openBackends.add(backend);
    this.#disposal.add(`backend ${backend.name}`, () => backend.dispose());
    await backend.open({ memory, cpus, time, controls: controls.of(0) });
    this.#memory = backend.createMemory(memory);
    const services = this.#services;
    services.provide(BackendToken, backend);
    services.provide(GuestMemoryToken, this.#memory);
    services.provide(ClockToken, backend.clock);
    services.provide(MachineConfigToken, { memory, cpus, time });
    services.provide(
      SystemControlToken,
      systemControl(this.#hooks, (end) => this.#request(end)),
    );
    services.provide(WakeupToken, wakeup(this.#sleeper, this.#wakeSources));
    this.#vcpus = Array.from({ length: cpus }, (_unused, index) => backend.createVcpu(index));
    backend.provideServices?.({
      provide: (token, value) => services.provide(token, value, `backend ${backend.name}`),
    });
    this.#applyPlugins();
    await this.#guard('created', () => this.#hooks.created.promise());
    if (this.#hooks.vcpuState.isUsed()) {
      for (const vcpu of this.#vcpus) this.#hooks.vcpuState.call(vcpu, 'created');
    }
    const source = services.find(InterruptSourceToken) ?? services.find(ExternalInterruptSourceToken);
    const gate = services.find(EventGateToken);
    this.#runners = this.#vcpus.map((vcpu) => new VcpuRunner(vcpu, sourceOf(source, vcpu.index), this.#hooks, gate));
    this.#loop = new RunLoop({
      clock: backend.clock,
      timers: services.find(TimersToken) ?? NO_TIMERS,
      runners: this.#runners,
      dispatcher: this.#dispatcher,
      canBeWoken: () => this.#wakeSources.size > 0,
    });
  }

  #applyPlugins(): void {
    const { plugins } = this.#composition;
    const given = {
      composition: this.#composition,
      backend: this.backend,
      hooks: this.#hooks,
      vcpus: this.#vcpus,
      logger: this.logger,
      parts: this.#parts,
      disposal: this.#disposal,
    };
    const parts = this.#services.addPlugins(plugins, (plugin, make) => pluginHost(plugin.name, make, given));
    for (const plugin of plugins) {
      const { used, host: pluginHost } = parts.get(plugin)!;
      this.#applying = plugin.name;
      try {
        const result: unknown = plugin.apply(pluginHost, used);
        if (isThenable(result)) {
          result.then(undefined, () => {}); // nobody awaits it, so a later rejection must not end the process
          throw new Error(
            'its apply is asynchronous. apply has to be done when it returns; what takes time belongs in hooks.created.tap or hooks.load.tap',
          );
        }
      } catch (error) {
        throw pluginFailure(plugin.name, 'while it was applied', error);
      } finally {
        this.#applying = '';
      }
    }
  }

  #restore({ state, memory }: SavedVm): void {
    const saved = checkSaved(state, savedComposition(this.#composition, this.#parts.keys()));
    const loop = checkValue(savedLoop(this.#vcpus.length), saved.loop, 'SAVED_STATE', 'The saved run loop');
    for (const [name, part] of this.#parts) part.check?.(saved.parts[name]);
    checkMemory(this.memory, memory);
    this.memory.restore(memory);
    this.backend.restoreState?.(saved.backend);
    this.#vcpus.forEach((vcpu, index) => vcpu.restoreState(saved.vcpus[index]));
    this.#loop!.restore(loop);
    for (const [name, part] of this.#parts) part.restore(saved.parts[name]);
    this.#started = true;
    this.#restoredInstructions = this.instructions;
    this.#hooks.restored.call();
  }

  async #load(): Promise<void> {
    await this.#guard('load', () => this.#hooks.load.promise());
    await this.#guard('loaded', () => this.#hooks.loaded.promise());
  }

  /** Calls a lifecycle hook; an error that is thrown there names the plugin. */
  async #guard(hook: keyof Hooks, call: () => unknown): Promise<void> {
    this.#guarded = hook;
    try {
      await call();
    } catch (error) {
      if (isVisorkitError(error)) throw error;
      throw pluginFailure(this.#tapping, `in the hook ${hook}`, error);
    }
  }

  /** The first request wins, but a request from outside does not hide what the guest did. */
  #request(outcome: EndOutcome): void {
    if (this.#loop === undefined) return;
    this.#loop.stopRequest ??= outcome;
    this.#sleeper.wake();
  }

  // ---- running

  async #run({ maxInstructions, timeout, signal }: RunLimits): Promise<StopReport> {
    const loop = this.#loop!;
    const began = host.now();
    const idleBefore = this.#idleMs;
    const abort = (): void =>
      this.#request(stop('The run was aborted.', { status: EXIT_STATUS.aborted, reason: 'aborted' }));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    let outcome: EndOutcome;
    let failure: StopReport['failure'];
    let error: unknown;
    try {
      const first = !this.#started;
      this.#started = true;
      if (this.#resetDue !== undefined) await this.#restart(this.#resetDue);
      if (first) await this.#guard('started', () => this.#hooks.started.call());
      else await this.#guard('resumed', () => this.#hooks.resumed.call());
      outcome = await this.#runUntilEnd(this.instructions + maxInstructions, began + timeout * 1000);
      if (outcome.reason === 'unhandled-exit' || outcome.reason === 'triple-fault') failure = this.#failure();
      if (outcome.reason === 'unhandled-exit' && failure !== undefined) failure.suggestion = this.#suggestion();
    } catch (thrown) {
      error = thrown;
      const plugin = this.#dispatcher.current;
      outcome = endOfFailure(thrown, plugin, loop.phase, loop.current.vcpu.exit.reason, this.backend.name);
      failure = this.#failure({ plugin, error });
      this.#dispatcher.clear();
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    loop.standStill();
    if (outcome.kind === 'reset') this.#resetDue = outcome;
    this.#wallMs += host.now() - began;
    const report = this.#makeReport(outcome, host.now() - began, this.#idleMs - idleBefore);
    if (failure !== undefined) report.failure = failure;
    if (error !== undefined) report.error = errorForReport(error);
    this.report = report;
    if (this.state === 'running') this.#lifecycle.move('pause');
    this.#callSafely('paused', () => this.#hooks.paused.call(report));
    return report;
  }

  /** `instructionLimit` is in the count of the whole VM, `endAt` in host time. */
  async #runUntilEnd(instructionLimit: number, endAt: number): Promise<EndOutcome> {
    const loop = this.#loop!;
    for (const vcpu of this.#vcpus) vcpu.setInstructionLimit(Infinity);
    for (;;) {
      if (this.#dispatcher.stale) {
        const { alternatives = [] } = this.#composition.options;
        warnOfDeafHandlers(this.#hooks, this.backend, alternatives, this.logger, this.#warned);
      }
      const end = loop.slice(instructionLimit);
      switch (end) {
        case 'stop': {
          const outcome = loop.stopRequest!;
          if (outcome.kind !== 'reset' || this.#composition.options.onReset !== 'restart') return outcome;
          await this.#restart(outcome);
          break;
        }
        case 'limit':
          return stop(`The guest retired ${this.instructions} instructions, the limit it was given.`, {
            status: EXIT_STATUS['max-instructions'],
            reason: 'max-instructions',
          });
        case 'unhandled': {
          const { vcpu } = loop.current;
          const { exit } = vcpu;
          const what = exit.entryFailure
            ? `VM entry failed (${exitReasonName(exit.reason)})`
            : `Nobody handled the exit ${exitReasonName(exit.reason)}`;
          return stop(`${what} of vCPU ${vcpu.index} at RIP 0x${vcpu.rip.toString(16)}. ${this.#suggestion()}`, {
            status: EXIT_STATUS['unhandled-exit'],
            reason: 'unhandled-exit',
          });
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
        return stop('The run took longer than its time limit.', { status: EXIT_STATUS.timeout, reason: 'timeout' });
      }
    }
  }

  /** The guest asked for a reset and the machine starts again, image and all. */
  async #restart({ why }: EndOutcome): Promise<void> {
    this.logger.info(`reset: ${why}`);
    this.#resetDue = undefined;
    this.#loop!.stopRequest = undefined;
    for (const vcpu of this.#vcpus) vcpu.init();
    for (const runner of this.#runners) runner.reset();
    await this.#guard('reset', () => this.#hooks.reset.call());
    await this.#load();
  }

  #suggestion(): string {
    const { vcpu } = this.#loop!.current;
    return suggestTaker(vcpu.exit, this.#composition.options.otherPlugins ?? [], vcpu.brokenEntryRule);
  }

  #failure(of: { plugin?: string | undefined; error?: unknown } = {}): StopReport['failure'] {
    try {
      return reportFailure(this.#loop!.current.vcpu, this.memory, this.#services.find(DisassemblerToken), of);
    } catch (error) {
      this.logger.warn(`the failure could not be described: ${describeError(error)}`);
      return undefined;
    }
  }

  #makeReport(outcome: EndOutcome, wallMs: number, idleMs: number): StopReport {
    return makeReport(outcome, {
      backend: this.backend,
      clock: this.#memory === undefined ? undefined : this.backend.clock, // a backend that is not open has none
      instructions: this.instructions,
      exits: this.#dispatcher.countsByName(),
      wallMs,
      idleMs,
      retiredHere: this.instructions - this.#restoredInstructions,
      busyMs: this.#wallMs - this.#idleMs,
    });
  }

  /** An error in an observer does not change how the run ended. */
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
    living.remove(this);
    this.#callSafely('disposed', () => this.#hooks.disposed.call());
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

/** Puts a VM together. Throws when the plugins do not fit or the backend lacks something. */
export function composeVmm(options: VmmOptions): Vmm {
  return new Vmm(options);
}
