/** Machine code kept as a listing: bytes with the instruction beside them, so that a reader need not disassemble. */
import { fail } from '@visorkit/core';

/** The code of a listing, and the offsets of its labels. */
export interface Listed {
  readonly bytes: Uint8Array;
  /** Offset of a label. Throws `LISTING` when there is none of this name. */
  at(label: string): number;
}

/**
 * Reads a listing: a row has bytes in hexadecimal, a bar, and the instruction; one without bytes that ends with a colon is a label.
 * Throws `LISTING` for a row that is neither.
 */
export function listing(text: string): Listed {
  const bytes: number[] = [];
  const labels = new Map<string, number>();
  for (const row of text.split('\n')) {
    if (row.trim() === '') continue;
    const [, digits, source] =
      /^\s*((?:[0-9a-f]{2})*)\s*\|\s*(.*)$/.exec(row) ?? fail('LISTING', `"${row}" is no row.`);
    if (digits === '') labels.set(source.replace(/:$/, ''), bytes.length);
    for (let digit = 0; digit < digits.length; digit += 2)
      bytes.push(Number.parseInt(digits.slice(digit, digit + 2), 16));
  }
  return {
    bytes: Uint8Array.from(bytes),
    at: (label) => labels.get(label) ?? fail('LISTING', `There is no label "${label}".`),
  };
}
