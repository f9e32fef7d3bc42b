/**
 * Backends by name: those that this package depends on (`@visorkit/backend-NAME`), and those that are found by path or package from
 * the working directory.
 */
import { readFileSync } from 'node:fs';
import { fail } from '@visorkit/core';
import type { Backend, BackendDefinition } from '@visorkit/core';
import { backendOf, backendPackage, loadBackend } from '@visorkit/project';
import type { SharedModules } from '@visorkit/project';
import { importPackage } from './import-package.js';

/** What is used when nobody says. */
export const DEFAULT_BACKEND = 'vmx';

/** Which backend, and its options. */
export interface BackendChoice {
  readonly backend: string | BackendDefinition;
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Names of the backends that come with the command line, the default one first. */
export function ownBackends(): string[] {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { dependencies } = JSON.parse(manifest) as { dependencies: Record<string, string> };
  const prefix = backendPackage('');
  const names = Object.keys(dependencies).filter((name) => name.startsWith(prefix));
  return names
    .map((name) => name.slice(prefix.length))
    .sort((a, b) => Number(b === DEFAULT_BACKEND) - Number(a === DEFAULT_BACKEND) || a.localeCompare(b));
}

/** One of {@link ownBackends}. Its package is loaded only now. */
export async function ownBackend(name: string): Promise<BackendDefinition> {
  const module = (await importPackage(backendPackage(name))) as Record<string, unknown>;
  return backendOf(module, backendPackage(name));
}

/** Finds a backend by name, path or package, seen from the working directory. `shared`: what one from outside may import. */
export async function findBackend(specifier: string, shared?: SharedModules): Promise<BackendDefinition> {
  const own = ownBackends();
  if (own.includes(specifier)) return ownBackend(specifier);
  const found = await loadBackend(specifier, process.cwd(), shared);
  return (
    found ??
    fail(
      'OPTION_VALUE',
      `--backend takes one of ${own.join(', ')}, or the path or package of another; there is no package "${specifier}" in any node_modules from ${process.cwd()} upwards.`,
      { option: '--backend', value: specifier },
    )
  );
}

/** What the command line says of the processor; the backend need not know it. */
export interface ProcessorChoice {
  /** The processor that the guest is to see, as `--cpu` has it. */
  readonly cpu?: string | undefined;
  /** As `--translate` has it. */
  readonly translate?: boolean | number | string | undefined;
}

/** Makes the backend for one VM. */
export async function openBackend(
  { backend, options = {} }: BackendChoice,
  { cpu, translate }: ProcessorChoice = {},
  shared?: SharedModules,
): Promise<Backend> {
  const definition = typeof backend === 'string' ? await findBackend(backend, shared) : backend;
  return definition.create({
    ...options,
    ...(cpu === undefined ? {} : { cpu }),
    ...(translate === undefined ? {} : { translate }),
  });
}

/** The command line's own backends except `name`, as far as this machine can use them: an error names them if they can do what `name` cannot. */
export async function otherBackends(name: string): Promise<Backend[]> {
  const made = await Promise.allSettled(
    ownBackends()
      .filter((other) => other !== name)
      .map((other) => openBackend({ backend: other })),
  );
  return made.filter((result) => result.status === 'fulfilled').map(({ value }) => value);
}
