/** Operands of the integer unit's instructions, of any size, as i64 values. */
import { AM_REGISTER } from '../code-layout.js';
import type { Instruction, Size } from './instructions.js';
import { P } from './locals.js';
import { Op } from './opcodes.js';
import type { Writer } from './writer.js';

/** Makes the memory operand accessible; nothing for a register. */
export function open(w: Writer, i: Instruction, size: Size, write: boolean): void {
  if (i.addressMode === AM_REGISTER) return;
  w.address(i, size >>> 3, write);
  w.open(size >>> 3, write);
}
/** Pushes the r/m operand, zero-extended, as an i64. */
export function pushOperand(w: Writer, i: Instruction, size: Size): void {
  if (i.addressMode === AM_REGISTER) w.read(i.rm, size);
  else w.loadOpen(size);
  if (size !== 64) w.code.op(Op.i64_extend_i32_u);
}
export function pushRegister(w: Writer, offset: number, size: Size): void {
  w.read(offset, size);
  if (size !== 64) w.code.op(Op.i64_extend_i32_u);
}
/** Writes the low bits of an i64 local to a register. */
export function writeRegister(w: Writer, offset: number, size: Size, local: number): void {
  const { code } = w;
  code.get(local);
  if (size !== 64) code.op(Op.i32_wrap_i64);
  if (size < 32) code.i32(size === 8 ? 0xff : 0xffff).op(Op.i32_and);
  w.write(offset, size);
}
export function writeOperand(w: Writer, i: Instruction, size: Size, local: number): void {
  if (i.addressMode === AM_REGISTER) {
    writeRegister(w, i.rm, size, local);
    return;
  }
  w.code.get(P).get(local);
  w.storeLow(size);
}
/** Sign-extends the i64 on the stack from a size. */
export function signExtend(w: Writer, size: Size): void {
  if (size === 8) w.code.op(Op.i64_extend8_s);
  else if (size === 16) w.code.op(Op.i64_extend16_s);
  else if (size === 32) w.code.op(Op.i64_extend32_s);
}
export function cut(w: Writer, size: Size): void {
  if (size === 8) w.code.i64(0xff).op(Op.i64_and);
  else if (size === 16) w.code.i64(0xffff).op(Op.i64_and);
  else if (size === 32) w.code.i64(-1, 0).op(Op.i64_and);
}
