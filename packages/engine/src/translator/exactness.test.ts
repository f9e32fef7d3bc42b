/** Translated code does what the interpreter does: registers, flags, memory and count of instructions, at every place where the guest is left. */
import { setFlagsFromString } from 'node:v8';
import { ExitReason, VmcsField } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { Engine } from '../engine.js';
import { ENTER_DEADLINE } from '../vmcs-layout.js';
import { FPR, MXCSR, YMM } from '../layout.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';
import { OWN_STATE, writeControls } from '../vmcs-setup.js';
import { MOST_CODE_PAGES, randomProgram } from './random-program.js';
import type { ProgramOptions } from './random-program.js';
import { randomFrom } from './random.js';
import type { Random } from './random.js';

const CODE = 0x1_0000;
const DATA = 0x3_0000;
const STACK = 0x5_0800;
const MEMORY = 4 << 20;
/** EFLAGS.AC, which decides about the TLB table. */
const AC = 1 << 18;

async function machine(bits: 32 | 64, threshold: number, verify = false): Promise<Engine> {
  const engine = await Engine.create({
    memoryBytes: MEMORY,
    ...(threshold === 0 ? {} : { translate: { threshold, batch: threshold === 1 ? 1 : 3, most: 40, verify } }),
  });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  engine.cr4 = 0x4_0620n; // PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  engine.xcr0 = 7n;
  if (bits === 32) {
    // pages of 4 MiB
    for (let n = 0; n < 4; n++) engine.memory.writeU32(0x8000 + n * 4, (n * 0x40_0000) | 0x87);
    writeControls(engine.vmcs, 'entry', OWN_STATE.entry);
    engine.setSegment(1, { selector: 0x08, base: 0n, limit: 0xffff_ffff, accessRights: 0xc09b });
    engine.cr4 = 0x4_0610n;
    engine.efer = 0n;
    engine.cr3 = 0x8000n;
  }
  return engine;
}

/** Everything that a program can see or change. */
function stateOf(engine: Engine, reason: number): unknown {
  const registers = Array.from({ length: 16 }, (_, n) => engine.getRegister(n).toString(16));
  return {
    reason,
    registers,
    rip: engine.rip.toString(16),
    flags: engine.rflags.toString(16),
    retired: engine.retired,
    fault: reason === ExitReason.EXCEPTION_NMI ? engine.vmcs.read32(VmcsField.EXIT_INTERRUPTION_INFO) : 0,
    floats: Buffer.from(engine.bytes.subarray(FPR, MXCSR + 4)).toString('hex'),
    vectors: Buffer.from(engine.bytes.subarray(YMM, YMM + 16 * 32)).toString('hex'),
  };
}
const memoryOf = (engine: Engine): string =>
  [
    [CODE, MOST_CODE_PAGES],
    [DATA, 2],
    [STACK - 0x800, 1],
  ]
    .map(([gpa, pages]) => Buffer.from(engine.memory.read(gpa!, pages! * 0x1000)).toString('latin1'))
    .join('\n');

function prepare(engine: Engine, program: Uint8Array, random: Random): void {
  engine.memory.write(CODE, program);
  const data = Uint8Array.from({ length: 0x2000 }, () => random(256));
  engine.memory.write(DATA, data);
  for (let n = 0; n < 16; n++) {
    const low = BigInt(random(0x1_0000_0000)),
      high = BigInt(random(0x1_0000_0000));
    engine.setRegister(n, engine.efer === 0n ? low : (high << 32n) | low);
  }
  engine.bytes.set(
    Uint8Array.from({ length: 512 }, () => random(256)),
    YMM,
  );
  engine.setRegister(3, BigInt(DATA));
  engine.setRegister(4, BigInt(STACK));
  engine.rip = BigInt(CODE);
  engine.rflags = 2;
}

/** Runs a program on both, in pieces, and compares at the end of each. */
function compare(plain: Engine, translated: Engine, seed: number, options: Omit<ProgramOptions, 'code'>): number {
  return compareOn(plain, translated, seed, randomProgram(randomFrom(seed), { ...options, code: CODE }));
}
function compareOn(plain: Engine, translated: Engine, seed: number, program: Uint8Array): number {
  for (const engine of [plain, translated]) prepare(engine, program, randomFrom(seed + 1));
  const random = randomFrom(seed + 2),
    before = translated.translator?.retired ?? 0;
  const start = plain.retired - translated.retired;
  for (let piece = 0; piece < 25; piece++) {
    const length = random(4) === 0 ? 1 + random(20) : 50 + random(3000),
      table = random(3) === 0 ? AC : 0;
    for (const engine of [plain, translated]) engine.rflags = (engine.rflags & ~AC) | table;
    plain.setDeadline(plain.retired + length);
    translated.setDeadline(translated.retired + length);
    const [a, b] = [plain.enter(), translated.enter()];
    const expected = stateOf(plain, a),
      seen = stateOf(translated, b) as { retired: number };
    seen.retired += start;
    if (JSON.stringify(expected) !== JSON.stringify(seen)) {
      expect({ seed, piece, program: Buffer.from(program).toString('hex'), ...(seen as object) }).toEqual({
        seed,
        piece,
        program: Buffer.from(program).toString('hex'),
        ...(expected as object),
      });
    }
    if (a === ExitReason.CPUID) {
      for (const engine of [plain, translated]) engine.rip += 2n;
    } else if (a !== ENTER_DEADLINE) break;
  }
  if (memoryOf(plain) !== memoryOf(translated))
    expect.fail(`memory differs: seed ${seed}, ${Buffer.from(program).toString('hex')}`);
  return (translated.translator?.retired ?? 0) - before;
}

/** How many programs of each kind, and where their numbers begin (as test/property-tests.ts has it): other ones with VISORKIT_PROGRAMS and VISORKIT_SEED. */
const PROGRAMS = Number(process.env.VISORKIT_PROGRAMS ?? 60);
const { VISORKIT_SEED: SEED = '1' } = process.env;
const FIRST_SEED = SEED === 'random' ? Math.floor(Math.random() * 2 ** 20) : Number(SEED);

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
    optimised(() => compareOn(plain, translated, LOST_HALF.seed, LOST_HALF.program));
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
