/** Sizes as people write them: 256M, 1.5G, 65536. */
import { fail } from './errors.js';

const UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/**
 * Bytes of a size: a number of bytes, or text with a unit K, M, G or T (powers of 1024; `B` or `iB` may follow).
 * `what` names it in the error `SIZE_INVALID`.
 */
export function parseSize(size: number | string, what = 'size'): number {
  const match = typeof size === 'number' ? undefined : /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(size);
  const bytes = typeof size === 'number' ? size : match ? Number(match[1]) * UNITS[match[2].toLowerCase()] : NaN;
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    fail(
      'SIZE_INVALID',
      `The ${what} is ${JSON.stringify(size)}; it must be a positive number of bytes, or one with a unit, such as 256M or 1G.`,
      { size },
    );
  }
  return bytes;
}
