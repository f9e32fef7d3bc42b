/** The debug mode that runs each region beside the interpreter: it changes nothing, and finds what the translator does wrong. */
import { isVisorkitError } from '@visorkit/core';
import type { VisorkitError } from '@visorkit/core';
import { VmcsField } from '@visorkit/x86';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Engine } from '../engine.js';
import { YMM } from '../layout.js';
import { processorModule } from '../module.js';
import type * as emit from './emit.js';
import { instructionsOf } from './binary.js';
import type { Place } from './binary.js';
import { Op } from './opcodes.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';
import type { VerifyDetails } from './verify-report.js';

/** Alters what the translator emits. */
const plant = vi.hoisted(() => ({ in: undefined as undefined | ((body: Uint8Array) => void) }));
vi.mock('./emit.js', async (original) => {
  const real = await original<typeof emit>();
  const emitRegion: typeof real.emitRegion = (region, setting, list, buffers) => {
    const code = real.emitRegion(region, setting, list, buffers);
    plant.in?.(code.written());
    return code;
  };
  return { ...real, emitRegion };
});
afterEach(() => {
  plant.in = undefined;
});

const CODE = 0x1_0000;
const DATA = 0x3_0000;
const COUNT = 1000;
/** MOV ECX, COUNT; then ADD RAX, RDX; MOV [RBX], EAX; DEC ECX; JNZ back; HLT. */
const LOOP = CODE + 5;
const ROUND = 4;
const PROGRAM = [0xb9, COUNT & 0xff, COUNT >>> 8, 0, 0, 0x48, 0x01, 0xd0, 0x89, 0x03, 0xff, 0xc9, 0x75, 0xf7, 0xf4];

async function machine(verify: boolean): Promise<Engine> {
  const engine = await Engine.create({ memoryBytes: 4 << 20, translate: { threshold: 20, batch: 1, verify } });
  prepare(engine);
  return engine;
}
function prepare(engine: Engine): void {
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  engine.memory.write(CODE, Uint8Array.from(PROGRAM));
  engine.rip = BigInt(CODE);
  engine.setRegister32(0, 0);
  engine.setRegister32(2, 3);
  engine.setRegister32(3, DATA);
}

const hexOf = (bytes: number[]): string => Buffer.from(bytes).toString('hex');
/** Opcodes that the translator does not write. */
const DROP = 0x1a,
  NOP = 0x01;

/** What the run ends by. */
async function caught(engine: Engine): Promise<VisorkitError & { details: VerifyDetails }> {
  try {
    engine.enter();
  } catch (error) {
    if (isVisorkitError(error)) return error as VisorkitError & { details: VerifyDetails };
    throw error;
  }
  return expect.fail('the difference was not found');
}

/** The first instruction of the region with this opcode is altered, or the one behind so many others. */
function alterFirst(opcode: number, how: (body: Uint8Array, place: Place) => void, others = 0): void {
  plant.in = (body) => {
    let passed = 0;
    for (const place of instructionsOf(body)) {
      if (place.opcode !== opcode || passed++ < others) continue;
      how(body, place);
      return;
    }
  };
}

describe('a translator without a fault', () => {
  it('does the same when it is verified', async () => {
    const [plain, verified] = [await machine(false), await machine(true)];
    for (const engine of [plain, verified]) engine.enter();
    const seen = (of: Engine): unknown => [of.retired, of.rip, of.rflags, of.getRegister(0), of.memory.readU32(DATA)];
    expect(seen(verified)).toEqual(seen(plain));
    expect(verified.getRegister32(0)).toBe(3 * COUNT);
    const { figures } = verified.translator!.verifier!;
    expect(figures.instructions).toBeGreaterThan(COUNT * 3);
    expect(figures.instructions).toBe(verified.translator!.retired);
  });
});

/** MOV ECX, COUNT; 1: CMP ECX, 100; JA 2f; AESENCLAST XMM1, XMM5; 2: DEC ECX; JNZ 1b; HLT. */
const AES = [0xb9, COUNT & 0xff, COUNT >>> 8, 0, 0, 0x83, 0xf9, 100, 0x77, 5, 0x66, 0x0f, 0x38, 0xdd, 0xcd].concat([
  0xff, 0xc9, 0x75, 0xf2, 0xf4,
]);

describe('what the processor works out when it is first needed', () => {
  it('is right, although the first need is in a region whose stores are taken back', async () => {
    const seen = [];
    for (const verify of [false, true]) {
      const engine = await machine(verify);
      engine.memory.write(CODE, Uint8Array.from(AES));
      engine.cr4 |= 1n << 9n; // OSFXSR
      engine.bytes.fill(0x5a, YMM, YMM + 6 * 32);
      engine.enter();
      seen.push([engine.retired, Buffer.from(engine.bytes.slice(YMM + 32, YMM + 48)).toString('hex')]);
    }
    expect(seen[1]).toEqual(seen[0]);
    expect(seen[0]![1]).not.toBe('5a'.repeat(16));
  });
});

describe('a fault of the translator', () => {
  it('is found at its region, with both states, the guest code and the wasm text', async () => {
    alterFirst(Op.i64_add, (body, { from }) => (body[from] = Op.i64_sub)); // ADD RAX, RDX
    const engine = await machine(true),
      { code, message, details } = await caught(engine);
    expect(code).toBe('VERIFY_DIFFERENCE');
    const { rip, instructions, differences, guestCode, wasm } = details;
    expect(rip).toBe(`0x${LOOP.toString(16)}`);
    const rax = differences.find(({ what }) => what === 'RAX')!,
      rounds = BigInt(Math.ceil(instructions / ROUND)),
      before = BigInt(rax.before);
    expect([before % 3n, before < 3n * BigInt(COUNT)]).toEqual([0n, true]);
    expect(BigInt(rax.interpreted)).toBe(before + 3n * rounds);
    expect(BigInt(rax.translated)).toBe(BigInt.asUintN(64, before - 3n * rounds));
    expect(message).toContain(
      `after ${instructions} instructions of the region at RIP ${rip} RAX is ${rax.translated} and should be ${rax.interpreted}`,
    );
    expect(differences.map(({ what }) => what)).toContain(`memory at 0x${DATA.toString(16)}`);
    expect(guestCode[0]).toEqual({ rip, bits: 64, bytes: hexOf(PROGRAM.slice(5, 14)) });
    expect(wasm.join('\n')).toMatch(/local\.get \$fa\n *local\.get \$fb\n *i64\.sub\n/);
    // the interpreter has the last word, and all is counted
    expect(engine.getRegister(0)).toBe(BigInt(rax.interpreted));
    expect(engine.retired).toBe(1 + ROUND * Number(before / 3n) + instructions);
  });

  /** Of MOV [RBX], EAX; the stores in front of it say which region it is, and count the entry. */
  it.each<[string, (body: Uint8Array, place: Place) => void, string[]]>([
    ['stores too little', (body, { from }) => (body[from] = Op.i32_store16), ['0x30000']],
    ['stores to a wrong place', (body, { operands }) => (body[operands + 1] = 16), ['0x30000', '0x30010']],
    ['does not store', (body, { from, to }) => body.fill(DROP, from, from + 2).fill(NOP, from + 2, to), ['0x30000']],
  ])('that %s is found', async (_, how, places) => {
    alterFirst(Op.i32_store, how, 2);
    const engine = await machine(true);
    engine.setRegister32(2, 0x1_0001);
    const { details } = await caught(engine);
    expect(details.differences.map(({ what }) => what)).toEqual(places.map((gpa) => `memory at ${gpa}`));
    const [{ interpreted, translated }] = details.differences;
    expect([BigInt(interpreted) % 0x1_0001n, interpreted === translated]).toEqual([0n, false]);
    expect(engine.memory.readU32(DATA)).toBe(Number(BigInt(interpreted)));
    expect(engine.memory.readU32(DATA + 16)).toBe(0);
  });

  it('that writes to the processor is found, though nobody reads what it writes', async () => {
    plant.in = (body) => {
      // registers are stored at the end: the first one also goes to where nothing is
      const last = [...instructionsOf(body)].filter(({ opcode }) => opcode === Op.i64_store);
      const rax = last.find(({ operands }) => body[operands + 1] === 0x80 && body[operands + 2] === 0x20)!;
      body.set([0xf0, 0x7f], rax.operands + 1);
    };
    const { details } = await caught(await machine(true));
    expect(details.differences.map(({ what }) => what)).toContain(
      'number of stores to memory that regions may not write',
    );
  });

  it('that is an error of WebAssembly is found, when the region runs or is compiled', async () => {
    alterFirst(Op.i32_store, (body, { from, to }) => body.fill(NOP, from, to).fill(Op.unreachable, from, from + 1));
    const trapped = await machine(true),
      { message, details } = await caught(trapped);
    expect(message).toContain(`the region at RIP 0x${LOOP.toString(16)} ended by the error "unreachable"`);
    expect(details.differences).toEqual([]);
    expect(details.wasm.join('\n')).toContain('unreachable');
    alterFirst(Op.i64_add, (body, { from }) => (body[from] = Op.i32_add));
    expect((await caught(await machine(true))).message).toContain('A module of translated code is not one: "');
  });

  it('that counts wrongly is found', async () => {
    // a round counts as three
    alterFirst(Op.i32_sub, (body, { from }) => (body[from - 1] = ROUND - 1));
    const { details } = await caught(await machine(true));
    expect(details.instructions % (ROUND - 1)).toBe(0);
    expect(details.differences.map(({ what }) => what)).toContain('RCX');
  });
});

describe('an altered processor', () => {
  it('is what verification needs', async () => {
    const engine = new Engine(await processorModule(), {
      memoryBytes: 4 << 20,
      translate: { threshold: 1, batch: 1, verify: true },
    });
    prepare(engine);
    expect(() => engine.enter()).toThrow(expect.objectContaining({ code: 'VERIFY_PROCESSOR' }));
  });
});
