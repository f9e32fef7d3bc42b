/**
 * Scalar doubles by the host's arithmetic, where it gives the same value and flags: the conditions of assembly/simd/arithmetic.ts. In all other cases
 * the unit does them.
 */
import { AM_REGISTER, MADE_EXACT } from '../code-layout.js';
import { MXCSR } from '../layout.js';
import type { Instruction } from './instructions.js';
import { D0, D1, V0, V1, V2 } from './locals.js';
import { Op } from './opcodes.js';
import { guarded, guardedDouble, setDouble } from './guarded.js';
import { firstOf, low, open, operand } from './vector-operands.js';
import type { Writer } from './writer.js';

/** MXCSR without its flags but PE, when rounding is to nearest, nothing is flushed, everything is masked, and PE is set. */
const STATE_MASK = 0xffe0;
const STATE_FAST = 0x1fa0;
const EXPONENT_HIGH = 0x7ff0_0000;

/** Pushes 1 if MXCSR lets results be taken from the host, inexact ones too. */
export function fast(w: Writer): void {
  w.code
    .i32(0)
    .access(Op.i32_load, w.setting.state + MXCSR)
    .i32(STATE_MASK)
    .op(Op.i32_and)
    .i32(STATE_FAST)
    .op(Op.i32_eq);
}
/** Pushes 1 if the number in an i64 local is not a denormal. */
function usable(w: Writer, local: number): void {
  const { code } = w;
  code.get(local).i64(0, EXPONENT_HIGH).op(Op.i64_and).i64(0).op(Op.i64_ne);
  code.get(local).i64(1).op(Op.i64_shl).op(Op.i64_eqz).op(Op.i32_or);
}

export function scalar(w: Writer, i: Instruction, operation: Op): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.set(V1);
  low(w, firstOf(i));
  code.tee(V0).op(Op.f64_reinterpret_i64).get(V1).op(Op.f64_reinterpret_i64).op(operation);
  code.op(Op.i64_reinterpret_f64).set(V2);
  fast(w);
  usable(w, V0);
  code.op(Op.i32_and);
  usable(w, V1);
  code.op(Op.i32_and);
  // exponent field from 2 to the greatest finite one
  code
    .get(V2)
    .i64(1)
    .op(Op.i64_shl)
    .i64(0, 0x0040_0000)
    .op(Op.i64_sub)
    .i64(0, 0xffa0_0000 | 0)
    .op(Op.i64_lt_u)
    .op(Op.i32_and);
  return guardedDouble(w, i, () => code.get(V2));
}

/** Of a positive normal number. */
export function squareRoot(w: Writer, i: Instruction): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.set(V0);
  fast(w);
  code.get(V0).i64(0, 0x0010_0000).op(Op.i64_sub).i64(0, 0x7fe0_0000).op(Op.i64_lt_u).op(Op.i32_and);
  return guardedDouble(w, i, () => code.get(V0).op(Op.f64_reinterpret_i64).op(Op.f64_sqrt).op(Op.i64_reinterpret_f64));
}

/** UCOMISD and COMISD of two numbers that are neither NaN nor denormal. */
export function compare(w: Writer, i: Instruction): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.tee(V1).op(Op.f64_reinterpret_i64).set(D1);
  low(w, i.regNumber);
  code.tee(V0).op(Op.f64_reinterpret_i64).set(D0);
  code.get(D0).get(D0).op(Op.f64_eq).get(D1).get(D1).op(Op.f64_eq).op(Op.i32_and);
  usable(w, V0);
  code.op(Op.i32_and);
  usable(w, V1);
  code.op(Op.i32_and);
  guarded(w, i, () =>
    w.flags.setCompared(
      () => code.get(D0).get(D1).op(Op.f64_eq),
      () => code.get(D0).get(D1).op(Op.f64_lt),
    ),
  );
  w.flags.set(MADE_EXACT, 64); // both ways
  return true;
}

/** An integer of 32 bits is exact as a double, and one of 64 bits if it has no more than 53. */
export function fromInteger(w: Writer, i: Instruction, wide: boolean): boolean {
  const { code } = w,
    size = wide ? 64 : 32,
    register = i.addressMode === AM_REGISTER;
  if (!register) open(w, i, size >>> 3, false);
  if (register) w.read(i.rmNumber * 8, size);
  else w.loadOpen(size);
  if (wide) {
    code
      .tee(V0)
      .i64(0, 1 << 21)
      .op(Op.i64_add)
      .i64(0, 1 << 22)
      .op(Op.i64_le_u);
    fast(w);
    code.op(Op.i32_or);
    return guardedDouble(w, i, () => code.get(V0).op(Op.f64_convert_i64_s).op(Op.i64_reinterpret_f64));
  }
  const local = w.held.doubles.take();
  code.op(Op.f64_convert_i32_s).op(Op.i64_reinterpret_f64).set(local);
  setDouble(w, i, () => code.get(local));
  w.held.doubles.hold(local, i.regNumber, 0);
  return true;
}

/** Truncation, exact or with PE masked and set already. */
export function toInteger(w: Writer, i: Instruction, wide: boolean): boolean {
  const { code } = w;
  if (i.addressMode !== AM_REGISTER) open(w, i, 8, false);
  operand(w, i);
  code.op(Op.f64_reinterpret_i64).set(D0);
  // not tiny, and in range (a NaN is in none)
  code
    .get(D0)
    .op(Op.f64_abs)
    .f64(wide ? 9.2e18 : 2147483647)
    .op(Op.f64_lt);
  code.get(D0).op(Op.f64_abs).f64(1.2e-38).op(Op.f64_gt).get(D0).f64(0).op(Op.f64_eq).op(Op.i32_or).op(Op.i32_and);
  fast(w);
  code.op(Op.i32_and);
  return guarded(w, i, () => truncated(w, i, wide));
}
/** A general register becomes D0 without its fraction, which is in range. */
export function truncated(w: Writer, i: Instruction, wide: boolean): void {
  w.code.get(D0).op(Op.i64_trunc_f64_s);
  if (!wide) w.code.i64(-1, 0).op(Op.i64_and);
  w.setWhole(i.regNumber);
}
