/**
 * Loads OS profiles by path or by package name: the export `profile` of a module, made by `defineOsProfile`. A name is looked for as the package
 * `@visorkit/os-NAME`, as `visorkit-os-NAME`, and as the package called that.
 */
import { fail } from '@visorkit/core';
import type { OsProfile } from '@visorkit/vmi';
import { findPackage, isPath, loadModule } from './modules.js';
import type { SharedModules } from './modules.js';

/** The package that has the profile called `name` by convention. */
export const osProfilePackage = (name: string): string => `@visorkit/os-${name}`;

/** Throws PLUGIN_NOT_FOUND, PLUGIN_ENTRY, PLUGIN_LOAD or PROFILE_SHAPE. `fromDir`: the folder that it is seen from. */
export async function loadOsProfile(specifier: string, fromDir: string, shared?: SharedModules): Promise<OsProfile> {
  const named = isPath(specifier)
    ? undefined
    : [osProfilePackage(specifier), `visorkit-os-${specifier}`].find(
        (name) => findPackage(name, fromDir) !== undefined,
      );
  const { file, module } = await loadModule(named ?? specifier, fromDir, shared, 'profile');
  return osProfileOf(module, file);
}

/** The profile that a module exports. `file`: where the module is, for the error. Throws PROFILE_SHAPE. */
export function osProfileOf(module: Record<string, unknown>, file: string): OsProfile {
  const { profile } = module;
  const { name, find, reports } = (profile ?? {}) as Partial<OsProfile>;
  if (typeof name === 'string' && typeof find === 'function' && typeof reports === 'object')
    return profile as OsProfile;
  return fail(
    'PROFILE_SHAPE',
    `${file} exports ${profile === undefined ? 'no "profile"' : 'a "profile" that is none'}; export const profile = defineOsProfile({ name, describe, find(memory, known) { … }, reports: {} }).`,
    { file },
  );
}
