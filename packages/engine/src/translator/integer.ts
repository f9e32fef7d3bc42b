/** Integer instructions: what each row of instructions.ts becomes. Control transfers are emit.ts's. */
import {
  MADE_ADD,
  MADE_LOGIC,
  MADE_MUL,
  MADE_SAR,
  MADE_SHL,
  MADE_SHR,
  MADE_SUB,
  THEN_ROL,
  THEN_ROR,
  THEN_SAR_CL,
  THEN_SHL_CL,
  THEN_SHR_CL,
} from '../code-layout.js';
import type { Arithmetic, Form, Instruction, Row, Shift, Size } from './instructions.js';
import { FA, FB, FN, FR, FS, P, V0, V1, V2, W0, W1, W2 } from './locals.js';
import { moveStack } from './segments.js';
import { signExtend } from './integer-operands.js';
import { translateInteger } from './integer-unit.js';
import { Integer } from './unit-numbers.js';
import { callUnit, canCall } from './units.js';
import { translateVector } from './vectors.js';
import { Op } from './opcodes.js';
import type { Setting, Writer } from './writer.js';

const ALU: Record<Arithmetic, { narrow: Op; wide: Op; made: number; carries?: boolean; compares?: boolean }> = {
  ADD: { narrow: Op.i32_add, wide: Op.i64_add, made: MADE_ADD },
  ADC: { narrow: Op.i32_add, wide: Op.i64_add, made: MADE_ADD, carries: true },
  SUB: { narrow: Op.i32_sub, wide: Op.i64_sub, made: MADE_SUB },
  SBB: { narrow: Op.i32_sub, wide: Op.i64_sub, made: MADE_SUB, carries: true },
  CMP: { narrow: Op.i32_sub, wide: Op.i64_sub, made: MADE_SUB, compares: true },
  AND: { narrow: Op.i32_and, wide: Op.i64_and, made: MADE_LOGIC },
  OR: { narrow: Op.i32_or, wide: Op.i64_or, made: MADE_LOGIC },
  XOR: { narrow: Op.i32_xor, wide: Op.i64_xor, made: MADE_LOGIC },
  TEST: { narrow: Op.i32_and, wide: Op.i64_and, made: MADE_LOGIC, compares: true },
};

/** Whether an instruction that does not end a block can be translated. */
export function canTranslate(setting: Setting, i: Instruction): boolean {
  const { row } = i;
  if (row === undefined) return false;
  switch (row.kind) {
    case 'integer':
    case 'unit':
    case 'vector':
    case 'scalar':
      return canCall(setting, i);
    case 'jump-if':
    case 'jump':
    case 'loop':
    case 'call':
      // 32-bit code that goes on at 16 bits of a target is rare
      return setting.bits === 16 || i.size * 8 === setting.bits;
    default:
      return true;
  }
}

/** Translates an instruction that {@link canTranslate} has let through. */
export function translate(w: Writer, i: Instruction, row: Row): void {
  const { code } = w;
  switch (row.kind) {
    case 'arithmetic':
      arithmetic(w, i, row.operation, row.form, row.size);
      return;
    case 'move':
      move(w, i, row.form, row.size);
      return;
    case 'extend':
      extend(w, i, row);
      return;
    case 'lea':
      w.offset(i);
      narrow(w, row.size);
      w.write(i.reg, row.size);
      return;
    case 'unary':
      unary(w, i, row);
      return;
    case 'shift':
      shift(w, i, row);
      return;
    case 'multiply':
      multiply(w, i, row);
      return;
    case 'set':
      w.flags.condition(row.condition);
      w.write(i.rm, 8);
      return;
    case 'conditional-move':
      w.read(i.rm, row.size);
      w.read(i.reg, row.size);
      w.flags.condition(row.condition);
      code.op(Op.select);
      w.write(i.reg, row.size);
      return;
    case 'push':
      push(w, i, row.form, row.size);
      return;
    case 'pop':
      pop(w, i, row.size);
      return;
    case 'plain':
      PLAIN[row.operation](w, i);
      return;
    case 'integer':
      if (!translateInteger(w, i)) callUnit(w, i);
      return;
    default:
      if (!translateVector(w, i, row)) callUnit(w, i);
  }
}

/** Pops an i64, pushes it as an operand of this size. */
function narrow(w: Writer, size: Size): void {
  if (size === 64) return;
  w.code.op(Op.i32_wrap_i64);
  mask(w, size);
}
/** Cuts the i32 on the stack to 8 or 16 bits. */
function mask(w: Writer, size: Size): void {
  if (size === 8) w.code.i32(0xff).op(Op.i32_and);
  else if (size === 16) w.code.i32(0xffff).op(Op.i32_and);
}
/** Sign-extends the operand on the stack to an i64. */
function signed(w: Writer, size: Size): void {
  const { code } = w;
  if (size === 64) return;
  if (size === 8) code.op(Op.i32_extend8_s);
  else if (size === 16) code.op(Op.i32_extend16_s);
  code.op(Op.i64_extend_i32_s);
}
function unsigned(w: Writer, size: Size): void {
  if (size !== 64) w.code.op(Op.i64_extend_i32_u);
}

// ---------------------------------------------------------------------------------------------- arithmetic and logic
/*
 * Operands and results go to the locals of the flags at once, or stay on wasm's stack: every other local that is set costs V8 time wherever ways meet,
 * and all ways out do.
 */
function arithmetic(w: Writer, i: Instruction, operation: Arithmetic, form: Form, size: Size): void {
  const { code, flags } = w,
    { narrow: narrowOp, wide, made, carries = false, compares = false } = ALU[operation];
  const toMemory = form.startsWith('M'),
    stores = toMemory && !compares,
    { reg } = i;
  if (made === MADE_LOGIC && operation === 'XOR' && form === 'RR' && size >= 32 && reg === i.rm) {
    code.i64(0).set(FR).i64(0);
    w.setWhole(reg >>> 3);
    flags.set(made, size);
    return;
  }
  if (form.includes('M')) {
    w.operand(i, size >>> 3, stores);
    if (stores) code.tee(P); // it stays below for the store
  }
  if (carries) {
    flags.carry();
    code.op(Op.i64_extend_i32_u).set(FS); // it is free: all flags are about to be replaced
  }
  const source = (): void => {
    if (form.endsWith('I')) w.immediate(i, size);
    else w.read(form === 'RR' ? i.rm : reg, size);
  };
  if (made === MADE_LOGIC) {
    // the order of operands does not matter
    if (toMemory) {
      if (stores) w.loadOpen(size);
      else w.load(size);
      source();
    } else {
      if (form === 'RM') w.load(size);
      else source();
      w.read(reg, size);
    }
    code.op(size === 64 ? wide : narrowOp);
    signed(w, size);
  } else {
    if (form === 'RM') {
      w.load(size);
      unsigned(w, size);
      code.set(FB);
    }
    if (stores) w.loadOpen(size);
    else if (toMemory) w.load(size);
    else w.read(reg, size);
    unsigned(w, size);
    code.set(FA);
    if (form !== 'RM') {
      source();
      unsigned(w, size);
      code.set(FB);
    }
    code.get(FA).get(FB).op(wide);
    if (carries) code.get(FS).op(wide);
    signExtend(w, size);
  }
  if (compares) code.set(FR);
  else {
    code.tee(FR);
    if (toMemory) w.storeLow(size);
    else {
      narrow(w, size);
      w.write(reg, size);
    }
  }
  flags.set(made, size, !carries);
}

function unary(w: Writer, i: Instruction, { operation, form, size }: Extract<Row, { kind: 'unary' }>): void {
  const { code, flags } = w,
    memory = form === 'M';
  if (memory) {
    w.operand(i, size >>> 3, true);
    code.tee(P); // it stays below for the store
  }
  const steps = operation === 'INC' || operation === 'DEC',
    result = steps ? flags.prepareStep() : FR;
  if (memory) w.loadOpen(size);
  else w.read(i.reg, size);
  unsigned(w, size);
  if (operation === 'NOT') code.i64(-1).op(Op.i64_xor);
  else if (operation === 'NEG') code.set(FB).i64(0).tee(FA).get(FB).op(Op.i64_sub);
  else code.i64(1).op(operation === 'INC' ? Op.i64_add : Op.i64_sub);
  if (operation !== 'NOT') {
    signExtend(w, size);
    code.tee(result);
  }
  if (memory) w.storeLow(size);
  else {
    narrow(w, size);
    w.write(i.reg, size);
  }
  if (steps) flags.step(result, operation === 'INC', size);
  else if (operation === 'NEG') flags.set(MADE_SUB, size);
}

const SHIFTS: Record<Shift, { narrow: Op; wide: Op; made: number; after: number }> = {
  SHL: { narrow: Op.i32_shl, wide: Op.i64_shl, made: MADE_SHL, after: THEN_SHL_CL },
  SHR: { narrow: Op.i32_shr_u, wide: Op.i64_shr_u, made: MADE_SHR, after: THEN_SHR_CL },
  SAR: { narrow: Op.i32_shr_s, wide: Op.i64_shr_s, made: MADE_SAR, after: THEN_SAR_CL },
  ROL: { narrow: Op.i32_rotl, wide: Op.i64_rotl, made: -1, after: THEN_ROL },
  ROR: { narrow: Op.i32_rotr, wide: Op.i64_rotr, made: -1, after: THEN_ROR },
};

function shift(w: Writer, i: Instruction, { operation, byCl, size }: Extract<Row, { kind: 'shift' }>): void {
  const { code, flags } = w,
    wide = size === 64,
    { narrow: narrowOp, wide: wideOp, made, after } = SHIFTS[operation];
  const rotates = made < 0;
  if (!byCl && !rotates) {
    w.read(i.reg, size);
    unsigned(w, size);
    code.tee(FA);
    if (operation === 'SAR') signExtend(w, size);
    code.i64(i.immediate).tee(FB).op(wideOp);
    signExtend(w, size);
    code.tee(FR);
    narrow(w, size);
    w.write(i.reg, size);
    flags.set(made, size);
    return;
  }
  const [a, n] = wide ? [V0, V1] : [W0, W1];
  flags.prepare(after, byCl);
  w.read(i.reg, size);
  code.set(a);
  if (byCl) {
    w.read(8, wide ? 64 : 32);
    if (wide) code.i64(size - 1).op(Op.i64_and);
    else code.i32(size - 1).op(Op.i32_and);
  } else if (wide) code.i64(i.immediate);
  else code.i32(i.immediate);
  code.set(n);
  code
    .get(a)
    .get(n)
    .op(wide ? wideOp : narrowOp);
  const result = wide ? V2 : W2;
  code.tee(result);
  w.write(i.reg, size);
  code.get(rotates ? result : a);
  unsigned(w, size);
  code.set(FS).get(n);
  unsigned(w, size);
  code.set(FN);
  flags.setThen(after, size, byCl);
}

function multiply(w: Writer, i: Instruction, { form, size }: Extract<Row, { kind: 'multiply' }>): void {
  const { code, flags } = w;
  if (form === 'RM') {
    w.operand(i, size >>> 3, false);
    w.load(size);
  } else if (form === 'RRI') w.immediate(i, size);
  else w.read(i.rm, size);
  signed(w, size);
  code.tee(FB);
  w.read(form === 'RRI' ? i.rm : i.reg, size);
  signed(w, size);
  code.tee(FA).op(Op.i64_mul);
  signExtend(w, size);
  code.tee(FR);
  narrow(w, size);
  w.write(i.reg, size);
  flags.set(MADE_MUL, size);
}

// ---------------------------------------------------------------------------------------------- moves
function move(w: Writer, i: Instruction, form: Form, size: Size): void {
  if (form.includes('M')) w.operand(i, size >>> 3, form.startsWith('M'));
  if (form === 'RM') w.load(size);
  else if (form.endsWith('I')) w.immediate(i, size);
  else w.read(form === 'RR' ? i.rm : i.reg, size);
  if (form.startsWith('M')) w.store(size);
  else w.write(i.reg, size);
}

function extend(w: Writer, i: Instruction, { signed: sign, form, size, from }: Extract<Row, { kind: 'extend' }>): void {
  const { code } = w;
  if (form === 'RM') {
    w.operand(i, from >>> 3, false);
    w.load(from);
  } else w.read(i.rm, from);
  if (sign) {
    if (from === 8) code.op(Op.i32_extend8_s);
    else if (from === 16) code.op(Op.i32_extend16_s);
    if (size === 64) code.op(Op.i64_extend_i32_s);
    else mask(w, size);
  }
  w.write(i.reg, size);
}

const PLAIN: Record<Extract<Row, { kind: 'plain' }>['operation'], (w: Writer, i: Instruction) => void> = {
  NOP: () => {},
  CWDE: (w) => {
    w.read(0, 32);
    w.code.op(Op.i32_extend16_s);
    w.write(0, 32);
  },
  CDQE: (w) => {
    w.whole(0);
    w.code.op(Op.i64_extend32_s);
    w.setWhole(0);
  },
  CDQ: (w) => {
    w.read(0, 32);
    w.code.i32(31).op(Op.i32_shr_s);
    w.write(2 * 8, 32);
  },
  CQO: (w) => {
    w.whole(0);
    w.code.i64(63).op(Op.i64_shr_s);
    w.setWhole(2);
  },
  XCHG: (w, i) => {
    w.read(i.reg, 64);
    w.code.set(V0);
    w.read(i.rm, 64);
    w.write(i.reg, 64);
    w.code.get(V0);
    w.write(i.rm, 64);
  },
};

// ---------------------------------------------------------------------------------------------- loops
const RCX = 1;
const ZERO = 4;

/** RCX, or so many bits of it, becomes one less. */
export function countDown(w: Writer, counter: Size): void {
  w.whole(RCX);
  w.code.i64(-1).op(Op.i64_add);
  narrow(w, counter);
  w.write(RCX * 8, counter);
}
/** Pushes whether a LOOP or JCXZ goes to its target (i32). */
export function pushLoops(w: Writer, { unit, counter }: Extract<Row, { kind: 'loop' }>): void {
  const { code } = w;
  w.read(RCX * 8, counter);
  code.op(counter === 64 ? Op.i64_eqz : Op.i32_eqz);
  if (unit === Integer.JCXZ) return;
  code.op(Op.i32_eqz);
  if (unit === Integer.LOOP) return;
  w.flags.condition(ZERO + (unit === Integer.LOOPE ? 0 : 1));
  code.op(Op.i32_and);
}

// ---------------------------------------------------------------------------------------------- stack
/** Pushes a value of the guest's: `value` puts it on the wasm stack, after the check. */
export function pushValue(w: Writer, size: Size, value: () => void): void {
  w.stack(-(size >>> 3), size >>> 3, true);
  value();
  w.store(size);
  moveStack(w, -(size >>> 3));
}

function push(w: Writer, i: Instruction, form: Form, size: Size): void {
  const { code } = w,
    value = size === 64 ? V0 : W0;
  if (form === 'M') {
    w.address(i, size >>> 3, false);
    w.check(size >>> 3, false);
    w.load(size);
    code.set(value);
  }
  pushValue(w, size, () => {
    if (form === 'M') code.get(value);
    else if (form === 'I') w.immediate(i, size);
    else w.read(i.reg, size);
  });
}

function pop(w: Writer, i: Instruction, size: Size): void {
  w.stack(0, size >>> 3, false);
  moveStack(w, size >>> 3);
  w.load(size);
  w.write(i.reg, size); // POP RSP keeps the popped value
}
