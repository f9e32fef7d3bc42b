/** Where registers are taken from the state, and which must be put back: the facts that ways out and edges rely on. */
import { describe, expect, it } from 'vitest';
import { BlockUse, planExchanges, shareTails } from './exchange.js';
import { randomFrom } from './random.js';
import type { Random } from './random.js';
import { structure } from './structure.js';

const [A, B, C] = [1, 2, 4];

function use(reads: number, writes = 0): BlockUse {
  const one = new BlockUse();
  one.read(reads);
  one.write(writes, true, false);
  return one;
}
function plan(successors: number[][], uses: BlockUse[]): ReturnType<typeof planExchanges> {
  return planExchanges(
    structure(
      successors,
      successors.map(() => false),
    ),
    uses,
  );
}

describe('a plan of exchanges', () => {
  it('has a register that is written on one way in its local on all, where they meet', () => {
    const { held, written } = plan([[1, 2], [3], [3], []], [use(0), use(0, A), use(B), use(0)]);
    expect([...written]).toEqual([0, 0, 0, A]);
    expect([...held]).toEqual([0, 0, 0, A]);
  });

  it('takes in front of a loop what is read in it', () => {
    // 1 is the loop's beginning, 2 goes back
    const { held, left } = plan([[1], [2, 3], [1], []], [use(0), use(A), use(B), use(C)]);
    expect(held[1]).toBe(A | B);
    expect([held[2], left[2]]).toEqual([A | B, A | B]);
    expect(held[3]).toBe(A | B); // C is the matter of the block that reads it
  });

  it('takes nothing at the entry that only a later block reads', () => {
    const { held } = plan([[1], []], [use(A), use(B)]);
    expect([held[0], held[1]]).toEqual([0, A]);
  });

  it('of any graph holds what may have been written, and no more than all ways bring or edges can take', () => {
    const random: Random = randomFrom(11);
    for (let n = 0; n < 500; n++) {
      const count = 2 + random(9),
        successors = Array.from({ length: count }, () =>
          Array.from({ length: random(3) }, () => (random(4) === 0 ? -1 : random(count))),
        ),
        shape = structure(
          successors,
          successors.map(() => false),
        ),
        uses = shape.successors.map((_, node) => (node < count ? use(random(8), random(8)) : new BlockUse()));
      const { held, left, written } = planExchanges(shape, uses);
      shape.successors.forEach((list, node) => {
        if (shape.order[node]! < 0) return;
        expect(written[node]! & ~held[node]!).toBe(0);
        expect(left[node]).toBe(held[node]! | uses[node]!.held);
        for (const to of list) {
          if (to < 0) continue;
          expect((written[node]! | uses[node]!.writes) & ~written[to]!).toBe(0);
          // what an edge takes from the state has not been written on the way to it
          expect(held[to]! & ~left[node]! & (written[node]! | uses[node]!.writes)).toBe(0);
        }
      });
    }
  });
});

describe('tails', () => {
  it('are shared where registers can be put back for nothing', () => {
    expect(
      shareTails([
        { must: A, may: A | B },
        { must: A | B, may: A | B | C },
        { must: C, may: C },
      ]),
    ).toEqual({ tails: [A | B, C], numbers: [0, 0, 1] });
  });
  it('are not where one may not be put back', () => {
    const { tails, numbers } = shareTails([
      { must: A, may: A },
      { must: A | B, may: A | B },
    ]);
    expect(numbers.map((n) => tails[n])).toEqual([A, A | B]);
  });
});
