/** Random programs of 16-bit code for tests of the translator: its address forms, segment prefixes, operand and address sizes, stack and near transfers. */
import type { Random } from './random.js';

/** BX is the base of memory operands, which the program does not write. */
const BX = 3;
const BP = 5;
/** [BX+SI] and [BX]. */
const BX_SI = 0;
const BX_ALONE = 7;
const BP_ALONE = 6;

/** The bytes of a program that lies at `ip` in its segment. It never ends by itself. */
export function random16BitProgram(random: Random, ip: number): Uint8Array {
  const out: number[] = [];
  const fixups: { at: number; block: number; kind: 'relative16' | 'relative32' | 'absolute' }[] = [],
    starts: number[] = [],
    constants: number[] = [];
  const blocks = 3 + random(6);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const byte = (...bytes: number[]): void => void out.push(...bytes.map((b) => b & 0xff));
  const word = (value: number): void => byte(value, value >> 8);
  const dword = (value: number): void => byte(value, value >> 8, value >> 16, value >> 24);
  const register = (): number => pick([0, 1, 2, 6, 7, BP]);
  const size = (): number => pick([8, 16, 16, 32]);
  const wide = (): number => pick([16, 16, 32]);
  const immediate = (bits: number): void => {
    const value = pick([0, 1, -1, 0x7fff, -0x8000, random(0x1_0000_0000) | 0, random(256)]);
    if (bits === 8) byte(value);
    else if (bits === 16) word(value);
    else dword(value);
  };
  const lowByte = (reg: number, bits: number): number => (bits === 8 && reg === 7 ? 6 : reg); // not BH

  /** Prefixes, opcode and ModRM; memory operands are of the data, of the stack, or in another segment. */
  function operands(
    bits: number,
    opcode: readonly number[],
    reg: number,
    options: { memory?: boolean; rm?: number } = {},
  ): void {
    const memory = options.memory ?? random(2) === 0,
      long = memory && random(4) === 0,
      form = pick([BX_ALONE, BX_ALONE, BX_SI, BP_ALONE]);
    if (memory && form === BX_SI && !long) byte(0x81, 0xe6, 0xf8, 1); // AND SI, 1F8H
    if (memory && form === BP_ALONE && !long) byte(0x89, 0xe5); // MOV BP, SP
    if (memory && random(5) === 0) byte(pick([0x26, 0x36, 0x3e, 0x64, 0x65]));
    if (bits === 32) byte(0x66);
    if (long) byte(0x67);
    byte(...opcode, memory ? 0 : 0xc0);
    const field = (lowByte(reg, bits) & 7) << 3;
    const modrm = (value: number): void => void (out[out.length - 1] = value);
    if (!memory) modrm(0xc0 | field | lowByte(options.rm ?? register(), bits));
    else if (long) {
      modrm(0x80 | field | BX); // [EBX + n]
      dword(random(0x600));
    } else if (form === BP_ALONE) {
      modrm(0x40 | field | BP_ALONE);
      byte(-4 - random(100));
    } else if (random(2) === 0) {
      modrm(0x80 | field | form);
      word(random(0x600));
    } else {
      modrm(0x40 | field | form);
      byte(random(128));
    }
  }
  const withSize = (bits: number, ...bytes: number[]): void => byte(...(bits === 32 ? [0x66] : []), ...bytes);

  const kinds: (() => void)[] = [
    () => {
      const bits = size();
      operands(bits, [(random(8) << 3) | (random(2) << 1) | (bits === 8 ? 0 : 1)], register());
    },
    () => {
      const bits = size();
      operands(bits, [bits === 8 ? 0x80 : 0x81], random(8));
      immediate(bits);
    },
    () => {
      operands(wide(), [0x83], random(8));
      byte(random(256));
    },
    () => {
      const bits = size();
      operands(bits, [(bits === 8 ? 0x88 : 0x89) + random(2) * 2], register());
    },
    () => {
      const bits = size();
      operands(bits, [bits === 8 ? 0xc6 : 0xc7], 0);
      immediate(bits);
    },
    () => {
      const bits = wide();
      withSize(bits, 0xb8 | register());
      constants.push(out.length);
      immediate(bits);
    },
    () => {
      const bits = size();
      operands(bits, [pick(bits === 8 ? [0x84, 0x86] : [0x85, 0x87])], register());
    },
    () => withSize(wide(), pick([0x40, 0x48]) | register()),
    () => {
      const bits = size();
      operands(bits, [bits === 8 ? 0xfe : 0xff], random(2));
    },
    () => {
      const bits = size();
      operands(bits, [bits === 8 ? 0xf6 : 0xf7], 2 + random(4));
    },
    () => {
      const bits = size();
      operands(bits, [bits === 8 ? 0xc0 : 0xc1], pick([0, 1, 2, 3, 4, 5, 7]));
      byte(random(3) === 0 ? random(256) : random(bits));
    },
    () => {
      const bits = size();
      operands(bits, [(random(2) === 0 ? 0xd0 : 0xd2) + (bits === 8 ? 0 : 1)], pick([0, 1, 4, 5, 7, 2]));
    },
    () => operands(wide(), [0x0f, pick([0xb6, 0xbe])], register(), { rm: random(3) }),
    () => operands(wide(), [0x0f, pick([0xb7, 0xbf, 0xaf])], register()),
    () => operands(8, [0x0f, 0x90 | random(16)], 0, { rm: random(3) }),
    () => operands(wide(), [0x0f, 0x40 | random(16)], register()),
    () => operands(wide(), [0x0f, pick([0xa3, 0xab, 0xb3, 0xbb])], register(), { memory: false }),
    () => operands(wide(), [0x0f, pick([0xbc, 0xbd, 0xb1, 0xc1])], register()),
    () => operands(wide(), [0x8d], register(), { memory: true }),
    // moves of the accumulator, and a table of bytes
    () => {
      const bits = size();
      withSize(bits, bits === 8 ? pick([0xa0, 0xa2]) : pick([0xa1, 0xa3]));
      word(0x400 + random(0x100));
    },
    () => byte(0xd7),
    // the stack
    () => {
      const bits = wide();
      withSize(bits, 0x50 | register());
      if (random(2) === 0) operands(16, [0x8b], register());
      withSize(bits, 0x58 | register());
    },
    () => {
      const bits = wide();
      operands(bits, [0xff], 6, { memory: true });
      withSize(bits, 0x58 | register());
    },
    () => {
      withSize(16, 0x6a, random(256), 0x68);
      word(random(0x1_0000));
      withSize(32, 0x58 | register());
    },
    () => {
      byte(0x60); // PUSHA
      if (random(2) === 0) operands(16, [0x8b], register());
      byte(0x61);
    },
    () => byte(pick([0x06, 0x0e, 0x16, 0x1e]), 0x58),
    () => byte(0x9c, 0x58), // PUSHF; POP AX
    () => {
      byte(0xc8, random(32), 0, random(3)); // ENTER
      operands(16, [0x89], register(), { memory: false });
      withSize(16, 0x89, 0x6e, 0xf0); // MOV [BP-10H], BP
      byte(0xc9);
    },
    () => byte(...pick([[0x98], [0x99], [0x66, 0x98], [0x66, 0x99]])),
    () => byte(pick([0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0xfc, 0x27, 0x2f, 0x37, 0x3f])),
    // loops, some of which count for long in 32 bits
    () => {
      byte(0xb9);
      word(1 + random(40));
      const top = out.length;
      pick(kinds.slice(0, 6))();
      byte(0x81, 0xe1, 0x3f, 0); // AND CX, 63
      if (random(3) === 0) byte(0x66, 0x0f, 0xb7, 0xc9, 0x67); // MOVZX ECX, CX; the next counts in ECX
      byte(pick([0xe0, 0xe1, 0xe2]));
      // forward where what has been counted would begin anew
      byte(random(3) === 0 ? top - out.length - 1 : 0);
    },
    () => byte(...(random(2) === 0 ? [0x67] : []), 0xe3, 1, 0x90), // JCXZ
    () => {
      byte(0x8d, 0xbf); // LEA DI, [BX + n]
      word(random(0x400));
      byte(0x8d, 0xb7);
      word(random(0x400));
      byte(0xb9);
      word(random(30));
      byte(pick([0xf3, 0xf3, 0xf2]));
      withSize(wide(), pick([0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xae]));
    },
    () => byte(0x8c, 0xd8, 0x8e, 0xd8), // MOV AX, DS; MOV DS, AX
  ];
  const roughKinds: (() => void)[] = [
    // a constant of another instruction is overwritten, by way of the code segment
    () => {
      if (constants.length === 0) return;
      byte(0x2e, 0xc7, 0x06);
      word(ip + pick(constants));
      immediate(16);
    },
    () => {
      byte(0x2e, 0xa1); // reads from it
      word(ip + random(64));
    },
    () => byte(0x0f, 0xa2), // CPUID: an exit
    // anywhere in the segment: perhaps beyond the limit
    () => operands(16, [0x8b], register(), { memory: false }),
    () => byte(pick([0x8b, 0x89]), 0x04 | (random(2) << 3)), // [SI]
    () => {
      byte(pick([0x8b, 0x89]), 0x87 | (random(2) << 3));
      word(pick([0xffc, 0xffd, 0xfff, 0xfef0]));
    },
    () => byte(0x67, pick([0x8b, 0x89]), 0x00), // [EAX]
    () => operands(pick([16, 32]), [0xf7], 6 + random(2), { memory: false }), // DIV, IDIV
    // the stack pointer at the ends of the stack
    () => {
      byte(0x89, 0xe0); // MOV AX, SP
      byte(0xbc);
      word(pick([0, 1, 2, 3, 0xffff, 0xfffe]));
      byte(pick([0x50, 0x58, 0x60]), 0x89, 0xc4);
    },
    () => {
      byte(0xe9); // beyond the code's end
      word(random(0x1_0000));
    },
  ];

  for (let block = 0; block < blocks; block++) {
    starts.push(out.length);
    for (let i = random(9); i > 0; i--) {
      if (random(16) === 0) pick(roughKinds)();
      else pick(kinds)();
    }
    const how = random(9),
      bits = wide(),
      kind = bits === 32 ? 'relative32' : 'relative16';
    const target = (): void => {
      fixups.push({ at: out.length, block: random(blocks), kind });
      if (bits === 32) dword(0);
      else word(0);
    };
    if (how === 0) {
      withSize(bits, 0xe9);
      target();
    } else if (how === 1) {
      // a call to what returns at once, or after a little
      withSize(bits, 0xe8);
      if (bits === 32) dword(2);
      else word(2);
      const body = out.length;
      byte(0xeb, 0);
      if (random(2) === 0) byte(0x83, 0xc0, random(256));
      withSize(bits, 0xc3);
      out[body + 1] = out.length - body - 2;
    } else if (how === 2) {
      byte(0xbd); // MOV BP, block; JMP or CALL and the return address dropped
      fixups.push({ at: out.length, block: random(blocks), kind: 'absolute' });
      word(0);
      if (random(2) === 0) byte(0xff, 0xe0 | BP);
      else {
        byte(0x55, 0xc3); // PUSH BP; RET
      }
    } else {
      withSize(bits, 0x0f, 0x80 | random(16));
      target();
    }
  }
  byte(0xe9);
  fixups.push({ at: out.length, block: 0, kind: 'relative16' });
  word(0);
  for (const { at, block, kind } of fixups) {
    const bytes = kind === 'relative32' ? 4 : 2,
      value = kind === 'absolute' ? ip + starts[block]! : starts[block]! - (at + bytes);
    for (let i = 0; i < bytes; i++) out[at + i] = (value >> (8 * i)) & 0xff;
  }
  return Uint8Array.from(out);
}
