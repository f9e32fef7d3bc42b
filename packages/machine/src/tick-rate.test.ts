/** Ticks of a device's clock, without drift. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { TickRate } from './tick-rate.js';

const frequencies = [32_768, 1_193_182, 3_579_545, 100_000_000, 1_000_000_000, 2_500_000_000, 3_999_999_999];

describe('TickRate', () => {
  it('counts whole ticks exactly at every frequency', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...frequencies),
        fc.integer({ min: 0, max: 20 * 86_400 }),
        fc.integer({ min: 0, max: 999_999_999 }),
        (hz, seconds, rest) => {
          const ticks = new TickRate(hz).ticksAt(seconds * 1e9 + rest);
          expect(BigInt(ticks)).toBe(((BigInt(seconds) * 1_000_000_000n + BigInt(rest)) * BigInt(hz)) / 1_000_000_000n);
        },
      ),
    );
  });

  it('gives the first nanosecond at which a tick is complete', () => {
    const rate = new TickRate(1_193_182);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e12 }), (ticks) => {
        const time = rate.timeOf(ticks);
        expect(rate.ticksAt(time)).toBeGreaterThanOrEqual(ticks);
        expect(rate.ticksAt(time - 1)).toBeLessThan(ticks);
      }),
    );
  });

  it('ends for any number of ticks that a guest can program', () => {
    for (const hz of frequencies) {
      for (const ticks of [2 ** 53, 2 ** 53 + 2, 2 ** 60, 2 ** 64, Infinity])
        expect(new TickRate(hz).timeOf(ticks)).toBeGreaterThan(1e6);
    }
  });
});
