/** What a run may be told. */
import * as v from 'valibot';
import type { Backend } from './backend.js';
import { checkFields } from './check.js';
import type { Fields } from './check.js';
import { fail } from './errors.js';

export interface RunOptions {
  /** The run ends once the guest has retired so many instructions since it began, over all vCPUs. */
  readonly maxInstructions?: number;
  /** Seconds of host time for this run. If `run` also gets the machine ready, that may take as many seconds again. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** Each limit, with none as Infinity. */
export interface RunLimits {
  readonly maxInstructions: number;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
}

const positive = v.pipe(v.number(), v.gtValue(0));

const RUN_FIELDS: Fields = {
  maxInstructions: [positive, 'a positive number'],
  timeout: [positive, 'a positive number of seconds'],
  signal: [
    v.custom((value) => typeof (value as { addEventListener?: unknown } | null)?.addEventListener === 'function'),
    'an AbortSignal',
  ],
};

/** Checks the options of a run. Throws `RUN_LIMIT`. */
export function runLimits(options: RunOptions, backend: Backend): RunLimits {
  checkFields(options, RUN_FIELDS, { code: 'RUN_LIMIT', kind: 'an option of run', where: 'In run(): ' });
  const { maxInstructions = Infinity, timeout = Infinity, signal } = options;
  if (maxInstructions !== Infinity && !backend.capabilities.has('instruction-count')) {
    fail(
      'RUN_LIMIT',
      `Backend ${backend.name} does not count what the guest retires, so a run cannot end after ${maxInstructions} instructions. Give it a timeout instead.`,
      { maxInstructions },
    );
  }
  return { maxInstructions, timeout, signal };
}
