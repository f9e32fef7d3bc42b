/** From what the caller lists to an ordered, checked list of plugins. Everything found wrong here is found before anything exists. */
import type { Backend } from './backend.js';
import { VisorkitError, fail } from './errors.js';
import type { Plugin, PluginClass, PluginHost } from './plugin.js';
import type { Services } from './plugin.js';
import semver from './semver.cjs';
import { tokenName } from './token.js';
import { KERNEL_VERSION } from './version.js';

/** A plugin as it stands in a list: itself, its class, or with options. */
export type PluginEntry =
  | Plugin
  | PluginClass
  | { readonly plugin: Plugin | PluginClass; readonly options: Readonly<Record<string, unknown>> };

/** A plugin ready to be applied. */
export interface ListedPlugin {
  readonly name: string;
  readonly declaration: Pick<Plugin, 'version' | 'kernel' | 'requires' | 'appliesTo' | 'provides' | 'needs'>;
  readonly options: Readonly<Record<string, unknown>>;
  apply(host: PluginHost, services: Services): void;
}

/** Checks names, kernel ranges and the shape of every entry. */
export function listPlugins(entries: readonly PluginEntry[]): ListedPlugin[] {
  const listed: ListedPlugin[] = [];
  const names = new Set<string>();
  entries.forEach((entry, position) => {
    const plugin = describe(entry, position);
    if (names.has(plugin.name)) {
      fail(
        'PLUGIN_DUPLICATE',
        `Two plugins are called "${plugin.name}"; a VM takes each name once. Leave one out or give it another name.`,
        { name: plugin.name },
      );
    }
    names.add(plugin.name);
    const range = plugin.declaration.kernel;
    if (range !== undefined) checkKernel(plugin.name, range);
    listed.push(plugin);
  });
  return listed;
}

function checkKernel(name: string, range: string): void {
  const valid = semver.isRange(range);
  if (!valid || !semver.satisfies(KERNEL_VERSION, range)) {
    fail(
      'PLUGIN_KERNEL_VERSION',
      !valid
        ? `Plugin ${name} says it works with kernel "${range}", which is no semver range; write one such as "^${KERNEL_VERSION}".`
        : `Plugin ${name} works with kernel ${range}, but this kernel is ${KERNEL_VERSION}. Use a version of the plugin made for it.`,
      { name, kernel: range, version: KERNEL_VERSION },
    );
  }
}

/** Checks every required capability at once. Throws `CAPABILITY_MISSING`. */
export function checkCapabilities(
  plugins: readonly ListedPlugin[],
  backend: Pick<Backend, 'name' | 'capabilities'>,
  alternatives: readonly Pick<Backend, 'name' | 'capabilities'>[] = [],
): void {
  const missing = new Map<string, string[]>();
  for (const { name, declaration } of plugins) {
    for (const capability of declaration.requires?.capabilities ?? []) {
      if (!backend.capabilities.has(capability)) missing.set(capability, [...(missing.get(capability) ?? []), name]);
    }
  }
  if (missing.size === 0) return;
  const parts = [...missing].map(([capability, askers]) => {
    const have = alternatives.filter((other) => other.capabilities.has(capability)).map((other) => other.name);
    return `"${capability}" (asked for by ${askers.join(', ')}; ${have.length > 0 ? `backend ${have.join(' and ')} has it` : 'no other known backend has it'})`;
  });
  throw new VisorkitError('CAPABILITY_MISSING', `Backend ${backend.name} lacks ${parts.join(', ')}.`, {
    backend: backend.name,
    missing: [...missing].map(([capability, plugins]) => ({ capability, plugins })),
  });
}

/**
 * Puts plugins in the order of their needs: each after those that provide what it requires, otherwise as listed.
 * `given` are services the kernel itself provides. Throws `SERVICE_MISSING` and `PLUGIN_CYCLE`.
 */
export function orderPlugins(plugins: readonly ListedPlugin[], given: ReadonlySet<symbol>): ListedPlugin[] {
  const providers = new Map<symbol, ListedPlugin>();
  for (const plugin of plugins) {
    for (const service of plugin.declaration.provides ?? []) {
      const other = providers.get(service);
      if (other !== undefined) {
        fail(
          'SERVICE_CONFLICT',
          `${plugin.name} provides the service "${tokenName(service)}", but ${other.name} already does. Leave one of them out.`,
          { service: tokenName(service), plugins: [other.name, plugin.name] },
        );
      }
      providers.set(service, plugin);
    }
  }
  const ordered: ListedPlugin[] = [];
  const state = new Map<ListedPlugin, 'open' | 'done'>();
  const visit = (plugin: ListedPlugin, path: readonly string[]): void => {
    if (state.get(plugin) === 'done') return;
    if (state.get(plugin) === 'open') {
      const cycle = [...path.slice(path.indexOf(plugin.name)), plugin.name];
      fail(
        'PLUGIN_CYCLE',
        `Plugins need each other in a circle: ${cycle.join(' needs ')}. One of them must ask later, in a lifecycle hook.`,
        { cycle },
      );
    }
    state.set(plugin, 'open');
    const { services = [], optionalServices = [] } = plugin.declaration.requires ?? {};
    for (const service of [...services, ...optionalServices]) {
      const provider = providers.get(service);
      if (provider !== undefined && provider !== plugin) visit(provider, [...path, plugin.name]);
      else if (provider === undefined && !given.has(service) && services.includes(service)) {
        fail(
          'SERVICE_MISSING',
          `Plugin ${plugin.name} requires the service "${tokenName(service)}", which no plugin of this VM provides. Add one that does.`,
          { service: tokenName(service), plugin: plugin.name },
        );
      }
    }
    state.set(plugin, 'done');
    ordered.push(plugin);
  };
  for (const plugin of plugins) visit(plugin, []);
  return ordered;
}

function describe(entry: PluginEntry, position: number): ListedPlugin {
  const withOptions = typeof entry === 'object' && entry !== null && 'plugin' in entry;
  const plugin: Plugin | PluginClass = withOptions ? entry.plugin : entry;
  const options = Object.freeze({ ...(withOptions ? entry.options : {}) });
  if (isFunction(plugin)) {
    if (typeof (plugin.prototype as { apply?: unknown } | undefined)?.apply !== 'function') {
      fail(
        'PLUGIN_SHAPE',
        `Entry ${position} of the plugins is the function ${plugin.name || '(anonymous)'}, which is no plugin class. If it makes a plugin, call it: ${plugin.name || 'plugin'}().`,
        { position },
      );
    }
    return {
      name: plugin.pluginName ?? plugin.name,
      declaration: plugin,
      options,
      apply: (host, services) => services.make(plugin).apply(host),
    };
  }
  if (
    typeof plugin !== 'object' ||
    plugin === null ||
    typeof plugin.apply !== 'function' ||
    typeof plugin.name !== 'string' ||
    plugin.name === ''
  ) {
    fail(
      'PLUGIN_SHAPE',
      `Entry ${position} of the plugins is ${summary(plugin)}; a plugin is an object or a class with a name and a method apply(host).`,
      { position },
    );
  }
  return { name: plugin.name, declaration: plugin, options, apply: (host) => plugin.apply(host) };
}

function isFunction(plugin: Plugin | PluginClass): plugin is PluginClass {
  return typeof plugin === 'function';
}

function summary(value: unknown): string {
  if (value === null || typeof value !== 'object')
    return `${String(value)} (${value === null ? 'null' : typeof value})`;
  return `an object with ${Object.keys(value).length === 0 ? 'nothing in it' : Object.keys(value).slice(0, 8).join(', ')}`;
}
