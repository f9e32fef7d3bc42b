/** `visorkit.config.ts`: what a VM is made of, checked when it is read. An error names the key, the value and what would be right. */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { VisorkitError, fail, isVisorkitError, parseSize } from '@visorkit/core';
import type { BackendDefinition, Plugin, PluginEntry } from '@visorkit/core';
import * as v from 'valibot';
import { isBackendDefinition } from './load-backend.js';
import { loadPlugin } from './load-plugin.js';
import { importFile, isPath } from './modules.js';
import type { SharedModules } from './modules.js';

/** A plugin in a configuration: by path or package name, or itself, with options or without. */
export type ConfigPlugin = string | Plugin | { plugin: string | Plugin; options?: Record<string, unknown> };

/** A backend in a configuration: by name, path or package, or itself, with options or without. */
export type ConfigBackend =
  | string
  | BackendDefinition
  | { backend: string | BackendDefinition; options?: Record<string, unknown> };

/** The whole of a configuration. Every key can be left out; options of the command line win over it. */
export interface VmmConfig {
  /** `vmx` (the software processor, default), `kvm`, or another one's path or package. */
  backend?: ConfigBackend;
  /** RAM: bytes, or a size such as "256M". */
  memory?: number | string;
  /** 1 to 255. */
  cpus?: number;
  /** The processor the guest sees: `max`, then `,-feature` for what it is to lack, `,vendor=intel|amd`, `,phys-bits=N`. */
  cpu?: string;
  /** Path of the kernel or program, from the folder of the configuration. */
  kernel?: string;
  /** Path of a firmware image that starts first, at the reset vector; it is offered the kernel, initrd and command line through fw_cfg. */
  firmware?: string;
  /** Path of the initial RAM disk. */
  initrd?: string;
  /** Paths of multiboot modules; arguments may follow after a space. */
  modules?: string[];
  /** The kernel's command line. */
  append?: string;
  /** Name of the boot loader; by default the one that recognises the kernel. */
  loader?: string;
  /** Options for the boot loader: address and mode of a flat binary and the like. */
  loaderOptions?: Record<string, unknown>;
  plugins?: ConfigPlugin[];
  /** Where the serial console goes: "stdio" (default), "none" or "file:PATH". */
  serial?: 'stdio' | 'none' | `file:${string}`;
  /** Where ports 0xe9 and 0x402 print: "none" (default), "stdio" or "file:PATH". */
  debugcon?: 'stdio' | 'none' | `file:${string}`;
  /** isa-debug-exit at port 0xf4. */
  debugExit?: boolean;
  /** The test devices of kvm-unit-tests. */
  testdev?: boolean;
  /** `real` (default), or `virtual`: time advances with retired instructions. */
  time?: 'real' | 'virtual';
  maxInstructions?: number;
  /** Seconds. */
  timeout?: number;
  /** File for the report as JSON; "-" for standard output. */
  report?: string;
  /** What a reset asked for by the guest does. */
  onReset?: 'stop' | 'restart';
}

/** Gives the configuration its type; nothing else. */
export function defineVmm(config: VmmConfig): VmmConfig {
  return config;
}

/** File names that are looked for, in this order. */
export const CONFIG_FILES: readonly string[] = ['visorkit.config.ts', 'visorkit.config.mjs', 'visorkit.config.js'];

/** The configuration file of a folder, if it has one. */
export function findConfig(folder: string): string | undefined {
  return CONFIG_FILES.map((name) => join(folder, name)).find((file) => existsSync(file));
}

/** Reads and checks a configuration file. Throws CONFIG_NOT_FOUND, CONFIG_LOAD or CONFIG_INVALID. */
export async function loadConfig(path: string, shared?: SharedModules): Promise<VmmConfig> {
  const file = resolve(path);
  return validateConfig((await loadConfigModule(file, shared)).default, file);
}

/** Loads a configuration file as a module. Throws CONFIG_NOT_FOUND or CONFIG_LOAD. */
export async function loadConfigModule(file: string, shared?: SharedModules): Promise<Record<string, unknown>> {
  if (!existsSync(file)) fail('CONFIG_NOT_FOUND', `There is no configuration file ${file}.`, { file });
  if (!/\.[mc]?[jt]s$/.test(file))
    fail(
      'CONFIG_LOAD',
      `${file} is no configuration: it must be a .ts, .mjs or .js file whose default export is defineVmm({ … }).`,
      { file },
    );
  let module: Record<string, unknown>;
  try {
    module = await importFile(file, shared);
  } catch (error) {
    if (isVisorkitError(error)) throw error;
    throw new VisorkitError(
      'CONFIG_LOAD',
      `${file} could not be read: ${error instanceof Error ? error.message : String(error)}`,
      { file },
      error,
    );
  }
  if (module.default === undefined)
    fail('CONFIG_LOAD', `${file} has no default export; write "export default defineVmm({ … })".`, { file });
  return module;
}

/** A configuration with its paths made absolute and its plugins loaded. */
export interface Project {
  /** The file it was read from. */
  readonly file: string;
  readonly config: Omit<VmmConfig, 'plugins' | 'backend'>;
  /** Which backend, a path in it made absolute. */
  readonly backend?: { readonly backend: string | BackendDefinition; readonly options: Record<string, unknown> };
  readonly plugins: readonly PluginEntry[];
}

/**
 * Reads `file`, or the configuration of `folder` if it has one; `undefined` when it has none.
 * Paths in it are relative to its own folder: kernel, firmware, initrd, modules, backend, plugins, the file of the serial console.
 */
export async function loadProject(folder: string, file?: string, shared?: SharedModules): Promise<Project | undefined> {
  const found = file === undefined ? findConfig(folder) : resolve(folder, file);
  if (found === undefined) return undefined;
  const { plugins = [], backend, ...config } = await loadConfig(found, shared);
  const home = dirname(found);
  const from = (path: string): string => resolve(home, path);
  if (config.kernel !== undefined) config.kernel = from(config.kernel);
  if (config.firmware !== undefined) config.firmware = from(config.firmware);
  if (config.initrd !== undefined) config.initrd = from(config.initrd);
  if (config.modules !== undefined) config.modules = config.modules.map((module) => module.replace(/^[^ ]+/, from));
  for (const console of ['serial', 'debugcon'] as const) {
    const where = config[console];
    if (where?.startsWith('file:')) config[console] = `file:${from(where.slice(5))}`;
  }
  const loaded = await loadPlugins(plugins, home, shared);
  if (backend === undefined) return { file: found, config, plugins: loaded };
  const chosen = typeof backend === 'object' && 'backend' in backend ? backend : { backend };
  const { backend: named, options = {} } = chosen as {
    backend: string | BackendDefinition;
    options?: Record<string, unknown>;
  };
  const at = typeof named === 'string' && isPath(named) && !named.startsWith('file:') ? from(named) : named;
  return { file: found, config, plugins: loaded, backend: { backend: at, options } };
}

/** Loads the plugins of a list; entries that are plugins already stay as they are. Paths are relative to `fromDir`. */
export async function loadPlugins(
  list: readonly ConfigPlugin[],
  fromDir: string,
  shared?: SharedModules,
): Promise<PluginEntry[]> {
  const loaded: PluginEntry[] = [];
  for (const entry of list) {
    const [plugin, options] =
      typeof entry === 'object' && 'plugin' in entry ? [entry.plugin, entry.options] : [entry, undefined];
    if (typeof plugin === 'string') loaded.push(...(await loadPlugin(plugin, fromDir, options, shared)));
    else loaded.push(options === undefined ? plugin : { plugin, options });
  }
  return loaded;
}

/** Checks a configuration. `source` says where it came from. Throws CONFIG_INVALID with every fault. */
export async function validateConfig(config: unknown, source = 'the configuration'): Promise<VmmConfig> {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    fail('CONFIG_INVALID', `In ${source}: a configuration is an object, not ${show(config)}.`, { source });
  }
  const text = v.pipe(v.string(), v.minLength(1));
  const record = v.record(v.string(), v.unknown());
  const plugin = v.union([
    text,
    v.custom<Plugin>((value) => typeof value === 'object' && value !== null && 'name' in value),
  ]);
  const backend = v.union([text, v.custom<BackendDefinition>(isBackendDefinition)]);
  const size = v.custom<number | string>((value) => {
    try {
      return (typeof value === 'number' || typeof value === 'string') && parseSize(value) % 4096 === 0;
    } catch {
      return false;
    }
  });
  /** Each key: what it must be, and how to say that. */
  const place = v.union([v.picklist(['stdio', 'none']), v.pipe(v.string(), v.regex(/^file:./))]);
  const keys = {
    backend: [
      v.union([backend, v.strictObject({ backend, options: v.optional(record) })]),
      'the name of a backend such as "vmx" or "kvm", a path or package, or { backend, options }',
    ],
    memory: [size, 'a size such as "256M", or a number of bytes that is a multiple of 4096'],
    cpus: [v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(255)), 'a whole number from 1 to 255'],
    cpu: [v.string(), 'text such as "max,-avx2"'],
    kernel: [text, 'the path of a file'],
    firmware: [text, 'the path of a file'],
    initrd: [text, 'the path of a file'],
    modules: [v.array(text), 'a list of paths'],
    append: [v.string(), 'text'],
    loader: [text, 'the name of a boot loader'],
    loaderOptions: [record, 'an object'],
    plugins: [
      v.array(v.union([plugin, v.strictObject({ plugin, options: v.optional(record) })])),
      'a list of paths, package names, plugins or { plugin, options } objects',
    ],
    serial: [place, '"stdio", "none" or "file:PATH"'],
    debugcon: [place, '"stdio", "none" or "file:PATH"'],
    debugExit: [v.boolean(), 'true or false'],
    testdev: [v.boolean(), 'true or false'],
    time: [v.picklist(['real', 'virtual']), '"real" or "virtual"'],
    maxInstructions: [v.pipe(v.number(), v.integer(), v.minValue(1)), 'a whole number of at least 1'],
    timeout: [v.pipe(v.number(), v.gtValue(0)), 'a positive number of seconds'],
    report: [text, 'the path of a file, or "-"'],
    onReset: [v.picklist(['stop', 'restart']), '"stop" or "restart"'],
  } as const satisfies Record<keyof VmmConfig, readonly [unknown, string]>;

  const faults: { key: string; value: unknown; message: string }[] = [];
  for (const [key, value] of Object.entries(config)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(keys, key)) {
      const near = closest(key, Object.keys(keys));
      faults.push({
        key,
        value,
        message: `"${key}" is no key of a configuration${near === undefined ? `; the keys are ${Object.keys(keys).join(', ')}` : `; did you mean "${near}"?`}`,
      });
      continue;
    }
    const [schema, right] = keys[key as keyof VmmConfig];
    const result = v.safeParse(schema, value);
    if (result.success) continue;
    const path =
      result.issues[0].path
        ?.map((item) => (typeof item.key === 'number' ? `[${item.key}]` : `.${String(item.key)}`))
        .join('') ?? '';
    const at = path === '' ? value : result.issues[0].input;
    faults.push({
      key: key + path,
      value: at,
      message: `"${key}${path}" is ${show(at)}; ${path === '' ? 'it' : `"${key}"`} must be ${right}`,
    });
  }
  if (faults.length > 0) {
    throw new VisorkitError(
      'CONFIG_INVALID',
      `In ${source}: ${faults.map(({ message }) => message).join('. ')}${faults.at(-1)!.message.endsWith('?') ? '' : '.'}`,
      { source, faults: faults.map(({ key, message }) => ({ key, message })) },
    );
  }
  return config as VmmConfig;
}

function show(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint') return `${value}n`;
  const shown = JSON.stringify(value) ?? String(value);
  return shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
}

/** The word nearest to `word`, if one is near: at most two letters put in, left out or changed. */
function closest(word: string, words: readonly string[]): string | undefined {
  const distances = words
    .map((other) => [distance(word.toLowerCase(), other.toLowerCase()), other] as const)
    .sort((a, b) => a[0] - b[0]);
  return distances[0][0] <= 2 ? distances[0][1] : undefined;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}
