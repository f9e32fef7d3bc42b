/**
 * Loads plugins by path or by package name: a folder with a package.json, a .mjs, .js or .ts file, or an npm package.
 * The module's default export (or its export `plugin`) is a plugin, a class, a list of them, or a function that makes one
 * from the options.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { VisorkitError, fail, isVisorkitError } from '@visorkit/core';
import type { Plugin, PluginClass, PluginEntry } from '@visorkit/core';

interface Manifest {
  name?: string;
  exports?: unknown;
  module?: unknown;
  main?: unknown;
}

/** Packages that a plugin may import although nobody installed them beside it: what each exports, by name. */
export type SharedModules = Readonly<Record<string, unknown>>;

/**
 * Loads what `specifier` names, seen from the folder `fromDir`. `options` go to the plugin.
 * Throws PLUGIN_NOT_FOUND, PLUGIN_ENTRY, PLUGIN_LOAD or PLUGIN_SHAPE.
 */
export async function loadPlugin(
  specifier: string,
  fromDir: string,
  options?: Readonly<Record<string, unknown>>,
  shared?: SharedModules,
): Promise<PluginEntry[]> {
  const file = resolvePlugin(specifier, fromDir);
  let module: Record<string, unknown>;
  try {
    module = await importFile(file, shared);
  } catch (error) {
    if (isVisorkitError(error)) throw error;
    throw new VisorkitError(
      'PLUGIN_LOAD',
      `Plugin ${specifier} could not be loaded from ${file}: ${error instanceof Error ? error.message : String(error)}`,
      { specifier, file },
      error,
    );
  }
  let made = module.default ?? module.plugin;
  // A CommonJS or transpiled module has its own default inside the default.
  if (typeof made === 'object' && made !== null && !('apply' in made) && 'default' in made)
    made = (made as { default: unknown }).default;
  if (isFactory(made)) {
    try {
      made = await made(options ?? {});
    } catch (error) {
      throw new VisorkitError(
        'PLUGIN_LOAD',
        `Plugin ${specifier} could not be made: ${error instanceof Error ? error.message : String(error)}`,
        { specifier, file },
        error,
      );
    }
  }
  const list = Array.isArray(made) ? (made as unknown[]) : [made];
  return list.map((plugin) => {
    if (!isPlugin(plugin)) {
      fail(
        'PLUGIN_SHAPE',
        `${file} exports ${made === undefined ? 'neither "default" nor "plugin"' : 'something that is no plugin'}; export default an object { name, apply(host) {} }, a class with apply, or a function that returns one.`,
        { specifier, file },
      );
    }
    return options === undefined ? plugin : { plugin, options };
  });
}

/** The file that `specifier` means. */
export function resolvePlugin(specifier: string, fromDir: string): string {
  if (specifier.startsWith('file:')) return entryOf(fileURLToPath(specifier), specifier);
  if (specifier.startsWith('.') || isAbsolute(specifier) || /\.[mc]?[jt]s$/.test(specifier))
    return entryOf(resolve(fromDir, specifier), specifier);
  const looked: string[] = [];
  for (let folder = resolve(fromDir); ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', specifier);
    looked.push(candidate);
    if (existsSync(candidate)) return entryOf(candidate, specifier);
    if (dirname(folder) === folder) break;
  }
  const beside = resolve(fromDir, specifier);
  const hint = existsSync(beside)
    ? `There is ${beside}: write "./${specifier}" for a path.`
    : `Install it with "npm install ${specifier}", or give a path that starts with "./" or "/".`;
  fail(
    'PLUGIN_NOT_FOUND',
    `There is no package "${specifier}" in any node_modules from ${resolve(fromDir)} upwards. ${hint}`,
    { specifier, looked },
  );
}

function entryOf(path: string, specifier: string): string {
  if (!existsSync(path))
    fail('PLUGIN_NOT_FOUND', `Plugin ${specifier} was not found: there is no ${path}.`, { specifier, path });
  if (statSync(path).isFile()) {
    if (!/^\.[mc]?[jt]s$/.test(extname(path))) {
      fail(
        'PLUGIN_ENTRY',
        `Plugin ${specifier} is the file ${basename(path)}; a plugin is a .mjs, .js or .ts file, or a folder with a package.json.`,
        { specifier, path },
      );
    }
    return path;
  }
  const manifestPath = join(path, 'package.json');
  let manifest: Manifest = {};
  if (existsSync(manifestPath)) {
    try {
      manifest = JSON.parse(readFileSync(manifestPath, 'utf8')) as Manifest;
    } catch (error) {
      throw new VisorkitError(
        'PLUGIN_ENTRY',
        `${manifestPath} is no JSON: ${error instanceof Error ? error.message : String(error)}`,
        { specifier, path: manifestPath },
        error,
      );
    }
  }
  const named = exportOf(manifest.exports) ?? text(manifest.module) ?? text(manifest.main);
  const candidates = named === undefined ? ['index.mjs', 'index.js', 'index.ts', 'src/index.ts'] : [named];
  for (const candidate of candidates) {
    const file = join(path, candidate);
    if (existsSync(file) && statSync(file).isFile()) return file;
  }
  fail(
    'PLUGIN_ENTRY',
    named === undefined
      ? `The folder ${path} of plugin ${specifier} has ${existsSync(manifestPath) ? 'a package.json that names no entry (exports, module or main)' : 'no package.json'} and no index.mjs, index.js or index.ts.`
      : `The package.json in ${path} names ${named} as the entry of plugin ${specifier}, but there is no such file. Has the plugin been built?`,
    { specifier, path },
  );
}

/** The file of the `.` export, by the conditions that hold here. */
function exportOf(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (Array.isArray(exports)) return exports.map(exportOf).find((found) => found !== undefined);
  if (typeof exports !== 'object' || exports === null) return undefined;
  const map = exports as Record<string, unknown>;
  if ('.' in map) return exportOf(map['.']);
  for (const [condition, target] of Object.entries(map)) {
    if (['node', 'import', 'module', 'default', 'node-addons'].includes(condition)) {
      const found = exportOf(target);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * Imports a module. TypeScript goes through jiti, which also lets it import the kernel, this package and `shared` from where they are; so
 * does JavaScript that imports a package of visorkit and does not find one of its own.
 */
export async function importFile(file: string, shared: SharedModules = {}): Promise<Record<string, unknown>> {
  if (!/\.[mc]?ts$/.test(file)) {
    try {
      return (await import(/* @vite-ignore */ pathToFileURL(file).href)) as Record<string, unknown>;
    } catch (error) {
      if (!lacksOurPackage(error)) throw error;
    }
  }
  const { createJiti } = await import('jiti');
  const jiti = createJiti(import.meta.url, {
    virtualModules: {
      '@visorkit/core': await import('@visorkit/core'),
      '@visorkit/project': await import('@visorkit/project'),
      ...shared,
    },
    interopDefault: false,
    moduleCache: true,
    fsCache: false,
  });
  return (await jiti.import(file)) as Record<string, unknown>;
}

function lacksOurPackage(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' &&
    /'@visorkit\/[\w-]+'/.test(error.message)
  );
}

function isFactory(value: unknown): value is (options: object) => unknown {
  return (
    typeof value === 'function' && typeof (value.prototype as { apply?: unknown } | undefined)?.apply !== 'function'
  );
}

function isPlugin(value: unknown): value is Plugin | PluginClass {
  if (typeof value === 'function') return !isFactory(value);
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Plugin).apply === 'function' &&
    typeof (value as Plugin).name === 'string'
  );
}
