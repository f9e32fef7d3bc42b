/** A hostile hypervisor. VISORKIT_CASES and VISORKIT_SEED make it longer, and another one. */
import { expect, it } from 'vitest';
import { hostileCases } from './test-hostile.js';

const cases = Number(process.env['VISORKIT_CASES'] ?? 400);
const seed = Number(process.env['VISORKIT_SEED'] ?? 1);

it(
  `${cases} hostile cases never end the machine, and each entry has an outcome that there is`,
  async () => {
    const began = Date.now();
    const outcomes = await hostileCases(seed, cases);
    console.log(outcomes, Date.now() - began);
    expect(outcomes.wrong).toEqual([]);
  },
  20_000 + cases * 60,
);
