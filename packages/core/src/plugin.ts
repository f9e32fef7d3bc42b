/** The contract between the kernel and a plugin. */
import type { ControlNeeds } from './controls.js';
import type { Outcomes } from './exit.js';
import type { ExitName } from './exit-reasons.js';
import type { HeldControls } from './held-controls.js';
import type { Hooks } from './hooks.js';
import type { Logger } from './logger.js';
import type { Capability } from './names.js';
import type { SavedPart } from './saving.js';
import type { OptionalToken, Token } from './token.js';
import type { Vcpu } from './vcpu.js';

/** Services that a plugin uses, by the name it calls each: `{ ports: PortBusToken, apics: optional(LocalApicsToken) }`. */
export type Uses = Readonly<Record<string, Token<unknown> | OptionalToken<unknown>>>;

/** What `uses` gives. Each service is made when it is first looked at, so that the order of plugins does not matter. */
export type Used<U extends Uses> = {
  readonly [Name in keyof U]: U[Name] extends OptionalToken<infer T>
    ? T | undefined
    : U[Name] extends Token<infer T>
      ? T
      : never;
};

/** A class whose constructor parameters all carry `@inject(token)`; what it injects needs no other declaration. */
export type Injectable<T> = new (...dependencies: never[]) => T;

/**
 * One service that a plugin provides: a class that the container makes, or a function that makes it from what the plugin
 * uses. Made once for each VM, when somebody first asks for it, and disposed of with the VM when it has a `dispose`,
 * `Symbol.dispose` or `Symbol.asyncDispose`.
 */
export type Provider<T = unknown, U extends Uses = Uses> = {
  readonly token: Token<T>;
  /**
   * `vm` (default): one for the whole VM. `plugin`: one for each plugin that uses it, made with that plugin's host, so
   * that what it does is done in that plugin's name. `private`: for this plugin's own classes only.
   */
  readonly scope?: 'vm' | 'plugin' | 'private';
} & (
  | { readonly type: Injectable<T>; readonly make?: never }
  | { readonly type?: never; make(used: Used<U>, host: PluginHost): T }
);

/**
 * A piece of a VM. `apply` taps hooks and connects what the plugin makes; everything it does there is undone when the VM
 * is disposed of, and what it opens itself it closes in `host.onDispose`. A plain object with these fields is a plugin;
 * {@link definePlugin} gives `apply` and `provides` the types of what `uses` declares.
 */
export interface Plugin<U extends Uses = Uses> {
  /** Unique within a VM; reports name it. */
  readonly name: string;
  readonly version?: string;
  /** Semver range of the kernel (`@visorkit/core`) it works with. */
  readonly kernel?: string;
  /** What the backend must be able to do. */
  readonly capabilities?: readonly Capability[];
  /**
   * The plugin is left out on a backend that lacks one of these capabilities, because such a backend does the plugin's work itself.
   * Example: a handler of CPUID exits, on a backend that answers CPUID from the machine's table.
   */
  readonly appliesTo?: readonly Capability[];
  /** The services it uses. There is no other way to a service than by naming it here, or in a constructor with `@inject`. */
  readonly uses?: U;
  /** The services it provides. */
  readonly provides?: readonly Provider<unknown, U>[];
  /** Exits that it carries out; the report of a VM without this plugin names it for them. A plugin that only observes need not list any. */
  readonly handles?: readonly ExitName[];
  /** What the processor must trap as long as the VM lives. `host.controls` holds more for a time. */
  readonly needs?: ControlNeeds;
  /** Called once, when the VM is created. Must be done when it returns; what takes time belongs in a tap of `created` or `load`. */
  apply?(host: PluginHost, used: Used<U>): void;
}

/** The types of the services of a list of providers. */
type Providers<T extends readonly unknown[], U extends Uses> = { readonly [I in keyof T]: Provider<T[I], U> };

/** Gives a plugin its types; nothing else. */
export function definePlugin<const U extends Uses = Record<never, never>, T extends readonly unknown[] = unknown[]>(
  plugin: Omit<Plugin<U>, 'provides' | 'apply'> & {
    readonly provides?: readonly [...Providers<T, U>];
    apply?(host: PluginHost, used: Used<U>): void;
  },
): Plugin {
  return plugin as unknown as Plugin;
}

/** The services of one VM, for the application that composed it. Plugins declare what they use instead. */
export interface Services {
  /** Throws `SERVICE_MISSING` when nobody provides it. */
  get<T>(token: Token<T>): T;
  /** Like `get`, `undefined` when nobody provides it. */
  find<T>(token: Token<T>): T | undefined;
  has(token: Token<unknown>): boolean;
}

/** What a plugin gets in `apply`. */
export interface PluginHost {
  /** The plugin's name. */
  readonly name: string;
  /** Taps made through it carry the plugin's name unless another is given, and are taken back at disposal. */
  readonly hooks: Hooks;
  readonly vcpus: readonly Vcpu[];
  /** Exits that the processor is to take for a time. */
  readonly controls: HeldControls;
  /**
   * Throws `CAPABILITY_MISSING`, naming the backends that would do, where the backend lacks one of these: for what is known only while the VM lives. `what` says
   * who needs them, for the sentence.
   */
  require(capabilities: readonly Capability[], what?: string): void;
  /** Logs under the plugin's name. */
  readonly logger: Logger;
  /** Options given beside the plugin in the configuration; an empty object when there are none. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What an exit handler may answer: the same as the exports of this package, for a plugin that imports nothing. */
  readonly outcomes: Outcomes;
  /** Registers the state of the plugin, to be saved and restored with the VM under the plugin's name. Once for each plugin. */
  onSave(part: SavedPart): void;
  /** Makes an object of a class whose constructor parameters all carry `@inject(token)`: a device model, for instance. */
  make<T>(type: Injectable<T>): T;
  /** Runs at disposal, in reverse order of registration, once. */
  onDispose(undo: () => void | Promise<void>): void;
}
