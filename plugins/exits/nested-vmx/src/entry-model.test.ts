/** Entry checks against a model of the SDM's. VISORKIT_CASES and VISORKIT_SEED make it longer, and another one. */
import { expect, it } from 'vitest';
import { entryCases } from './test-entry-cases.js';

const cases = Number(process.env['VISORKIT_CASES'] ?? 2000);
const seed = Number(process.env['VISORKIT_SEED'] ?? 1);

it(
  `${cases} entries with random fields come to what the SDM has for them`,
  async () => {
    const { wrong, kinds, broken } = await entryCases(seed, cases);
    expect(wrong).toEqual([]);
    expect(Object.values(kinds).reduce((sum, count) => sum + count, 0)).toBe(cases);
    for (const kind of ['fail', 'guest-state', 'msr-load', 'entered']) expect(kinds[kind]).toBeGreaterThan(cases / 200);
    if (process.env['VISORKIT_CASES'] !== undefined) console.log(kinds, broken);
  },
  20_000 + cases * 10,
);
