/** What a limit must be, of a program and of a pool. */
import { fail } from '@visorkit/core';

/** Throws SANDBOX_LIMIT. */
export function wholeFrom(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  return fail('SANDBOX_LIMIT', `${name} is ${String(value)}; a whole number from ${least} is right.`, {
    [name]: value,
  });
}
