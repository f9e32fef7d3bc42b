/** DIV and IDIV of 128-bit dividends (SDM 2A) against the division of BigInt. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { g, HLT, le64, makeBareGuest, rax, resetBareGuest } from './test-bare.js';

beforeAll(makeBareGuest);

const DIVIDE_ERROR = 0;
const signed = (v: bigint): bigint => BigInt.asIntN(64, v),
  unsigned = (v: bigint): bigint => BigInt.asUintN(64, v);
/** RDX:RAX divided by RCX; undefined is #DE. */
function run(
  opcode: number,
  high: bigint,
  low: bigint,
  divisor: bigint,
): [quotient: bigint, remainder: bigint] | undefined {
  resetBareGuest();
  const stop = g.run([0x48, 0xba, ...le64(high), ...rax(low), 0x48, 0xb9, ...le64(divisor), 0x48, 0xf7, opcode, HLT]);
  return stop.vector === DIVIDE_ERROR ? undefined : [g.engine.getRegister(0), g.engine.getRegister(2)];
}
/** Halves near the ends of 32 and 64 bits: there the guess at a digit of the quotient is too high, by one or by two. */
const half = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc
    .tuple(
      fc.constantFrom(0n, 1n << 31n, 1n << 32n, 1n << 63n, (1n << 63n) | (1n << 32n), 0xffffffffn << 32n),
      fc.bigInt({ min: -3n, max: 3n }),
    )
    .map(([corner, beside]) => unsigned(corner + beside)),
);

describe('division of 128 bits', () => {
  test('DIV', () => {
    fc.assert(
      fc.property(half, half, half, (high, low, divisor) => {
        const n = (high << 64n) | low;
        const expected = divisor === 0n || high >= divisor ? undefined : [n / divisor, n % divisor];
        expect(run(0xf1, high, low, divisor)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });
  test('IDIV', () => {
    fc.assert(
      fc.property(half, half, half, (high, low, divisor) => {
        const n = (signed(high) << 64n) | low,
          d = signed(divisor);
        const fits = d !== 0n && BigInt.asIntN(64, n / d) === n / d;
        expect(run(0xf9, high, low, divisor)).toEqual(fits ? [unsigned(n / d), unsigned(n % d)] : undefined);
      }),
      { numRuns: 500 },
    );
  });
});
