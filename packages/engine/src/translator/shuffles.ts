/**
 * Vector instructions that move elements about: shuffles and blends by an immediate, widening moves, broadcasts, halves of YMM registers
 * (assembly/simd/shuffle.ts, permute.ts).
 */
import { AM_REGISTER } from '../code-layout.js';
import type { Instruction } from './instructions.js';
import { P } from './locals.js';
import { Vector } from './opcodes.js';
import { Simd, Variant } from './unit-numbers.js';
import { at, bytesOf, firstOf, load, open, result, second, variantOf, zeros } from './vector-operands.js';
import type { Writer } from './writer.js';

const BYTES = Array.from({ length: 16 }, (_, at) => at);
/** Bytes of 16 by the source element of each result element; elements have `bytes` bytes. */
function elements(bytes: number, source: (element: number) => number): number[] {
  return BYTES.map((at) => source(Math.floor(at / bytes)) * bytes + (at % bytes));
}
/** Field `n` of two bits. */
const field = (immediate: number, n: number): number => (immediate >>> (2 * n)) & 3;

/** Bytes of a half from its two operands, the first one's from 0 on and the second's from 16 on. */
function bytesFor(number: number, immediate: number, half: number): number[] | undefined {
  const bits = half === 0 ? immediate : immediate >>> 4;
  switch (number) {
    case Simd.PSHUFD: // of the second alone, as PSHUFLW and PSHUFHW
      return elements(4, (n) => 4 + field(immediate, n));
    case Simd.PSHUFLW:
      return elements(2, (n) => 8 + (n < 4 ? field(immediate, n) : n));
    case Simd.PSHUFHW:
      return elements(2, (n) => 8 + (n < 4 ? n : 4 + field(immediate, n - 4)));
    case Simd.SHUFPS:
      return elements(4, (n) => (n < 2 ? 0 : 4) + field(immediate, n));
    case Simd.SHUFPD:
      return elements(8, (n) => n * 2 + ((immediate >>> (half * 2 + n)) & 1));
    case Simd.PBLENDW:
      return elements(2, (n) => ((immediate >>> n) & 1) * 8 + n);
    case Simd.BLENDPS:
    case Simd.BLENDD:
      return elements(4, (n) => ((bits >>> n) & 1) * 4 + n);
    case Simd.BLENDPD:
      return elements(8, (n) => ((immediate >>> (half * 2 + n)) & 1) * 2 + n);
    default:
      return undefined;
  }
}

/** Translates a shuffle, a broadcast or the like; false: it is not one of those. */
export function shuffle(w: Writer, i: Instruction, number: number): boolean {
  const { code } = w,
    immediate = i.immediate & 0xff,
    first = firstOf(i);
  if (bytesFor(number, immediate, 0) !== undefined) {
    const b = second(w, i);
    return result(w, i, i.regNumber, (half) => {
      load(w, first, half);
      b(half);
      code.bytes16(Vector.shuffle, bytesFor(number, immediate, half)!);
    });
  }
  if (number === Simd.PALIGNR) return align(w, i, immediate);
  if (number >= Simd.PMOVSXBW && number <= Simd.PMOVZXDQ) return widen(w, i, number - Simd.PMOVSXBW);
  if (number >= Simd.BROADCAST8 && number <= Simd.BROADCAST128) return broadcast(w, i, number - Simd.BROADCAST8);
  switch (number) {
    case Simd.INSERT128: {
      const memory = i.addressMode !== AM_REGISTER;
      if (memory) open(w, i, 16, false);
      return result(w, i, i.regNumber, (half) => {
        if (half !== (immediate & 1)) load(w, first, half);
        else if (memory) code.get(P).vectorAccess(Vector.load, 0);
        else load(w, i.rmNumber);
      });
    }
    case Simd.EXTRACT128:
      if (i.addressMode === AM_REGISTER)
        return result(w, i, i.rmNumber, (half) => (half === 0 ? load(w, i.regNumber, immediate & 1) : zeros(w)));
      open(w, i, 16, true);
      code.get(P);
      load(w, i.regNumber, immediate & 1);
      code.vectorAccess(Vector.store, 0);
      return true;
    case Simd.PERM2X128: {
      const b = second(w, i);
      return result(w, i, i.regNumber, (half) => {
        const control = immediate >>> (half * 4);
        if ((control & 8) !== 0) zeros(w);
        else if ((control & 2) !== 0) b(control & 1);
        else load(w, first, control & 1);
      });
    }
    case Simd.PERMQ: {
      const b = second(w, i);
      return result(w, i, i.regNumber, (half) => {
        b(0);
        b(1);
        code.bytes16(
          Vector.shuffle,
          elements(8, (n) => field(immediate, half * 2 + n)),
        );
      });
    }
    default:
      return false;
  }
}

/** PALIGNR: bytes from the immediate on of both operands, the second below; zeros behind the first. */
function align(w: Writer, i: Instruction, immediate: number): true {
  const { code } = w,
    b = second(w, i);
  return result(w, i, i.regNumber, (half) => {
    const first = (): void => load(w, firstOf(i), half);
    if (immediate <= 16) b(half);
    first();
    if (immediate > 16) zeros(w);
    const from = immediate <= 16 ? immediate : Math.min(immediate - 16, 16);
    code.bytes16(
      Vector.shuffle,
      BYTES.map((byte) => byte + from),
    );
  });
}

/** How a widening move's elements grow, by the order of its numbers; the last steps by which they do. */
const GROWTH = [[0], [0, 1], [0, 1, 2], [1], [1, 2], [2]];
const STEPS = [
  [Vector.i16x8_extend_low_i8x16_s, Vector.i32x4_extend_low_i16x8_s, Vector.i64x2_extend_low_i32x4_s],
  [Vector.i16x8_extend_low_i8x16_u, Vector.i32x4_extend_low_i16x8_u, Vector.i64x2_extend_low_i32x4_u],
] as const;

function widen(w: Writer, i: Instruction, kind: number): true {
  const { code } = w,
    growth = GROWTH[kind % GROWTH.length]!,
    steps = STEPS[Math.floor(kind / GROWTH.length)]!,
    bytes = 16 >>> growth.length,
    memory = i.addressMode !== AM_REGISTER;
  if (memory) open(w, i, variantOf(i) === Variant.VEX256 ? bytes * 2 : bytes, false);
  const source = bytes === 8 ? Vector.load64_zero : bytes === 4 ? Vector.load32_zero : Vector.load16_splat;
  return result(w, i, i.regNumber, (half) => {
    if (memory) code.get(P).vectorAccess(source, half * bytes);
    else code.i32(0).vectorAccess(source, w.setting.state + at(i.rmNumber) + half * bytes);
    for (const step of growth) code.vector(steps[step]!);
  });
}

const SPLATS = [
  Vector.load8_splat,
  Vector.load16_splat,
  Vector.load32_splat,
  Vector.load64_splat,
  Vector.load,
] as const;

function broadcast(w: Writer, i: Instruction, log2: number): true {
  const { code } = w,
    memory = i.addressMode !== AM_REGISTER;
  if (memory) open(w, i, 1 << log2, false);
  return result(w, i, i.regNumber, () => {
    if (memory) code.get(P).vectorAccess(SPLATS[log2]!, 0);
    else code.i32(0).vectorAccess(SPLATS[log2]!, w.setting.state + at(i.rmNumber));
  });
}

/** MOVDDUP: the lower double of each half twice. */
export function duplicate(w: Writer, i: Instruction): true {
  const { code } = w,
    memory = i.addressMode !== AM_REGISTER;
  if (memory) open(w, i, variantOf(i) === Variant.VEX256 ? bytesOf(i) : 8, false);
  return result(w, i, i.regNumber, (half) => {
    if (memory) code.get(P).vectorAccess(Vector.load64_splat, half * 16);
    else code.i32(0).vectorAccess(Vector.load64_splat, w.setting.state + at(i.rmNumber, half));
  });
}
