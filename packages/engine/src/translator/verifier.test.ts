/** The debug mode that runs each region beside the interpreter: it changes nothing, and finds what the translator does wrong. */
import { isVisorkitError } from '@visorkit/core';
import type { VisorkitError } from '@visorkit/core';
import { VmcsField } from '@visorkit/x86';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Engine } from '../engine.js';
import type * as emit from './emit.js';
import { instructionsOf } from './binary.js';
import { Op } from './opcodes.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';
import type { VerifyDetails } from './verifier.js';

/** Alters what the translator emits. */
const plant = vi.hoisted(() => ({ in: undefined as undefined | ((body: Uint8Array) => void) }));
vi.mock('./emit.js', async (original) => {
  const real = await original<typeof emit>();
  const emitRegion: typeof real.emitRegion = (region, setting, buffers) => {
    const code = real.emitRegion(region, setting, buffers);
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
const PROGRAM = [0xb9, COUNT & 0xff, COUNT >>> 8, 0, 0, 0x48, 0x01, 0xd0, 0x89, 0x03, 0xff, 0xc9, 0x75, 0xf7, 0xf4];

async function machine(verify: boolean): Promise<Engine> {
  const engine = await Engine.create({ memoryBytes: 4 << 20, translate: { threshold: 20, batch: 1, verify } });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  engine.memory.write(CODE, Uint8Array.from(PROGRAM));
  engine.rip = BigInt(CODE);
  engine.setRegister32(0, 0);
  engine.setRegister32(2, 3);
  engine.setRegister32(3, DATA);
  return engine;
}

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

/** Alters the first instruction with this opcode. */
function alter(opcode: number, at: 'opcode' | 'offset', to: number): void {
  plant.in = (body) => {
    for (const place of instructionsOf(body)) {
      if (place.opcode !== opcode) continue;
      if (at === 'opcode') body[place.from] = to;
      else body[place.operands + 1] = to;
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

describe('a fault of the translator', () => {
  it('is found at its region, with both states, the guest code and the wasm text', async () => {
    alter(Op.i64_add, 'opcode', Op.i64_sub);
    const engine = await machine(true),
      error = await caught(engine);
    expect(error.code).toBe('VERIFY_DIFFERENCE');
    expect(error.message).toContain('RAX');
    expect(error.message).toContain(LOOP.toString(16));
    const { rip, differences, code, wasm } = error.details;
    expect(rip).toBe(`0x${LOOP.toString(16)}`);
    const rax = differences.find(({ what }) => what === 'RAX')!;
    const before = BigInt(rax.before);
    expect(before % 3n).toBe(0n);
    expect(BigInt(rax.interpreted)).toBe(3n * BigInt(COUNT));
    expect(code[0]).toEqual({ rip, bits: 64, bytes: Buffer.from(PROGRAM.slice(5, 14)).toString('hex') });
    expect(wasm.join('\n')).toMatch(/local\.get \$fa\n *local\.get \$fb\n *i64\.sub\n/);
    expect(engine.retired).toBeGreaterThan(3 * COUNT);
  });
});
