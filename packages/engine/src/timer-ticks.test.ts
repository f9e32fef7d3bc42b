/** Ticks of the preemption timer: without bigints, and yet as with them. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Engine } from './engine.js';
import { MSR_TSC_ADJUST, RETIRED, TIMER_SHIFT, TSC_BASE, TSC_SHIFT } from './layout.js';

it('are changes of a bit of the counter, but for those that the guest has made by moving it, modulo 2^48, wherever it begins', async () => {
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
    fc.property(
      any,
      retired,
      fc.constantFrom(0, 1, 3, 26),
      fc.oneof(any, fc.constant(0n)),
      (base, count, shift, moved) => {
        engine.longs[TSC_BASE >>> 3] = base;
        engine.longs[MSR_TSC_ADJUST >>> 3] = moved;
        engine.longs[RETIRED >>> 3] = count;
        engine.words[TSC_SHIFT >>> 2] = shift;
        const tick = BigInt(TIMER_SHIFT);
        expect(BigInt(engine.timerTicks)).toBe(BigInt.asUintN(48, (engine.tsc >> tick) - (moved >> tick)));
      },
    ),
    { numRuns: 2000 },
  );
});
