/** OS profiles: those that this package depends on (`@visorkit/os-NAME`), and those that are found by path or package from the working directory. */
import { readFileSync } from 'node:fs';
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { loadOsProfile, osProfileOf, osProfilePackage } from '@visorkit/project/introspection';
import { OsProfilesToken, introspection } from '@visorkit/vmi';
import type { KnownOfGuest, OsProfile } from '@visorkit/vmi';
import { importPackage } from './import-package.js';
import { sharedModules } from './shared-modules.js';

/** All that come with the command line, and those that `specifiers` name, which are asked first. */
export async function profiles(specifiers: readonly string[] = []): Promise<OsProfile[]> {
  const given = specifiers.map((specifier) => loadOsProfile(specifier, process.cwd(), sharedModules));
  return Promise.all([...given, ...ownProfilePackages().map(ownProfile)]);
}

function ownProfilePackages(): string[] {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { dependencies } = JSON.parse(manifest) as { dependencies: Record<string, string> };
  const prefix = osProfilePackage('');
  // Linux, by far the commonest here, is looked for first
  return Object.keys(dependencies)
    .filter((name) => name.startsWith(prefix))
    .sort((a, b) => Number(b === `${prefix}linux`) - Number(a === `${prefix}linux`) || a.localeCompare(b));
}

const ownProfile = async (name: string): Promise<OsProfile> =>
  osProfileOf((await importPackage(name)) as Record<string, unknown>, name);

/** Introspection of a VM that a command runs, with all profiles that {@link profiles} gives for `specifiers`. */
export async function introspected(specifiers?: readonly string[], known?: KnownOfGuest): Promise<Plugin[]> {
  return [introspection(known), addProfiles(await profiles(specifiers))];
}

/** Makes a VM's introspection know these kernels. */
function addProfiles(list: readonly OsProfile[]): Plugin {
  return definePlugin({
    name: 'os-profiles',
    uses: { profiles: OsProfilesToken },
    apply(host, used) {
      for (const profile of list) host.onDispose(used.profiles.add(profile));
    },
  });
}
