/** Modules by path or by package name: a folder with a package.json, a .mjs, .js or .ts file, or an npm package. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { VisorkitError, fail, isVisorkitError } from '@visorkit/core';

/** What a module is to hold. */
export type Kind = 'plugin' | 'backend' | 'profile';

/** The word at the beginning of a sentence. */
const CALLED = { plugin: 'Plugin', backend: 'Backend', profile: 'OS profile' } as const;

interface Manifest {
  name?: string;
  exports?: unknown;
  module?: unknown;
  main?: unknown;
}

/**
 * Packages that a plugin may import although nobody installed them beside it: what each exports, by name. A function is called when something
 * is imported.
 */
export type SharedModules = Readonly<Record<string, unknown>> | (() => Promise<Readonly<Record<string, unknown>>>);

/** Imports what `specifier` means. Throws PLUGIN_NOT_FOUND, PLUGIN_ENTRY or PLUGIN_LOAD. */
export async function loadModule(
  specifier: string,
  fromDir: string,
  shared?: SharedModules,
  what: Kind = 'plugin',
): Promise<{ readonly file: string; readonly module: Record<string, unknown> }> {
  const file = resolveModule(specifier, fromDir, what);
  try {
    return { file, module: await importFile(file, shared) };
  } catch (error) {
    if (isVisorkitError(error)) throw error;
    throw new VisorkitError(
      'PLUGIN_LOAD',
      `${CALLED[what]} ${specifier} could not be loaded from ${file}: ${error instanceof Error ? error.message : String(error)}`,
      { specifier, file },
      error,
    );
  }
}

/** A module's default export. A CommonJS or transpiled module has its own default inside the default. */
export function defaultOf(module: Record<string, unknown>): unknown {
  const made = module.default;
  return typeof made === 'object' && made !== null && !('name' in made) && 'default' in made
    ? (made as { default: unknown }).default
    : made;
}

/** Whether `specifier` is a path, and no name of a package. */
export function isPath(specifier: string): boolean {
  return /^(file:|\.)|\.[mc]?[jt]s$/.test(specifier) || isAbsolute(specifier);
}

/** The folder of an installed package, seen from the folder `fromDir`; undefined where there is none. */
export function findPackage(name: string, fromDir: string): string | undefined {
  for (let folder = resolve(fromDir); ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (existsSync(candidate)) return candidate;
    if (dirname(folder) === folder) return undefined;
  }
}

/** The file that `specifier` means. `what` it is to hold, for messages. Throws PLUGIN_NOT_FOUND or PLUGIN_ENTRY. */
export function resolveModule(specifier: string, fromDir: string, what: Kind = 'plugin'): string {
  if (specifier.startsWith('file:')) return entryOf(fileURLToPath(specifier), specifier, what);
  if (isPath(specifier)) return entryOf(resolve(fromDir, specifier), specifier, what);
  const found = findPackage(specifier, fromDir);
  if (found !== undefined) return entryOf(found, specifier, what);
  const beside = resolve(fromDir, specifier);
  const hint = existsSync(beside)
    ? `There is ${beside}: write "./${specifier}" for a path.`
    : `Install it with "npm install ${specifier}", or give a path that starts with "./" or "/".`;
  fail(
    'PLUGIN_NOT_FOUND',
    `There is no package "${specifier}" in any node_modules from ${resolve(fromDir)} upwards. ${hint}`,
    { specifier },
  );
}

function entryOf(path: string, specifier: string, what: Kind): string {
  const called = `${CALLED[what]} ${specifier}`;
  if (!existsSync(path)) fail('PLUGIN_NOT_FOUND', `${called} was not found: there is no ${path}.`, { specifier, path });
  if (statSync(path).isFile()) {
    if (!/^\.[mc]?[jt]s$/.test(extname(path))) {
      fail(
        'PLUGIN_ENTRY',
        `${called} is the file ${basename(path)}; a ${what} is a .mjs, .js or .ts file, or a folder with a package.json.`,
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
      ? `The folder ${path} of ${what} ${specifier} has ${existsSync(manifestPath) ? 'a package.json that names no entry (exports, module or main)' : 'no package.json'} and no index.mjs, index.js or index.ts.`
      : `The package.json in ${path} names ${named} as the entry of ${what} ${specifier}, but there is no such file. Has the ${what} been built?`,
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
 * Imports a module. TypeScript goes through jiti, which also lets it import the kernel, this package and `shared` from where they are.
 * JavaScript goes through jiti only if it imports one of these packages and has none of its own.
 */
export async function importFile(file: string, shared: SharedModules = {}): Promise<Record<string, unknown>> {
  const virtualModules = {
    '@visorkit/core': await import('@visorkit/core'),
    '@visorkit/project': await import('@visorkit/project'),
    ...(typeof shared === 'function' ? await shared() : shared),
  };
  if (!/\.[mc]?ts$/.test(file)) {
    try {
      return (await import(/* @vite-ignore */ pathToFileURL(file).href)) as Record<string, unknown>;
    } catch (error) {
      if (!lacks(error, Object.keys(virtualModules))) throw error;
    }
  }
  const { default: createJiti } = await import('jiti'); // the bundle's part of it has no other name
  const jiti = createJiti(import.meta.url, {
    virtualModules,
    interopDefault: false,
    moduleCache: true,
    fsCache: false,
  });
  return (await jiti.import(file)) as Record<string, unknown>;
}

/** Whether an import failed because one of these packages was not found. */
function lacks(error: unknown, packages: readonly string[]): boolean {
  return (
    error instanceof Error &&
    (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' &&
    packages.some((name) => error.message.includes(`'${name}'`))
  );
}
