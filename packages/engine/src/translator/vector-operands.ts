/** Operands of vector instructions: registers stay in the state block. A half is 16 bytes of a YMM register, of 64-bit values 8 bytes of its lower one. */
import { AM_REGISTER } from '../code-layout.js';
import { YMM } from '../layout.js';
import type { Instruction } from './instructions.js';
import { LINEAR, P } from './locals.js';
import { Op, Vector } from './opcodes.js';
import { Variant } from './unit-numbers.js';
import type { Writer } from './writer.js';

const REGISTER_BYTES = 32;

/** Where a half of a register lies in the state block. */
export function at(register: number, half = 0): number {
  return YMM + register * REGISTER_BYTES + half * 16;
}
/** Pushes a half of a register. */
export function load(w: Writer, register: number, half = 0): void {
  const { code, held, setting } = w,
    local = held.vectors.find(register, half),
    double = half === 0 ? held.doubles.find(register, 0) : undefined;
  if (local !== undefined) code.get(local);
  else if (double !== undefined) {
    // a load of 16 bytes whose lower 8 have just been stored waits until they are in the host's cache
    code.get(double).vector(Vector.i64x2_splat);
    code.i32(0).vectorAccess(Vector.load64_splat, setting.state + at(register) + 8);
    code.bytes16(Vector.shuffle, LOWER_OF_BOTH);
  } else code.i32(0).vectorAccess(Vector.load, setting.state + at(register, half));
}
/** The lower 8 bytes of both operands of a shuffle. */
const LOWER_OF_BOTH = Array.from({ length: 16 }, (_, n) => (n < 8 ? n : n + 8));
/** The first source: VEX.vvvv, in legacy instructions the destination. */
export function firstOf(i: Instruction): number {
  return variantOf(i) === Variant.SSE ? i.regNumber : i.vvvv;
}
export function variantOf(i: Instruction): number {
  return i.unit >>> 14;
}
/** Bytes of a whole operand. */
export function bytesOf(i: Instruction): number {
  return variantOf(i) === Variant.VEX256 ? 32 : 16;
}

/** Writes what `push` pushes for each half to a register: both are complete before the first is stored. VEX.128 zeroes the upper half, legacy keeps it. */
export function result(w: Writer, i: Instruction, register: number, push: (half: number) => void): true {
  const { code, held } = w,
    { state } = w.setting,
    variant = variantOf(i),
    locals: number[] = [];
  const pushAndHold = (half: number): void => {
    push(half);
    if (!w.isCertain()) return;
    const local = held.vectors.take();
    code.tee(local);
    locals.push(local);
  };
  code.i32(0);
  pushAndHold(0);
  if (variant !== Variant.SSE) {
    code.i32(0);
    if (variant === Variant.VEX256) pushAndHold(1);
    else zeros(w);
    code.vectorAccess(Vector.store, state + at(register, 1));
  }
  code.vectorAccess(Vector.store, state + at(register));
  held.drop(register);
  locals.forEach((local, half) => held.vectors.hold(local, register, half));
  return true;
}
export function zeros(w: Writer): void {
  w.code.i64(0).vector(Vector.i64x2_splat);
}
/** The upper half as VEX.128 leaves it. */
export function finishUpper(w: Writer, i: Instruction, register: number): void {
  if (variantOf(i) === Variant.SSE) return;
  w.held.drop(register);
  w.code.i32(0);
  zeros(w);
  w.code.vectorAccess(Vector.store, w.setting.state + at(register, 1));
}

/** Makes the memory operand accessible; one that must be aligned and is not is the interpreter's. */
export function open(w: Writer, i: Instruction, bytes: number, write: boolean, aligned = false): void {
  const { code } = w;
  w.address(i, bytes, write);
  if (aligned) {
    code
      .tee(LINEAR)
      .i64(bytes - 1)
      .op(Op.i64_and)
      .i64(0)
      .op(Op.i64_ne);
    w.leaveIf();
    code.get(LINEAR);
  }
  w.open(bytes, write);
}
/** Opens the second source, a register or memory that legacy instructions want aligned. Returns what pushes a half of it. */
export function second(w: Writer, i: Instruction): (half: number) => void {
  if (i.addressMode === AM_REGISTER) return (half) => load(w, i.rmNumber, half);
  open(w, i, bytesOf(i), false, variantOf(i) === Variant.SSE);
  return (half) => w.code.get(P).vectorAccess(Vector.load, half * 16);
}

/** Pushes 64 bits of a vector register. */
export function low(w: Writer, register: number, half = 0): void {
  const local = half === 0 ? w.held.doubles.find(register, 0) : undefined;
  if (local !== undefined) w.code.get(local);
  else w.code.i32(0).access(Op.i64_load, w.setting.state + at(register) + half * 8);
}
export function setHalf(w: Writer, register: number, half: number, push: () => void): void {
  w.code.i32(0);
  push();
  w.code.access(Op.i64_store, w.setting.state + at(register) + half * 8);
  w.held.drop(register);
}
/** Pushes 64 bits of the r/m operand, which is open. */
export function operand(w: Writer, i: Instruction): void {
  if (i.addressMode === AM_REGISTER) low(w, i.rmNumber);
  else w.loadOpen(64);
}
