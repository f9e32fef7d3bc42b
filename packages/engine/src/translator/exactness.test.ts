/** Translated code does what the interpreter does: registers, flags, memory and count of instructions, at every place where the guest is left. */
import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import type { Engine } from '../engine.js';
import { CODE, FIRST_SEED, PROGRAMS, machine, runOnBoth } from '../test-lockstep.js';
import { randomProgram } from './random-program.js';
import type { ProgramOptions } from './random-program.js';
import { randomFrom } from './random.js';

function compare(plain: Engine, translated: Engine, seed: number, options: Omit<ProgramOptions, 'code'>): number {
  return runOnBoth(plain, translated, { seed, program: randomProgram(randomFrom(seed), { ...options, code: CODE }) });
}

/** Has V8 optimise all that it compiles, and at once, for a while. */
function optimised(act: () => unknown): void {
  setFlagsFromString('--no-liftoff');
  try {
    act();
  } finally {
    for (const flag of ['--liftoff', '--wasm-dynamic-tiering']) setFlagsFromString(flag);
  }
}

/** A random program, and the seed of its data, that V8 of Node 20 lost the upper half of a register in. */
const LOST_HALF = {
  seed: 2_151_007_150,
  program: Buffer.from(
    'geL4AQAASGOME7EEAABmQQ9w2rNmQQ+31A+DMgAAAIfQ80UPLM6Jg/4PAABmwbuXAgAADWZBD27hgeL4AQAATIlMUz4PEVtVSI0tAgAAAP/lD1nt8w/C8gFmDzjb1w+E7f' +
      '///+mX////',
    'base64',
  ),
};

describe('code that the host has optimised', () => {
  const rough = { bits: 64 as const, rough: true, vectors: true };
  it('keeps both halves of a register where branches meet', async () => {
    const [plain, translated] = [await machine(64, 0), await machine(64, 1)];
    optimised(() => runOnBoth(plain, translated, LOST_HALF));
    expect(translated.translator!.retired).toBeGreaterThan(1000);
  });

  it.each([1, 50])('does what the interpreter does, from threshold %i on', { timeout: 300_000 }, async (threshold) => {
    const [plain, translated] = [await machine(64, 0), await machine(64, threshold)];
    optimised(() => {
      for (let n = 0; n < PROGRAMS; n++) compare(plain, translated, FIRST_SEED * 1_000_033 + n * 17, rough);
    });
    expect(translated.translator!.figures.regions).toBeGreaterThan(PROGRAMS / 2);
  });
});

/** Verified programs (verifier.ts) are fewer: they run many times slower. */
const VERIFIED_SHARE = 4;

describe.each([
  { bits: 64 as const, threshold: 1, verify: false },
  { bits: 64 as const, threshold: 50, verify: false },
  { bits: 32 as const, threshold: 1, verify: false },
  { bits: 32 as const, threshold: 50, verify: false },
  { bits: 64 as const, threshold: 1, verify: true },
  { bits: 32 as const, threshold: 50, verify: true },
])('$bits-bit programs at threshold $threshold, verified: $verify', ({ bits, threshold, verify }) => {
  const programs = verify ? Math.ceil(PROGRAMS / VERIFIED_SHARE) : PROGRAMS;
  it.each([
    ['of integer instructions', {}],
    ['that fault and change themselves', { rough: true }],
    ['with vectors', { vectors: true, rough: true }],
    ['in several pages', { rough: true, spread: true }],
  ])('%s', { timeout: 300_000 }, async (_, options) => {
    const plain = await machine(bits, 0),
      translated = await machine(bits, threshold, verify);
    let retired = 0;
    for (let n = 0; n < programs; n++)
      retired += compare(plain, translated, FIRST_SEED * 1_000_003 + n * 17, { bits, ...options });
    expect(retired).toBeGreaterThan(programs * 10); // translated code has really run
    expect(translated.translator!.figures.regions).toBeGreaterThan(programs / 2);
    expect(translated.translator!.figures.failed).toBe(0);
    expect(translated.translator!.verifier?.figures.instructions).toBe(verify ? retired : undefined);
  });
});

/** Executions after which a block has a region: more than one that is known needs. */
const LATE = 101;
/** Programs on one processor: some leave segments behind that those after them do not get far with. */
const TOGETHER = 20;

describe.each([64, 32] as const)('%i-bit programs with regions of an earlier run', (bits) => {
  it.each([
    ['of integer instructions', {}],
    ['that fault and change themselves', { rough: true }],
    ['with vectors', { vectors: true, rough: true }],
  ])('%s', { timeout: 300_000 }, async (_, options) => {
    const subjects = Array.from({ length: PROGRAMS }, (_, n) => {
      const seed = FIRST_SEED * 1_000_081 + n * 17;
      return { seed, program: randomProgram(randomFrom(seed), { bits, ...options, code: CODE }) };
    });
    const sum = { first: 0, kept: 0, other: 0 };
    for (let from = 0; from < PROGRAMS; from += TOGETHER) {
      const some = subjects.slice(from, from + TOGETHER);
      const [first, plain] = [await machine(bits, LATE), await machine(bits, 0)];
      first.keepRegions();
      for (const subject of some) runOnBoth(plain, first, subject);
      const [second, plainAgain] = [await machine(bits, LATE), await machine(bits, 0)];
      expect(second.keepRegions(first.keptRegions())).toBe(true);
      for (const { seed, program } of some) {
        const random = randomFrom(seed + 3),
          altered = program.slice();
        if (random(2) === 0) altered[random(altered.length)] = random(256);
        runOnBoth(plainAgain, second, { seed, program: altered });
      }
      const [before, { figures }] = [first.translator!.figures, second.translator!];
      sum.first += before.regions - before.kept;
      sum.kept += figures.kept;
      sum.other += figures.regions - figures.kept;
      expect(figures.failed).toBe(0);
    }
    expect(sum.kept).toBeGreaterThan(sum.first / 4); // half of the programs are as they were
    expect(sum.other).toBeGreaterThan(0);
  });
});
