/**
 * The hooks of a VM: one frozen, typed object made per VM.
 *
 * Order within a hook is explicit: by stage ({@link Stage}), then by tapable's `before`, then by the order of tapping. A
 * tap without a stage is at `Observe`, so a plugin from outside sees an exit before whoever carries it out, and may
 * take it.
 */
import { SyncBailHook, SyncHook, AsyncSeriesHook } from 'tapable';
import type { Outcome, VmExit } from './exit.js';
import type { ExitName } from './exit-reasons.js';
import { EXIT_REASON_COUNT, exitReasonByName, exitReasonName } from './exit-reasons.js';
import { VisorkitError } from './errors.js';
import type { Vcpu } from './vcpu.js';
import type { StopReport } from './report.js';

/** Where in a hook's order a tap stands. */
export const Stage = {
  /** Looks on, or steps in before everybody. The default. */
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
export type ExitHook = SyncBailHook<[VmExit, Vcpu], Outcome | undefined | void>;

/** `hooks.exit.for(reason)`: the hook of each basic exit reason, by name or by number. */
export interface ExitHooks {
  /** Throws `EXIT_REASON_UNKNOWN` for a reason that is none. */
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

/** What the VM is as its plugins see it in lifecycle hooks. */
export interface Hooks {
  /** All plugins are known, nothing exists yet but the container. */
  readonly composed: SyncHook<[]>;
  /** Memory, vCPUs and services exist. */
  readonly created: AsyncSeriesHook<[]>;
  /** The boot loader puts the image in memory; Architecture: firmware tables, Machine: the loader itself. */
  readonly load: AsyncSeriesHook<[]>;
  /** The image is in memory and vCPU 0 has its first state. */
  readonly loaded: AsyncSeriesHook<[]>;
  /** The run loop starts, for the first time or again after a pause. */
  readonly started: SyncHook<[]>;
  readonly paused: SyncHook<[]>;
  readonly resumed: SyncHook<[]>;
  /** The run has ended; the report is not written yet. The argument says why. */
  readonly stopping: SyncHook<[why: string]>;
  readonly stopped: SyncHook<[report: StopReport]>;
  /** Devices go back to their state after reset. */
  readonly reset: SyncHook<[]>;
  readonly disposed: SyncHook<[]>;
  readonly exit: ExitHooks;
  /** Before every VM entry. On the hot path: costs nothing while nobody taps it. */
  readonly beforeEntry: SyncHook<[Vcpu]>;
  /** After every exit has been handled; observers only, what they return is ignored. `undefined` = nobody took it. */
  readonly afterExit: SyncHook<[VmExit, Vcpu, Outcome | undefined]>;
  readonly deviceAccess: SyncHook<[DeviceAccess]>;
  /** An interrupt or NMI has been injected. */
  readonly interrupt: SyncHook<[Vcpu, InjectedKind, vector: number]>;
  readonly vcpuState: SyncHook<[Vcpu, VcpuStateChange]>;
  readonly guestEvent: SyncHook<[GuestEvent]>;
}

/** What the kernel notes about each tap. */
export interface TapInfo {
  readonly name: string;
  /** The plugin that was being applied when the tap was made. */
  readonly plugin: string;
}

type AnyHook = SyncHook<unknown[]> | AsyncSeriesHook<unknown[]>;

/**
 * Makes the hooks of one VM. `currentPlugin` names the plugin that taps; `changed` is told of each new tap; `running` of whose tap of a
 * lifecycle hook runs, so that it can be named when it throws.
 */
export function createHooks(
  currentPlugin: () => string,
  changed: () => void,
  running: (plugin: string) => void,
): Hooks {
  const register = (tap: { name: string }): never => {
    changed();
    return Object.assign(tap, { plugin: currentPlugin() || tap.name }) as never;
  };
  // An interceptor makes `isUsed()` true for ever: whether anybody listens is asked of `taps`
  const watch = <H>(hook: H): H => {
    (hook as unknown as AnyHook).intercept({ name: 'visorkit', register });
    return hook;
  };
  const lifecycle = <H>(hook: H): H => {
    (hook as unknown as AnyHook).intercept({
      name: 'visorkit',
      register,
      tap: (tap) => running((tap as unknown as TapInfo).plugin),
    });
    return hook;
  };
  const exitHooks: (ExitHook | undefined)[] = new Array(EXIT_REASON_COUNT).fill(undefined);
  const exit: ExitHooks = Object.freeze({
    for(reason: ExitName | number): ExitHook {
      const number = typeof reason === 'number' ? reason : exitReasonByName(reason);
      if (number === undefined || !Number.isInteger(number) || number < 0 || number >= EXIT_REASON_COUNT) {
        throw new VisorkitError(
          'EXIT_REASON_UNKNOWN',
          `There is no exit reason ${JSON.stringify(reason)}; use a basic exit reason (0 to ${EXIT_REASON_COUNT - 1}) or its name, such as "cpuid".`,
          { reason },
        );
      }
      return (exitHooks[number] ??= watch(
        new SyncBailHook(['exit', 'vcpu'], `exit.${exitReasonName(number)}`) as ExitHook,
      ));
    },
  });
  return Object.freeze({
    composed: lifecycle(new SyncHook<[]>([], 'composed')),
    created: lifecycle(new AsyncSeriesHook<[]>([], 'created')),
    load: lifecycle(new AsyncSeriesHook<[]>([], 'load')),
    loaded: lifecycle(new AsyncSeriesHook<[]>([], 'loaded')),
    started: lifecycle(new SyncHook<[]>([], 'started')),
    paused: lifecycle(new SyncHook<[]>([], 'paused')),
    resumed: lifecycle(new SyncHook<[]>([], 'resumed')),
    stopping: lifecycle(new SyncHook<[string]>(['why'], 'stopping')),
    stopped: lifecycle(new SyncHook<[StopReport]>(['report'], 'stopped')),
    reset: lifecycle(new SyncHook<[]>([], 'reset')),
    disposed: lifecycle(new SyncHook<[]>([], 'disposed')),
    exit,
    beforeEntry: watch(new SyncHook<[Vcpu]>(['vcpu'], 'beforeEntry')),
    afterExit: watch(new SyncHook<[VmExit, Vcpu, Outcome | undefined]>(['exit', 'vcpu', 'outcome'], 'afterExit')),
    deviceAccess: watch(new SyncHook<[DeviceAccess]>(['access'], 'deviceAccess')),
    interrupt: watch(new SyncHook<[Vcpu, InjectedKind, number]>(['vcpu', 'kind', 'vector'], 'interrupt')),
    vcpuState: watch(new SyncHook<[Vcpu, VcpuStateChange]>(['vcpu', 'state'], 'vcpuState')),
    guestEvent: watch(new SyncHook<[GuestEvent]>(['event'], 'guestEvent')),
  });
}
