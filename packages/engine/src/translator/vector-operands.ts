/** Operands of vector instructions: XMM registers stay in the state block. */
import { AM_REGISTER } from '../code-layout.js';
import { YMM } from '../layout.js';
import type { Instruction } from './instructions.js';
import { LINEAR } from './locals.js';
import { Op, Vector } from './opcodes.js';
import type { Writer } from './writer.js';

const REGISTER_BYTES = 32;

export function at(register: number): number {
  return YMM + register * REGISTER_BYTES;
}
export function load(w: Writer, register: number): void {
  w.code.i32(0).vectorAccess(Vector.load, w.setting.state + at(register));
}
/** Writes what `push` pushes to the low half of a register. */
export function result(w: Writer, register: number, push: () => void): true {
  w.code.i32(0);
  push();
  w.code.vectorAccess(Vector.store, w.setting.state + at(register));
  return true;
}
/** Makes the memory operand accessible; one that must be aligned and is not is the interpreter's. */
export function open(w: Writer, i: Instruction, bytes: number, write: boolean, aligned = false): void {
  const { code } = w;
  w.address(i);
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
/** Pushes 64 bits of a vector register. */
export function low(w: Writer, register: number, half = 0): void {
  w.code.i32(0).access(Op.i64_load, w.setting.state + at(register) + half * 8);
}
export function setHalf(w: Writer, register: number, half: number, push: () => void): void {
  w.code.i32(0);
  push();
  w.code.access(Op.i64_store, w.setting.state + at(register) + half * 8);
}
/** Pushes 64 bits of the r/m operand, which is open. */
export function operand(w: Writer, i: Instruction): void {
  if (i.addressMode === AM_REGISTER) low(w, i.rmNumber);
  else w.loadOpen(64);
}
