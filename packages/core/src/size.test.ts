/** Sizes as people write them. */
import { describe, expect, it } from 'vitest';
import { VisorkitError } from './errors.js';
import { parseSize } from './size.js';

describe('parseSize', () => {
  it('reads numbers and units', () => {
    expect([
      parseSize(4096),
      parseSize('4096'),
      parseSize('64k'),
      parseSize('256M'),
      parseSize('1.5G'),
      parseSize('1 GiB'),
      parseSize('2MB'),
    ]).toEqual([4096, 4096, 65536, 2 ** 28, 1.5 * 2 ** 30, 2 ** 30, 2 ** 21]);
  });

  it.each(['', 'M', '-1', '1X', '0', 0, -5, NaN, Infinity, '1e3', '0.3k'])('refuses %j', (size) => {
    expect(() => parseSize(size)).toThrow(VisorkitError);
  });
});
