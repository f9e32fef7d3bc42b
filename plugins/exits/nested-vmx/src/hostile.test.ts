/** A hostile hypervisor. VISORKIT_CASES and VISORKIT_SEED make it longer, and another one. */
import { expect, it } from 'vitest';
import { hostileCases } from './test-hostile.js';

const cases = Number(process.env['VISORKIT_CASES'] ?? 400);
const seed = Number(process.env['VISORKIT_SEED'] ?? 1);

it(
  `${cases} random VMCSs never end the machine, and each entry has an outcome that there is`,
  async () => {
    const { fails, exits, lost, ...counted } = await hostileCases(seed, cases);
    expect(counted.cases).toBe(cases);
    expect(Object.keys(fails).every((error) => [4, 7, 8].includes(Number(error)))).toBe(true);
    for (const reason of Object.keys(exits).map(Number)) {
      if (reason >= 0x8000_0000) expect([33, 34]).toContain(reason - 0x8000_0000);
      else expect(reason).toBeLessThan(65);
    }
    expect(Object.keys(exits).length).toBeGreaterThan(2);
    expect(lost).toBeLessThan(cases / 2);
  },
  20_000 + cases * 60,
);
