/** Regions that an earlier run made are used where the guest's code is the same, and the guest notices nothing. */
import { describe, expect, it } from 'vitest';
import { Engine } from '../engine.js';
import { KNOWN_BLOCKS, KNOWN_BLOCKS_BITS } from '../layout.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';
import type { TranslatorOptions } from './options.js';

const CODE = 0x1_0000;
/** INC EAX; ADD EBX, imm32; JMP to the first. */
const loop = (addend: number): Uint8Array => Uint8Array.from([0xff, 0xc0, 0x81, 0xc3, addend, 0, 0, 0, 0xeb, 0xf6]);
/** INC EAX; MOV RBX, imm32; LEA RCX, [RAX * 8 + disp32]; JMP to the first. */
function addressing(immediate: number, displacement: number): Uint8Array {
  const code = Uint8Array.from([
      0xff, 0xc0, 0x48, 0xc7, 0xc3, 0, 0, 0, 0, 0x48, 0x8d, 0x0c, 0xc5, 0, 0, 0, 0, 0xeb, 0xed,
    ]),
    view = new DataView(code.buffer);
  view.setInt32(5, immediate, true);
  view.setInt32(13, displacement, true);
  return code;
}
/** FNINIT; FLD1; FSTP ST(0), of which the unit has copies of the records; INC EAX; JMP to the first. */
const X87_LOOP = Uint8Array.from([0xdb, 0xe3, 0xd9, 0xe8, 0xdd, 0xd8, 0xff, 0xc0, 0xeb, 0xf6]);
/** INC EAX; MOV RBX, GS:[RIP + disp32]; JMP to the first. */
function perProcessor(displacement: number): Uint8Array {
  const code = Uint8Array.from([0xff, 0xc0, 0x65, 0x48, 0x8b, 0x1d, 0, 0, 0, 0, 0xeb, 0xf4]);
  new DataView(code.buffer).setInt32(6, displacement, true);
  return code;
}
const THRESHOLD = 1000;

async function machine(
  earlier?: Uint8Array,
  translate: TranslatorOptions = { threshold: THRESHOLD, batch: 1 },
): Promise<Engine> {
  const engine = await Engine.create({ memoryBytes: 4 << 20, translate });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  expect(engine.keepRegions(earlier)).toBe(earlier !== undefined);
  return engine;
}
function run(engine: Engine, instructions: number, rip = CODE): void {
  engine.rip = BigInt(rip);
  engine.rflags = 2;
  engine.setDeadline(engine.retired + instructions);
  engine.enter();
}
/** What a first run of some code keeps. */
async function keptOf(code: Uint8Array, at = CODE): Promise<Uint8Array> {
  const engine = await machine();
  engine.memory.write(at, code);
  run(engine, 10 * THRESHOLD, at);
  expect(engine.translator!.figures).toMatchObject({ regions: 1, kept: 0 });
  return engine.keptRegions()!;
}

describe('regions of an earlier run', () => {
  it.each([
    ['integer instructions', loop(5)],
    ['a unit', X87_LOOP],
  ])('are used after a few executions: %s', async (_, code) => {
    const engine = await machine(await keptOf(code));
    engine.memory.write(CODE, code);
    run(engine, 2 * THRESHOLD);
    expect(engine.translator!.figures).toMatchObject({ regions: 1, kept: 1, refused: 0 });
    expect(engine.translator!.retired).toBeGreaterThan(THRESHOLD);
    const plain = await machine(undefined);
    plain.memory.write(CODE, code);
    run(plain, 2 * THRESHOLD);
    expect(plain.translator === undefined).toBe(true);
    for (const other of [engine, plain]) run(other, THRESHOLD / 2 + 1);
    expect([engine.getRegister32(0), engine.getRegister32(3), engine.rip, engine.rflags]).toEqual([
      plain.getRegister32(0),
      plain.getRegister32(3),
      plain.rip,
      plain.rflags,
    ]);
  });

  it('are used for the same code in another page, and are dropped when it is written', async () => {
    const engine = await machine(await keptOf(loop(5))),
      elsewhere = CODE + 0x3000;
    engine.memory.write(elsewhere, loop(5));
    run(engine, THRESHOLD, elsewhere);
    expect(engine.translator!.figures.kept).toBe(1);
    const sum = engine.getRegister32(3),
      turns = engine.getRegister32(0);
    engine.memory.write(elsewhere, loop(7));
    run(engine, 3 * 100, elsewhere);
    expect([engine.getRegister32(0) - turns, engine.getRegister32(3) - sum]).toEqual([100, 700]);
  });

  it('are not used where a byte is different, and the block asks when any other does', async () => {
    const engine = await machine(await keptOf(loop(5)));
    engine.memory.write(CODE, loop(6));
    run(engine, 3 * (THRESHOLD - 100));
    expect(engine.translator!.figures).toMatchObject({ regions: 0, kept: 0 });
    run(engine, 3 * 200);
    expect(engine.translator!.figures).toMatchObject({ regions: 1, kept: 0 });
    expect(engine.getRegister32(3)).toBe(6 * (THRESHOLD + 100));
  });

  it.each([
    ['other addresses', -0x7e00_0000, -0x7d80_1234, 1],
    ['what is no address', 0x1234, -0x7d80_1234, 0],
    ['a displacement that is none', -0x7e00_0000, 0x1234, 0],
  ])('have operands that may be addresses: with %s', async (_, immediate, displacement, kept) => {
    const engine = await machine(await keptOf(addressing(-0x7f00_0000, -0x7efe_4321)));
    engine.memory.write(CODE, addressing(immediate, displacement));
    run(engine, 4 * 500);
    expect(engine.translator!.figures.kept).toBe(kept);
    expect(engine.getRegister(3)).toBe(BigInt.asUintN(64, BigInt(immediate)));
    expect(engine.getRegister(1)).toBe(BigInt.asUintN(64, 500n * 8n + BigInt(displacement)));
  });

  it('have distances to what GS points to, from code that is elsewhere', async () => {
    const engine = await machine(await keptOf(perProcessor(0x2_0000)));
    engine.memory.write(CODE, perProcessor(0x2_0100));
    engine.memory.writeU64(CODE + 10 + 0x2_0100, 0x1234_5678_9abcn);
    run(engine, 3 * 500);
    expect(engine.translator!.figures.kept).toBe(1);
    expect(engine.getRegister(3)).toBe(0x1234_5678_9abcn);
  });

  it('are kept on, with what is new, and nothing is written where nothing is', async () => {
    const first = await keptOf(loop(5));
    const second = await machine(first);
    second.memory.write(CODE, loop(5));
    run(second, THRESHOLD);
    expect(second.keptRegions()).toBeUndefined();
    second.memory.write(CODE + 0x1000, loop(9));
    run(second, 10 * THRESHOLD, CODE + 0x1000);
    const both = second.keptRegions()!;
    expect(both.length).toBeGreaterThan(first.length);
    const third = await machine(both);
    for (const [n, addend] of [5, 9].entries()) {
      third.memory.write(CODE + n * 0x1000, loop(addend));
      run(third, THRESHOLD, CODE + n * 0x1000);
    }
    expect(third.translator!.figures).toMatchObject({ regions: 2, kept: 2 });
  });

  it('are refused where they were made with other settings, or are not whole', async () => {
    const data = await keptOf(loop(5)),
      engine = await machine(undefined, { threshold: THRESHOLD + 1 });
    expect(engine.keepRegions(data)).toBe(false);
    const same = await machine();
    for (const length of [0, 3, 8, data.length - 4]) expect(same.keepRegions(data.slice(0, length))).toBe(false);
    const known = same.bytes.subarray(KNOWN_BLOCKS, KNOWN_BLOCKS + KNOWN_BLOCKS_BITS / 8);
    expect(known.every((byte) => byte === 0)).toBe(true);
    expect(same.keepRegions(data)).toBe(true);
  });

  it('are not there where code is only interpreted, or verified', async () => {
    const data = await keptOf(loop(5));
    const plain = await Engine.create({ memoryBytes: 4 << 20 }),
      verified = await Engine.create({ memoryBytes: 4 << 20, translate: { verify: true } });
    for (const engine of [plain, verified])
      expect([engine.keepRegions(data), engine.keptRegions()]).toEqual([false, undefined]);
  });
});
