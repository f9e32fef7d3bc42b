/**
 * How a package or a file offers a backend: its module's default export is `defineBackend({ name, describe, create })`. So a program
 * can load any backend by its name.
 */
import type { Backend } from './backend.js';

/** Whether a machine has what a backend needs, and if not, what is missing. */
export interface BackendSupport {
  readonly usable: boolean;
  /** A sentence: what is in the way and what to do about it; or that all is well. */
  readonly message: string;
}

export interface BackendDefinition {
  readonly name: string;
  /** What the backend is, in one line. */
  readonly describe: string;
  /** Whether this machine can use it; yes when this is left out. */
  check?(): BackendSupport | Promise<BackendSupport>;
  /**
   * Makes a backend for one VM. `options` are those given beside the backend in a configuration; the option `cpu` is the text of `--cpu`:
   * the processor that the guest is to see. An unknown option is refused (`checkFields`).
   */
  create(options: Readonly<Record<string, unknown>>): Backend | Promise<Backend>;
}

/** Gives a backend its type; nothing else. */
export function defineBackend(definition: BackendDefinition): BackendDefinition {
  return definition;
}
