/** A guest that is watched does what it does unwatched: same registers, same memory, whatever is trapped. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GPR_NAMES } from '@visorkit/core';
import { CODE, DATA, OTHER, asm, le32, machineOf } from './machine.js';
import type { Parts } from './machine.js';

/** Where pages meet: accesses there have two parts. */
const EDGE = OTHER - 4;

/** Instructions that need nothing of each other; ESI and EDI point into data, RBX is 0 to 3. */
const INSTRUCTIONS: readonly (readonly number[])[] = [
  [0x01, 0xd8], // ADD EAX, EBX
  [0x48, 0x0f, 0xaf, 0xc2], // IMUL RAX, RDX
  [0x8b, 0x04, 0x25, ...le32(DATA)], // MOV EAX, [DATA]
  [0x89, 0x04, 0x25, ...le32(DATA + 8)], // MOV [DATA + 8], EAX
  [0x48, 0x01, 0x04, 0x25, ...le32(EDGE)], // ADD [EDGE], RAX
  [0xf0, 0x48, 0x0f, 0xc1, 0x14, 0x25, ...le32(EDGE + 1)], // LOCK XADD [EDGE + 1], RDX
  [0xf0, 0x0f, 0xb1, 0x14, 0x25, ...le32(DATA)], // LOCK CMPXCHG [DATA], EDX
  [0x48, 0x0f, 0xc7, 0x0c, 0x25, ...le32(DATA + 16)], // CMPXCHG16B [DATA + 16]
  [0xff, 0x0c, 0x9d, ...le32(DATA)], // DEC [DATA + 4 * RBX]
  [0x0f, 0xba, 0x2c, 0x25, ...le32(DATA), 5], // BTS [DATA], 5
  [0x50], // PUSH RAX
  [0xff, 0x34, 0x25, ...le32(DATA)], // PUSH [DATA]
  [0x48, 0x87, 0x04, 0x24], // XCHG [RSP], RAX
  [0x9c, 0x58], // PUSHF; POP RAX
  [0xa4], // MOVSB
  [0xb9, 5, 0, 0, 0, 0xf3, 0xaa], // MOV ECX, 5; REP STOSB
  [0xb9, 3, 0, 0, 0, 0xf3, 0x48, 0xa5], // MOV ECX, 3; REP MOVSQ
  [0xb9, 4, 0, 0, 0, 0xf3, 0xa6], // MOV ECX, 4; REPE CMPSB
  [0x66, 0x0f, 0x6f, 0x04, 0x25, ...le32(DATA)], // MOVDQA XMM0, [DATA]
  [0xf3, 0x0f, 0x7f, 0x04, 0x25, ...le32(EDGE)], // MOVDQU [EDGE], XMM0
  [0xe8, 1, 0, 0, 0, 0x90, 0x48, 0x83, 0xc4, 8], // CALL over a NOP; ADD RSP, 8
  [0x75, 2, 0xff, 0xc0], // JNZ over INC EAX
  [0x8b, 0x05, 0xf4, 0xff, 0xff, 0xff], // MOV EAX, [RIP - 12]
  [0x31, 0xc0, 0x0f, 0xa2, 0x83, 0xe3, 3], // XOR EAX, EAX; CPUID; AND EBX, 3
  [0x0f, 0x0b], // UD2
  [0xcc], // INT3
];
/** Their handlers: that of #UD goes on behind UD2. */
const UD = 0xc000,
  BP = 0xc100;
const SETUP = [
  [0xbe, ...le32(DATA + 0x20)], // MOV ESI, DATA + 20H
  [0xbf, ...le32(OTHER + 0x40)], // MOV EDI, OTHER + 40H
  [0xbb, 2, 0, 0, 0], // MOV EBX, 2
  [0x0f, 0x20, 0xe0, 0x66, 0x0d, 0, 2, 0x0f, 0x22, 0xe0], // CR4.OSFXSR
].flat();

const WATCHES: Readonly<Record<string, (parts: Parts, places: readonly number[]) => void>> = {
  'every access to every page': ({ events }) => {
    events.memory({ everywhere: true, access: 'rwx' }, () => {});
  },
  'writes to data': ({ events }) => {
    events.memory({ range: [DATA, OTHER + 0xfff], access: 'w' }, () => {});
  },
  'a breakpoint at each instruction': ({ events }, places) => {
    for (const place of places) events.breakpointAt({ gpa: place }, () => {});
  },
  'breakpoints, and accesses to all of their page and of data': ({ events }, places) => {
    for (const place of places) events.breakpointAt({ gpa: place }, () => {});
    events.memory({ gpa: CODE, access: 'rwx' }, () => {});
    events.memory({ range: [DATA, OTHER + 0xfff], access: 'rw' }, () => {});
  },
  'single steps': ({ events }) => {
    events.singleStep({}, () => {});
  },
  exceptions: ({ events }) => {
    events.breakpoint({}, () => {});
    events.interrupt({ exceptions: [3, 6, 14] }, () => {});
  },
};

async function run(program: readonly (readonly number[])[], watch?: (typeof WATCHES)[string]) {
  const places: number[] = [CODE];
  for (const instruction of program) places.push(places.at(-1)! + instruction.length);
  const from = CODE + SETUP.length;
  await using machine = await machineOf({
    code: [SETUP, ...program, asm.hlt],
    data: {
      [DATA]: Array.from({ length: 0x80 }, (_unused, n) => (n * 37) & 0xff),
      [OTHER]: Array.from({ length: 0x80 }, (_unused, n) => (n * 91) & 0xff),
      [UD]: [0x48, 0x83, 0x04, 0x24, 2, ...asm.iretq],
      [BP]: [0xff, 0xc2, ...asm.iretq], // INC EDX
    },
    handlers: { 3: BP, 6: UD },
    subscribe: (parts) =>
      watch?.(
        parts,
        places.map((place) => place - CODE + from),
      ),
  });
  const { reason, why } = await machine.run(20_000);
  const [vcpu] = machine.vmm.vcpus;
  return {
    end: [reason, why],
    registers: GPR_NAMES.map((name) => `${name} ${vcpu[name].toString(16)}`),
    rest: [vcpu.rip, vcpu.rflags & 0xffffn, vcpu.getControlRegister(2)],
    memory: Buffer.from(machine.parts.memory.read(0, 0x1_0000)).toString('base64'),
  };
}

describe('a guest is not changed by being watched', () => {
  it.each(Object.entries(WATCHES))(
    'in %s',
    async (_what, watch) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.constantFrom(...INSTRUCTIONS), { minLength: 1, maxLength: 25 }),
          async (program) => {
            expect(await run(program, watch)).toEqual(await run(program));
          },
        ),
        { numRuns: 20 },
      );
    },
    120_000,
  );
});
