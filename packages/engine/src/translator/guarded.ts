/** What is done in line where a condition, the i32 on the stack, is not 0, and by the instruction's unit otherwise. The result is in locals behind it either way. */
import type { Instruction } from './instructions.js';
import { Op, Vector } from './opcodes.js';
import { callUnit } from './units.js';
import { at, finishUpper, firstOf, low, result, setHalf } from './vector-operands.js';
import type { Writer } from './writer.js';

/** `inLine` writes what the instruction does. */
export function guarded(w: Writer, i: Instruction, inLine: () => void, otherwise = (): void => {}): true {
  const { code } = w;
  code.likely().when();
  inLine();
  code.otherwise();
  callUnit(w, i);
  otherwise();
  code.end();
  return true;
}

/** The lowest 64 bits of the destination become what `push` pushes; the rest is that of the first source, which in legacy instructions is the destination. */
export function guardedDouble(w: Writer, i: Instruction, push: () => void): true {
  const { code, held } = w,
    { regNumber } = i,
    local = held.doubles.take();
  guarded(
    w,
    i,
    () => {
      push();
      code.set(local);
      setDouble(w, i, () => code.get(local));
    },
    () =>
      code
        .i32(0)
        .access(Op.i64_load, w.setting.state + at(regNumber))
        .set(local),
  );
  held.doubles.hold(local, regNumber, 0);
  return true;
}
/** The same without a condition. */
export function setDouble(w: Writer, i: Instruction, push: () => void): void {
  const first = firstOf(i);
  setHalf(w, i.regNumber, 0, push);
  if (first !== i.regNumber) setHalf(w, i.regNumber, 1, () => low(w, first, 1));
  finishUpper(w, i, i.regNumber);
}

/** The destination becomes what these locals have, one for each half; the upper one is 0 without a second. */
export function guardedVector(w: Writer, i: Instruction, values: readonly number[]): true {
  const { code, held } = w,
    { regNumber } = i,
    locals = values.map(() => held.vectors.take());
  guarded(
    w,
    i,
    () => {
      values.forEach((value, half) => code.get(value).set(locals[half]!));
      result(w, i, regNumber, (half) => code.get(locals[half]!));
    },
    () =>
      locals.forEach((local, half) =>
        code
          .i32(0)
          .vectorAccess(Vector.load, w.setting.state + at(regNumber, half))
          .set(local),
      ),
  );
  locals.forEach((local, half) => held.vectors.hold(local, regNumber, half));
  return true;
}
