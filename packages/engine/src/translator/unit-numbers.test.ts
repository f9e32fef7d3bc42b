/** The translator's numbers of instructions are the processor's. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { laneOf } from './lanes.js';
import { Group, Integer, Simd, Text, Variant } from './unit-numbers.js';

const assembly = join(import.meta.dirname, '../../assembly');
const source = (name: string): string => readFileSync(join(assembly, name), 'utf8');

/** `export const PREFIX_NAME: u32 = N;` by NAME. */
function constants(text: string, prefix: string): Record<string, number> {
  const found = text.matchAll(new RegExp(`export const ${prefix}_(\\w+): u32 = (\\w+);`, 'g'));
  return Object.fromEntries([...found].map(([, name, value]) => [name!, Number(value)]));
}

/** Members of all enums, and those of a float operation's four numbers: SQRT is also SQRTPS, SQRTPD, SQRTSS and SQRTSD. */
function members(text: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [, body] of text.matchAll(/export const enum \w+ \{([^}]*)\}/g)) {
    let next = 0;
    for (const member of body!.split(',').filter((part) => part.trim() !== '')) {
      const [name, value] = member.split('=').map((part) => part.trim());
      if (value !== undefined) next = Number(value);
      ['', 'PS', 'PD', 'SS', 'SD'].forEach((kind, n) => (found[name! + kind] ??= next + Math.max(0, n - 1)));
      found[name!] = next++;
    }
  }
  return found;
}

it.each([
  ['integer', Integer, constants(source('integer/ops.ts'), 'INT')],
  ['string', Text, constants(source('integer/ops.ts'), 'STR')],
  ['variants', Variant, constants(source('simd/ops.ts'), 'VARIANT')],
  ['groups', Group, constants(source('simd/ops.ts'), 'GROUP')],
  ['vector', Simd, members(source('simd/ops.ts'))],
])('%s', (_, ours, theirs) => {
  expect(theirs).toMatchObject(ours);
});

it('every packed integer has its lane, and nothing else has', () => {
  for (let number: number = Simd.PUNPCKLBW; number <= Simd.PABSD; number++) expect(laneOf(number)).toBeDefined();
  expect([laneOf(Simd.PUNPCKLBW - 1), laneOf(Simd.PABSD + 1)]).toEqual([undefined, undefined]);
});
