/** Vector and floating-point instructions of random programs (random-program.ts). */
import type { Random } from './random.js';

/** RBX, which memory operands count from. */
const BASE = 3;

/** What instructions are put together with. */
export interface ProgramParts {
  readonly random: Random;
  readonly long: boolean;
  pick<T>(list: readonly T[]): T;
  byte(...bytes: number[]): void;
  dword(value: number): void;
  /** A general register that a program may write; `plainRegister`: one of the first eight. */
  register(): number;
  plainRegister(): number;
  /** Prefixes, opcode and ModRM of a legacy instruction. */
  operands(size: number, opcode: readonly number[], reg: number, options?: { memory?: boolean; rm?: number }): void;
}

/** Each writes an instruction, or some that belong together. */
export function vectorKindsFor({
  random,
  long,
  pick,
  byte,
  dword,
  register,
  plainRegister,
  operands,
}: ProgramParts): (() => void)[] {
  /** A VEX instruction: `map` 1 to 3, `pp` 0 to 3 for no prefix, 66, F3, F2. Memory operands are of the data page. */
  function vex(
    map: number,
    pp: number,
    opcode: number,
    options: { reg?: number; source?: number; memory?: boolean; l?: number; w?: number; immediate?: number } = {},
  ): void {
    const { reg = random(8), source = random(8), memory = random(3) === 0, l = random(2), w = 0 } = options;
    byte(0xc4, 0xe0 | map, (w << 7) | ((~source & 15) << 3) | (l << 2) | pp, opcode);
    if (memory) {
      byte(0x80 | (reg << 3) | BASE);
      dword(random(0x600));
    } else byte(0xc0 | (reg << 3) | random(8));
    if (options.immediate !== undefined) byte(options.immediate);
  }
  const NONE = 0; // VEX.vvvv is written inverted: 1111b names no register
  const vexKinds: (() => void)[] = [
    // packed integers, their shifts by a register among them
    () => {
      const low = pick([
        0x60, 0x64, 0x68, 0x74, 0xd0, 0xd4, 0xd8, 0xdc, 0xe0, 0xe4, 0xe8, 0xec, 0xf0, 0xf4, 0xf8, 0xfc,
      ]);
      const opcode = low + random(4);
      if (![0x6e, 0x6f, 0x77, 0xd0, 0xd6, 0xd7, 0xe6, 0xe7, 0xf0, 0xf7, 0xff].includes(opcode)) vex(1, 1, opcode);
    },
    () =>
      vex(2, 1, pick([0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x28, 0x29, 0x2b, 0x37])),
    () => vex(2, 1, 0x38 + random(9)),
    () => vex(2, 1, pick([0x1c, 0x1d, 0x1e]), { source: NONE }),
    () => vex(2, 1, pick([0x20, 0x30]) + random(6), { source: NONE }),
    () => vex(2, 1, pick([0x78, 0x79, 0x58, 0x59]), { source: NONE }),
    () => vex(2, 1, 0x5a, { source: NONE, memory: true, l: 1 }),
    () => vex(3, 1, pick([0x02, 0x0c, 0x0d, 0x0e, 0x0f]), { immediate: random(40) }),
    () => vex(3, 1, pick([0x06, 0x46, 0x18, 0x38]), { immediate: random(256), l: 1 }),
    () => vex(3, 1, pick([0x19, 0x39]), { immediate: random(256), source: NONE, l: 1 }),
    () => vex(3, 1, 0x00, { immediate: random(256), source: NONE, l: 1, w: 1 }),
    () => vex(1, 1 + random(3), 0x70, { immediate: random(256), source: NONE }),
    () => vex(1, random(2), 0xc6, { immediate: random(256) }),
    () =>
      vex(1, 1, pick([0x71, 0x72]), {
        reg: pick([2, 4, 6]),
        memory: false,
        immediate: random(2) === 0 ? random(40) : random(256),
      }),
    () => vex(1, 1, 0x73, { reg: pick([2, 3, 6, 7]), memory: false, immediate: random(80) }),
    // moves
    () => vex(1, pick([1, 2]), pick([0x6f, 0x7f]), { source: NONE, ...(random(2) === 0 ? { memory: false } : {}) }),
    () => vex(1, pick([0, 1]), pick([0x10, 0x11]), { source: NONE }),
    () => vex(1, 3, pick([0x10, 0x11]), { source: NONE, memory: true }),
    () => vex(1, 3, pick([0x10, 0x11]), { memory: false }),
    () => vex(1, 0, pick([0x12, 0x16]), { l: 0 }),
    () => vex(1, 1, pick([0x12, 0x16]), { l: 0, memory: true }),
    () => vex(1, 1, pick([0x6e]), { source: NONE, l: 0 }),
    () => vex(1, 3, 0x12, { source: NONE }),
    () => vex(1, pick([0, 1]), 0x50, { source: NONE, memory: false, reg: plainRegister() }),
    () => vex(1, 1, 0xd7, { source: NONE, memory: false, reg: plainRegister() }),
    () => byte(0xc5, pick([0xf8, 0xfc]), 0x77), // VZEROUPPER, VZEROALL
    // what its unit does: permutations and shifts by vectors, blends by a register, insertions
    () => vex(2, 1, pick([0x0c, 0x0d, 0x45, 0x46, 0x47])),
    () => vex(2, 1, pick([0x16, 0x36]), { l: 1 }),
    () => vex(3, 1, pick([0x04, 0x05]), { immediate: random(256), source: NONE }),
    () => vex(3, 1, pick([0x4a, 0x4b, 0x4c]), { immediate: random(8) << 4 }),
    () => vex(3, 1, 0x42, { immediate: random(64) }),
    () => vex(3, 1, pick([0x20, 0x21, 0x22]), { immediate: random(256), l: 0 }),
    () => vex(1, 2, pick([0x12, 0x16]), { source: NONE }),
    // fused multiplication and addition
    () => vex(2, 1, 0x96 + 16 * random(3) + random(10), { w: random(2) }),
    // scalar doubles
    () => vex(1, 3, pick([0x58, 0x59, 0x5c, 0x5e, 0x51])),
    () => vex(1, 1, pick([0x2e, 0x2f]), { source: NONE }),
    () => vex(1, 3, 0x2a, { w: long ? random(2) : 0 }),
    // packed numbers and scalar singles; conversions that give numbers that are neither tiny nor huge
    () => vex(1, random(4), pick([0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f])),
    () => vex(1, random(4), 0xc2, { immediate: random(32) }),
    () => vex(1, pick([0, 1]), 0x51, { source: NONE }),
    () => vex(1, random(3), 0x5b, { source: NONE }),
    () => vex(1, pick([2, 3]), 0x5a),
    () => vex(1, random(2), 0x5a, { source: NONE }),
    () => vex(1, pick([1, 3]), pick([0x7c, 0x7d, 0xd0])),
    () => vex(3, 1, 0x08 + random(2), { source: NONE, immediate: random(16) }),
    () => vex(3, 1, 0x0a + random(2), { immediate: random(16) }),
    () => vex(1, pick([1, 3]), 0xe6, { source: NONE }),
    () => vex(1, 2, 0xe6, { source: NONE, l: 0 }),
    () => vex(1, 2, 0x2a),
    () => vex(1, 2, 0x2c, { source: NONE, reg: plainRegister() }),
    () => vex(1, 0, pick([0x2e, 0x2f]), { source: NONE }),
  ];
  return [
    () => pick(vexKinds)(),
    () => pick(vexKinds)(),
    () => pick(vexKinds)(),
    () =>
      operands(
        32,
        [0x66, 0x0f, 0x38, pick([0x00, 0x01, 0x04, 0x08, 0x0b, 0x1c, 0x20, 0x25, 0x29, 0x30, 0x35, 0x39, 0x3e, 0x40])],
        random(8),
        { memory: false },
      ),
    () => {
      operands(32, [0x66, 0x0f, 0x3a, pick([0x0c, 0x0d, 0x0e, 0x0f])], random(8), { memory: false });
      byte(random(40));
    },
    // PCMPxSTRx, AES and SHA
    () => {
      operands(32, [0x66, 0x0f, 0x3a, 0x60 + random(4)], random(8), random(2) === 0 ? { memory: false } : {});
      byte(random(0x80));
    },
    () => {
      operands(32, [0x66, 0x0f, 0x3a, pick([0x14, 0x16, 0x20, 0x21, 0x22])], random(8));
      byte(random(256));
    },
    () => operands(32, [0x66, 0x0f, 0x38, pick([0x10, 0x14, 0x15, 0x41])], random(8), { memory: false }),
    () => operands(32, [0x66, 0x0f, 0x38, pick([0xdb, 0xdc, 0xdd, 0xde, 0xdf])], random(8), { memory: false }),
    () => operands(32, [0x0f, 0x38, pick([0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd])], random(8), { memory: false }),
    () => {
      operands(32, [...pick([[0xf3], [0xf2]]), 0x0f, 0x70], random(8), { memory: false });
      byte(random(256));
    },
    () =>
      operands(
        32,
        [
          0x66,
          0x0f,
          pick([
            0xfc, 0xfd, 0xfe, 0xd4, 0xf8, 0xf9, 0xfa, 0xfb, 0xdb, 0xdf, 0xeb, 0xef, 0x74, 0x75, 0x76, 0x64, 0x65, 0x66,
          ]),
        ],
        random(8),
        { memory: false },
      ),
    () =>
      operands(
        32,
        [
          0x66,
          0x0f,
          pick([0xd5, 0xf5, 0xf4, 0xf6, 0x60, 0x61, 0x62, 0x6c, 0x68, 0x69, 0x6a, 0x6d, 0xda, 0xde, 0xe0, 0xdc, 0xd8]),
        ],
        random(8),
        { memory: false },
      ),
    () => operands(32, [...pick([[0xf3], [0x66], []]), 0x0f, pick([0x6f, 0x7f])], random(8), { memory: false }),
    () => operands(32, [0xf3, 0x0f, pick([0x6f, 0x7f])], random(8)),
    () => operands(32, [0x0f, pick([0x10, 0x11])], random(8)),
    () => operands(pick(long ? [32, 64] : [32]), [0x66, 0x0f, pick([0x6e, 0x7e])], random(8)),
    () => {
      operands(32, [0x66, 0x0f, 0x70], random(8), { memory: false });
      byte(random(256));
    },
    () => {
      operands(32, [0x66, 0x0f, pick([0x71, 0x72, 0x73])], pick([2, 6]), { memory: false, rm: random(8) });
      byte(random(80));
    },
    () => operands(32, [0xf2, 0x0f, pick([0x58, 0x59, 0x5c, 0x5e, 0x51, 0x10])], random(8)),
    () => operands(32, [0xf2, 0x0f, 0x11], random(8)),
    () => operands(pick(long ? [32, 64] : [32]), [0xf2, 0x0f, 0x2a], random(8)),
    () => operands(32, [0xf2, 0x0f, 0x2c], register()),
    () => operands(32, [0x66, 0x0f, pick([0x2e, 0x2f, 0x14, 0x28])], random(8), { memory: false }),
    // packed numbers and scalar singles
    () => {
      const prefix = pick([[], [0x66], [0xf2], [0xf3]]);
      operands(32, [...prefix, 0x0f, pick([0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f])], random(8), { memory: false });
    },
    () => operands(32, [0xf3, 0x0f, pick([0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f, 0x5a])], random(8)),
    () => {
      operands(32, [...pick([[], [0x66], [0xf2], [0xf3]]), 0x0f, 0xc2], random(8), { memory: false });
      byte(random(8));
    },
    () => operands(32, [...pick([[], [0x66], [0xf3]]), 0x0f, 0x5b], random(8), { memory: false }),
    () => operands(32, [...pick([[0xf2], [0xf3]]), 0x0f, 0x5a], random(8), { memory: false }),
    () => operands(32, [0xf3, 0x0f, pick([0xe6, 0x2a])], random(8)),
    () => operands(32, [...pick([[], [0x66]]), 0x0f, 0x5a], random(8), { memory: false }),
    () => operands(32, [...pick([[0x66], [0xf2]]), 0x0f, pick([0x7c, 0x7d, 0xd0, 0xe6])], random(8), { memory: false }),
    () => {
      operands(32, [0x66, 0x0f, 0x3a, 0x08 + random(4)], random(8), { memory: false });
      byte(random(16));
    },
    () => operands(32, [0xf3, 0x0f, 0x2c], register()),
    () => operands(32, [0x0f, pick([0x2e, 0x2f])], random(8)),
    () => operands(32, [0x66, 0x0f, 0xd7], register(), { memory: false }),
    () => operands(32, [0x66, 0x0f, 0x38, 0x17], random(8), { memory: false }), // PTEST
    // x87: loads, stores, arithmetic, comparisons into AX and into the flags, conditional moves
    () => operands(32, [pick([0xd9, 0xdd, 0xdb])], pick([0, 2, 3]), { memory: true }),
    () => byte(pick([0xd8, 0xdc]), 0xc0 | random(0x40)),
    () =>
      byte(
        ...pick([
          [0xdf, 0xe0],
          [0xdb, 0xe9],
          [0xdf, 0xf1],
          [0xda, 0xc1],
          [0xdb, 0xd2],
          [0xd9, 0xe8],
          [0xd9, 0xc9],
          [0xdb, 0xe3],
        ]),
      ),
  ];
}
