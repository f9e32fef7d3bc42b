/**
 * 16- and 32-bit code in segments with bases and limits: 16-bit addressing, limit and type faults, expand-down segments, small
 * stacks, near and far transfers (SDM 3A chapters 3 and 5).
 */
import { RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP } from '../registers.js';
import type { EncodedMemory, SegmentChoice } from '../addressing.js';
import type { Builder } from '../builder.js';
import { CASE, CASE_HIGH, CASE_SEGMENTS, DATA_LOW, SEGMENTS_CODE16 } from '../format.js';
import { bounds, chosenSegments, type LdtSegment, LDT } from '../segments.js';
import { integer } from '../values.js';
import { shuffle } from './control.js';
import { TABLES, type Group } from './group.js';

const ES = 0,
  CS = 1,
  SS = 2,
  DS = 3,
  FS = 4,
  GS = 5;
const OVERRIDE = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

class Segments implements SegmentChoice {
  readonly code16: boolean;
  readonly all: LdtSegment[];
  offset = 0;
  /** Segment register chosen last. */
  register = DS;

  constructor(
    readonly b: Builder,
    word: number,
  ) {
    this.code16 = (word & SEGMENTS_CODE16) !== 0;
    this.all = chosenSegments(word);
  }

  chooseTarget(size: number): number {
    const { rng } = this.b;
    this.register = rng.pick([DS, DS, DS, SS, ES, FS, GS, CS]);
    this.offset = this.#offsetIn(this.all[this.register]!, size);
    return this.all[this.register]!.base + this.offset - DATA_LOW;
  }

  #offsetIn(s: LdtSegment, size: number): number {
    const { rng } = this.b;
    if (s.base === 0) return s.pages ? DATA_LOW + rng.below(0x1fc0) : rng.below(0x100);
    const [low, high] = bounds(s);
    const kind = rng.below(10);
    if (kind === 0) return Math.max(0, low - rng.range(-2, size + 2));
    if (kind === 1) return Math.min(high, 0xffffffff - 64) - rng.range(-2, size + 2);
    if (kind === 2) return rng.below(0x10000);
    return low + rng.below(Math.min(high - low, 0x2000 - 64 - low) - size);
  }

  memoryOperand(): EncodedMemory {
    const { b } = this;
    const { rng } = b;
    const prefixes: number[] = [];
    const narrow = this.code16 !== rng.oneIn(4) && this.offset >= 0 && this.offset <= 0xffff;
    if (narrow !== this.code16) prefixes.push(0x67);
    const encoded = narrow ? this.#words() : this.#doublewords();
    // the default segment is SS for BP and ESP bases
    const natural = encoded.stack ? SS : DS;
    if (natural !== this.register || rng.oneIn(12)) prefixes.push(OVERRIDE[this.register]!);
    return { ...encoded, prefixes, rexX: 0, rexB: 0 };
  }

  #words(): Omit<EncodedMemory, 'prefixes' | 'rexX' | 'rexB'> & { stack: boolean } {
    const { b } = this;
    const { rng } = b;
    const forms: readonly (readonly number[])[] = [
      [RBX, RSI],
      [RBX, RDI],
      [RBP, RSI],
      [RBP, RDI],
      [RSI],
      [RDI],
      [RBP],
      [RBX],
    ];
    const rm = rng.below(8);
    const registers = forms[rm]!;
    if (rm === 6 && rng.oneIn(2)) {
      return { modrm: 0x06, sib: -1, displacement: BigInt(this.offset), displacementBytes: 2, stack: false };
    }
    const free = registers.filter((r) => !((b.pinned >> r) & 1));
    let bytes: 0 | 1 | 2 = rng.pick([0, 1, 2]) as 0 | 1 | 2;
    let displacement = bytes === 0 ? 0 : bytes === 1 ? rng.range(-128, 127) : rng.below(0x10000);
    if (rm === 6 && bytes === 0) bytes = 1;
    if (free.length === 0) {
      const sum = registers.reduce((v, r) => v + Number(b.gpr(r) & 0xffffn), 0);
      displacement = (this.offset - sum) & 0xffff;
      bytes = 2;
    } else {
      for (const r of free.slice(1)) b.setGpr(r, BigInt(rng.u32()));
      const others = registers.filter((r) => r !== free[0]).reduce((v, r) => v + Number(b.gpr(r) & 0xffffn), 0);
      const value = (this.offset - displacement - others) & 0xffff;
      b.setGpr(free[0]!, BigInt(value) | (rng.u64() & 0xffff0000n));
    }
    const mod = bytes === 0 ? 0 : bytes === 1 ? 0x40 : 0x80;
    return {
      modrm: mod | rm,
      sib: -1,
      displacement: BigInt(displacement),
      displacementBytes: bytes,
      stack: rm === 2 || rm === 3 || rm === 6,
    };
  }

  #doublewords(): Omit<EncodedMemory, 'prefixes' | 'rexX' | 'rexB'> & { stack: boolean } {
    const { b } = this;
    const { rng } = b;
    const base = rng.pick([RAX, RCX, RDX, RBX, RBP, RSI, RDI]);
    if ((b.pinned >> base) & 1 || rng.oneIn(6))
      return { modrm: 0x05, sib: -1, displacement: BigInt(this.offset), displacementBytes: 4, stack: false };
    const displacement = rng.oneIn(2) ? rng.range(-128, 127) : rng.range(-0x8000_0000, 0x7fff_ffff);
    const bytes = displacement >= -128 && displacement < 128 ? 1 : 4;
    b.setGpr(base, BigInt.asUintN(32, BigInt(this.offset) - BigInt(displacement)));
    return {
      modrm: (bytes === 1 ? 0x40 : 0x80) | base,
      sib: -1,
      displacement: BigInt(displacement),
      displacementBytes: bytes,
      stack: base === RBP,
    };
  }
}

const FORMS = ['alu', 'shift', 'muldiv', 'bits', 'move', 'alu', 'move', 'decimal'];

export const segmentedGroup: Group = {
  name: 'segmented',
  modes: 32,
  style: 'integer',
  weight: 5,
  build(b) {
    const { rng } = b;
    // mostly usable segments
    const data = () => (rng.oneIn(3) ? rng.below(8) : rng.pick([0, 0, 2, 3, 4, 7]));
    const stack = rng.pick([0, 0, 1, 2, 3]);
    const word =
      data() | (data() << 3) | (data() << 6) | (data() << 9) | (stack << 12) | (rng.below(3) ? SEGMENTS_CODE16 : 0);
    b.flags = (b.flags & ~CASE_HIGH) | CASE_SEGMENTS;
    b.view.setUint16(CASE.segments, word, true);
    const segments = new Segments(b, word);
    b.segments = segments;
    const s = segments.all[SS]!;
    const pointer =
      s.base === 0
        ? DATA_LOW + 0x1400
        : s.base === DATA_LOW
          ? 0x1400 + rng.below(0x80) * 4
          : 0xc00 + rng.below(0x40) * 4;
    b.setGpr(RSP, BigInt(pointer) | (s.big ? 0n : rng.u64() & 0xffff0000n));
    switch (rng.below(7)) {
      case 0:
        stackCase(b, segments);
        break;
      case 1:
        stringCase(b, segments);
        break;
      case 2:
        transfer(b, segments);
        break;
      case 3:
        loads(b, segments);
        break;
      default: {
        const f = rng.pick(TABLES.get(rng.pick(FORMS))!.filter((x) => x.only !== 64));
        b.emit(f);
      }
    }
    while (b.code.length < 4) b.raw(0xcc);
  },
};

function sizes(b: Builder, bits: number): number[] {
  return (bits === 16) === (b.bits === 16) ? [] : [0x66];
}

function stackCase(b: Builder, segments: Segments): void {
  const { rng } = b;
  const s = segments.all[SS]!;
  if (rng.oneIn(3)) {
    const [low, high] = bounds(s);
    const edge = rng.pick([low, low + 2, low + 4, low + 8, high, high - 1, high - 3, 0, 2, 4, 6, 0xffff, 0xfffe]);
    if (s.base !== 0) b.setGpr(RSP, BigInt.asUintN(32, BigInt(edge)) | (s.big ? 0n : rng.u64() & 0xffff0000n));
  }
  b.setGpr(RBP, rng.oneIn(2) ? b.gpr(RSP) + BigInt(rng.range(0, 64)) : integer(rng, 32));
  const bits = rng.pick([16, 32]);
  const p = sizes(b, bits);
  const count = rng.oneIn(3) ? 3 : 1;
  for (let i = 0; i < count; i++)
    switch (rng.below(9)) {
      case 0:
      case 1:
      case 2:
        b.raw(...p, 0x50 | rng.below(16));
        break;
      case 3:
        b.raw(...p, 0x68);
        b.push(rng.u32(), bits >> 3);
        break;
      case 4:
        b.raw(...p, rng.oneIn(2) ? 0x60 : 0x61);
        break;
      case 5:
        b.raw(...p, 0x9c);
        break;
      case 6:
        if (count > 1) b.raw(0x90);
        else {
          b.raw(...p, 0xc8);
          b.push(rng.pick([0, 4, 16, 64, 0x200]), 2);
          b.raw(rng.below(5));
        }
        break;
      case 7:
        b.raw(...p, 0xc9);
        break;
      default:
        b.raw(...p, rng.pick([0x06, 0x0e, 0x16, 0x1e]));
        i = count; // the upper half of what it pushed must not be popped
    }
}

function stringCase(b: Builder, segments: Segments): void {
  const { rng } = b;
  const op = rng.pick([0xa4, 0xa6, 0xaa, 0xac, 0xae]) + rng.below(2);
  const bits = op & 1 ? rng.pick([16, 32]) : 8;
  const narrow = segments.code16 !== rng.oneIn(4);
  const prefixes: number[] = [];
  if (bits === 16 && !segments.code16) prefixes.push(0x66);
  if (bits === 32 && segments.code16) prefixes.push(0x66);
  if (narrow !== segments.code16) prefixes.push(0x67);
  const source = rng.oneIn(3) ? rng.pick([ES, CS, SS, FS, GS]) : DS;
  if (source !== DS) prefixes.push(OVERRIDE[source]!);
  if (rng.below(3)) prefixes.push(rng.pick([0xf3, 0xf3, 0xf2]));
  if (rng.oneIn(3)) b.setRflags(b.rflags | 0x400);
  const junk = () => (narrow ? rng.u64() & 0xffff0000n : 0n);
  const place = (s: LdtSegment) => {
    const [low, high] = bounds(s);
    if (s.base === 0) return narrow ? rng.below(0x10000) : DATA_LOW + rng.below(0x2000);
    const top = Math.min(high, 0x1fff);
    return rng.oneIn(3)
      ? rng.pick([low, low + 3, top - 2, top - 20, top, high]) & 0xffff
      : low + rng.below(Math.max(1, top - low));
  };
  b.setGpr(RSI, BigInt(place(segments.all[source]!)) | junk());
  b.setGpr(RDI, BigInt(place(segments.all[ES]!)) | junk());
  b.setGpr(RCX, BigInt(rng.range(0, 40)) | junk());
  b.setPattern(rng.below(16));
  shuffle(b, prefixes);
  b.raw(...prefixes, op);
}

function transfer(b: Builder, segments: Segments): void {
  const { rng } = b;
  const bits = rng.pick([16, 32]);
  const p = sizes(b, bits);
  const bytes = bits >> 3;
  const inside = 0x800 + rng.range(16, 40);
  const target = rng.oneIn(6) ? rng.pick([0x1fff, 0x2000, 0xffff, 0x2001]) : inside;
  const selector = rng.oneIn(4)
    ? rng.pick([0x0f, 0x17, 0, 0x37, 0x4f, 0x10, 0x3f, 0x23])
    : rng.oneIn(2)
      ? LDT[0]!.selector
      : LDT[5]!.selector;
  const stackFrame = (...values: number[]) => {
    const s = segments.all[SS]!;
    const at = s.base + Number(s.big ? b.gpr(RSP) : b.gpr(RSP) & 0xffffn) - DATA_LOW;
    const frame = new Uint8Array(values.length * bytes);
    const view = new DataView(frame.buffer);
    values.forEach((v, i) => (bytes === 2 ? view.setUint16(i * 2, v, true) : view.setUint32(i * 4, v, true)));
    b.patch(at, frame);
  };
  switch (rng.below(9)) {
    case 0:
      b.raw(0x70 | rng.below(16), rng.range(0, 30));
      break;
    case 1:
      b.raw(...p, 0x0f, 0x80 | rng.below(16));
      b.push(rng.oneIn(5) ? rng.u32() : rng.range(0, 30), bytes);
      break;
    case 2:
      b.raw(...p, rng.oneIn(2) ? 0xe9 : 0xe8);
      b.push(rng.oneIn(5) ? rng.u32() : rng.range(0, 30), bytes);
      break;
    case 3:
      b.raw(...p, rng.oneIn(2) ? 0xea : 0x9a);
      b.push(target, bytes);
      b.push(selector, 2);
      break;
    case 4:
      stackFrame(target);
      b.raw(...p, 0xc3);
      break;
    case 5:
      stackFrame(target, selector);
      b.raw(...p, 0xcb);
      break;
    case 6:
      stackFrame(target, selector, (rng.u32() & 0x244dd5 & ~0x100) | 2);
      b.raw(...p, 0xcf);
      break;
    case 7: {
      const rm = rng.pick([RAX, RDX, RCX]);
      b.setGpr(rm, BigInt(target) | (rng.u64() & 0xffff0000n & (bits === 16 ? 0xffffffffn : 0n)));
      b.emit(rng.oneIn(2) ? 'FF /2 v' : 'FF /4 v', { size: bits, rm });
      break;
    }
    default:
      b.setGpr(RCX, BigInt(rng.pick([0, 1, 2, 0x10000, 0x10001])));
      if (rng.oneIn(2)) b.raw(0x67);
      b.raw(0xe0 | rng.below(4), rng.range(0, 30));
  }
}

/** Segment registers from registers, memory and the stack. */
function loads(b: Builder, segments: Segments): void {
  const { rng } = b;
  const selector = rng.pick([
    0, 3, 0x07, 0x0f, 0x0c, 0x0e, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x2b, 0x23, 0x10, 0xffff,
  ]);
  const register = rng.below(6);
  switch (rng.below(3)) {
    case 0: {
      const rm = rng.pick([RAX, RCX, RDX]);
      b.setGpr(rm, BigInt(selector) | (rng.u64() & 0xffff0000n));
      b.emit('8E /r w', { reg: register, rm });
      break;
    }
    case 1: {
      const target = segments.chooseTarget(6);
      const size = rng.pick([16, 32]);
      const bytes = new Uint8Array(6);
      for (let i = 0; i < 4; i++) bytes[i] = rng.u32();
      bytes[size >> 3] = selector & 255;
      bytes[(size >> 3) + 1] = selector >> 8;
      b.patch(target, bytes);
      b.emit(rng.pick(['0F B2 /r v mem', '0F B4 /r v mem', '0F B5 /r v mem', 'C4 /r v mem', 'C5 /r v mem']), {
        size,
        target,
      });
      break;
    }
    default: {
      const s = segments.all[SS]!;
      b.patch(
        s.base + Number(s.big ? b.gpr(RSP) : b.gpr(RSP) & 0xffffn) - DATA_LOW,
        new Uint8Array([selector & 255, selector >> 8]),
      );
      b.raw(...sizes(b, rng.pick([16, 32])), ...rng.pick([[0x07], [0x17], [0x1f], [0x0f, 0xa1], [0x0f, 0xa9]]));
    }
  }
  // use it: the access shows base, limit and type
  if (rng.oneIn(2)) b.raw(OVERRIDE[register]!, 0x8a, 0x06, ...(segments.code16 ? [0x10, 0x10] : [0x00]));
}
