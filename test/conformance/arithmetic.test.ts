/** Random straight-line code with defined flags gives the same registers and flags on every backend. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BACKENDS } from './backends.js';
import { code } from './code.js';
import { runOn } from './machine.js';
import type { Outcome } from './machine.js';

/** RSP and RBP stay out of it. */
const REGISTERS = [0, 1, 2, 3, 6, 7];
const register = fc.constantFrom(...REGISTERS);
const modrm = (reg: number, rm: number): number => 0xc0 | (reg << 3) | rm;
const wide = fc.constantFrom<number[]>([], [0x48]);

/** Instructions whose result and flags the architecture defines whole. */
const instruction = fc.oneof(
  // ADD OR ADC SBB AND SUB XOR CMP r, r
  fc
    .tuple(wide, fc.integer({ min: 0, max: 7 }), register, register)
    .map(([rex, operation, a, b]) => [...rex, 0x01 + operation * 8, modrm(a, b)]),
  // the same with a sign-extended byte
  fc
    .tuple(wide, fc.integer({ min: 0, max: 7 }), register, fc.integer({ min: 0, max: 255 }))
    .map(([rex, operation, a, value]) => [...rex, 0x83, modrm(operation, a), value]),
  // INC, DEC, NOT, NEG
  fc
    .tuple(wide, fc.constantFrom([0xff, 0], [0xff, 1], [0xf7, 2], [0xf7, 3]), register)
    .map(([rex, [opcode, extension], a]) => [...rex, opcode, modrm(extension, a)]),
  // ROL, ROR, RCL, RCR, SHL, SHR, SAR by 1
  fc
    .tuple(wide, fc.constantFrom(0, 1, 2, 3, 4, 5, 7), register)
    .map(([rex, extension, a]) => [...rex, 0xd1, modrm(extension, a)]),
  // MOV, XCHG, TEST, LEA with a displacement, MOVSXD, BSWAP, CMOVcc, SETcc on AL to BL
  fc
    .tuple(wide, fc.constantFrom(0x89, 0x87, 0x85), register, register)
    .map(([rex, opcode, a, b]) => [...rex, opcode, modrm(a, b)]),
  fc
    .tuple(wide, register, register, fc.integer({ min: 0, max: 255 }))
    .map(([rex, a, b, value]) => [...rex, 0x8d, 0x40 | (a << 3) | b, value]),
  fc.tuple(register, register).map(([a, b]) => [0x48, 0x63, modrm(a, b)]),
  register.map((a) => [0x48, 0x0f, 0xc8 + a]),
  fc
    .tuple(wide, fc.integer({ min: 0, max: 15 }), register, register)
    .map(([rex, condition, a, b]) => [...rex, 0x0f, 0x40 + condition, modrm(a, b)]),
  fc
    .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 3 }))
    .map(([condition, a]) => [0x0f, 0x90 + condition, modrm(0, a)]),
  // CLC, STC, CMC
  fc.constantFrom([0xf8], [0xf9], [0xf5]),
);

/** AF is undefined after shifts and logic. */
const AF = 0x10;
const withoutAdjust = (outcome: Outcome): Outcome => ({
  ...outcome,
  flags: outcome.flags & ~BigInt(AF),
  memory: { ...outcome.memory, flags: outcome.memory.flags.map((byte, index) => (index === 0 ? byte & ~AF : byte)) },
});

it.skipIf(BACKENDS.length < 2)('integer code', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(instruction, { minLength: 1, maxLength: 200 }),
      fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 6, maxLength: 6 }),
      async (instructions, values) => {
        const [rax, rcx, rdx, rbx, rsi, rdi] = values;
        // PUSHFQ, so that the flags of the computation can be seen
        const guest = {
          mode: 'long64' as const,
          code: code()
            .raw(...instructions.flat())
            .raw(0x9c)
            .end(),
          state: { registers: { rax, rcx, rdx, rbx, rsi, rdi } },
          shows: { flags: [0x7ff8, 2] as const },
        };
        const [first, ...others] = await Promise.all(BACKENDS.map((backend) => runOn(backend, guest)));
        expect(first.reason).toBe('halted');
        for (const other of others) expect(withoutAdjust(other)).toEqual(withoutAdjust(first));
      },
    ),
    { numRuns: 40 },
  );
});
