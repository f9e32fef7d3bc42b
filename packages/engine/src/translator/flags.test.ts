/** Flags that one instruction makes and the next one changes in part, or not at all: rotates and shifts whose count may be 0 (SDM 2B RCL/RCR/ROL/ROR). */
import { VmcsField } from '@visorkit/x86';
import { expect, it } from 'vitest';
import { Engine } from '../engine.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';

const CODE = 0x1_0000,
  RESULTS = 0x2_0000;
const ROUNDS = 40;
/** Two of them are done to EDX, one behind the other. */
const STEPS: readonly (readonly [name: string, code: readonly number[]])[] = [
  ['rol edx, 22', [0xc1, 0xc2, 22]],
  ['ror edx, 22', [0xc1, 0xca, 22]],
  ['rol edx, cl', [0xd3, 0xc2]],
  ['ror edx, cl', [0xd3, 0xca]],
  ['shl edx, cl', [0xd3, 0xe2]],
  ['sar rdx, cl', [0x48, 0xd3, 0xfa]],
  ['bt edx, 3', [0x0f, 0xba, 0xe2, 3]],
  ['inc edx', [0xff, 0xc2]],
  ['add edx, edx', [0x01, 0xd2]],
];
/** ROUNDS times the flags behind the steps, in front of which they are what R8 has, to where RDI points; CL is the round modulo `counts`, a power of 2. */
function program(steps: readonly number[], counts: number): Uint8Array {
  const body = [
    ...[0x69, 0xd3, 0x05, 0x43, 0x21, 0x8f], // IMUL EDX, EBX, 0x8f214305
    ...[0x88, 0xd9, 0x80, 0xe1, counts - 1, 0x41, 0x50, 0x9d], // MOV CL, BL; AND CL, counts - 1; PUSH R8; POPFQ
    ...steps,
    ...[0x9c, 0x8f, 0x07, 0x48, 0x83, 0xc7, 0x08], // PUSHFQ; POP [RDI]; ADD RDI, 8
    ...[0x49, 0x81, 0xf0, 0xd5, 0x08, 0, 0], // XOR R8, all arithmetic flags
    ...[0xff, 0xcb], // DEC EBX
  ];
  return Uint8Array.from([...body, 0x75, -(body.length + 2) & 0xff, 0xf4]);
}

async function flagsOf(code: Uint8Array, translates: boolean): Promise<bigint[]> {
  const engine = await Engine.create({
    memoryBytes: 4 << 20,
    ...(translates ? { translate: { threshold: 1, batch: 1 } } : {}),
  });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  engine.memory.write(CODE, code);
  engine.rip = BigInt(CODE);
  engine.setRegister(3, BigInt(ROUNDS));
  engine.setRegister(4, 0x3_0000n);
  engine.setRegister(7, BigInt(RESULTS));
  engine.setRegister(8, 2n);
  engine.enter();
  if (translates) expect(engine.translator!.retired).toBeGreaterThan(ROUNDS * 8);
  return Array.from({ length: ROUNDS }, (_, n) => engine.memory.readU64(RESULTS + 8 * n));
}

it.each(STEPS)('%s leaves the flags that the instruction behind it does not make', async (_, first) => {
  for (const [name, second] of STEPS) {
    for (const counts of [1, 2, 32]) {
      const code = program([...first, ...second], counts),
        interpreted = await flagsOf(code, false);
      expect([name, counts, await flagsOf(code, true)]).toEqual([name, counts, interpreted]);
      expect(new Set(interpreted).size).toBeGreaterThan(1);
    }
  }
});
