/** Strings, stack, branches, segment registers, decimal arithmetic (SDM volume 1 chapters 6 and 7.3). */
import { RAX, RBP, RCX, RDI, RDX, RSI, RSP } from '../registers.js';
import {
  CODE_BYTES,
  DATA_BYTES,
  DATA_LOW,
  HIGH,
  USER_CS32,
  USER_CS64,
  USER_DS,
  CASE_HIGH,
  READ_ONLY,
} from '../format.js';
import type { Builder } from '../builder.js';
import { integer } from '../values.js';
import { table, type Group } from './group.js';

export const controlGroups: Group[] = [
  { name: 'string', modes: 'both', style: 'plain', weight: 4, build: strings },
  { name: 'stack', modes: 'both', style: 'plain', weight: 3, build: stack },
  { name: 'branch', modes: 'both', style: 'plain', weight: 3, build: branch },
  { name: 'far', modes: 'both', style: 'plain', build: far },
  { name: 'segment', modes: 'both', style: 'plain', build: segments },
  table(
    'decimal',
    ['27', '2F', '37', '3F', 'D4 ib', 'D5 ib', 'D6'].map((f) => `${f} 32`),
    {
      style: 'plain',
      noFaults: true,
      sequence: 4,
      prepare: (b) => b.setGpr(RAX, b.rng.oneIn(2) ? integer(b.rng, 32) : BigInt(b.rng.below(0x10000))),
    },
  ),
];

function dataPointer(b: Builder, offset: number, narrow: boolean): bigint {
  const address = BigInt(DATA_LOW + offset);
  if (b.is32) return address;
  if (narrow) return address | ((b.rng.u64() >> 32n) << 32n);
  return b.rng.oneIn(2) ? address + BigInt(HIGH) : address;
}

function strings(b: Builder): void {
  const { rng } = b;
  const op = rng.pick([0xa4, 0xa4, 0xa6, 0xaa, 0xac, 0xae]) + rng.below(2);
  const bits = op & 1 ? rng.pick(b.is32 ? [16, 32] : [16, 32, 64]) : 8;
  const size = bits >> 3;
  const narrow = !b.is32 && rng.oneIn(8);
  const repeat = rng.pick([0, 0xf3, 0xf3, 0xf3, 0xf2]);
  const down = rng.oneIn(3);
  if (down) b.setRflags(b.rflags | 0x400);
  const count = rng.oneIn(8) ? 0 : rng.oneIn(6) ? rng.range(100, 700) : rng.range(1, 40);
  b.setPattern(rng.below(16));
  // places: in the middle, overlapping, or close to the guards
  const place = () => {
    const extent = count * size;
    const kind = rng.below(6);
    if (kind === 0) return down ? rng.below(64) : DATA_BYTES - rng.range(1, 80);
    if (kind === 1) return 0x1000 + rng.range(-40, 40);
    return Math.min(
      DATA_BYTES - 1,
      Math.max(0, rng.below(DATA_BYTES - 16) + (down ? Math.min(extent, 0x800) : -Math.min(extent, 0x800))),
    );
  };
  const source = place();
  let target = rng.oneIn(4) ? source + rng.range(-20, 20) : place();
  if (rng.oneIn(30)) target = READ_ONLY + rng.below(0x1000);
  b.setGpr(RSI, dataPointer(b, source, narrow));
  b.setGpr(RDI, dataPointer(b, target, narrow));
  b.setGpr(RCX, BigInt(count) | (narrow && count ? (rng.u64() >> 32n) << 32n : 0n));
  if ((op & 0xfe) === 0xae && rng.oneIn(2))
    b.setGpr(RAX, rng.pick([0n, 0x5555555555555555n, 0x0101010101010101n, 0xffffffffffffffffn, 0x03n]));
  if ((op & 0xfe) === 0xa6 && rng.oneIn(2)) {
    // equal strings up to a place
    const length = Math.min(100, DATA_BYTES - Math.max(source, target));
    if (length > 8 && source >= 0 && target >= 0) {
      const same = new Uint8Array(length).fill(rng.u32());
      b.patch(source, same.subarray(0, 64));
      if (rng.oneIn(2)) same[rng.below(Math.min(length, 64))] = 1;
      b.patch(target, same.subarray(0, 64));
    }
  }
  const prefixes: number[] = [];
  if (bits === 16) prefixes.push(0x66);
  if (narrow) prefixes.push(0x67);
  if (repeat) prefixes.push(repeat);
  if (rng.oneIn(8)) prefixes.push(rng.pick([0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]));
  shuffle(b, prefixes);
  b.raw(...prefixes);
  if (bits === 64) b.raw(0x48 | rng.below(8));
  b.raw(op);
}

export function shuffle(b: Builder, items: number[]): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = b.rng.below(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}

function stack(b: Builder): void {
  const { rng } = b;
  if (rng.oneIn(10)) {
    // near the guards, or noncanonical
    const at =
      rng.pick([0, 2, 4, 8, 16, 64, DATA_BYTES, DATA_BYTES - 2, DATA_BYTES - 4, DATA_BYTES - 8, DATA_BYTES - 60]) +
      rng.range(-8, 8);
    b.setGpr(RSP, !b.is32 && rng.oneIn(4) ? 0x8000_0000_0000n + BigInt(rng.range(-8, 8)) : dataPointer(b, at, false));
  } else if (rng.oneIn(4)) b.setGpr(RSP, dataPointer(b, 0x1000 + rng.range(-40, 40), false));
  b.setGpr(RBP, rng.oneIn(6) ? integer(rng, 64) : dataPointer(b, rng.range(64, DATA_BYTES - 64), false));
  // 64-bit mode has no 32-bit pushes: the size is 16 or 64 (SDM 1 6.2.2)
  const size = b.is32 ? rng.pick([32, 32, 16]) : rng.pick([64, 64, 16]);
  const narrow = size === 16 ? [0x66] : [];
  const rex = () => (!b.is32 && rng.oneIn(2) ? [0x40 | rng.below(16)] : []);
  const count = rng.oneIn(3) ? rng.range(2, 6) : 1;
  for (let i = 0; i < count; i++) {
    const only64 = () => b.raw(...narrow, ...rex(), 0x50 | rng.below(16));
    switch (rng.below(11)) {
      case 0:
      case 1:
      case 2:
        only64();
        break;
      case 3:
        b.raw(...narrow, 0x68);
        b.push(rng.u32(), size === 16 ? 2 : 4);
        break;
      case 4:
        b.raw(...narrow, 0x6a, rng.below(256));
        break;
      case 5:
        b.raw(...narrow, rng.oneIn(2) ? 0x9c : 0x9d);
        if (b.code.at(-1) === 0x9d) pokeStackFlags(b);
        break;
      case 6:
        if (count === 1) b.emit(rng.oneIn(2) ? 'FF /6 v' : '8F /0 v', { size });
        else only64();
        break;
      case 7:
        if (count === 1) {
          b.raw(...narrow, 0xc8);
          b.push(rng.oneIn(3) ? rng.below(0x200) : rng.pick([0, 8, 16, 64]), 2);
          b.raw(rng.oneIn(3) ? rng.below(256) : rng.below(4));
        } else only64();
        break;
      case 8:
        if (count === 1) b.raw(...narrow, 0xc9);
        else only64();
        break;
      case 9:
        if (b.is32) b.raw(...narrow, rng.oneIn(2) ? 0x60 : 0x61);
        else only64();
        break;
      default:
        if (b.is32) {
          b.raw(...narrow, rng.pick([0x06, 0x0e, 0x16, 0x1e]));
          i = count; // the upper half of what it pushed must not be popped
        } else b.raw(...narrow, 0x0f, rng.pick([0xa0, 0xa8]));
    }
  }
}

/** The flags a POPF finds at the top of the stack; TF is left out (single steps have their own group). */
function pokeStackFlags(b: Builder): void {
  const offset = Number(b.gpr(RSP) & 0xffffn);
  const bytes = new Uint8Array(8);
  const value = b.rng.u32() & ~0x100;
  new DataView(bytes.buffer).setUint32(0, value, true);
  if (offset < DATA_BYTES - 8) b.patch(offset, bytes);
}

function branch(b: Builder): void {
  const { rng } = b;
  const here = () => b.code.length;
  // the code is: branch, INT3 padding, places it may reach. Distinct INT3s tell where it went.
  const pad = rng.range(1, 30);
  const kind = rng.below(12);
  const near = (low = -90) => (rng.oneIn(3) ? rng.range(low, -20) : rng.range(0, pad));
  switch (kind) {
    case 0:
    case 1:
      b.raw(0x70 | rng.below(16), near() & 0xff);
      break;
    case 2: {
      b.raw(0x0f, 0x80 | rng.below(16));
      b.push(near(-0x700), 4);
      break;
    }
    case 3: {
      // LOOP family; the count in RCX or ECX
      b.setGpr(RCX, rng.pick([0n, 1n, 2n, 0x1_0000_0000n, 0xffff_ffffn, 0x1_0000_0001n, 0x10000n, 0x10001n]));
      if (rng.oneIn(3)) b.raw(0x67);
      b.raw(0xe0 | rng.below(4), near() & 0xff);
      break;
    }
    case 4:
      b.raw(0xeb, near() & 0xff);
      break;
    case 5:
      b.raw(rng.oneIn(2) ? 0xe9 : 0xe8);
      b.push(rng.oneIn(12) ? rng.range(-0x7fff_ffff, 0x7fff_ffff) : near(-0x700), 4);
      break;
    case 6:
    case 7:
    case 8: {
      // indirect jump and call
      const call = rng.oneIn(2);
      let target = b.codeAddress(rng.range(16, 40));
      if (rng.oneIn(10))
        target = b.is32 ? BigInt(rng.u32()) | 0x8000_0000n : rng.oneIn(2) ? 0x8000_0000_0000n : rng.u64() | (1n << 62n);
      else if (rng.oneIn(12)) target = b.codeAddress(0) - 0x800n + BigInt(CODE_BYTES - rng.below(3));
      const wide = b.is32 ? 4 : 8;
      if (rng.oneIn(2)) {
        const rm = rng.pick([RAX, RDX, RSI, ...(b.is32 ? [] : [8, 12, 15])]);
        b.setGpr(rm, target);
        b.emit(call ? 'FF /2 q' : 'FF /4 q', { rm });
      } else {
        const at = 64 + rng.below(DATA_BYTES - 128);
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setBigUint64(0, target, true);
        b.patch(at, bytes.subarray(0, wide));
        b.emit(call ? 'FF /2 q' : 'FF /4 q', { memory: true, target: at });
      }
      break;
    }
    case 9:
    case 10: {
      // RET
      const offset = Number(b.gpr(RSP) & 0xffffn);
      const bytes = new Uint8Array(8);
      const target = rng.oneIn(12) ? (b.is32 ? 0xdead0000n : 0x8000_0000_0000n) : b.codeAddress(rng.range(4, 40));
      new DataView(bytes.buffer).setBigUint64(0, target, true);
      b.patch(offset, bytes);
      if (rng.oneIn(2)) b.raw(0xc3);
      else {
        b.raw(0xc2);
        b.push(rng.oneIn(2) ? rng.below(0x10000) : rng.below(64), 2);
      }
      break;
    }
    default:
      // a forward jump over an instruction that would show
      b.raw(0x70 | rng.below(16), 3, 0x83, 0xc0, 0x11);
      if (rng.oneIn(2)) b.raw(0x70 | rng.below(16), 3, 0x83, 0xc2, 0x11);
  }
  while (here() < 8) b.raw(0xcc);
}

/** Far transfers between the user code segments, IRET to the same level (SDM 3A 5.8; 2A JMP, CALL, RET, IRET). */
function far(b: Builder): void {
  const { rng } = b;
  const wide = b.is32 ? false : rng.oneIn(2);
  // Selectors: the two good ones, data, null, kernel's, beyond the table
  const selector = rng.oneIn(3)
    ? rng.pick([USER_DS, 0, 0x10, 0x08, 0xfff8, 0x20, 0x30, 0x18, 3])
    : rng.oneIn(2)
      ? USER_CS32
      : USER_CS64;
  const low = 0x1000_0800n + BigInt(rng.range(16, 40));
  const target = !b.is32 && wide && rng.oneIn(2) ? b.codeAddress(rng.range(16, 40)) : low;
  const sizeBytes = wide ? 8 : 4;
  const frame = (...values: bigint[]) => {
    const bytes = new Uint8Array(values.length * sizeBytes);
    const view = new DataView(bytes.buffer);
    values.forEach((v, i) => {
      if (sizeBytes === 8) view.setBigUint64(i * 8, v, true);
      else view.setUint32(i * 4, Number(v & 0xffffffffn), true);
    });
    return bytes;
  };
  const sp = Number(b.gpr(RSP) & 0xffffn);
  switch (rng.below(4)) {
    case 0: {
      // far jump or call through memory: m16:32 in both modes
      const at = 64 + rng.below(DATA_BYTES - 128);
      const bytes = new Uint8Array(6);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, Number(low), true);
      view.setUint16(4, selector, true);
      b.patch(at, bytes);
      b.emit(rng.oneIn(2) ? 'FF /5 m6 mem' : 'FF /3 m6 mem', { target: at });
      break;
    }
    case 1: {
      if (wide) b.raw(0x48);
      b.patch(sp, frame(target, BigInt(selector)));
      if (rng.oneIn(2)) b.raw(0xcb);
      else {
        b.raw(0xca);
        b.push(rng.below(64), 2);
      }
      break;
    }
    case 2: {
      // IRET at the same privilege level; from 64-bit mode it always pops SS:RSP
      const flags = BigInt((rng.u32() & 0x244dd5 & ~0x100) | 2);
      if (wide) b.raw(0x48);
      b.patch(
        sp,
        frame(
          target,
          BigInt(selector),
          flags,
          BigInt(DATA_LOW + 0x1800),
          BigInt(rng.oneIn(8) ? rng.pick([0, USER_CS32, 0x18, 0x28]) : USER_DS),
        ),
      );
      b.raw(0xcf);
      break;
    }
    default:
      if (b.is32) {
        b.raw(rng.oneIn(2) ? 0xea : 0x9a);
        b.push(low, 4);
        b.push(selector, 2);
      } else {
        b.patch(sp, frame(target, BigInt(selector)));
        if (wide) b.raw(0x48);
        b.raw(0xcb);
      }
  }
  while (b.code.length < 8) b.raw(0xcc);
}

function segments(b: Builder): void {
  const { rng } = b;
  const selector = rng.pick([
    0,
    1,
    2,
    3,
    USER_DS,
    USER_DS,
    0x28,
    0x29,
    USER_CS32,
    0x10,
    0x18,
    0x1b,
    0xfff8,
    0xffff,
    0x33,
  ]);
  const s = rng.below(6);
  const junk = rng.u64() & ~0xffffn;
  switch (rng.below(6)) {
    case 0:
      b.emit('8C /r v', { reg: rng.below(6) });
      break;
    case 5: {
      // LAR LSL VERR VERW ARPL: the host's GDT (below its TSS) and the LDT
      const probe = rng.pick([
        0, 3, 0x08, 0x10, 0x18, 0x20, 0x23, 0x28, 0x2b, 0x30, 0x33, 0x38, 0x40, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f,
        0x37, 0x3f, 0x47, 0x4f, 0xffff,
      ]);
      const rm = rng.pick([RAX, RCX, RDX, RDI]);
      b.setGpr(rm, BigInt(probe) | junk);
      const text = rng.pick(['0F 02 /r v', '0F 03 /r v', '0F 00 /4 v', '0F 00 /5 v', ...(b.is32 ? ['63 /r w'] : [])]);
      b.emit(text, { rm, memory: false });
      break;
    }
    case 1: {
      const rm = rng.pick([RAX, RCX, RDX, RDI]);
      b.setGpr(rm, BigInt(selector) | junk);
      b.emit('8E /r y', { reg: s, rm, size: 32 });
      break;
    }
    case 2: {
      const at = 64 + rng.below(DATA_BYTES - 128);
      b.patch(at, new Uint8Array([selector & 255, selector >> 8]));
      b.emit('8E /r m2 w mem', { reg: s, target: at });
      break;
    }
    case 3: {
      const sp = Number(b.gpr(RSP) & 0xffffn);
      b.patch(sp, new Uint8Array([selector & 255, selector >> 8, 0, 0, 0, 0, 0, 0]));
      if (b.is32) b.raw(...rng.pick([[0x07], [0x17], [0x1f], [0x0f, 0xa1], [0x0f, 0xa9], [0x66, 0x07], [0x66, 0x1f]]));
      else
        b.raw(
          ...rng.pick([
            [0x0f, 0xa1],
            [0x0f, 0xa9],
            [0x66, 0x0f, 0xa1],
          ]),
        );
      break;
    }
    default: {
      // far pointer loads
      const at = 64 + rng.below(DATA_BYTES - 128);
      const size = rng.pick([16, 32]);
      const bytes = new Uint8Array(6);
      for (let i = 0; i < 4; i++) bytes[i] = rng.u32();
      bytes[size >> 3] = selector & 255;
      bytes[(size >> 3) + 1] = selector >> 8;
      b.patch(at, bytes);
      const forms = [
        '0F B2 /r v mem',
        '0F B4 /r v mem',
        '0F B5 /r v mem',
        ...(b.is32 ? ['C4 /r v mem', 'C5 /r v mem'] : []),
      ];
      b.emit(rng.pick(forms), { size, target: at });
    }
  }
  if (b.flags & CASE_HIGH && rng.oneIn(2)) b.raw(0x90);
}
