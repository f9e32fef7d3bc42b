/** Turns the caller's list into a checked list of plugins. All these checks are made before any part of the VM exists. */
import * as v from 'valibot';
import type { Backend } from './backend.js';
import { checkFields, instead, nearest, show } from './check.js';
import type { Fields } from './check.js';
import { VisorkitError, fail } from './errors.js';
import { EXIT_NAMES } from './exit-reasons.js';
import { CAPABILITIES } from './names.js';
import type { Plugin, PluginHost, Provider, Used, Uses } from './plugin.js';
import { injectedTokens, missing } from './services.js';
import type { ServicePlugin } from './services.js';
import { tokenName } from './token.js';
import type { OptionalToken, Token } from './token.js';
import semver from './semver.cjs';
import { KERNEL_VERSION } from './version.js';

/** A plugin as it stands in a list: itself, or with options. */
export type PluginEntry = Plugin | { readonly plugin: Plugin; readonly options: Readonly<Record<string, unknown>> };

/** A plugin ready to be applied. */
export interface ListedPlugin extends ServicePlugin {
  readonly declaration: Pick<Plugin, 'capabilities' | 'appliesTo' | 'handles' | 'needs'>;
  readonly options: Readonly<Record<string, unknown>>;
  apply(host: PluginHost, used: Used<Uses>): unknown;
}

const text = v.pipe(v.string(), v.minLength(1));
const names = v.array(text);
const isFunction = v.custom<() => void>((value) => typeof value === 'function');
const aToken = v.custom<symbol>((value) => typeof value === 'symbol');
const numbers = v.array(v.union([v.number(), v.tuple([v.number(), v.number()])]));

/** What the fields of `needs` must be; names of controls are looked at when the needs of all plugins are put together. */
export const NEEDS_FIELDS: Fields = {
  pin: [names, 'a list of names of pin-based controls'],
  primary: [names, 'a list of names of primary controls'],
  secondary: [names, 'a list of names of secondary controls'],
  exit: [names, 'a list of names of VM-exit controls'],
  entry: [names, 'a list of names of VM-entry controls'],
  exceptions: [v.array(v.number()), 'a list of exception vectors'],
  msrs: [
    v.strictObject({ read: v.optional(numbers), write: v.optional(numbers) }),
    '{ read, write }, each a list of MSRs or ranges [first, last]',
  ],
  ports: [numbers, 'a list of ports or ranges [first, last]'],
  crBits: [
    v.strictObject({ cr0: v.optional(v.bigint()), cr4: v.optional(v.bigint()) }),
    '{ cr0, cr4 }, each the bits that must exit, as a bigint',
  ],
  clear: [
    v.strictObject({
      pin: v.optional(names),
      primary: v.optional(names),
      secondary: v.optional(names),
      exit: v.optional(names),
      entry: v.optional(names),
    }),
    'lists of controls by group: { primary: ["hlt-exiting"] }',
  ],
};

const PLUGIN_FIELDS: Fields = {
  name: [text, 'a name'],
  version: [text, 'a version'],
  kernel: [text, 'a semver range'],
  capabilities: [names, 'a list of capabilities'],
  appliesTo: [names, 'a list of capabilities'],
  uses: [
    v.record(v.string(), v.union([aToken, v.strictObject({ optional: aToken })])),
    'an object of tokens, or optional(token), by the names that the plugin calls them',
  ],
  provides: [
    v.array(
      v.strictObject({
        token: aToken,
        scope: v.optional(v.picklist(['vm', 'plugin', 'private'])),
        type: v.optional(isFunction),
        make: v.optional(isFunction),
      }),
    ),
    'a list of { token, make(used, host) } or { token, type }, with a scope of "vm", "plugin" or "private" if need be',
  ],
  handles: [names, 'a list of names of exits'],
  needs: [v.record(v.string(), v.unknown()), 'what the processor is to trap, such as { primary: ["rdtsc-exiting"] }'],
  apply: [isFunction, 'a function apply(host, used)'],
};

/** Checks names, kernel ranges and the shape of every entry. */
export function listPlugins(entries: readonly PluginEntry[]): ListedPlugin[] {
  const listed: ListedPlugin[] = [];
  const known = new Set<string>();
  entries.forEach((entry, position) => {
    const plugin = describe(entry, position);
    if (known.has(plugin.name)) {
      fail(
        'PLUGIN_DUPLICATE',
        `Two plugins are called "${plugin.name}"; a VM takes each name once. Leave one out or give it another name.`,
        { name: plugin.name },
      );
    }
    known.add(plugin.name);
    listed.push(plugin);
  });
  return listed;
}

export type Capable = Pick<Backend, 'name' | 'capabilities'>;

/** Checks that every capability that is named exists somewhere. Throws `CAPABILITY_UNKNOWN`. */
export function checkCapabilityNames(plugins: readonly ListedPlugin[], backends: readonly Capable[]): void {
  const existing = new Set([...CAPABILITIES, ...backends.flatMap(({ capabilities }) => [...capabilities])]);
  for (const { name, declaration } of plugins) {
    for (const capability of [...(declaration.capabilities ?? []), ...(declaration.appliesTo ?? [])]) {
      if (existing.has(capability)) continue;
      const hint = nearest(capability, [...existing]);
      fail(
        'CAPABILITY_UNKNOWN',
        `Plugin ${name} names the capability "${capability}", which no known backend has${hint === undefined ? '.' : `; did you mean "${hint}"?`}`,
        { plugin: name, capability },
      );
    }
  }
}

/** Checks every required capability at once. Throws `CAPABILITY_MISSING`. */
export function checkCapabilities(
  plugins: readonly ListedPlugin[],
  backend: Capable,
  alternatives: readonly Capable[],
): void {
  const missing = new Map<string, string[]>();
  for (const { name, declaration } of plugins) {
    for (const capability of declaration.capabilities ?? []) {
      if (!backend.capabilities.has(capability)) missing.set(capability, [...(missing.get(capability) ?? []), name]);
    }
  }
  refuseMissing(missing, backend, alternatives);
}

/** Throws `CAPABILITY_MISSING` for capabilities that the backend lacks, each with those who ask for it, unless there are none. */
export function refuseMissing(
  missing: ReadonlyMap<string, readonly string[]>,
  backend: Capable,
  alternatives: readonly Capable[],
): void {
  if (missing.size === 0) return;
  const parts = [...missing].map(([capability, askers]) => {
    const have = alternatives.filter((other) => other.capabilities.has(capability)).map((other) => other.name);
    return `"${capability}" (asked for by ${askers.join(', ')}; ${have.length > 0 ? `backend ${have.join(' and ')} has it` : 'no other known backend has it'})`;
  });
  throw new VisorkitError('CAPABILITY_MISSING', `Backend ${backend.name} lacks ${parts.join(', ')}.`, {
    backend: backend.name,
    missing: [...missing].map(([capability, askers]) => ({ capability, plugins: askers })),
  });
}

/**
 * Checks that every service that is used or injected is provided, once. `given` are those that the kernel and the backend
 * provide. Throws `SERVICE_MISSING` and `SERVICE_CONFLICT`.
 */
export function checkServices(plugins: readonly ListedPlugin[], given: ReadonlySet<symbol>): void {
  const providers = new Map<symbol, string>([...given].map((service) => [service, 'the kernel']));
  for (const { name, provides } of plugins) {
    for (const { token, scope } of provides) {
      if (scope === 'private') continue;
      const other = providers.get(token);
      if (other !== undefined) {
        fail(
          'SERVICE_CONFLICT',
          `${name} provides the service "${tokenName(token)}", but ${other} already does. Leave one of them out.`,
          { service: tokenName(token), plugins: [other, name] },
        );
      }
      providers.set(token, name);
    }
  }
  for (const { name, uses, provides } of plugins) {
    const own = new Set<symbol>(provides.map(({ token }) => token));
    const needed = [
      ...Object.values(uses).filter((entry) => typeof entry === 'symbol'),
      ...provides.flatMap(({ type }) =>
        type === undefined ? [] : injectedTokens(type).flatMap(({ token, optional }) => (optional ? [] : [token])),
      ),
    ] as Token<unknown>[];
    for (const token of needed) {
      if (providers.has(token) || own.has(token) || token.description === 'visorkit:plugin-host') continue;
      throw missing(`Plugin ${name}`, token);
    }
  }
}

function describe(entry: PluginEntry, position: number): ListedPlugin {
  const withOptions = typeof entry === 'object' && entry !== null && 'plugin' in entry;
  const plugin: Plugin = withOptions ? entry.plugin : entry;
  const options = Object.freeze({ ...(withOptions ? entry.options : {}) });
  checkShape(plugin, position);
  const { name, kernel, uses = {}, provides = [] } = plugin;
  if (kernel !== undefined) checkKernel(name, kernel);
  return {
    name,
    declaration: plugin,
    options,
    uses: uses as Readonly<Record<string, Token<unknown> | OptionalToken<unknown>>>,
    provides: provides as readonly Provider[],
    apply: (host, used) => plugin.apply?.(host, used),
  };
}

function checkShape(plugin: unknown, position: number): asserts plugin is Plugin {
  if (typeof plugin === 'function') {
    const name = plugin.name || '(anonymous)';
    fail(
      'PLUGIN_SHAPE',
      `Entry ${position} of the plugins is the function ${name}. If it makes a plugin, call it: ${plugin.name || 'plugin'}().`,
      { position },
    );
  }
  if (
    typeof plugin !== 'object' ||
    plugin === null ||
    typeof (plugin as Plugin).name !== 'string' ||
    (plugin as Plugin).name === ''
  ) {
    fail(
      'PLUGIN_SHAPE',
      `Entry ${position} of the plugins is ${summary(plugin)}; a plugin is an object with a name and a method apply(host, used).`,
      {
        position,
      },
    );
  }
  const given = plugin as Plugin;
  const where = { code: 'PLUGIN_SHAPE', kind: 'a field of a plugin', where: `In plugin ${given.name}: ` };
  // An instance of a class may have further fields of its own; only the known ones are checked
  const plain = [Object.prototype, null].includes(Object.getPrototypeOf(plugin) as object | null);
  const fields = Object.fromEntries(
    (plain ? Object.keys(plugin) : Object.keys(PLUGIN_FIELDS)).map((key) => [key, given[key as keyof Plugin]]),
  );
  checkFields(fields, PLUGIN_FIELDS, where);
  if (given.apply === undefined && given.provides === undefined && given.needs === undefined) {
    fail(
      'PLUGIN_SHAPE',
      `In plugin ${given.name}: it does nothing, for it has neither apply(host, used) nor provides nor needs.`,
      { position },
    );
  }
  if (given.needs !== undefined) {
    checkFields(given.needs, NEEDS_FIELDS, {
      ...where,
      kind: 'a field of needs',
      where: `In plugin ${given.name}, needs: `,
    });
  }
  for (const { token, type, make } of given.provides ?? []) {
    if ((type === undefined) === (make === undefined)) {
      fail(
        'PLUGIN_SHAPE',
        `In plugin ${given.name}: it provides "${tokenName(token)}" by ${type === undefined ? 'nothing' : 'two ways'}; a provider has either a class as type or a function make(used, host).`,
        { position },
      );
    }
  }
  for (const exit of given.handles ?? []) {
    if (EXIT_NAMES.includes(exit)) continue;
    const hint = instead(exit, EXIT_NAMES);
    fail(
      'EXIT_REASON_UNKNOWN',
      `Plugin ${given.name} handles the exit ${show(exit)}, which does not exist${hint}${hint.endsWith('?') ? '' : '.'}`,
      { exit },
    );
  }
}

function checkKernel(name: string, range: string): void {
  const valid = semver.isRange(range);
  if (valid && semver.satisfies(KERNEL_VERSION, range)) return;
  fail(
    'PLUGIN_KERNEL_VERSION',
    !valid
      ? `Plugin ${name} says it works with kernel "${range}", which is no semver range; write one such as "^${KERNEL_VERSION}".`
      : `Plugin ${name} works with kernel ${range}, but this kernel is ${KERNEL_VERSION}. Use a version of the plugin made for it.`,
    { name, kernel: range, version: KERNEL_VERSION },
  );
}

function summary(value: unknown): string {
  if (value === null || typeof value !== 'object') {
    return `${String(value)} (${value === null ? 'null' : typeof value})`;
  }
  const keys = Object.keys(value).slice(0, 8);
  return `an object with ${keys.length === 0 ? 'nothing in it' : keys.join(', ')}`;
}
