/** Faults, prefixes, undefined opcodes, single steps, modified code. */
import { RSP } from '../registers.js';
import type { Builder } from '../builder.js';
import { CASE_AT_END, CASE_HIGH, DATA_LOW } from '../format.js';
import { disassemble } from '../disassembly.js';
import { notComparable } from '../tolerance.js';
import { TABLES, type Group } from './group.js';
import { randomMxcsr } from './simd.js';

const ANY = [
  'alu',
  'shift',
  'muldiv',
  'bits',
  'bmi',
  'move',
  'mmx',
  'sse-float',
  'sse-convert',
  'sse-logic',
  'sse-move',
  'sse-integer',
  'sse4-text',
  'crypto',
  'avx-float',
  'avx-convert',
  'avx-move',
  'avx-integer',
  'fma',
  'f16c',
];

function anyForm(b: Builder, names: readonly string[] = ANY) {
  for (;;) {
    const f = b.rng.pick(TABLES.get(b.rng.pick(names))!);
    if (f.only === 0 || f.only === (b.is32 ? 32 : 64)) return f;
  }
}

export const miscGroups: Group[] = [
  {
    // every form that takes memory, at guard pages, the read-only page, noncanonical and misaligned addresses
    name: 'fault',
    modes: 'both',
    style: 'integer',
    weight: 4,
    build(b) {
      const { rng } = b;
      for (;;) {
        const f = anyForm(b);
        if (!f.modrm || f.operand === 'reg') continue;
        b.policy = rng.pick(['guard', 'guard', 'noncanonical', 'misaligned'] as const);
        if (b.is32 && b.policy === 'noncanonical') b.policy = 'guard';
        b.emit(f, { memory: true });
        return;
      }
    },
  },
  {
    // EFLAGS.AC with CR0.AM: #AC for misaligned data at CPL 3 (SDM 3A 6.15, interrupt 17)
    name: 'alignment-check',
    modes: 'both',
    style: 'integer',
    build(b) {
      b.setRflags(b.rflags | 0x40000);
      for (;;) {
        const f = anyForm(b, ['alu', 'shift', 'bits', 'move', 'muldiv']);
        if (!f.modrm || f.operand === 'reg' || f.opcode === 0x8d) continue;
        b.policy = 'misaligned';
        b.emit(f, { memory: true });
        return;
      }
    },
  },
  {
    // redundant and ignored prefixes, repeated ones, REX before another prefix, up to and beyond fifteen bytes
    name: 'prefix',
    modes: 'both',
    style: 'integer',
    weight: 2,
    build(b) {
      const { rng } = b;
      retry(b, () => {
        const f = anyForm(b, [
          'alu',
          'shift',
          'muldiv',
          'bits',
          'move',
          'alu',
          'move',
          'sse-integer',
          'sse-logic',
          'mmx',
        ]);
        const extra: number[] = [];
        const count = rng.oneIn(3) ? rng.range(4, 13) : rng.range(1, 3);
        for (let i = 0; i < count; i++)
          extra.push(
            rng.pick([0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf2, 0xf3, 0x66, ...(b.is32 ? [] : [0x48, 0x40, 0x4f])]),
          );
        b.raw(...extra);
        b.emit(f, { lock: false });
      });
    },
  },
  {
    // LOCK where it is not allowed: #UD (SDM 2A LOCK)
    name: 'lock',
    modes: 'both',
    style: 'integer',
    build(b) {
      retry(b, () => b.emit(anyForm(b), { lock: true }));
    },
  },
  {
    // a valid encoding with one bit or byte changed: reserved fields, wrong VEX.L, W and vvvv, undefined opcodes
    name: 'mutate',
    modes: 'both',
    style: 'integer',
    weight: 2,
    build(b) {
      const { rng } = b;
      if (rng.oneIn(3)) randomMxcsr(b);
      retry(b, () => {
        b.emit(anyForm(b), { lock: false });
        const at = rng.below(Math.min(b.code.length, 6));
        if (rng.oneIn(4)) b.code.splice(at, 0, rng.pick([0x66, 0xf2, 0xf3, 0xf0, 0x48, 0x67]));
        else if (rng.oneIn(3)) b.code[at] = rng.below(256);
        else b.code[at]! ^= 1 << rng.below(8);
        return exactlyOne(b);
      });
    },
  },
  {
    // random bytes
    name: 'random',
    modes: 'both',
    style: 'integer',
    weight: 2,
    build(b) {
      const { rng } = b;
      for (let r = 0; r < b.registers; r++) if (rng.oneIn(2)) b.setGpr(r, BigInt(DATA_LOW + 0x100 + rng.below(0x1e00)));
      b.setGpr(RSP, BigInt(DATA_LOW + 0x1000 + rng.below(0x40) * 16));
      if (rng.oneIn(2)) b.setFtw(rng.below(256));
      retry(b, () => {
        for (let i = rng.pick([0, 0, 0, 1, 1, 2]); i > 0; i--)
          b.raw(rng.pick([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x48, 0x41, 0x44]));
        if (rng.oneIn(2)) b.raw(0x0f);
        for (let i = 0; i < 12; i++) b.raw(rng.below(256));
        return exactlyOne(b);
      });
    },
  },
  {
    // instructions that only raise, or only CPL 0 may use
    name: 'trap',
    modes: 'both',
    style: 'plain',
    build(b) {
      const { rng } = b;
      const privileged: number[][] = [
        [0xfa],
        [0xfb],
        [0xf4],
        [0xec],
        [0xed],
        [0xee],
        [0xef],
        [0xe4, 0x80],
        [0xe5, 0x80],
        [0xe6, 0x80],
        [0xe7, 0x80],
        [0x6c],
        [0x6d],
        [0x6e],
        [0x6f],
        [0xf3, 0x6c],
        [0xf3, 0x6f],
        [0x0f, 0x06],
        [0x0f, 0x08],
        [0x0f, 0x09],
        [0x0f, 0x20, 0xc0],
        [0x0f, 0x22, 0xc0],
        [0x0f, 0x20, 0xd8],
        [0x0f, 0x21, 0xc0],
        [0x0f, 0x23, 0xf8],
        [0x0f, 0x30],
        [0x0f, 0x32],
        [0x0f, 0x01, 0x10],
        [0x0f, 0x01, 0x18],
        [0x0f, 0x01, 0x38],
        [0x0f, 0x00, 0xd0],
        [0x0f, 0x00, 0xd8],
        [0x0f, 0x01, 0xf8],
        [0x66, 0x0f, 0x38, 0x82, 0x00],
        [0x0f, 0x01, 0xca],
        [0x0f, 0x01, 0xcb],
      ];
      switch (rng.below(7)) {
        case 0:
        case 1:
          b.raw(...rng.pick(privileged));
          break;
        case 2:
          b.raw(
            ...rng.pick([
              [0x0f, 0x0b],
              [0x0f, 0xb9, 0xc0],
              [0x0f, 0xff, 0xc0],
              [0xcc],
              [0x0f, 0x04],
              [0x0f, 0x0a],
              [0x0f, 0x36],
              [0x0f, 0xa6, 0xc0],
            ]),
          );
          break;
        case 3: {
          // INT n through gates of DPL 0: #GP(n * 8 + 2)
          const n = rng.pick([0, 1, 2, 5, 6, 8, 13, 14, 16, 0x20, 0x50, 0xff]);
          b.raw(0xcd, n);
          break;
        }
        case 4:
          if (b.is32) {
            if (rng.oneIn(2)) b.raw(0xce);
            else {
              const low = rng.range(-5, 5),
                high = rng.range(-5, 5);
              const bytes = new Uint8Array(8);
              const size = rng.pick([16, 32]);
              const view = new DataView(bytes.buffer);
              if (size === 16) view.setInt16(0, low, true), view.setInt16(2, high, true);
              else view.setInt32(0, low, true), view.setInt32(4, high, true);
              const at = 0x100 + rng.below(0x1000);
              b.patch(at, bytes);
              b.setGpr(0, BigInt.asUintN(64, BigInt(rng.range(-6, 6))));
              b.emit('62 /r v mem', { size, reg: 0, target: at });
            }
          } else
            b.raw(
              rng.pick([
                0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4,
                0xd5, 0xd6, 0xea,
              ]),
              0xc0,
              0,
              0,
            );
          break;
        case 5:
          stepped(b);
          break;
        default: {
          // single step: TF set before the first instruction, or by POPF (then the next instruction still runs)
          if (rng.oneIn(2)) b.setRflags(b.rflags | 0x100);
          else {
            const sp = Number(b.gpr(RSP) & 0xffffn);
            b.patch(sp, new Uint8Array([rng.u32() & 0xd5, 1 | (rng.u32() & 8), 0, 0, 0, 0, 0, 0]));
            b.raw(0x9d);
          }
          b.multi = true;
          for (let i = 0; i < 2; i++)
            b.emit(
              rng.pick(['01 /r v', '89 /r v', '40 +r v 32', '0F AF /r v', '8D /r v mem'].slice(0, b.is32 ? 5 : 2)),
            );
        }
      }
    },
  },
  {
    // short programs: branches over instructions, a loop around them; flags made in one place and used in another
    name: 'program',
    modes: 'both',
    style: 'integer',
    weight: 4,
    build(b) {
      const { rng } = b;
      b.multi = true;
      const counter = b.is32 ? 6 : 13; // never a destination
      const loops = rng.oneIn(2);
      b.setGpr(counter, BigInt(rng.range(1, 3)));
      b.pinned |= 1 << counter;
      const forms = TABLES.get('alu')!.filter(
        (f) => (f.only === 0 || f.only === (b.is32 ? 32 : 64)) && f.opcode !== 0x9f && f.opcode !== 0x9e,
      );
      const moves = TABLES.get('move')!.filter(
        (f) =>
          (f.only === 0 || f.only === (b.is32 ? 32 : 64)) &&
          ![0x9f, 0x9e, 0x90, 0x86, 0x87, 0xfc, 0xfd].includes(f.opcode),
      );
      const instruction = () => b.emit(rng.pick(rng.oneIn(3) ? moves : forms), { noAddressOverride: true });
      while (b.code.length < 36) {
        if (rng.oneIn(3)) {
          const at = b.code.length;
          b.raw(0x70 | rng.below(16), 0);
          const start = b.code.length;
          instruction();
          b.code[at + 1] = b.code.length - start;
        } else instruction();
      }
      if (loops) {
        if (b.is32) b.raw(0x4e);
        else b.raw(0x49, 0xff, 0xcd);
        b.raw(0x75, -(b.code.length + 2) & 0xff);
      }
      b.raw(0x83, 0xc0, 0x01); // leaves every flag defined
      if (b.code.length > 64) {
        b.code.length = 0;
        b.raw(0x90);
      }
    },
  },
  {
    // instructions that write the code after them: the new bytes run (SDM 3A 8.1.3; same linear address)
    name: 'modified-code',
    modes: 'both',
    style: 'plain',
    build(b) {
      const { rng } = b;
      // mov byte [ahead], opcode ; nops ; (inc|dec|...) reg ; the store hits one of the nops or the last instruction's ModRM
      const gap = rng.range(0, 40);
      const length = b.is32 ? 7 : 7;
      const nops = gap + 2;
      const where = rng.below(nops);
      const value = rng.pick([0x90, 0xf8, 0xf9, 0xf5, 0xcc, 0xfc, 0xfd, 0x98, 0x99]);
      if (b.is32) {
        b.raw(0xc6, 0x05);
        b.push(b.codeAddress(length + where), 4);
      } else {
        b.raw(0xc6, 0x05);
        b.push(where, 4);
      }
      b.raw(value);
      for (let i = 0; i < nops; i++) b.raw(0x90);
      if (rng.oneIn(2)) {
        // run it twice: the second pass writes code that has already run
        b.raw(0xff, 0xc8, 0x75, -(b.code.length + 4) & 0xff);
        b.setGpr(0, BigInt(rng.range(1, 4)));
      }
    },
  },
  {
    // code that ends with the page before a hole: complete instructions run, incomplete ones fault on the fetch
    name: 'page-end',
    modes: 'both',
    style: 'integer',
    build(b) {
      b.flags = (b.flags | CASE_AT_END) & ~(b.rng.oneIn(2) ? CASE_HIGH : 0);
      retry(b, () => {
        b.emit(anyForm(b), { noAddressOverride: true });
        const cut = b.rng.below(3);
        if (cut && b.code.length > cut) b.code.length -= cut;
      });
    },
  },
];

/** TF before the first instruction, with what delays or divides the trap: MOV SS, repeated strings, jumps, faults (SDM 3A 17.3.1.4). */
function stepped(b: Builder): void {
  const { rng } = b;
  // TF with what delays or divides the trap: MOV SS, POP SS, repeated strings, jumps, faults
  b.setRflags(b.rflags | 0x100);
  switch (rng.below(6)) {
    case 0:
      b.setGpr(0, 0x2bn | (rng.u64() & ~0xffffn));
      b.raw(0x8e, 0xd0, ...(rng.oneIn(2) ? [0xff, 0xc1] : [0x8e, 0xd0, 0xff, 0xc1]), 0xff, 0xc1);
      break;
    case 1:
      b.setGpr(1, BigInt(rng.below(4)));
      b.setGpr(6, BigInt(DATA_LOW + rng.below(0x1000)));
      b.setGpr(7, BigInt(DATA_LOW + rng.below(0x1000)));
      b.raw(rng.pick([0xf3, 0xf2]), rng.pick([0xa4, 0xaa, 0xa6, 0xae]), 0xff, 0xc1);
      break;
    case 2:
      b.raw(0x70 | rng.below(16), 1, 0x90, 0xff, 0xc1);
      break;
    case 3:
      b.raw(0x0f, 0x0b);
      break;
    case 4:
      b.setGpr(1, BigInt(rng.below(3)));
      b.raw(0xe2, 0xfe, 0x90);
      break;
    default:
      b.raw(0x9c, 0x58, 0x90);
  }
}

/** INT3s follow the code in memory: a last instruction that is cut short takes its bytes from them. */
const PADDING = new Array<number>(15).fill(0xcc);

/** Tries until the first instruction is comparable and the code fits. `attempt` may return false to be run again. */
function retry(b: Builder, attempt: () => boolean | void): void {
  const pinned = b.pinned;
  for (let i = 0; i < 200; i++) {
    b.code.length = 0;
    b.pinned = pinned;
    if (attempt() === false || b.code.length > 60) continue;
    const [first] = disassemble(Uint8Array.from([...b.code, ...PADDING]), b.codeAddress(0), b.bits, 1);
    if (first && hasEvex(b)) continue;
    if (first?.valid && (notComparable(first, b.is32) || TRANSFERS.test(first.name))) continue;
    return;
  }
  b.code.length = 0;
  b.raw(0x90);
}

/** Control transfers, segment loads and system calls have their own groups with chosen targets. */
const TRANSFERS =
  /^(j|call|ret|iret|loop|int|syscall|sysenter|bound|enter|pop|push|into|les|lds|lss|lfs|lgs|xlat|fxsave|fxrstor|xsave|xrstor|f2xm1|fyl2x|fptan|fpatan|fsin|fcos|fldenv|fnstenv|fstenv|fnsave|fsave|frstor|v?rcp|v?rsqrt|v?gather|vp?gather|fprem|ud|ins|outs)/;

/** Cuts the code after the first instruction. An undefined one keeps all its bytes. */
function exactlyOne(b: Builder): boolean {
  const [first] = disassemble(Uint8Array.from([...b.code, ...PADDING]), b.codeAddress(0), b.bits, 1);
  if (!first) return false;
  if (first.valid) {
    if (/^mov$/.test(first.name) && /\b[cdefgs]s\b/.test(first.text)) return false;
    if (b.code.length > first.length) b.code.length = first.length;
  } else if (foreignOpcode(b)) return false;
  return true;
}

/** EVEX and XOP encodings, and prefixes in front of them. */
function hasEvex(b: Builder): boolean {
  let i = 0;
  while (
    [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65].includes(b.code[i]!) ||
    (!b.is32 && (b.code[i]! & 0xf0) === 0x40)
  )
    i++;
  const op = b.code[i]!;
  if (op === 0x62) return !b.is32 || b.code[i + 1]! >= 0xc0;
  if (op === 0x8f) return (b.code[i + 1]! & 0x1f) >= 8;
  return false;
}

/** Opcodes that iced calls undefined but one of the makers defines (3DNow!, SSE4A, system instructions). */
function foreignOpcode(b: Builder): boolean {
  let i = 0;
  while (
    [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65].includes(b.code[i]!) ||
    (!b.is32 && (b.code[i]! & 0xf0) === 0x40)
  )
    i++;
  if (b.code[i] === 0xf0) return true;
  // opmask instructions of AVX-512 are VEX-encoded
  const vex = b.code[i] === 0xc5 ? 2 : b.code[i] === 0xc4 && (b.code[i + 1]! & 0x1f) === 1 ? 3 : 0;
  if (vex) return /^(4[1-9a-b]|9[0-389])$/.test((b.code[i + vex] ?? 0xcc).toString(16));
  if (b.code[i] === 0xc4 && (b.code[i + 1]! & 0x1f) === 3) return [0x30, 0x31, 0x32, 0x33].includes(b.code[i + 3]!);
  if (b.code[i] !== 0x0f) return false;
  return [
    0x00, 0x01, 0x0d, 0x0e, 0x0f, 0x05, 0x07, 0x34, 0x35, 0x78, 0x79, 0x2b, 0xc7, 0xae, 0x1e, 0x37, 0xb8, 0x20, 0x22,
    0x21, 0x23, 0xff,
  ].includes(b.code[i + 1]!);
}
