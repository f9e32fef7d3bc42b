/** For tests of the translator: programs on a processor with it and on one without, in pieces, and what both have done compared at the end of each. */
import { ExitReason, VmcsField } from '@visorkit/x86';
import { expect } from 'vitest';
import { Engine } from './engine.js';
import { FPR, MXCSR, YMM } from './layout.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';
import { ENTER_DEADLINE } from './vmcs-layout.js';
import { OWN_STATE, writeControls } from './vmcs-setup.js';
import { MOST_CODE_PAGES } from './translator/random-program.js';
import { randomFrom } from './translator/random.js';
import type { Random } from './translator/random.js';

/** Linear addresses. */
export const CODE = 0x1_0000;
export const DATA = 0x3_0000;
export const STACK = 0x5_0800;
const MEMORY = 4 << 20;
/** EFLAGS.AC, which decides about the TLB table. */
const AC = 1 << 18;

/** A processor in 64-bit mode, or in flat 32-bit protected mode; threshold 0: without a translator. */
export async function machine(bits: 32 | 64, threshold: number, verify = false): Promise<Engine> {
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

/** A program, and where its registers point to. */
export interface Subject {
  readonly seed: number;
  readonly program: Uint8Array;
  /** RIP, RBX and RSP, and RFLAGS that it begins with. */
  readonly start?: { readonly rip: number; readonly data: number; readonly stack: number; readonly flags: number };
  /** Registers have so many random bits. */
  readonly width?: 16 | 32 | 64;
  /** Before it begins. */
  readonly prepare?: (engine: Engine) => void;
}

/** Runs a program on both. Returns how many instructions ran translated. */
export function runOnBoth(plain: Engine, translated: Engine, subject: Subject): number {
  const { seed, program } = subject;
  for (const engine of [plain, translated]) begin(engine, subject, randomFrom(seed + 1));
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
      const which = { seed, piece, program: Buffer.from(program).toString('hex') };
      expect({ ...which, ...(seen as object) }).toEqual({ ...which, ...(expected as object) });
    }
    if (a === ExitReason.CPUID) {
      for (const engine of [plain, translated]) engine.rip += 2n;
    } else if (a !== ENTER_DEADLINE) break;
  }
  if (memoryOf(plain) !== memoryOf(translated))
    expect.fail(`memory differs: seed ${seed}, ${Buffer.from(program).toString('hex')}`);
  return (translated.translator?.retired ?? 0) - before;
}

function begin(engine: Engine, { program, start, width, prepare }: Subject, random: Random): void {
  engine.memory.write(CODE, program);
  const data = Uint8Array.from({ length: 0x2000 }, () => random(256));
  engine.memory.write(DATA, data);
  prepare?.(engine);
  const bits = width ?? (engine.efer === 0n ? 32 : 64);
  for (let n = 0; n < 16; n++) {
    const low = BigInt(random(0x1_0000_0000)),
      high = BigInt(random(0x1_0000_0000));
    engine.setRegister(n, BigInt.asUintN(bits, (high << 32n) | low));
  }
  engine.bytes.set(
    Uint8Array.from({ length: 512 }, () => random(256)),
    YMM,
  );
  const { rip, data: base, stack, flags } = start ?? { rip: CODE, data: DATA, stack: STACK, flags: 2 };
  engine.setRegister(3, BigInt(base));
  engine.setRegister(4, BigInt(stack));
  engine.interruptibility = 0; // the program before may have ended behind a STI
  engine.rip = BigInt(rip);
  engine.rflags = flags;
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

/** How many programs of each kind, and where their numbers begin (as test/property-tests.ts has it): other ones with VISORKIT_PROGRAMS and VISORKIT_SEED. */
export const PROGRAMS = Number(process.env.VISORKIT_PROGRAMS ?? 60);
const { VISORKIT_SEED: SEED = '1' } = process.env;
export const FIRST_SEED = SEED === 'random' ? Math.floor(Math.random() * 2 ** 20) : Number(SEED);
