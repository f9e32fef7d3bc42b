/** Undoing: in reverse order of doing, each once, whatever the others throw. */
import { VisorkitError } from './errors.js';

export class DisposalStack {
  #entries: { what: string; undo: () => unknown }[] = [];

  /** `what` names it in an error. */
  add(what: string, undo: () => unknown): void {
    this.#entries.push({ what, undo });
  }

  /** Undoes everything. Throws `DISPOSE_FAILED` after all have been tried when some threw. */
  async dispose(): Promise<void> {
    const failures: { what: string; error: unknown }[] = [];
    for (let entry = this.#entries.pop(); entry !== undefined; entry = this.#entries.pop()) {
      try {
        await entry.undo();
      } catch (error) {
        failures.push({ what: entry.what, error });
      }
    }
    if (failures.length > 0) {
      const list = failures
        .map(({ what, error }) => `${what}: ${error instanceof Error ? error.message : String(error)}`)
        .join('; ');
      throw new VisorkitError(
        'DISPOSE_FAILED',
        `Not everything could be disposed of: ${list}.`,
        { failed: failures.map(({ what }) => what) },
        failures[0].error,
      );
    }
  }
}

/** The disposer an object brings along, if it does. */
export function disposerOf(value: unknown): (() => unknown) | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const object = value as Record<PropertyKey, unknown>;
  for (const key of [Symbol.asyncDispose, Symbol.dispose, 'dispose']) {
    const method = key === undefined ? undefined : object[key];
    if (typeof method === 'function') return () => (method as () => unknown).call(value);
  }
  return undefined;
}
