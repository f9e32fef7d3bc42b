/** Random bytes executed as code, in every mode: the guest may do what it likes, the host neither throws nor hangs. */
import { GPR_NAMES } from '@visorkit/core';
import type { GprName, InitialState, Plugin } from '@visorkit/core';
import { FLAT_GDT_SIZE, flatSegments, realModeSegments, writeFlatGdt, writeIdentityMap } from '@visorkit/machine';
import type { BootContext } from '@visorkit/machine';
import { describe, expect, it } from 'vitest';
import { survive } from './machine.js';
import { Random } from './random.js';

type Mode = InitialState['mode'];
/** What answers exceptions: nobody (the guest triple-faults soon), random places in the code, or one that goes on behind. */
type Handlers = 'none' | 'random' | 'orderly';

const IDT = 0x3000;
const GDT = 0x2000;
const PAGE_TABLES = 0x10000;
const CODE = 0x20000;
const CODE_BYTES = 0x8000;
const HANDLER = 0x5000;
const RUNS = 25;
const INSTRUCTIONS = 3000;

/** Prefixes and opcode maps that random bytes seldom hit, put in often. */
const STARTS: readonly (readonly number[])[] = [
  [0x0f],
  [0x0f, 0x01],
  [0x0f, 0x38],
  [0x0f, 0x3a],
  [0x0f, 0xae],
  [0x0f, 0xc7],
  [0x66, 0x0f],
  [0xf3, 0x0f],
  [0xf2, 0x0f],
  [0xc4, 0xe2],
  [0xc4, 0xe3, 0x7d],
  [0xc5, 0xfc],
  [0xf3, 0xa4],
  [0xf3, 0x6d],
  [0xf0],
  [0x67],
  [0x66],
  [0x64],
  [0x48],
  [0xd8],
  [0xd9],
  [0xdb],
  [0xdd],
  [0xdf],
  [0x0f, 0x22, 0xc0],
  [0x0f, 0x22, 0xe0],
  [0x0f, 0x30],
  [0xc8],
  [0xcd],
  [0xcf],
  [0x9d],
  [0x8e],
];

function codeOf(random: Random): Uint8Array {
  const code = random.bytes(CODE_BYTES);
  for (let at = 0; at < CODE_BYTES - 16; at += 1 + random.below(12))
    if (random.oneIn(2)) code.set(random.pick(STARTS), at);
  return code;
}

function registersOf(random: Random): Partial<Record<GprName, bigint>> {
  const registers = Object.fromEntries(GPR_NAMES.map((name) => [name, random.hostile()])) as Record<GprName, bigint>;
  registers.rcx = BigInt(random.below(0x4000));
  return registers;
}

/** Cuts short what is the guest's right but takes its time: INS and OUTS repeated some thousand million times. */
const shortStrings: Plugin = {
  name: 'short-strings',
  apply: ({ hooks }) =>
    void hooks.exit.for('io').tap('short-strings', ({ io }, vcpu) => {
      if (io.string && io.rep) vcpu.rcx &= 0xfffn;
    }),
};

function handlerAt(handlers: Handlers, random: Random): number {
  return handlers === 'orderly' ? HANDLER : CODE + random.below(CODE_BYTES);
}

/** The handler of `orderly`: takes the stack back and goes on somewhere else in the code. */
function orderlyHandler(mode: Mode): number[] {
  const next = [0x0f, 0x31, 0x25, 0xff, 0x7f, 0, 0, 0x05, 0, 0, CODE >>> 16, 0]; // rdtsc; and eax, 0x7fff; add eax, CODE
  if (mode === 'long64') return [0xbc, 0, 0x80, 0, 0, ...next, 0xb9, 0, 1, 0, 0, 0xff, 0xe0]; // mov esp, 0x8000; …; mov ecx, 256; jmp rax
  if (mode === 'protected32') return [0xbc, 0, 0x80, 0, 0, ...next, 0xb9, 0, 1, 0, 0, 0xff, 0xe0];
  // mov sp, 0x8000; rdtsc; and ax, 0x7fff; mov cx, 256; push CODE >> 4; push ax; retf
  return [0xbc, 0, 0x80, 0x0f, 0x31, 0x25, 0xff, 0x7f, 0xb9, 0, 1, 0x68, 0, CODE >>> 12, 0x50, 0xcb];
}

function start(mode: Mode, handlers: Handlers, random: Random, context: BootContext): InitialState {
  const { memory } = context;
  memory.write(CODE, codeOf(random));
  memory.write(HANDLER, Uint8Array.from(orderlyHandler(mode)));
  const registers = registersOf(random);
  const rflags = handlers === 'none' ? 2n : (random.hostile() & 0x3fd5n) | 2n;
  if (mode === 'real16') {
    for (let vector = 0; vector < 256 && handlers !== 'none'; vector++) {
      const at = handlerAt(handlers, random);
      memory.writeU32(vector * 4, at < 0x10000 ? at : ((CODE >>> 4) << 16) | (at - CODE));
    }
    return {
      mode,
      rip: BigInt(random.below(0x4000)),
      rsp: 0x8000n,
      rflags: rflags & ~0x20100n,
      registers,
      segments: realModeSegments(CODE, 0),
      cr0: 0x10n,
      idtr: { base: 0n, limit: 0x3ff },
    };
  }
  const bits = mode === 'long64' ? 64 : 32;
  writeFlatGdt(memory, GDT, bits);
  const size = bits / 4;
  for (let vector = 0; vector < 256 && handlers !== 'none'; vector++) {
    const at = handlerAt(handlers, random);
    memory.writeU32(IDT + vector * size, (0x10 << 16) | (at & 0xffff));
    memory.writeU32(IDT + vector * size + 4, (at & 0xffff0000) | 0x8e00 | (random.below(4) << 13));
  }
  writeIdentityMap(memory, PAGE_TABLES);
  const cr4 = random.pick([0x20n, 0x620n, 0x40620n, 0x37620n, 0x20n]);
  return {
    mode,
    rip: BigInt(CODE + random.below(0x4000)),
    rsp: 0x8000n,
    rflags,
    registers,
    segments: flatSegments(bits),
    gdtr: { base: BigInt(GDT), limit: FLAT_GDT_SIZE - 1 },
    idtr: { base: BigInt(IDT), limit: handlers === 'none' ? 0 : 256 * size - 1 },
    ...(mode === 'long64' ? { cr0: 0x80000031n, cr3: BigInt(PAGE_TABLES), cr4, efer: 0x500n } : { cr0: 0x31n, cr4 }),
  };
}

describe('random code', () => {
  const modes: readonly Mode[] = ['real16', 'protected32', 'long64'];
  for (const mode of modes) {
    for (const handlers of ['none', 'random', 'orderly'] as const) {
      it(`in ${mode}, exceptions handled by ${handlers === 'none' ? 'nobody' : `${handlers} code`}`, async () => {
        const [first, runs] = (process.env.VISORKIT_FUZZ ?? `1,${RUNS}`).split(',').map(Number);
        let retired = 0;
        for (let seed = first; seed < first + runs; seed++) {
          const random = new Random(seed);
          const report = await survive(
            `seed ${seed}`,
            (context) => start(mode, handlers, random, context),
            { maxInstructions: INSTRUCTIONS },
            { plugins: [shortStrings] },
          );
          expect(report.guestInstructions, `seed ${seed}`).toBeLessThanOrEqual(INSTRUCTIONS);
          retired += report.guestInstructions;
        }
        // The code does run: not every guest dies at once
        if (handlers === 'orderly') expect(retired / runs).toBeGreaterThan(INSTRUCTIONS / 10);
      }, 600_000);
    }
  }

  it('on several processors, which start each other anywhere', async () => {
    const [first, runs] = (process.env.VISORKIT_FUZZ ?? `1,${RUNS}`).split(',').map(Number);
    let retired = 0;
    for (let seed = first; seed < first + runs; seed++) {
      const random = new Random(seed);
      const report = await survive(
        `seed ${seed}`,
        (context) => {
          const state = start('protected32', random.pick(['random', 'orderly']), random, context);
          // INIT, then SIPI with a vector that lies in the random code, to all others; then what the others do too
          const send = (command: number): number[] => [
            0xc7,
            0x05,
            0,
            0x03,
            0xe0,
            0xfe,
            ...[command, command >>> 8, command >>> 16, 0].map((byte) => byte & 0xff),
          ];
          context.memory.write(
            CODE,
            Uint8Array.from([
              ...send(0xc4500),
              ...send(0xc4600 | (0x20 + random.below(8))),
              ...send(random.u32() & 0xcffff),
            ]),
          );
          return { ...state, rip: BigInt(CODE), segments: flatSegments(32) };
        },
        { maxInstructions: INSTRUCTIONS },
        { plugins: [shortStrings], cpus: 2 + random.below(3) },
      );
      expect(report.guestInstructions, `seed ${seed}`).toBeLessThanOrEqual(INSTRUCTIONS);
      retired += report.guestInstructions;
    }
    expect(retired / runs).toBeGreaterThan(INSTRUCTIONS / 20);
  }, 600_000);
});
