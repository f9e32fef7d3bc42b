/** One check of several accesses: where a page keeps ending between them, each gets a check of its own. */
import { VmcsField } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { Engine } from '../engine.js';
import { regionsLeft, writeIdentityTables, writeValidVmcs } from '../testing.js';

const CODE = 0x1_0000,
  STACK = 0x3_0000,
  ROUNDS = 5000,
  THRESHOLD = 20;
/** MOV ECX, ROUNDS; then PUSH RAX; ADD RAX, [RSP + 16]; POP RDX; DEC ECX; JNZ back; HLT: accesses on both sides of the stack pointer. */
const PROGRAM = [
  0xb9,
  ROUNDS & 0xff,
  ROUNDS >>> 8,
  0,
  0,
  0x50,
  0x48,
  0x03,
  0x44,
  0x24,
  16,
  0x5a,
  0xff,
  0xc9,
  0x75,
  0xf5,
  0xf4,
];

async function run(stack: number, translates: boolean): Promise<Engine> {
  const engine = await Engine.create({
    memoryBytes: 4 << 20,
    ...(translates ? { translate: { threshold: THRESHOLD, batch: 1 } } : {}),
  });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  engine.memory.write(CODE, Uint8Array.from(PROGRAM));
  engine.memory.writeU64(stack + 8, 3n);
  engine.setRegister(4, BigInt(stack));
  engine.rflags = 2;
  engine.rip = BigInt(CODE);
  engine.enter();
  return engine;
}
describe('accesses around the stack pointer', () => {
  it.each([STACK + 0x100, STACK])('do not keep leaving the region with the stack at %i', async (stack) => {
    const [plain, translated] = [await run(stack, false), await run(stack, true)];
    const seen = (of: Engine): unknown => [
      of.rip,
      of.rflags,
      of.retired,
      ...[0, 1, 2, 4].map((n) => of.getRegister(n)),
    ];
    expect(seen(translated)).toEqual(seen(plain));
    expect(translated.getRegister(0)).toBe(BigInt(3 * ROUNDS));
    // where the stack begins with a page it is left until it is made again
    expect(regionsLeft(translated)).toBeLessThan(THRESHOLD * 10);
  });
});
