/** The time stamp counter in ticks of the preemption timer: without bigints, and yet as with them. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Engine } from './engine.js';
import { RETIRED, TIMER_SHIFT, TSC_BASE, TSC_SHIFT } from './layout.js';

it('is the counter divided by a tick, modulo 2^48, wherever it begins', async () => {
  const engine = await Engine.create({ memoryBytes: 1 << 20 });
  const edge = (at: bigint): fc.Arbitrary<bigint> => fc.bigInt({ min: at - 70n, max: at + 70n });
  const any = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    edge(1n << 32n),
    edge(1n << 53n),
    edge(1n << 63n),
  );
  const retired = fc.oneof(fc.bigInt({ min: 0n, max: (1n << 53n) - 1n }), edge(1n << 32n));
  fc.assert(
    fc.property(any, retired, fc.constantFrom(0, 1, 3, 26), (base, count, shift) => {
      engine.longs[TSC_BASE >>> 3] = base;
      engine.longs[RETIRED >>> 3] = count;
      engine.words[TSC_SHIFT >>> 2] = shift;
      expect(BigInt(engine.timerTicks)).toBe(BigInt.asUintN(48, engine.tsc >> BigInt(TIMER_SHIFT)));
    }),
    { numRuns: 2000 },
  );
});
