/** Bits of 32- and 64-bit operands: counted, searched, cut out and moved (BMI1, BMI2), and bytes in the reverse order. */
import { MADE_EXACT, MADE_LOGIC, THEN_CARRY } from '../code-layout.js';
import type { Instruction, Size } from './instructions.js';
import { open, pushOperand, pushRegister, signExtend, writeRegister } from './integer-operands.js';
import { FA, FN, FR, FS, P, V0, V1 } from './locals.js';
import { multiplyWithoutFlags } from './multiply-divide.js';
import { Op } from './opcodes.js';
import { Integer } from './unit-numbers.js';
import type { Writer } from './writer.js';

/** Translates the instruction; false: it is none of these. */
export function translateBits(w: Writer, i: Instruction, size: Size): boolean {
  if (i.unit === Integer.MOVBE_STORE) {
    open(w, i, size, true);
    w.code.get(P);
    pushRegister(w, i.reg, size);
    swapBytes(w, size);
    w.storeLow(size);
    return true;
  }
  const translated = OF_OPERAND[i.unit];
  if (translated === undefined) return false;
  open(w, i, size, false);
  pushOperand(w, i, size);
  w.code.set(V0);
  translated(w, i, size);
  return true;
}

/** By number: what is done with the r/m operand in V0. */
const OF_OPERAND: Readonly<Record<number, (w: Writer, i: Instruction, size: Size) => void>> = {
  [Integer.BSF]: (w, i, size) => scan(w, i, size, false, false),
  [Integer.BSR]: (w, i, size) => scan(w, i, size, true, false),
  [Integer.TZCNT]: (w, i, size) => scan(w, i, size, false, true),
  [Integer.LZCNT]: (w, i, size) => scan(w, i, size, true, true),
  [Integer.POPCNT]: (w, i, size) => {
    const { code } = w;
    code.get(V0).op(Op.i64_popcnt).set(V1);
    writeRegister(w, i.reg, size, V1);
    // ZF: there are none; all other flags are clear, PF too
    code.i64(0).i64(0x100).get(V1).op(Op.i64_eqz).op(Op.select).set(FR);
    code.i64(0x100).set(FA);
    w.flags.set(MADE_EXACT, 64);
  },
  [Integer.ANDN]: (w, i, size) => {
    pushSource(w, i, size);
    w.code.i64(-1).op(Op.i64_xor).get(V0).op(Op.i64_and);
    logic(w, i.reg, size);
  },
  [Integer.BLSR]: (w, i, size) => {
    w.code.get(V0).get(V0).i64(1).op(Op.i64_sub).op(Op.i64_and);
    logic(w, i.vvvv * 8, size);
    carry(w, () => w.code.get(V0).op(Op.i64_eqz));
  },
  [Integer.BLSMSK]: (w, i, size) => {
    w.code.get(V0).get(V0).i64(1).op(Op.i64_sub).op(Op.i64_xor);
    logic(w, i.vvvv * 8, size);
    carry(w, () => w.code.get(V0).op(Op.i64_eqz));
  },
  [Integer.BLSI]: (w, i, size) => {
    w.code.get(V0).i64(0).get(V0).op(Op.i64_sub).op(Op.i64_and);
    logic(w, i.vvvv * 8, size);
    carry(w, () => w.code.get(V0).i64(0).op(Op.i64_ne));
  },
  [Integer.BEXTR]: (w, i, size) => {
    const { code } = w;
    pushSource(w, i, 32);
    code.set(V1);
    // from a bit on, 0 where there are not so many
    code.get(V0).get(V1).op(Op.i64_shr_u).i64(0);
    code.get(V1).i64(0xff).op(Op.i64_and).i64(64).op(Op.i64_lt_u).op(Op.select).set(V0);
    code.get(V1).i64(8).op(Op.i64_shr_u).i64(0xff).op(Op.i64_and).set(V1);
    keepLow(w, 64);
    logic(w, i.reg, size);
  },
  [Integer.BZHI]: (w, i, size) => {
    pushSource(w, i, 32);
    w.code.i64(0xff).op(Op.i64_and).set(V1);
    keepLow(w, size);
    logic(w, i.reg, size);
    carry(w, () =>
      w.code
        .get(V1)
        .i64(size - 1)
        .op(Op.i64_gt_u),
    );
  },
  [Integer.SHLX]: (w, i, size) => shift(w, i, size, Op.i64_shl),
  [Integer.SHRX]: (w, i, size) => shift(w, i, size, Op.i64_shr_u),
  [Integer.SARX]: (w, i, size) => shift(w, i, size, Op.i64_shr_s),
  [Integer.RORX]: (w, i, size) => {
    const { code } = w,
      count = i.immediate & (size - 1);
    if (size === 64) code.get(V0).i64(count).op(Op.i64_rotr);
    else code.get(V0).op(Op.i32_wrap_i64).i32(count).op(Op.i32_rotr).op(Op.i64_extend_i32_u);
    code.set(V1);
    writeRegister(w, i.reg, size, V1);
  },
  [Integer.MULX]: (w, i, size) => {
    pushRegister(w, RDX * 8, size);
    w.code.set(V1);
    multiplyWithoutFlags(w, size, i.vvvv * 8, i.reg);
  },
  [Integer.MOVBE_LOAD]: (w, i, size) => {
    w.code.get(V0);
    swapBytes(w, size);
    w.code.set(V0);
    writeRegister(w, i.reg, size, V0);
  },
};
const RDX = 2;

/** The first source: VEX.vvvv. */
function pushSource(w: Writer, i: Instruction, size: Size): void {
  pushRegister(w, i.vvvv * 8, size);
}
/** Pops a result, whose upper half may be anything for 32 bits, into a register, with the flags of a logic operation. */
function logic(w: Writer, register: number, size: Size): void {
  signExtend(w, size);
  w.code.set(FR);
  writeRegister(w, register, size, FR);
  w.flags.set(MADE_LOGIC, size);
}
/** CF becomes what `push` pushes (i32). */
function carry({ code, flags }: Writer, push: () => void): void {
  flags.prepare(THEN_CARRY);
  push();
  code.op(Op.i64_extend_i32_u).set(FS).i64(1).set(FN);
  flags.setThen(THEN_CARRY, 64, false);
}
/** Pushes the low bits of V0, as many as V1 says; all of them from `most` on. */
function keepLow({ code }: Writer, most: number): void {
  code.get(V0).i64(1).get(V1).op(Op.i64_shl).i64(1).op(Op.i64_sub).op(Op.i64_and);
  code.get(V0).get(V1).i64(most).op(Op.i64_lt_u).op(Op.select);
}
function shift(w: Writer, i: Instruction, size: Size, op: Op): void {
  const { code } = w;
  code.get(V0);
  if (op === Op.i64_shr_s) signExtend(w, size);
  pushSource(w, i, size);
  code
    .i64(size - 1)
    .op(Op.i64_and)
    .op(op)
    .set(V1);
  writeRegister(w, i.reg, size, V1);
}

/** Reverses the bytes of the i64 on the stack, of which `size` bits count and others are 0. */
export function swapBytes({ code }: Writer, size: Size): void {
  for (const [shift, mask] of [
    [8, 0x00ff_00ff],
    [16, 0x0000_ffff],
  ] as const) {
    if (shift >= size) continue;
    code.tee(V0).i64(mask, mask).op(Op.i64_and).i64(shift).op(Op.i64_shl);
    code.get(V0).i64(shift).op(Op.i64_shr_u).i64(mask, mask).op(Op.i64_and).op(Op.i64_or);
  }
  if (size === 64) code.i64(32).op(Op.i64_rotl);
}

/** BSF and BSR (TZCNT and LZCNT where `counts`) of V0. */
function scan(w: Writer, i: Instruction, size: Size, backwards: boolean, counts: boolean): void {
  const { code } = w;
  if (counts) {
    if (backwards)
      code
        .get(V0)
        .op(Op.i64_clz)
        .i64(64 - size)
        .op(Op.i64_sub)
        .set(V1);
    else code.i64(size).get(V0).op(Op.i64_ctz).get(V0).op(Op.i64_eqz).op(Op.select).set(V1);
    writeRegister(w, i.reg, size, V1);
    // CF: the operand is 0, ZF: the result is, PF clear
    code.i64(0).i64(0x100).get(V1).op(Op.i64_eqz).op(Op.select).set(FR);
    code
      .i64(0xc000_0100 | 0, 0)
      .i64(0x100)
      .get(V0)
      .op(Op.i64_eqz)
      .op(Op.select)
      .set(FA);
    w.flags.set(MADE_EXACT, 64);
    return;
  }
  if (backwards) code.i64(63).get(V0).op(Op.i64_clz).op(Op.i64_sub);
  else code.get(V0).op(Op.i64_ctz);
  code.set(V1);
  // of 0 the register is left alone
  w.whole(i.reg >>> 3);
  code.get(V1).get(V0).op(Op.i64_eqz).op(Op.select);
  w.setWhole(i.reg >>> 3);
  // ZF: the operand is 0; the rest is as after a logic operation with this result
  code
    .i64(0)
    .get(V1)
    .i64(0x100)
    .get(V1)
    .i64(0)
    .op(Op.i64_ne)
    .op(Op.select)
    .get(V0)
    .op(Op.i64_eqz)
    .op(Op.select)
    .set(FR);
  w.flags.set(MADE_LOGIC, 64);
}
