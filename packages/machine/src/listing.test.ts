/** Machine code from a listing. */
import { describe, expect, test } from 'vitest';
import { listing } from './listing.js';

describe('listing', () => {
  test('gives the bytes and the offsets of labels', () => {
    const code = listing(`
      fa         | cli
                 | again:
      f4         | hlt
      ebfd       | jmp again
    `);
    expect(code.bytes).toEqual(Uint8Array.of(0xfa, 0xf4, 0xeb, 0xfd));
    expect(code.at('again')).toBe(1);
    expect(() => code.at('nowhere')).toThrow(expect.objectContaining({ code: 'LISTING' }));
  });

  test('refuses a row that is none', () => {
    expect(() => listing('f | cli')).toThrow(/"f \| cli" is no row/);
  });
});
