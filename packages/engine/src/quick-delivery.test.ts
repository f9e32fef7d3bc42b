/**
 * Interrupts and IRETQ where everything that they need is at hand, beside the same where nothing is: the processor has a short way for the usual case of the first (delivery64.ts,
 * returns.ts), and must come to the same.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  BareGuest,
  CODE,
  GDT,
  HANDLERS,
  IDT,
  INNER_STACK,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  TSS_BASE,
  USER_CODE,
  USER_CODE64,
  USER_DATA,
  USER_STACK,
  le32,
} from '../assembly/system/test/bare-guest.js';

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});

const RESUME_FLAG = 1 << 16;
const loadFrom = (address: number): number[] => [0x48, 0x8b, 0x04, 0x25, ...le32(address)]; // MOV RAX, [address]
const storeTo = (address: number): number[] => [0x48, 0x89, 0x04, 0x25, ...le32(address)];
const invlpg = (address: number): number[] => [0x0f, 0x01, 0x3c, 0x25, ...le32(address)];
const NOP8 = [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
const push = (value: number): number[] => [0x68, ...le32(value)];

/** Tables and the stack of ring 0 are used, and forgotten again if not `warm`. All is in one page of 2 MiB. */
const prepared = (warm: boolean): number[] => [
  ...loadFrom(GDT),
  ...loadFrom(IDT),
  ...loadFrom(TSS_BASE),
  ...loadFrom(INNER_STACK - 64),
  ...storeTo(INNER_STACK - 64),
  ...(warm ? NOP8 : invlpg(GDT)),
];

/** Descriptors of all kinds, by their rights. */
const RIGHTS = [
  0xa09b, 0xa0fb, 0xa09a, 0xa0fa, 0xa01b, 0xa09f, 0xa0ff, 0xc09b, 0xc0fb, 0xe09b, 0xc093, 0xc0f3, 0xc092, 0xc0f2,
  0xc0f1, 0xc013, 0xa0bb,
];
const selector = fc.oneof(
  { arbitrary: fc.constantFrom(KERNEL_CODE, USER_CODE64, KERNEL_DATA, USER_DATA), weight: 6 },
  { arbitrary: fc.constantFrom(0, 1, 2, 3, USER_CODE, USER_CODE64 & ~3, KERNEL_CODE | 3, 0xffc, 0x2b | 4), weight: 1 },
  { arbitrary: fc.record({ rights: fc.constantFrom(...RIGHTS), rpl: fc.nat(3) }), weight: 4 },
);
const selectorOf = (chosen: number | { rights: number; rpl: number }): number =>
  typeof chosen === 'number' ? chosen : g.define(0, 0xffff_ffff, chosen.rights) | chosen.rpl;

/** What can be seen afterwards. */
function seen(stop: unknown): unknown {
  const { engine } = g;
  return {
    stop,
    registers: Array.from({ length: 16 }, (_, n) => engine.getRegister(n)),
    flags: engine.rflags,
    retired: engine.retired,
    segments: Array.from({ length: 8 }, (_, n) => engine.getSegment(n)),
    stacks: [STACK, USER_STACK, INNER_STACK].map((top) =>
      Buffer.from(engine.memory.read(top - 128, 192)).toString('hex'),
    ),
    tables: Buffer.from(engine.memory.read(GDT, 0x200)).toString('hex'),
  };
}
/** The same guest cold and warm. */
function bothWays(run: (warm: boolean) => unknown): void {
  const [cold, warm] = [false, true].map((how) => {
    g.longMode();
    const before = g.engine.retired,
      state = seen(run(how)) as { retired: number };
    return { ...state, retired: state.retired - before };
  });
  expect(warm).toEqual(cold);
}

describe('with and without translations at hand', () => {
  it('IRETQ comes to the same, with frames and descriptors of every kind', () => {
    const flags = fc.constantFrom(2, 0x202, 0x246, 0x10002, 0x3202, 0x4002, 0xad7);
    const ip = fc.constantFrom<number>(CODE + 0x1000, HANDLERS + 0x400, 0x7fff_ffff);
    fc.assert(
      fc.property(selector, selector, flags, ip, fc.boolean(), (code, stack, image, rip, far) => {
        bothWays((warm) => {
          g.code([0x90, 0xf4], CODE + 0x1000);
          const frame = [selectorOf(stack), USER_STACK, image, selectorOf(code), rip];
          // the address of the return may be made one that is not canonical: BTS QWORD PTR [RSP], 62
          const spoilt = far ? [0x48, 0x0f, 0xba, 0x2c, 0x24, 62] : [];
          return g.run([...frame.flatMap(push), ...spoilt, ...prepared(warm), 0x48, 0xcf]);
        });
      }),
      { numRuns: 400 },
    );
  });

  it('INT comes to the same, from both rings and through gates of every kind', () => {
    const gate = fc.record({
      code: selector,
      type: fc.constantFrom(0xee, 0x8e, 0xef, 0x8f, 0x6e, 0xe5),
      stack: fc.constantFrom(0, 0, 1),
    });
    fc.assert(
      fc.property(gate, fc.boolean(), fc.nat(15), ({ code, type, stack }, user, odd) => {
        bothWays((warm) => {
          g.write64(TSS_BASE + 36, BigInt(INNER_STACK - odd));
          g.gate(0x40, selectorOf(code), HANDLERS + 0x400, type, stack);
          const interrupt = [0xcd, 0x40];
          if (!user) return g.run([...prepared(warm), 0x48, 0x83, 0xec, odd, ...interrupt]);
          g.code(interrupt, CODE + 0x1000);
          const frame = [USER_DATA, USER_STACK, 0x202, USER_CODE64, CODE + 0x1000];
          return g.run([...frame.flatMap(push), ...prepared(warm), 0x48, 0xcf]);
        });
      }),
      { numRuns: 400 },
    );
  });
});

describe('RF that IRETQ has set, without breakpoints', () => {
  /** IRETQ to the code at CODE + 0x1000 in ring 0, with this image of the flags. */
  const returnTo = (code: number[], flags: number): number[] => {
    g.code(code, CODE + 0x1000);
    return [...[KERNEL_DATA, STACK, flags, KERNEL_CODE, CODE + 0x1000].flatMap(push), 0x48, 0xcf];
  };
  const PUSHES = 6; // instructions up to the IRETQ, with it

  it.each([2, 3, 50])(
    'is there at a deadline before the instruction, and gone behind it, also of %i instructions',
    (length) => {
      for (const done of [0, 1, 2]) {
        g.longMode();
        const { engine } = g;
        g.code(returnTo([...Array<number>(length).fill(0x90), 0xf4], 2 | RESUME_FLAG));
        engine.rip = BigInt(CODE);
        engine.setDeadline(engine.retired + PUSHES + done);
        engine.enter();
        expect(Number(engine.rip)).toBe(CODE + 0x1000 + done);
        expect(engine.rflags & RESUME_FLAG).toBe(done === 0 ? RESUME_FLAG : 0);
      }
    },
  );

  it('is in the image that a fault of the instruction saves, and not in one that a trap saves', () => {
    g.longMode();
    expect(g.run(returnTo([0x0f, 0x0b], 2 | RESUME_FLAG)).stack[2]! & RESUME_FLAG).toBe(RESUME_FLAG); // UD2
    g.longMode();
    expect(g.run(returnTo([0x90, 0x0f, 0x0b], 2)).stack[2]! & RESUME_FLAG).toBe(RESUME_FLAG); // as every fault's
    g.longMode();
    expect(g.run(returnTo([0xcd, 0x40], 2 | RESUME_FLAG)).stack[2]! & RESUME_FLAG).toBe(0);
  });
});
