/**
 * The services of one VM: a tsyringe container for the VM and one below it for each plugin, so that two VMs never meet and
 * a plugin's classes get what that plugin gives them.
 *
 * Everything is registered under symbol tokens and injected with `@inject(token)` on every constructor parameter; nothing
 * depends on emitted type metadata. A service is made when somebody first asks for it. tsyringe's own disposal is not used: it
 * runs in order of creation and leaves out what was registered as a value. The VM's {@link DisposalStack} does it in
 * reverse order of creation, so that a service is still there when those that use it are disposed of.
 */
import 'reflect-metadata';
import { container as root } from 'tsyringe';
import type { DependencyContainer } from 'tsyringe';
import type { DisposalStack } from './disposal.js';
import { disposerOf } from './disposal.js';
import { VisorkitError, fail, isVisorkitError } from './errors.js';
import type { Injectable, PluginHost, Provider, Services, Used, Uses } from './plugin.js';
import type { OptionalToken, Token } from './token.js';
import { tokenName, usualProvider } from './token.js';

/** What the container needs to know of a plugin. */
export interface ServicePlugin {
  readonly name: string;
  readonly uses: Uses;
  readonly provides: readonly Provider[];
}

/** A plugin's part of the container. */
export interface PluginServices {
  /** What the plugin's `uses` gives; each service is made when it is first looked at. */
  readonly used: Used<Uses>;
  make<T>(type: Injectable<T>): T;
}

/** The token under which a plugin's own classes find the plugin's host: `@inject(PluginHostToken)`. */
export const PluginHostToken: Token<PluginHost> = Symbol.for('visorkit:plugin-host') as Token<PluginHost>;

export class ServiceContainer implements Services {
  readonly #container: DependencyContainer = root.createChildContainer();
  readonly #owners = new Map<symbol, string>();
  /** Services of which each plugin has its own. */
  readonly #perPlugin = new Map<symbol, (host: PluginHost) => unknown>();
  readonly #disposal: DisposalStack;
  /** What is being made now, and for which plugin; the outermost first. */
  readonly #making: { readonly what: string; readonly owner: string }[] = [];
  /** The error of the innermost service that could not be made: tsyringe passes on only its text. */
  #failure: VisorkitError | undefined;

  constructor(disposal: DisposalStack) {
    this.#disposal = disposal;
  }

  get<T>(token: Token<T>): T {
    if (this.#perPlugin.has(token)) {
      fail(
        'SERVICE_SCOPE',
        `Each plugin has its own service "${tokenName(token)}"; name it in the "uses" of a plugin.`,
        { service: tokenName(token) },
      );
    }
    if (!this.#owners.has(token)) throw missing('The VM', token);
    return this.#resolve(this.#container, token);
  }

  find<T>(token: Token<T>): T | undefined {
    return this.has(token) ? this.get(token) : undefined;
  }

  has(token: Token<unknown>): boolean {
    return this.#owners.has(token) && !this.#perPlugin.has(token);
  }

  /** Who provides a service. */
  ownerOf(token: Token<unknown>): string | undefined {
    return this.#owners.get(token);
  }

  /** Registers a service that is there already. Throws `SERVICE_CONFLICT` when there is one, naming both owners. */
  provide<T>(token: Token<T>, value: T, owner = 'the kernel'): void {
    this.#claim(token, owner);
    this.#container.register(token, { useValue: value });
  }

  /**
   * Registers what the plugins provide and gives each its part of the container. `hostOf` makes a plugin's host from the function that
   * makes its classes.
   */
  addPlugins(
    plugins: readonly ServicePlugin[],
    hostOf: (plugin: ServicePlugin, make: PluginServices['make']) => PluginHost,
  ): Map<ServicePlugin, PluginServices & { readonly host: PluginHost }> {
    const parts = plugins.map((plugin) => {
      const container = this.#container.createChildContainer();
      const make = <T>(type: Injectable<T>): T => this.#makeClass(container, plugin.name, type);
      const host = hostOf(plugin, make);
      container.register(PluginHostToken, { useValue: host });
      return { plugin, container, make, host, used: this.#used(container, plugin) };
    });
    for (const { plugin, container, used, host } of parts) {
      for (const provider of plugin.provides) {
        const { token, scope = 'vm' } = provider;
        const makeFor = (asker: PluginHost): unknown =>
          provider.type === undefined ? provider.make(used, asker) : container.resolve(provider.type as never);
        if (scope !== 'private') this.#claim(token, plugin.name);
        if (scope === 'plugin') this.#perPlugin.set(token, makeFor);
        else {
          const into = scope === 'vm' ? this.#container : container;
          into.register(token, { useFactory: this.#once(tokenName(token), plugin.name, () => makeFor(host)) });
        }
      }
    }
    for (const { plugin, container, host } of parts) {
      for (const [token, makeFor] of this.#perPlugin) {
        container.register(token, { useFactory: this.#once(tokenName(token), plugin.name, () => makeFor(host)) });
      }
    }
    return new Map(parts.map(({ plugin, used, make, host }) => [plugin, { used, make, host }]));
  }

  /** Forgets everything; called last. */
  clear(): void {
    this.#owners.clear();
    this.#perPlugin.clear();
    this.#container.reset();
  }

  #claim(token: Token<unknown>, owner: string): void {
    const other = this.#owners.get(token);
    if (other !== undefined) {
      throw new VisorkitError(
        'SERVICE_CONFLICT',
        `${owner} provides the service "${tokenName(token)}", but ${other} already does. Leave one of them out.`,
        { service: tokenName(token), plugins: [other, owner] },
      );
    }
    this.#owners.set(token, owner);
  }

  /** The object that `uses` describes: getters, so that nothing is made before it is needed. */
  #used(container: DependencyContainer, plugin: ServicePlugin): Used<Uses> {
    const used = {};
    for (const [name, entry] of Object.entries(plugin.uses)) {
      const isOptional = typeof entry === 'object';
      const token = isOptional ? (entry as OptionalToken<unknown>).optional : entry;
      Object.defineProperty(used, name, {
        enumerable: true,
        get: () => {
          if (container.isRegistered(token, true)) return this.#resolve(container, token);
          if (isOptional) return undefined;
          throw missing(`Plugin ${plugin.name}`, token);
        },
      });
    }
    return Object.freeze(used) as Used<Uses>;
  }

  /** A factory that makes its service once, hands it to the disposal, and refuses circles. */
  #once(what: string, owner: string, make: () => unknown): () => unknown {
    let made: { readonly value: unknown } | undefined;
    return () => {
      if (made !== undefined) return made.value;
      const value = this.#track(what, owner, make);
      made = { value };
      this.#disposeLater(what, value);
      return value;
    };
  }

  #makeClass<T>(container: DependencyContainer, owner: string, type: Injectable<T>): T {
    for (const { token, optional } of injectedTokens(type)) {
      if (!optional && !container.isRegistered(token, true)) throw missing(`${type.name} of plugin ${owner}`, token);
    }
    try {
      const made = this.#track(type.name, owner, () => container.resolve(type as never)) as T;
      this.#disposeLater(type.name, made);
      return made;
    } catch (error) {
      throw this.#known(error, `${type.name} of plugin ${owner}`);
    }
  }

  #resolve<T>(container: DependencyContainer, token: Token<T>): T {
    try {
      return container.resolve<T>(token);
    } catch (error) {
      throw this.#known(error, `The service "${tokenName(token)}"`);
    }
  }

  /** Makes something, and notes meanwhile that it is being made. Throws `SERVICE_CYCLE` if it is being made already. */
  #track(what: string, owner: string, make: () => unknown): unknown {
    const making = this.#making;
    if (making.length === 0) this.#failure = undefined;
    const first = making.findIndex((other) => other.what === what && other.owner === owner);
    if (first >= 0) {
      const path = [...making.slice(first), { what, owner }].map((step) => `"${step.what}" (${step.owner})`);
      this.#failure = new VisorkitError(
        'SERVICE_CYCLE',
        `Services need each other in a circle: ${path.join(' needs ')}. One of them must be asked for later, in a handler or a lifecycle hook.`,
        { cycle: [...making.slice(first).map((step) => step.what), what] },
      );
      throw this.#failure;
    }
    making.push({ what, owner });
    try {
      return make();
    } catch (error) {
      if (isVisorkitError(error)) this.#failure ??= error;
      throw error;
    } finally {
      making.pop();
    }
  }

  #disposeLater(what: string, value: unknown): void {
    const dispose = disposerOf(value);
    if (dispose !== undefined) this.#disposal.add(what, dispose);
  }

  /** The error to show: the kernel's own, wherever it came up, else one that says what could not be made. */
  #known(error: unknown, what: string): unknown {
    if (isVisorkitError(error)) return error;
    if (this.#failure !== undefined) return this.#failure;
    const reason = error instanceof Error ? error.message : String(error);
    return new VisorkitError(
      'SERVICE_MAKE',
      `${what} could not be made: ${reason
        .split('\n')
        .map((line) => line.trim())
        .join(' ')}. Each constructor parameter needs @inject(token), and each token a plugin that provides it.`,
      undefined,
      error,
    );
  }
}

/** The error of a service that nobody provides: who asks, and which package has it. */
export function missing(asker: string, token: Token<unknown>): VisorkitError {
  const from = usualProvider(token);
  const advice = from === undefined ? 'Add a plugin that provides it' : `The package ${from} has it: add its plugin`;
  return new VisorkitError(
    'SERVICE_MISSING',
    `${asker} uses the service "${tokenName(token)}", which no plugin of this VM provides. ${advice}.`,
    { service: tokenName(token), ...(from === undefined ? {} : { package: from }) },
  );
}

/** The tokens that a class injects, as `@inject` has noted them. */
export function injectedTokens(
  type: Injectable<unknown>,
): { readonly token: Token<unknown>; readonly optional: boolean }[] {
  const noted = Reflect.getOwnMetadata('injectionTokens', type) as Record<string, unknown> | undefined;
  return Object.values(noted ?? {}).flatMap((entry) => {
    if (typeof entry === 'symbol') return [{ token: entry as Token<unknown>, optional: false }];
    const { token, isOptional = false } = (entry ?? {}) as { token?: unknown; isOptional?: boolean };
    return typeof token === 'symbol' ? [{ token: token as Token<unknown>, optional: isOptional }] : [];
  });
}
