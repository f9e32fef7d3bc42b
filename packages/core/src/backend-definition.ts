/**
 * A backend as a package or a file offers it, so that a program can take one by name without knowing any: its module's default
 * export is `defineBackend({ name, describe, create })`.
 */
import type { Backend } from './backend.js';

/** What a machine lacks for a backend, or that it lacks nothing. */
export interface BackendSupport {
  readonly usable: boolean;
  /** A sentence: what is in the way and what to do about it; or that all is well. */
  readonly message: string;
}

export interface BackendDefinition {
  readonly name: string;
  /** What it is, in a line. */
  readonly describe: string;
  /** Whether this machine can use it; yes when this is left out. */
  check?(): BackendSupport | Promise<BackendSupport>;
  /**
   * Makes a backend for one VM. `options` are what stands beside it in a configuration; `cpu`, the processor that the guest is to
   * see, is the text that was given with `--cpu`. An option that it does not know is refused (`checkFields`).
   */
  create(options: Readonly<Record<string, unknown>>): Backend | Promise<Backend>;
}

/** Gives a backend its type; nothing else. */
export function defineBackend(definition: BackendDefinition): BackendDefinition {
  return definition;
}
