/**
 * Finds a backend by name, by path or by package name. Its module's default export is `defineBackend({ name, describe, create })`.
 * A name is looked for as the package `@visorkit/backend-NAME`, as `visorkit-backend-NAME`, and as the package called that.
 */
import { fail } from '@visorkit/core';
import type { BackendDefinition } from '@visorkit/core';
import { defaultOf, findPackage, isPath, loadModule } from './modules.js';
import type { SharedModules } from './modules.js';

/** The package that has the backend called `name` by convention. */
export const backendPackage = (name: string): string => `@visorkit/backend-${name}`;

/**
 * Loads what `specifier` names, seen from the folder `fromDir`; undefined when there is no such package.
 * Throws PLUGIN_NOT_FOUND, PLUGIN_ENTRY, PLUGIN_LOAD or BACKEND_SHAPE.
 */
export async function loadBackend(
  specifier: string,
  fromDir: string,
  shared?: SharedModules,
): Promise<BackendDefinition | undefined> {
  const found = isPath(specifier)
    ? specifier
    : [backendPackage(specifier), `visorkit-backend-${specifier}`, specifier].find(
        (name) => findPackage(name, fromDir) !== undefined,
      );
  if (found === undefined) return undefined;
  const { file, module } = await loadModule(found, fromDir, shared, 'backend');
  return backendOf(module, file);
}

/** The backend that a module exports. `file`: where the module is, for the error. Throws BACKEND_SHAPE. */
export function backendOf(module: Record<string, unknown>, file: string): BackendDefinition {
  const made = defaultOf(module);
  if (isBackendDefinition(made)) return made;
  return fail(
    'BACKEND_SHAPE',
    `${file} exports ${made === undefined ? 'no default' : 'a default that is no backend'}; export default defineBackend({ name, describe, create(options) { … } }).`,
    { file },
  );
}

export function isBackendDefinition(value: unknown): value is BackendDefinition {
  const { name, describe, create } = (value ?? {}) as Partial<BackendDefinition>;
  return typeof name === 'string' && typeof describe === 'string' && typeof create === 'function';
}
