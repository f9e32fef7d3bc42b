/** Multiplications and divisions of the integer unit, of 32 and 64 bits. */
import { MADE_EXACT, MADE_MUL } from '../code-layout.js';
import type { Instruction, Size } from './instructions.js';
import { open, pushOperand, pushRegister, signExtend, writeRegister } from './integer-operands.js';
import { FA, FB, FR, V0, V1, V2, V3 } from './locals.js';
import { Op } from './opcodes.js';
import type { Writer } from './writer.js';

const RAX = 0;
const RDX = 2;

export function multiply(w: Writer, i: Instruction, size: Size, isSigned: boolean): void {
  const { code } = w;
  open(w, i, size, false);
  pushOperand(w, i, size);
  if (isSigned) signExtend(w, size);
  code.set(V0);
  pushRegister(w, RAX, size);
  if (isSigned) signExtend(w, size);
  code.set(V1);
  code.get(V0).get(V1).op(Op.i64_mul).set(FR);
  if (size === 32) {
    code.get(FR).i64(32).op(Op.i64_shr_u).set(V2);
    writeRegister(w, RDX * 8, 32, V2);
    writeRegister(w, RAX, 32, FR);
    // CF and OF: the product does not fit
    if (isSigned) code.get(FR).op(Op.i64_extend32_s).get(FR).op(Op.i64_ne);
    else code.get(V2).i64(0).op(Op.i64_ne);
    code.op(Op.i64_extend_i32_u).i64(31).op(Op.i64_shl).set(FA);
    code.get(FR).op(Op.i64_extend32_s).set(FR);
  } else {
    highProduct(w);
    if (isSigned) {
      code.get(V1).get(V0).i64(63).op(Op.i64_shr_s).op(Op.i64_and).op(Op.i64_sub);
      code.get(V0).get(V1).i64(63).op(Op.i64_shr_s).op(Op.i64_and).op(Op.i64_sub);
    }
    code.tee(V2);
    w.setWhole(RDX);
    code.get(FR);
    w.setWhole(RAX);
    code.get(V2);
    if (isSigned) code.get(FR).i64(63).op(Op.i64_shr_s);
    else code.i64(0);
    code.op(Op.i64_ne).op(Op.i64_extend_i32_u).i64(31).op(Op.i64_shl).set(FA);
  }
  w.flags.set(MADE_EXACT, 64);
}

/** MULX: the product of V0 and V1, its high half last, since that stays where both are one register. */
export function multiplyWithoutFlags(w: Writer, size: Size, low: number, high: number): void {
  const { code } = w;
  if (size === 32) code.get(V0).get(V1).op(Op.i64_mul).tee(V0).i64(32).op(Op.i64_shr_u).set(V2);
  else {
    highProduct(w);
    code.set(V2).get(V0).get(V1).op(Op.i64_mul).set(V0);
  }
  writeRegister(w, low, size, V0);
  writeRegister(w, high, size, V2);
}

/** Pushes the high half of V0 * V1, unsigned; uses V2 and V3. */
function highProduct(w: Writer): void {
  const { code } = w;
  const half = (local: number, high: boolean): void => {
    code.get(local);
    if (high) code.i64(32).op(Op.i64_shr_u);
    else code.i64(-1, 0).op(Op.i64_and);
  };
  const product = (a: boolean, b: boolean): void => {
    half(V0, a);
    half(V1, b);
    code.op(Op.i64_mul);
  };
  product(false, true);
  code.set(V2);
  product(true, false);
  code.set(V3);
  // the middle: carry of the low product and the low halves of the mixed ones
  product(false, false);
  code.i64(32).op(Op.i64_shr_u);
  half(V2, false);
  code.op(Op.i64_add);
  half(V3, false);
  code.op(Op.i64_add).i64(32).op(Op.i64_shr_u);
  product(true, true);
  code.op(Op.i64_add);
  half(V2, true);
  code.op(Op.i64_add);
  half(V3, true);
  code.op(Op.i64_add);
}

export function multiplyImmediate(w: Writer, i: Instruction, size: Size): void {
  const { code } = w;
  open(w, i, size, false);
  pushOperand(w, i, size);
  signExtend(w, size);
  code.tee(FA).i64(i.immediate).tee(FB).op(Op.i64_mul);
  signExtend(w, size);
  code.set(FR);
  writeRegister(w, i.reg, size, FR);
  w.flags.set(MADE_MUL, size);
}

/** A quotient that does not fit, and all but the simplest 128-bit dividends, are the interpreter's. */
export function divide(w: Writer, i: Instruction, size: Size): void {
  const { code } = w;
  open(w, i, size, false);
  pushOperand(w, i, size);
  code.set(V0);
  pushRegister(w, RDX * 8, size);
  code.set(V1);
  if (size === 32)
    code.get(V1).get(V0).op(Op.i64_ge_u); // also for a divisor of 0
  else code.get(V1).i64(0).op(Op.i64_ne).get(V0).op(Op.i64_eqz).op(Op.i32_or);
  w.leaveIf();
  pushRegister(w, RAX, size);
  if (size === 32) code.get(V1).i64(32).op(Op.i64_shl).op(Op.i64_or);
  code.set(V1);
  code.get(V1).get(V0).op(Op.i64_div_u).set(V2);
  code.get(V1).get(V2).get(V0).op(Op.i64_mul).op(Op.i64_sub).set(V3);
  writeRegister(w, RAX, size, V2);
  writeRegister(w, RDX * 8, size, V3);
}
export function divideSigned(w: Writer, i: Instruction, size: Size): void {
  const { code } = w;
  open(w, i, size, false);
  pushOperand(w, i, size);
  signExtend(w, size);
  code.set(V0);
  pushRegister(w, RAX, size);
  code.set(V1);
  pushRegister(w, RDX * 8, size);
  if (size === 32) code.i64(32).op(Op.i64_shl).get(V1).op(Op.i64_or).set(V1);
  else code.get(V1).i64(63).op(Op.i64_shr_s).op(Op.i64_ne);
  // division by 0 and by -1 (of the least number) would stop WebAssembly
  code.get(V0).i64(1).op(Op.i64_add).i64(1).op(Op.i64_le_u);
  if (size === 64) code.op(Op.i32_or);
  w.leaveIf();
  code.get(V1).get(V0).op(Op.i64_div_s).set(V2);
  if (size === 32) {
    code.get(V2).op(Op.i64_extend32_s).get(V2).op(Op.i64_ne);
    w.leaveIf();
  }
  code.get(V1).get(V2).get(V0).op(Op.i64_mul).op(Op.i64_sub).set(V3);
  writeRegister(w, RAX, size, V2);
  writeRegister(w, RDX * 8, size, V3);
}
