/**
 * The hooks of a VM: one frozen, typed object made per VM.
 *
 * Order within a hook is explicit: by stage ({@link Stage}), then by tapable's `before`, then by the order of tapping. A
 * tap without a stage is at `Observe`, so a plugin from outside sees an exit before the handler that carries it out, and may
 * handle it instead.
 */
import { AsyncSeriesHook, SyncBailHook, SyncHook } from 'tapable';
import { instead } from './check.js';
import { VisorkitError } from './errors.js';
import type { Outcome, VmExit } from './exit.js';
import { EXIT_NAMES, EXIT_REASON_COUNT, exitReasonByName, exitReasonName } from './exit-reasons.js';
import type { ExitName } from './exit-reasons.js';
import { KernelHook, PluginHook } from './hook.js';
import type { AsyncTaps, Hook, HookOwner, SyncTaps } from './hook.js';
import type { Vcpu } from './vcpu.js';
import type { StopReport } from './report.js';

/** Where in a hook's order a tap stands. */
export const Stage = {
  /** Observes, or acts before all others. The default. */
  Observe: 0,
  /** What the processor itself would do: CPUID, MSRs, control registers. */
  Architecture: 100,
  /** The machine: port and MMIO buses, devices. */
  Machine: 200,
  /** What to do when nobody else did anything. */
  Fallback: 300,
} as const;

/** A handler of exits. Runs between two guest instructions: it must not wait for anything. */
export type ExitHandler = (exit: VmExit, vcpu: Vcpu) => Outcome | undefined | void;

/** The hook of one exit reason. */
export type ExitHook = Hook<ExitHandler>;

/** `hooks.exit.for(reason)`: the hook of each basic exit reason, by name or by number. */
export interface ExitHooks {
  /** Throws `EXIT_REASON_UNKNOWN` for a reason that does not exist. */
  for(reason: ExitName | number): ExitHook;
}

/** One access of the guest to a device, for observers. The object is reused. */
export interface DeviceAccess {
  kind: 'port' | 'mmio';
  /** Port, or guest-physical address. */
  address: number;
  size: number;
  write: boolean;
  value: number;
  /** Who claims the address; `undefined` when nobody does. */
  owner: string | undefined;
}

/** Something that a plugin learnt about the guest. */
export interface GuestEvent {
  /** `power-off`, `reset`, `panic`, `boot-done`, …: named by the plugin that tells it. */
  readonly kind: string;
  readonly source: string;
  readonly message: string;
  readonly data?: unknown;
}

export type VcpuStateChange = 'created' | 'reset' | 'running' | 'halted' | 'startup';
export type InjectedKind = 'interrupt' | 'nmi';

/** What the VM is as its plugins see it. */
export interface Hooks {
  /** All plugins are known, nothing exists yet but the container. */
  readonly composed: SyncTaps<[]>;
  /** Memory, vCPUs and services exist. */
  readonly created: AsyncTaps<[]>;
  /** The boot loader puts the image in memory; Architecture: firmware tables, Machine: the loader itself. */
  readonly load: AsyncTaps<[]>;
  /** The image is in memory and vCPU 0 has its first state. */
  readonly loaded: AsyncTaps<[]>;
  /** The run loop starts for the first time. */
  readonly started: SyncTaps<[]>;
  /** A run has ended: the VM stands still and may go on. The report says why. */
  readonly paused: SyncTaps<[report: StopReport]>;
  /** The run loop starts again. */
  readonly resumed: SyncTaps<[]>;
  /** Devices go back to their state after reset. */
  readonly reset: SyncTaps<[]>;
  readonly disposed: SyncTaps<[]>;
  /** The VM is about to be saved: what is not to be in the saved VM is taken away. */
  readonly saving: SyncTaps<[]>;
  /** It has been saved, or could not be: what was taken away comes back. */
  readonly saved: SyncTaps<[]>;
  /** A saved VM has taken the place of this one. */
  readonly restored: SyncTaps<[]>;
  readonly exit: ExitHooks;
  /** Before every VM entry. On the hot path: costs nothing while nobody taps it. */
  readonly beforeEntry: SyncTaps<[Vcpu]>;
  /** After every exit has been handled; observers only, what they return is ignored. `undefined` = nobody took it. */
  readonly afterExit: SyncTaps<[VmExit, Vcpu, Outcome | undefined]>;
  readonly deviceAccess: SyncTaps<[DeviceAccess]>;
  /** An interrupt or NMI has been injected. */
  readonly interrupt: SyncTaps<[Vcpu, InjectedKind, vector: number]>;
  readonly vcpuState: SyncTaps<[Vcpu, VcpuStateChange]>;
  readonly guestEvent: SyncTaps<[GuestEvent]>;
}

/** Every hook but those of exits. */
const HOOK_NAMES = [
  'composed',
  'created',
  'load',
  'loaded',
  'started',
  'paused',
  'resumed',
  'reset',
  'disposed',
  'saving',
  'saved',
  'restored',
  'beforeEntry',
  'afterExit',
  'deviceAccess',
  'interrupt',
  'vcpuState',
  'guestEvent',
] as const satisfies readonly (keyof Hooks)[];

type Sync<Args extends unknown[]> = KernelHook<(...args: Args) => unknown>;
type Lifecycle = 'composed' | 'created' | 'load' | 'loaded' | 'started' | 'paused' | 'resumed' | 'reset' | 'disposed';

/**
 * The hooks of one VM as the kernel holds them. `owner.running` is called with the plugin whose tap of a lifecycle hook runs, so that
 * an error can name the plugin; handlers of the other hooks are called directly.
 */
export class KernelHooks implements Hooks {
  readonly composed: Sync<[]>;
  readonly created: Sync<[]>;
  readonly load: Sync<[]>;
  readonly loaded: Sync<[]>;
  readonly started: Sync<[]>;
  readonly paused: Sync<[StopReport]>;
  readonly resumed: Sync<[]>;
  readonly reset: Sync<[]>;
  readonly disposed: Sync<[]>;
  readonly saving: Sync<[]>;
  readonly saved: Sync<[]>;
  readonly restored: Sync<[]>;
  readonly beforeEntry: Sync<[Vcpu]>;
  readonly afterExit: Sync<[VmExit, Vcpu, Outcome | undefined]>;
  readonly deviceAccess: Sync<[DeviceAccess]>;
  readonly interrupt: Sync<[Vcpu, InjectedKind, number]>;
  readonly vcpuState: Sync<[Vcpu, VcpuStateChange]>;
  readonly guestEvent: Sync<[GuestEvent]>;
  readonly exit: { for(reason: ExitName | number): KernelHook<ExitHandler> };
  readonly #exits: (KernelHook<ExitHandler> | undefined)[] = new Array(EXIT_REASON_COUNT).fill(undefined);

  constructor(owner: HookOwner) {
    const quiet: HookOwner = { currentPlugin: owner.currentPlugin, ...(owner.changed && { changed: owner.changed }) };
    const sync = <Args extends unknown[]>(name: string, args: string[], of: HookOwner): Sync<Args> =>
      new KernelHook(new SyncHook<unknown[]>(args as never, name), of);
    const slow = (name: Lifecycle): Sync<[]> =>
      new KernelHook(new AsyncSeriesHook<unknown[]>([] as never, name), owner, true);
    this.composed = sync('composed', [], owner);
    this.created = slow('created');
    this.load = slow('load');
    this.loaded = slow('loaded');
    this.started = sync('started', [], owner);
    this.paused = sync('paused', ['report'], owner);
    this.resumed = sync('resumed', [], owner);
    this.reset = sync('reset', [], owner);
    this.disposed = sync('disposed', [], owner);
    this.saving = sync('saving', [], owner);
    this.saved = sync('saved', [], owner);
    this.restored = sync('restored', [], owner);
    this.beforeEntry = sync('beforeEntry', ['vcpu'], quiet);
    this.afterExit = sync('afterExit', ['exit', 'vcpu', 'outcome'], quiet);
    this.deviceAccess = sync('deviceAccess', ['access'], quiet);
    this.interrupt = sync('interrupt', ['vcpu', 'kind', 'vector'], quiet);
    this.vcpuState = sync('vcpuState', ['vcpu', 'state'], quiet);
    this.guestEvent = sync('guestEvent', ['event'], quiet);
    this.exit = Object.freeze({
      for: (reason: ExitName | number) => {
        const number = exitNumber(reason);
        return (this.#exits[number] ??= new KernelHook<ExitHandler>(
          new SyncBailHook<unknown[], unknown>(['exit', 'vcpu'] as never, `exit.${exitReasonName(number)}`),
          quiet,
        ));
      },
    });
    Object.freeze(this);
  }

  /** The hook of an exit reason, if somebody has asked for it. */
  exitHook(reason: number): KernelHook<ExitHandler> | undefined {
    return this.#exits[reason];
  }
}

/** The hooks as one plugin sees them. Each is made when it is first looked at. */
export function hooksOf(hooks: KernelHooks, plugin: string): Hooks {
  const made = new Map<unknown, unknown>();
  const bound = <F extends (...args: never[]) => unknown>(hook: KernelHook<F>): PluginHook<F> => {
    let own = made.get(hook) as PluginHook<F> | undefined;
    if (own === undefined) made.set(hook, (own = new PluginHook(hook, plugin)));
    return own;
  };
  const own = { exit: Object.freeze({ for: (reason: ExitName | number) => bound(hooks.exit.for(reason)) }) };
  for (const name of HOOK_NAMES) {
    Object.defineProperty(own, name, { enumerable: true, get: () => bound(hooks[name] as KernelHook<() => unknown>) });
  }
  return Object.freeze(own) as unknown as Hooks;
}

/** Throws `EXIT_REASON_UNKNOWN` for a reason that does not exist. */
function exitNumber(reason: ExitName | number): number {
  const number = typeof reason === 'number' ? reason : exitReasonByName(reason);
  if (number !== undefined && Number.isInteger(number) && number >= 0 && number < EXIT_REASON_COUNT) return number;
  const hint = typeof reason === 'string' ? instead(reason, EXIT_NAMES) : '';
  throw new VisorkitError(
    'EXIT_REASON_UNKNOWN',
    `There is no exit reason ${JSON.stringify(reason)}${hint}${hint.endsWith('?') ? '' : '.'} Exits are named by their basic exit reason: its number (0 to ${EXIT_REASON_COUNT - 1}) or its name, such as "cpuid".`,
    { reason },
  );
}
