/** Which results of vector instructions are in locals. */
import { describe, expect, it } from 'vitest';
import { HeldVectors } from './held-vectors.js';
import { FIRST_HELD, FIRST_HELD_DOUBLE, HELD } from './locals.js';

describe('vectors in locals', () => {
  it('are found by register and half until the register is written elsewhere', () => {
    const held = new HeldVectors().vectors;
    const [low, high] = [held.take(), held.take()];
    held.hold(low, 5, 0);
    held.hold(high, 5, 1);
    held.hold(held.take(), 6, 0);
    expect([held.find(5, 0), held.find(5, 1), held.find(6, 1)]).toEqual([low, high, undefined]);
    held.drop(5);
    expect([held.find(5, 0), held.find(5, 1), held.find(6, 0)]).toEqual([undefined, undefined, FIRST_HELD + 2]);
    held.forget();
    expect(held.find(6, 0)).toBeUndefined();
  });

  it('give way to newer ones, the oldest first, as soon as their local is taken', () => {
    const held = new HeldVectors().vectors;
    for (let register = 0; register < HELD; register++) held.hold(held.take(), register, 0);
    expect(held.take()).toBe(FIRST_HELD);
    expect([held.find(0, 0), held.find(1, 0)]).toEqual([undefined, FIRST_HELD + 1]);
  });

  it('are gone with all parts of a register that is written, doubles among them', () => {
    const held = new HeldVectors();
    held.vectors.hold(held.vectors.take(), 3, 1);
    held.doubles.hold(held.doubles.take(), 3, 0);
    held.doubles.hold(held.doubles.take(), 4, 0);
    held.drop(3);
    expect([held.vectors.find(3, 1), held.doubles.find(3, 0)]).toEqual([undefined, undefined]);
    expect(held.doubles.find(4, 0)).toBe(FIRST_HELD_DOUBLE + 1);
  });

  it('are what they were where a way goes on that was left for another', () => {
    const held = new HeldVectors().vectors;
    held.hold(held.take(), 1, 0);
    const recall = held.remember();
    held.forget();
    held.hold(held.take(), 2, 0);
    recall();
    expect([held.find(1, 0), held.find(2, 0)]).toEqual([FIRST_HELD, undefined]);
  });
});
