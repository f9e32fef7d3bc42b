/** Reads of memory that may hold anything. */
import { isVisorkitError } from '@visorkit/core';

/** What it gives; undefined where what is there makes no sense, or is not there. */
export function unlessRefused<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch (error) {
    if (isVisorkitError(error)) return undefined;
    throw error;
  }
}
