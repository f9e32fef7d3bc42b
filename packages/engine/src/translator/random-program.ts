/** Random programs of several blocks for tests of the translator: loops, branches, calls, memory operands, code that changes itself. */

import type { Random } from './random.js';
import { vectorKindsFor } from './random-vectors.js';

export interface ProgramOptions {
  bits: 32 | 64;
  /** Where the program is put. */
  code: number;
  /** Vector and floating-point instructions too. */
  vectors?: boolean;
  /** Instructions that fault now and then, system instructions, code that changes itself. */
  rough?: boolean;
  /** Blocks lie in up to {@link MOST_CODE_PAGES} pages, and instructions across their ends. */
  spread?: boolean;
}

/** Pages that a program takes. */
export const MOST_CODE_PAGES = 10;

const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;
/** Register of memory operands' bases, never written by the program; RDX is made a small index before it is used as one. */
const BASE = RBX;
const INDEX = 2;

/** The bytes of a program. It never ends by itself; RBX points to 4 KiB of data and RSP to a stack. */
export function randomProgram(
  random: Random,
  { bits, code, vectors = false, rough = false, spread = false }: ProgramOptions,
): Uint8Array {
  const out: number[] = [],
    long = bits === 64;
  const fixups: { at: number; block: number }[] = [],
    starts: number[] = [],
    constants: number[] = [];
  const blocks = 3 + random(6);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const byte = (...bytes: number[]): void => void out.push(...bytes.map((b) => b & 0xff));
  const dword = (value: number): void => byte(value, value >> 8, value >> 16, value >> 24);
  const anyDword = (): number => pick([0, 1, -1, 0x7fff_ffff, -0x8000_0000, random(0x1_0000_0000) | 0, random(256)]);
  const register = (): number => {
    while (true) {
      const n = random(long ? 16 : 8);
      if (n !== BASE && n !== RSP) return n;
    }
  };

  /** Prefixes, opcode and ModRM of an instruction; `size` in bits, 8 for byte registers. Memory operands are of the data page. */
  function operands(
    size: number,
    opcode: readonly number[],
    reg: number,
    options: { memory?: boolean; rm?: number; immediate?: number } = {},
  ): void {
    const memory = options.memory ?? random(3) === 0,
      indexed = memory && random(3) === 0;
    if (indexed) byte(0x81, 0xe0 | INDEX, ...[0xff & ~7, 1, 0, 0]); // AND EDX, 1F8H
    const rm = memory ? BASE : (options.rm ?? register());
    if (size === 16) byte(0x66);
    const mandatory = opcode[0] === 0xf2 || opcode[0] === 0xf3 || opcode[0] === 0x66 ? [opcode[0]] : [];
    byte(...mandatory);
    const rest = opcode.slice(mandatory.length);
    const rex = (size === 64 ? 8 : 0) | (reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0);
    // without REX, byte registers 4 to 7 are AH to BH: BH is part of the base
    const highBase = size === 8 && (((reg & 7) === 7 && reg < 8) || (!memory && rm === 7));
    if (long && (rex !== 0 || highBase || random(4) === 0)) byte(0x40 | rex);
    byte(...rest);
    if (!memory) {
      const low = !long && size === 8 && (rm & 7) === 7 ? 6 : rm;
      byte(0xc0 | ((fixReg(reg, size) & 7) << 3) | (low & 7));
      return;
    }
    const wide = random(2) === 0,
      displacement = wide ? random(0x600) : random(120);
    byte((wide ? 0x80 : 0x40) | ((fixReg(reg, size) & 7) << 3) | (indexed ? 4 : BASE));
    if (indexed) byte((random(4) << 6) | (INDEX << 3) | BASE);
    if (wide) dword(displacement);
    else byte(displacement);
  }
  /** BH must stay in 32-bit code too. */
  const fixReg = (reg: number, size: number): number => (!long && size === 8 && (reg & 7) === 7 ? 6 : reg);
  const sizes = long ? [8, 16, 32, 32, 64, 64] : [8, 16, 32, 32, 32];
  const wideSizes = long ? [16, 32, 64] : [16, 32];

  /** Registers that stack operations may have: neither the base nor RSP. */
  const plainRegister = (): number => pick([0, 1, 2, 6, 7]);
  /** An access of up to 64 bits at a register and a displacement of 8 bits: a load, a store, or both. */
  function near(base: number, displacement: number): void {
    if (long && random(2) === 0) byte(0x48);
    byte(pick([0x8b, 0x89, 0x03, 0x01, 0x3b, 0x31, 0x85]), 0x40 | (plainRegister() << 3) | base);
    if (base === RSP) byte(0x24);
    byte(displacement);
  }
  /** LEA of a register from itself or another with a displacement. */
  function move(to: number, from: number, by: number): void {
    byte(...(long ? [0x48] : []), 0x8d, 0x80 | (to << 3) | from);
    if (from === RSP) byte(0x24);
    dword(by);
  }
  /** Several accesses at RBP, which may move between them. */
  function nearAccesses(): void {
    for (let n = 2 + random(5); n > 0; n--) {
      near(RBP, random(128) - 64);
      if (random(6) === 0) move(RBP, RBP, random(64) - 32);
    }
  }

  const kinds: (() => void)[] = [
    // accesses near one another, across the end of a page or not
    () => {
      move(RBP, BASE, random(2) === 0 ? 0x1000 - 64 + random(128) : 64 + random(0x600));
      nearAccesses();
    },
    // a frame of the stack, across the end of a page or not
    () => {
      const moved = random(2) === 0 ? 0x7c0 + random(0x60) : 0,
        pushed = random(5),
        size = random(64);
      if (moved !== 0) move(RSP, RSP, -moved);
      for (let n = 0; n < pushed; n++) byte(0x50 | plainRegister());
      if (size !== 0) byte(...(long ? [0x48] : []), 0x83, 0xec, size); // SUB RSP
      for (let n = random(4); n > 0; n--) near(RSP, random(100));
      if (size !== 0) move(RSP, RSP, size);
      for (let n = 0; n < pushed; n++) byte(0x58 | plainRegister());
      if (moved !== 0) move(RSP, RSP, moved);
    },
    () => {
      const size = pick(sizes);
      operands(size, [(random(8) << 3) | (random(2) << 1) | (size === 8 ? 0 : 1)], register());
    },
    () => {
      const size = pick(sizes),
        operation = random(8);
      if (size === 8) {
        operands(8, [0x80], operation);
        byte(random(256));
      } else if (random(2) === 0) {
        operands(size, [0x83], operation);
        byte(random(256));
      } else {
        operands(size, [0x81], operation);
        if (size === 16) byte(random(256), random(256));
        else dword(anyDword());
      }
    },
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0x84 : 0x85], register());
    },
    () => {
      const size = pick(sizes);
      operands(size, [(size === 8 ? 0x88 : 0x89) + random(2) * 2], register());
    },
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0xc6 : 0xc7], 0);
      if (size === 8) byte(random(256));
      else if (size === 16) byte(random(256), random(256));
      else dword(anyDword());
    },
    () => {
      const n = register();
      if (long && n >= 8) byte(0x41);
      byte(0xb8 | (n & 7));
      constants.push(out.length);
      dword(anyDword());
    },
    () => operands(pick(wideSizes), [0x0f, pick([0xb6, 0xbe])], register(), { rm: random(3) }),
    () => operands(pick(wideSizes), [0x0f, pick([0xb7, 0xbf])], register()),
    () => (long ? operands(pick([32, 64]), [0x63], register()) : operands(32, [0x8d], register(), { memory: true })),
    () => operands(pick(wideSizes), [0x8d], register(), { memory: true }),
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0xfe : 0xff], random(2));
    },
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0xf6 : 0xf7], 2 + random(2));
    },
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0xc0 : 0xc1], pick([0, 1, 2, 3, 4, 5, 7]));
      byte(random(3) === 0 ? random(256) : random(size));
    },
    () => {
      const size = pick(sizes);
      operands(size, [(random(2) === 0 ? 0xd0 : 0xd2) + (size === 8 ? 0 : 1)], pick([0, 1, 4, 5, 7, 2]));
    },
    () => {
      operands(pick(sizes.slice(3)), [0x0f, pick([0xa4, 0xac])], register());
      byte(random(64));
    },
    () => operands(pick(wideSizes), [0x0f, 0xaf], register()),
    () => {
      operands(pick(wideSizes.slice(1)), [0x6b], register());
      byte(random(256));
    },
    () => operands(8, [0x0f, 0x90 | random(16)], 0, { rm: random(3) }),
    () => operands(pick(wideSizes), [0x0f, 0x40 | random(16)], register()),
    () => {
      const n = register(),
        m = register();
      if (long && n >= 8) byte(0x41);
      byte(0x50 | (n & 7));
      if (random(2) === 0) operands(32, [0x8b], register());
      if (long && m >= 8) byte(0x41);
      byte(0x58 | (m & 7));
    },
    () =>
      byte(...pick(long ? [[0x98], [0x48, 0x98], [0x99], [0x48, 0x99], [0x66, 0x98], [0x66, 0x99]] : [[0x98], [0x99]])),
    () => {
      const n = register();
      byte(...(long ? [0x48 | (n >= 8 ? 1 : 0)] : []), 0x0f, 0xc8 | (n & 7));
    },
    () => operands(pick(wideSizes), [0x0f, pick([0xa3, 0xab, 0xb3, 0xbb])], register(), { memory: false }),
    () => {
      operands(pick(wideSizes), [0x0f, 0xba], 4 + random(4));
      byte(random(64));
    },
    () => operands(pick(wideSizes), [...pick([[], [0xf3]]), 0x0f, pick([0xbc, 0xbd])], register()),
    () => operands(pick(wideSizes), [0xf3, 0x0f, pick([0xb8, 0xbd])], register()),
    () => operands(pick(wideSizes), [0x0f, 0x38, pick([0xf0, 0xf1])], register(), { memory: true }), // MOVBE
    // BMI1 and BMI2: ANDN; BLSR, BLSMSK, BLSI; BZHI; MULX; BEXTR, SHLX, SARX, SHRX; RORX
    () => {
      const [map, prefix, opcode] = pick([
        [2, 0, 0xf2],
        [2, 0, 0xf3],
        [2, 0, 0xf5],
        [2, 3, 0xf6],
        [2, random(4), 0xf7],
        [3, 3, 0xf0],
      ] as const);
      const memory = random(3) === 0,
        reg = opcode === 0xf3 ? 1 + random(3) : plainRegister(),
        source = opcode === 0xf0 ? 0 : plainRegister();
      // a count that may be meant, not always a large one
      if (random(2) === 0) byte(0x83, 0xe0 | source, random(80));
      byte(0xc4, 0xe0 | map, (random(long ? 2 : 1) << 7) | ((~source & 15) << 3) | prefix, opcode);
      byte((memory ? 0x40 | BASE : 0xc0 | plainRegister()) | (reg << 3));
      if (memory) byte(random(120));
      if (opcode === 0xf0) byte(random(256));
    },
    () => {
      const size = pick(sizes);
      operands(size, [0x0f, size === 8 ? 0xb0 : 0xb1], register());
    },
    () => {
      const size = pick(sizes);
      operands(size, [0x0f, size === 8 ? 0xc0 : 0xc1], register());
    },
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0x86 : 0x87], register());
    },
    () => {
      const size = pick(sizes);
      operands(size, [size === 8 ? 0xf6 : 0xf7], 4 + random(2));
    },
    () => {
      const size = pick([32, ...(long ? [64] : [])]);
      byte(0x31, 0xd2); // XOR EDX, EDX
      operands(32, [0x83], 1, { memory: false, rm: 6 });
      byte(1);
      operands(size, [0xf7], 6, { memory: false, rm: 6 }); // DIV ESI
    },
    () => byte(pick([0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0xfc])),
    () => byte(0x9c, 0x58), // PUSHF; POP RAX
    // words on the stack
    () => {
      byte(0x66, ...pick([[0x50 | plainRegister()], [0x6a, random(256)], [0x68, random(256), random(256)]]));
      if (random(2) === 0) operands(32, [0x8b], register());
      byte(0x66, 0x58 | plainRegister());
    },
    () => {
      byte(0xc8, random(32), 0, 0); // ENTER
      near(RSP, random(60));
      byte(0xc9);
    },
    // a loop that counts in RCX or ECX, or CX; its branch goes back if that is near
    () => {
      byte(0xb9);
      dword(1 + random(40));
      const top = out.length;
      pick(kinds.slice(2, 8))();
      byte(0x83, 0xe1, 0x3f); // AND ECX, 63
      if (random(3) === 0) byte(0x67);
      byte(pick([0xe0, 0xe1, 0xe2]));
      byte(random(3) === 0 && out.length - top < 100 ? top - out.length - 1 : 0);
    },
    () => byte(...(random(2) === 0 ? [0x67] : []), 0xe3, 1, 0x90), // JRCXZ
    // repeated MOVS and STOS: short and long, across the end of a page, from what they write to, now and then downwards
    () => {
      const place = (): number => (random(3) === 0 ? 0xf80 + random(0x100) : random(0x600)),
        to = place(),
        down = random(8) === 0;
      move(RDI, BASE, to);
      move(RSI, BASE, random(3) === 0 ? Math.max(to - 20 + random(40), 0) : place());
      byte(0xb9);
      dword(random(4) === 0 ? random(130) : random(20));
      if (down) byte(0xfd);
      if (random(6) === 0) byte(pick(long ? [0x67, 0x64] : [0x3e, 0x64]));
      const size = pick(wideSizes.concat(8));
      if (size === 16) byte(0x66);
      byte(pick([0xf3, 0xf3, 0xf2]));
      if (size === 64) byte(0x48);
      byte(pick([0xa4, 0xaa]) | (size === 8 ? 0 : 1));
      if (down) byte(0xfc);
    },
  ];
  /** What is counted from RIP, with FS or GS too, and from no register at all: operands that kept regions may be used with others of. */
  const farKinds: (() => void)[] = [
    () => {
      byte(
        ...pick([[0x64], [0x65], []]),
        ...pick([[], [0x48]]),
        pick([0x8b, 0x03, 0x3b]),
        0x05 | (plainRegister() << 3),
      );
      dword(random(0x100) - (out.length + 4)); // of the program itself
    },
    () => {
      byte(0x48, 0x8d, 0x04 | (plainRegister() << 3), 0xc5 | (plainRegister() << 3)); // LEA r64, [r64 * 8 + disp32]
      dword(-random(0x8000_0000));
    },
  ];
  if (long) kinds.push(...farKinds);
  const vectorKinds = vectorKindsFor({ random, long, pick, byte, dword, register, plainRegister, operands });
  const roughKinds: (() => void)[] = [
    // a constant of another instruction is overwritten
    () => {
      if (constants.length === 0) return;
      const at = pick(constants);
      byte(0xc7, 0x05);
      if (long) dword(at - (out.length + 8));
      else dword(code + at);
      dword(anyDword());
    },
    // accesses around the program's beginning
    () => {
      byte(0xbd);
      dword(code - 40 + random(80));
      nearAccesses();
    },
    () => byte(0x0f, 0x31), // RDTSC
    () => byte(0x0f, 0xa2), // CPUID: an exit
    () => operands(pick(long ? [32, 64] : [32]), [0xf7], 6 + random(2), { memory: false }), // DIV, IDIV
    () => {
      byte(...(long ? [0x48] : []), 0x8d, 0xbb); // LEA RDI, [RBX + n]
      dword(random(0x400));
      byte(0xb9);
      dword(random(12));
      byte(0xf3, pick([0xaa, 0xab]));
    },
    () => {
      byte(...(long ? [0x48] : []), 0x8d, 0xbb);
      dword(random(0x400));
      byte(...(long ? [0x48] : []), 0x8d, 0xb3);
      dword(random(0x400));
      byte(pick([0xa4, 0xa5, 0xac, 0xae, 0xa6]));
    },
    // an access at a register: mostly a fault
    () => byte(0x8b, 0x00 | (random(2) << 3)),
    // across the end of the data page
    () => {
      byte(0x8b, 0x80 | BASE);
      dword(0xffd);
    },
    () => {
      byte(0x89, 0x80 | BASE);
      dword(0xffe);
    },
  ];

  for (let block = 0; block < blocks; block++) {
    if (spread && block !== 0 && random(3) !== 0) {
      // on in the next page, at its beginning or near its end
      const start =
        (Math.floor(out.length / 0x1000) + 1) * 0x1000 + (random(2) === 0 ? 0xf80 + random(0x80) : random(64));
      byte(0xe9);
      dword(start - (out.length + 4));
      while (out.length < start) byte(0xcc);
    }
    starts.push(out.length);
    const count = random(9);
    for (let i = 0; i < count; i++) {
      if (rough && random(12) === 0) pick(roughKinds)();
      else if (vectors && random(2) === 0) pick(vectorKinds)();
      else pick(kinds)();
    }
    const how = random(8);
    const jump = (): void => {
      fixups.push({ at: out.length, block: random(blocks) });
      dword(0);
    };
    if (how === 0) {
      byte(0xe9);
      jump();
    } else if (how === 1) {
      // a call to what returns at once, or after a little
      const body = out.length + 5;
      byte(0xe8);
      dword(2); // over the jump
      byte(0xeb, 0);
      const skip = out.length - 1;
      if (random(2) === 0) byte(0x83, 0xc0, random(256));
      byte(0xc3);
      out[skip] = out.length - body - 2;
    } else if (how === 2) {
      // a computed jump: LEA RBP, [block]; JMP RBP
      if (long) byte(0x48, 0x8d, 0x2d);
      else byte(0xbd);
      fixups.push({ at: out.length, block: long ? random(blocks) : -1 - random(blocks) });
      dword(0);
      byte(0xff, 0xe0 | RBP);
    } else {
      byte(0x0f, 0x80 | random(16));
      jump();
    }
  }
  byte(0xe9);
  fixups.push({ at: out.length, block: 0 });
  dword(0);
  for (const { at, block } of fixups) {
    const value = block >= 0 ? starts[block]! - (at + 4) : code + starts[-1 - block]!;
    for (let i = 0; i < 4; i++) out[at + i] = (value >> (8 * i)) & 0xff;
  }
  return Uint8Array.from(out);
}
