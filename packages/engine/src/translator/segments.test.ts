/** Code in segments that have bases and limits, 16- and 32-bit, translated and interpreted (as exactness.test.ts has it for flat code). */
import { VmcsField } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import type { Engine } from '../engine.js';
import { CODE, DATA, FIRST_SEED, PROGRAMS, STACK, machine, runOnBoth } from '../test-lockstep.js';
import type { Subject } from '../test-lockstep.js';
import { writeControls } from '../vmcs-setup.js';
import { random16BitProgram } from './random-bits16.js';
import { randomProgram } from './random-program.js';
import { randomFrom } from './random.js';
import type { Random } from './random.js';

const ES = 0;
const CS = 1;
const SS = 2;
const DS = 3;
const FS = 4;
const GS = 5;
/** Access rights: writable data, readable code, those of virtual-8086 mode; SS and CS of 32 bits have D/B. */
const DATA_RIGHTS = 0x93;
const CODE_RIGHTS = 0x9b;
const V86_RIGHTS = 0xf3;
const WIDE = 0x4000;
const FLAT = { selector: 0x10, base: 0n, limit: 0xffff_ffff, accessRights: 0xc093 };
const VM = 1 << 17;
const IOPL3 = 3 << 12;
const FIXED = 2;

interface Mode {
  name: string;
  /** How the processor is set up once, and for each program, and the program. */
  once: (engine: Engine) => void;
  subject: (random: Random, seed: number) => Subject;
}

const setProtected = (random: Random, wideCode: boolean): ((engine: Engine) => void) => {
  const wideStack = random(2) === 0,
    // data ends where the data do, a little behind, or far away
    limit = 0x1_0000 - 1 - random(2) * (0xf000 - random(8)),
    down = random(4) === 0,
    flat = random(4) === 0;
  return (engine) => {
    const data = { selector: 0x10, base: BigInt(DATA - 0x100), limit, accessRights: DATA_RIGHTS };
    engine.setSegment(CS, {
      selector: 0x08,
      base: BigInt(CODE - 0x40),
      limit: 0xffff,
      accessRights: CODE_RIGHTS | (wideCode ? WIDE : 0),
    });
    engine.setSegment(DS, data);
    engine.setSegment(ES, flat ? FLAT : { ...data, base: BigInt(DATA - 0xf0) });
    engine.setSegment(FS, down ? { ...data, limit: 0x200, accessRights: DATA_RIGHTS | 4 } : FLAT);
    engine.setSegment(GS, { ...data, accessRights: 0x91 }); // not writable
    const stack = { selector: 0x10, base: BigInt(STACK - 0x800), limit: 0xffff, accessRights: DATA_RIGHTS };
    engine.setSegment(SS, wideStack ? { ...stack, accessRights: DATA_RIGHTS | WIDE } : stack);
  };
};
const start = { rip: 0x40, data: 0x100, stack: 0x800, flags: FIXED };

const MODES: Mode[] = [
  {
    name: '32-bit code',
    once: () => {},
    subject: (random, seed) => ({
      seed,
      program: randomProgram(random, { bits: 32, code: start.rip, rough: random(2) === 0, vectors: random(2) === 0 }),
      start,
      prepare: setProtected(random, true),
    }),
  },
  {
    // as systems have their threads' data
    name: '32-bit code with flat segments but FS and GS',
    once: () => {},
    subject: (random, seed) => ({
      seed,
      program: prefixed(randomProgram(random, { bits: 32, code: CODE }), random),
      prepare: (engine) => {
        engine.setSegment(CS, { selector: 0x08, base: 0n, limit: 0xffff_ffff, accessRights: 0xc09b });
        for (const segment of [ES, SS, DS]) engine.setSegment(segment, FLAT);
        engine.setSegment(GS, { selector: 0x10, base: 0x40n, limit: DATA + 0x5ff, accessRights: DATA_RIGHTS | WIDE });
        engine.setSegment(FS, { selector: 0x10, base: 0xffff_ff00n, limit: 0xf_ffff, accessRights: DATA_RIGHTS });
      },
    }),
  },
  {
    name: '16-bit code',
    once: () => {},
    subject: (random, seed) => ({
      seed,
      program: random16BitProgram(random, start.rip),
      start,
      width: 16,
      prepare: setProtected(random, false),
    }),
  },
  {
    name: 'virtual-8086 mode',
    once: () => {},
    subject: (random, seed) => ({
      seed,
      program: random16BitProgram(random, start.rip),
      start: { ...start, flags: FIXED | VM | IOPL3 },
      width: 16,
      prepare: (engine) => setReal(engine, V86_RIGHTS),
    }),
  },
  {
    name: 'real mode',
    once: (engine) => {
      writeControls(engine.vmcs, 'secondary', ['enable-ept', 'unrestricted-guest']);
      engine.cr0 = 0x30n;
    },
    subject: (random, seed) => ({
      seed,
      program: random16BitProgram(random, start.rip),
      start,
      width: 16,
      prepare: (engine) => setReal(engine, DATA_RIGHTS),
    }),
  },
];

function setReal(engine: Engine, accessRights: number): void {
  const at = (linear: number): { selector: number; base: bigint; limit: number; accessRights: number } => ({
    selector: linear >>> 4,
    base: BigInt(linear),
    limit: 0xffff,
    accessRights,
  });
  engine.setSegment(CS, at(CODE - 0x40));
  engine.setSegment(SS, at(STACK - 0x800));
  engine.setSegment(DS, at(DATA - 0x100));
  for (const segment of [ES, FS, GS]) engine.setSegment(segment, at(DATA - 0xf0 - 0x10 * segment));
}

/** MOV EAX, FS or GS:[EBX + n], or the other way round, in front of the program, which begins anew with them. */
function prefixed(program: Uint8Array, random: Random): Uint8Array {
  const out: number[] = [];
  for (let n = 1 + random(4); n > 0; n--) {
    const at = random(0x500);
    out.push(0x64 + random(2), random(2) === 0 ? 0x8b : 0x01, 0x83, at & 0xff, at >> 8, 0, 0);
  }
  // its last jump, which leads to its beginning, goes on to theirs
  const all = [...out, ...program],
    last = all.length - 4,
    back = -all.length;
  for (let i = 0; i < 4; i++) all[last + i] = (back >> (8 * i)) & 0xff;
  return Uint8Array.from(all);
}

/** One in so many programs: verified ones run many times slower, and at threshold 1 each makes some hundred modules where it runs into empty memory. */
const VERIFIED_SHARE = 6;
const EAGER_SHARE = 2;

describe.each(MODES)('$name', ({ once, subject }) => {
  it.each([
    [1, false],
    [50, false],
    [1, true],
  ])('from threshold %i on, verified: %s', { timeout: 300_000 }, async (threshold, verify) => {
    const plain = await machine(32, 0),
      translated = await machine(32, threshold, verify),
      programs = Math.ceil(PROGRAMS / (verify ? VERIFIED_SHARE : threshold === 1 ? EAGER_SHARE : 1));
    for (const engine of [plain, translated]) once(engine);
    let retired = 0;
    for (let n = 0; n < programs; n++) {
      const seed = FIRST_SEED * 1_000_037 + n * 17;
      retired += runOnBoth(plain, translated, subject(randomFrom(seed), seed));
    }
    expect(retired).toBeGreaterThan(programs * 10); // translated code has really run
    expect(translated.translator!.figures.regions).toBeGreaterThan(programs / 2);
    expect(translated.translator!.figures.failed).toBe(0);
    expect(plain.vmcs.read32(VmcsField.EXIT_REASON) >>> 31).toBe(0); // no failed entry
  });
});
