/** x87 (SDM volume 1 chapter 8): register and memory forms of D8-DF, control, environment, exceptions masked and not. */
import type { Builder } from '../builder.js';
import { fillExtended, integer } from '../values.js';
import type { Group } from './group.js';

/** Bytes of the memory operand of D8+n /digit; 0 for forms in other groups or undefined. */
const MEMORY_BYTES: readonly (readonly number[])[] = [
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, 0, 4, 4, 28, 2, 28, 2],
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, 4, 4, 4, 0, 10, 0, 10],
  [8, 8, 8, 8, 8, 8, 8, 8],
  [8, 8, 8, 8, 108, 0, 108, 2],
  [2, 2, 2, 2, 2, 2, 2, 2],
  [2, 2, 2, 2, 10, 8, 10, 8],
];

/** F2XM1 FYL2X FPTAN FPATAN, FYL2XP1 FSINCOS, FSIN FCOS: their last bits differ between processors. */
const TRANSCENDENTAL = [0xf0, 0xf1, 0xf2, 0xf3, 0xf9, 0xfb, 0xfe, 0xff];
/** Register forms of D9 that are defined and not transcendental. */
function isDefinedD9(modrm: number): boolean {
  if (modrm < 0xd0) return true;
  if (modrm === 0xd0) return true;
  return [
    0xe0, 0xe1, 0xe4, 0xe5, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xfa, 0xfc, 0xfd,
  ].includes(modrm);
}

export function randomX87(b: Builder, masked = false): void {
  const { rng } = b;
  let fcw = (rng.below(4) << 10) | (rng.pick([0x300, 0x300, 0x200, 0x000]) as number) | 0x7f;
  if (!masked && rng.oneIn(5)) fcw &= ~rng.below(64) | 0x40;
  b.setFcw(fcw);
  let fsw = (rng.below(8) << 11) | (rng.u32() & 0x4700);
  if (rng.oneIn(3)) fsw |= rng.below(128);
  if (!masked && rng.oneIn(30)) fsw |= rng.below(64);
  else fsw &= ~(~fcw & 0x3f); // nothing pending
  if (fsw & ~fcw & 0x3f) fsw |= 0x8080;
  b.setFsw(fsw);
  b.setFtw(rng.oneIn(2) ? 0xff : rng.below(256) | rng.below(256));
}

function registerForm(b: Builder): void {
  const { rng } = b;
  for (;;) {
    const op = 0xd8 | rng.below(8);
    const modrm = 0xc0 | rng.below(64);
    if (op === 0xd9 && !isDefinedD9(modrm)) continue;
    if (op === 0xdb && ((modrm >= 0xe0 && modrm < 0xe8 && modrm !== 0xe2 && modrm !== 0xe3) || modrm >= 0xf8)) continue;
    if (op === 0xdf && modrm >= 0xe1 && modrm < 0xe8) continue; // other FSTSW rows are undefined
    if (op === 0xda && modrm >= 0xe0 && modrm !== 0xe9) continue;
    if (op === 0xdd && modrm >= 0xf0) continue;
    if (op === 0xde && modrm >= 0xd8 && modrm < 0xe0 && modrm !== 0xd9) continue;
    if (op === 0xdf && modrm >= 0xf8) continue;
    if (rng.oneIn(8)) b.raw(0x48);
    if (b.is32 && b.code.at(-1) === 0x48) b.code.pop();
    b.raw(op, modrm);
    return;
  }
}

function memoryForm(b: Builder, environment: boolean): void {
  const { rng } = b;
  for (;;) {
    const row = rng.below(8);
    const digit = rng.below(8);
    const size = MEMORY_BYTES[row]![digit]!;
    if (size === 0 || size > 16 !== environment) continue;
    const target = b.chooseTarget(size, 1);
    if (target >= 0 && b.policy === 'normal' && !rng.oneIn(4)) operand(b, row, digit, target, size);
    if (environment && rng.oneIn(4)) b.raw(0x66);
    b.emit(`${(0xd8 + row).toString(16).toUpperCase()} /${digit} m${size} mem u`, { target });
    return;
  }
}

function operand(b: Builder, row: number, digit: number, target: number, size: number): void {
  const { rng } = b;
  const bytes = new Uint8Array(size);
  if (size === 10 && row === 7) {
    // packed decimal
    for (let i = 0; i < 9; i++) bytes[i] = rng.oneIn(10) ? rng.u32() : (rng.below(10) << 4) | rng.below(10);
    bytes[9] = rng.oneIn(2) ? 0x80 : rng.oneIn(4) ? rng.u32() : 0;
  } else if (size === 10) fillExtended(rng, bytes, 0);
  else if (row === 1 && digit === 5) {
    new DataView(bytes.buffer).setUint16(0, rng.oneIn(4) ? rng.u32() : 0x7f | (rng.below(16) << 8), true);
  } else if (size > 16) {
    // an environment: control, status, tags, then pointers; FRSTOR's registers
    const view = new DataView(bytes.buffer);
    const step = size === 28 || size === 108 ? 4 : 2;
    view.setUint16(0, rng.oneIn(3) ? rng.u32() : 0x37f, true);
    view.setUint16(step, rng.oneIn(3) ? rng.u32() : rng.below(8) << 11, true);
    view.setUint16(step * 2, rng.u32(), true);
    for (let at = 28; at + 10 <= size; at += 10) fillExtended(rng, bytes, at);
  } else if (row === 2 || row === 3 || row === 6 || row === 7) {
    const v = integer(rng, size * 8);
    for (let i = 0; i < size; i++) bytes[i] = Number((v >> BigInt(i * 8)) & 0xffn);
  } else {
    b.style = 'float';
    b.fillOperand(target, size);
    b.style = 'x87';
    return;
  }
  b.patch(target, bytes);
}

function faults(b: Builder): void {
  const r = b.rng.below(40);
  if (r === 0) b.policy = 'guard';
  else if (r === 1) b.policy = 'noncanonical';
}

export const x87Groups: Group[] = [
  {
    name: 'x87-arith',
    modes: 'both',
    style: 'x87',
    weight: 5,
    build(b) {
      randomX87(b);
      const count = b.rng.oneIn(4) ? b.rng.range(2, 4) : 1;
      for (let i = 0; i < count; i++) registerForm(b);
      if (b.rng.oneIn(4)) b.raw(0x9b);
    },
  },
  {
    name: 'x87-memory',
    modes: 'both',
    style: 'x87',
    weight: 5,
    build(b) {
      randomX87(b);
      faults(b);
      memoryForm(b, false);
      if (b.policy === 'normal' && b.rng.oneIn(4)) b.rng.oneIn(2) ? b.raw(0x9b) : registerForm(b);
    },
  },
  {
    name: 'x87-environment',
    modes: 'both',
    style: 'x87',
    build(b) {
      randomX87(b);
      faults(b);
      if (b.rng.oneIn(3))
        b.raw(
          ...b.rng.pick([
            [0xdb, 0xe2],
            [0xdb, 0xe3],
            [0xdf, 0xe0],
            [0x9b, 0xdf, 0xe0],
            [0xdb, 0xe0],
            [0xdb, 0xe1],
            [0xdb, 0xe4],
            [0xd9, 0xd0],
          ]),
        );
      else memoryForm(b, true);
    },
  },
  {
    name: 'x87-transcendental',
    modes: 64,
    style: 'x87',
    build(b) {
      randomX87(b);
      b.setFcw(0x37f | (b.rng.below(4) << 10));
      b.setFsw(b.rng.below(8) << 11);
      b.setFtw(b.rng.oneIn(8) ? b.rng.below(256) : 0xff);
      b.raw(0xd9, b.rng.pick(TRANSCENDENTAL));
    },
  },
];
