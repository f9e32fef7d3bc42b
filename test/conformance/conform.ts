/** A test case: one guest, the same on every backend. */
import { describe, expect, it } from 'vitest';
import { BACKENDS, failingAt } from './backends.js';
import type { ConformingBackend, Deviation } from './backends.js';
import { runInPieces, runOn } from './machine.js';
import type { Guest, Outcome } from './machine.js';

const SEED = Number(process.env.VISORKIT_SEED ?? 1) >>> 0;
/** Runs of each guest that is saved on its way, and how often in each. */
const RUNS = 2,
  PIECES = 4;

/** What of an outcome is given. Registers may be some of them. */
export type Expected = Partial<Omit<Outcome, 'registers'>> & { readonly registers?: Partial<Outcome['registers']> };

/**
 * The guest ends in HLT with interrupts off unless `expected` says otherwise, and all of its outcome is the same on all backends.
 * `needs`: where a backend lacks one of these on this machine, the case is left out there, out loud.
 */
export function conform(
  name: string,
  guest: Guest | ((backend: ConformingBackend) => Guest),
  expected: Expected,
  needs: readonly Deviation[] = [],
): void {
  describe(name, () => {
    const outcomes = new Map<string, Outcome>();
    for (const backend of BACKENDS) {
      const failing = failingAt(backend, needs);
      if (failing !== undefined) process.stderr.write(`SKIPPED: "${name}" on ${backend.name}: ${failing}\n`);
      it.skipIf(failing !== undefined)(`on ${backend.name}`, { timeout: 60_000 }, async () => {
        const outcome = await runOn(backend, typeof guest === 'function' ? guest(backend) : guest);
        outcomes.set(backend.name, outcome);
        expect(outcome).toMatchObject({ reason: 'halted', ...expected });
      });
    }
    // In real time a point is one between two accesses: nobody can say how many instructions there were
    for (const backend of BACKENDS.filter(({ lacks }) => !needs.some((one) => lacks.has(one))))
      it(`on ${backend.name}, saved at random points`, { timeout: 60_000 }, async () => {
        const made = typeof guest === 'function' ? guest(backend) : guest;
        const whole = await runInPieces(backend, made, []);
        for (const pieces of randomPieces(name, backend.time === 'virtual'))
          expect(await runInPieces(backend, made, pieces)).toEqual(whole);
      });
    const able = BACKENDS.filter(({ lacks }) => !needs.some((deviation) => lacks.has(deviation)));
    // Guests that differ from backend to backend are compared by what is expected alone
    it.skipIf(able.length < 2 || typeof guest === 'function')('the same on all of them', () => {
      const [first, ...others] = [...outcomes.values()];
      expect(outcomes.size).toBe(able.length);
      for (const other of others) expect(other).toEqual(first);
    });
  });
}

/** Guests have some ten to some hundred instructions, most have fewer accesses. Each time the same for a name. `exact`: by instructions too. */
function randomPieces(name: string, exact: boolean): ({ instructions: number } | { accesses: number })[][] {
  let state = [...name].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, SEED);
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  return Array.from({ length: RUNS }, () =>
    Array.from({ length: PIECES }, () =>
      !exact || below(3) === 0 ? { accesses: 1 + below(3) } : { instructions: 1 + below(2 ** (1 + below(8))) },
    ),
  );
}
