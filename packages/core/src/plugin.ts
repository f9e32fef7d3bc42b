/** The contract between the kernel and a plugin. */
import type { ControlNeeds } from './controls.js';
import type { Outcomes } from './exit.js';
import type { Hooks } from './hooks.js';
import type { Logger } from './logger.js';
import type { Token } from './token.js';
import type { Vcpu } from './vcpu.js';

export interface PluginRequirements {
  /** Capabilities the backend must have: `exit.cpuid`, `ept.execute-only`, … */
  readonly capabilities?: readonly string[];
  /** Services that must be there: the plugin is applied after those that provide them. */
  readonly services?: readonly Token<unknown>[];
  /** Services to come after when somebody provides them; nothing is missing when nobody does. */
  readonly optionalServices?: readonly Token<unknown>[];
}

/**
 * A piece of a VM. `apply` taps hooks and registers services; everything it does there is undone when the VM is disposed
 * of, and what it opens itself it closes in `host.onDispose`.
 */
export interface Plugin {
  /** Unique within a VM; reports name it. */
  readonly name: string;
  readonly version?: string;
  /** Semver range of the kernel (`@visorkit/core`) it works with. */
  readonly kernel?: string;
  readonly requires?: PluginRequirements;
  /**
   * Capabilities without which the plugin has nothing to do, because such a backend does the work itself: there it is left out.
   * A handler of CPUID exits, for instance, on a backend that answers CPUID from the machine's table.
   */
  readonly appliesTo?: readonly string[];
  /** Services that `apply` provides. */
  readonly provides?: readonly Token<unknown>[];
  /** What the processor must trap. */
  readonly needs?: ControlNeeds;
  apply(host: PluginHost): void;
}

/** A plugin class: made by the container when the VM is created. Its declarations are static members. */
export interface PluginClass {
  new (...dependencies: never[]): { apply(host: PluginHost): void };
  readonly pluginName?: string;
  readonly version?: string;
  readonly kernel?: string;
  readonly requires?: PluginRequirements;
  readonly appliesTo?: readonly string[];
  readonly provides?: readonly Token<unknown>[];
  readonly needs?: ControlNeeds;
}

/** The services of one VM. */
export interface Services {
  /** Throws `SERVICE_MISSING` when nobody provides it. */
  get<T>(token: Token<T>): T;
  /** Like `get`, `undefined` when nobody provides it. */
  find<T>(token: Token<T>): T | undefined;
  has(token: Token<unknown>): boolean;
  /** Registers a service. Throws `SERVICE_CONFLICT` when there is one already, naming both plugins. */
  provide<T>(token: Token<T>, value: T): void;
  /** Makes an object of a class whose constructor parameters all carry `@inject(token)`. */
  make<T>(type: new (...dependencies: never[]) => T): T;
}

/** What a plugin gets in `apply`. */
export interface PluginHost {
  readonly hooks: Hooks;
  readonly services: Services;
  readonly vcpus: readonly Vcpu[];
  /** Logs under the plugin's name. */
  readonly logger: Logger;
  /** Options given beside the plugin in the configuration; an empty object when there are none. */
  readonly options: Readonly<Record<string, unknown>>;
  /**
   * What an exit handler may answer: the same as the exports of this package, for a plugin that imports nothing.
   */
  readonly outcomes: Outcomes;
  /** Runs at disposal, in reverse order of registration, once. */
  onDispose(undo: () => void | Promise<void>): void;
}
