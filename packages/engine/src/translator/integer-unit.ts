/**
 * Instructions of the integer unit that are translated in line: those that profiles show. The others are called (units.ts). Their numbers and
 * meanings: assembly/integer/.
 */
import {
  AM_REGISTER,
  MADE_ADD,
  MADE_EXACT,
  MADE_SAR,
  MADE_SHL,
  MADE_SHR,
  MADE_SUB,
  THEN_CARRY,
} from '../code-layout.js';
import { EFLAGS } from '../layout.js';
import { swapBytes, translateBits } from './bits.js';
import type { Instruction, Size } from './instructions.js';
import { cut, open, pushOperand, pushRegister, signExtend, writeOperand, writeRegister } from './integer-operands.js';
import { FA, FB, FN, FR, FS, V0, V1, V2, V3, W0 } from './locals.js';
import { Integer } from './unit-numbers.js';
import { inStack, setStack } from './segments.js';
import { divide, divideSigned, multiply, multiplyImmediate } from './multiply-divide.js';
import { Op } from './opcodes.js';
import type { Writer } from './writer.js';

const RAX = 0;
const RDX = 2;
const RBP = 5;
const DIRECTION = 1 << 10;

/** Translates the instruction; false: it is not one of those. Nothing has been written then. */
export function translateInteger(w: Writer, i: Instruction): boolean {
  const size = (i.size * 8) as Size,
    register = i.addressMode === AM_REGISTER,
    wide = size === 32 || size === 64;
  switch (i.unit) {
    case Integer.BSWAP:
      return wide && done(reverse(w, i, size));
    case Integer.XCHG:
      return done(exchange(w, i, size));
    case Integer.XADD:
      return done(exchangeAndAdd(w, i, size));
    case Integer.CMPXCHG:
      return done(compareAndExchange(w, i, size));
    case Integer.CBW:
      w.read(RAX, 8);
      w.code.op(Op.i32_extend8_s).i32(0xffff).op(Op.i32_and);
      w.write(RAX, 16);
      return true;
    case Integer.CWD:
      w.read(RAX, 16);
      w.code.op(Op.i32_extend16_s).i32(16).op(Op.i32_shr_u);
      w.write(RDX * 8, 16);
      return true;
    case Integer.SHIFT_I:
      return shift(w, i, size);
    case Integer.SHLD_I:
    case Integer.SHRD_I:
      return register && wide && doubleShift(w, i, size);
    case Integer.LEAVE:
      return done(leave(w, size));
    case Integer.CMC:
    case Integer.CLC:
    case Integer.STC:
      return done(carry(w, i.unit));
    case Integer.CLD:
    case Integer.STD:
      return done(direction(w, i.unit === Integer.STD));
    case Integer.MUL:
    case Integer.IMUL1:
      return wide && done(multiply(w, i, size, i.unit === Integer.IMUL1));
    case Integer.IMUL3:
      return wide && done(multiplyImmediate(w, i, size));
    case Integer.DIV:
      return wide && done(divide(w, i, size));
    case Integer.IDIV:
      return wide && done(divideSigned(w, i, size));
    case Integer.CMOV:
      return done(conditionalMove(w, i, size));
    case Integer.SETCC_M:
      w.address(i, 1, true);
      w.check(1, true);
      w.flags.condition(i.immediate & 15);
      w.store(8);
      return true;
    default:
      if (i.unit >= Integer.BT && i.unit <= Integer.BTC)
        return register && done(testBit(w, i, size, i.unit - Integer.BT));
      if (i.unit >= Integer.BT_I && i.unit <= Integer.BTC_I) return done(testBit(w, i, size, i.unit - Integer.BT_I));
      return wide && translateBits(w, i, size);
  }
}
function done(_: void): true {
  return true;
}

// ---------------------------------------------------------------------------------------------- exchanges
function reverse(w: Writer, i: Instruction, size: Size): void {
  pushRegister(w, i.reg, size);
  swapBytes(w, size);
  w.code.set(V0);
  writeRegister(w, i.reg, size, V0);
}

function exchange(w: Writer, i: Instruction, size: Size): void {
  open(w, i, size, true);
  pushRegister(w, i.reg, size);
  w.code.set(V0);
  pushOperand(w, i, size);
  w.code.set(V1);
  writeRegister(w, i.reg, size, V1);
  writeOperand(w, i, size, V0);
}

/** The sum's flags, from FA and FB; the sum goes to FR. */
function add(w: Writer, size: Size): void {
  w.code.get(FA).get(FB).op(Op.i64_add);
  signExtend(w, size);
  w.code.set(FR);
  w.flags.set(MADE_ADD, size);
}

function exchangeAndAdd(w: Writer, i: Instruction, size: Size): void {
  open(w, i, size, true);
  pushOperand(w, i, size);
  w.code.set(FA);
  pushRegister(w, i.reg, size);
  w.code.set(FB);
  add(w, size);
  // the register first: the sum stays if both are one
  writeRegister(w, i.reg, size, FA);
  writeOperand(w, i, size, FR);
}

function compareAndExchange(w: Writer, i: Instruction, size: Size): void {
  const { code } = w,
    memory = i.addressMode !== AM_REGISTER;
  open(w, i, size, true);
  pushOperand(w, i, size);
  code.set(V0);
  pushRegister(w, RAX, size);
  code.set(V1);
  pushRegister(w, i.reg, size);
  code.set(V2);
  code.get(V0).get(V1).op(Op.i64_eq).set(W0);
  // what the operand becomes; of two registers only one is written, which for 32 bits shows in the upper half
  if (memory) {
    code.get(V2).get(V0).get(W0).op(Op.select).set(V3);
    writeOperand(w, i, size, V3);
    code.get(W0).op(Op.i32_eqz).when();
    writeRegister(w, RAX, size, V0);
    code.end();
  } else {
    code.get(W0).when();
    writeRegister(w, i.rm, size, V2);
    code.otherwise();
    writeRegister(w, RAX, size, V0);
    code.end();
  }
  code.get(V1).set(FA).get(V0).set(FB).get(V1).get(V0).op(Op.i64_sub);
  signExtend(w, size);
  code.set(FR);
  w.flags.set(MADE_SUB, size);
}

// ---------------------------------------------------------------------------------------------- shifts and bits
const SHIFTS: Record<number, { op: Op; made: number; signed: boolean }> = {
  4: { op: Op.i64_shl, made: MADE_SHL, signed: false },
  5: { op: Op.i64_shr_u, made: MADE_SHR, signed: false },
  6: { op: Op.i64_shl, made: MADE_SHL, signed: false },
  7: { op: Op.i64_shr_s, made: MADE_SAR, signed: true },
};

function shift(w: Writer, i: Instruction, size: Size): boolean {
  const kind = SHIFTS[(i.modrm >>> 3) & 7],
    count = i.immediate & (size === 64 ? 63 : 31);
  if (kind === undefined || count === 0 || count > size) return false;
  const { code } = w;
  open(w, i, size, true);
  pushOperand(w, i, size);
  code.tee(FA);
  if (kind.signed) signExtend(w, size);
  code.i64(count).op(kind.op);
  signExtend(w, size);
  code.set(FR);
  writeOperand(w, i, size, FR);
  code.i64(count).set(FB);
  w.flags.set(kind.made, size);
  return true;
}

function doubleShift(w: Writer, i: Instruction, size: Size): boolean {
  const { code } = w,
    left = i.unit === Integer.SHLD_I,
    count = i.immediate & (size - 1);
  if (count === 0) return false;
  pushRegister(w, i.rm, size);
  code.set(V0);
  pushRegister(w, i.reg, size);
  code.set(V1);
  code
    .get(V0)
    .i64(count)
    .op(left ? Op.i64_shl : Op.i64_shr_u);
  code
    .get(V1)
    .i64(size - count)
    .op(left ? Op.i64_shr_u : Op.i64_shl)
    .op(Op.i64_or);
  signExtend(w, size);
  code.set(FR);
  writeRegister(w, i.rm, size, FR);
  // CF: the last bit shifted out; OF: the sign changed
  code
    .get(V0)
    .i64(left ? size - count : count - 1)
    .op(Op.i64_shr_u)
    .i64(1)
    .op(Op.i64_and)
    .set(V2);
  code.get(V2).i64(31).op(Op.i64_shl);
  code
    .get(FR)
    .get(V0)
    .op(Op.i64_xor)
    .i64(size - 1)
    .op(Op.i64_shr_u)
    .i64(1)
    .op(Op.i64_and)
    .get(V2)
    .op(Op.i64_xor);
  code.i64(30).op(Op.i64_shl).op(Op.i64_or).set(FA);
  w.flags.set(MADE_EXACT, 64);
  return true;
}

/** BT, BTS, BTR or BTC (0 to 3) by an immediate, or by a register on a register. */
function testBit(w: Writer, i: Instruction, size: Size, kind: number): void {
  const { code } = w,
    immediate = i.unit >= Integer.BT_I;
  w.flags.prepare(THEN_CARRY);
  open(w, i, size, kind !== 0);
  pushOperand(w, i, size);
  code.set(V0);
  if (immediate) code.i64(i.immediate & (size - 1));
  else {
    pushRegister(w, i.reg, size);
    code.i64(size - 1).op(Op.i64_and);
  }
  code.set(V1);
  code.get(V0).get(V1).op(Op.i64_shr_u).i64(1).op(Op.i64_and).set(FS);
  if (kind !== 0) {
    code.get(V0).i64(1).get(V1).op(Op.i64_shl);
    if (kind === 2) code.i64(-1).op(Op.i64_xor);
    code.op(kind === 1 ? Op.i64_or : kind === 2 ? Op.i64_and : Op.i64_xor).set(V2);
    writeOperand(w, i, size, V2);
  }
  code.i64(1).set(FN);
  w.flags.setThen(THEN_CARRY, 64, false);
}

function carry(w: Writer, unit: number): void {
  const { code, flags } = w;
  if (unit === Integer.CMC) {
    flags.carry();
    code.op(Op.i32_eqz).op(Op.i64_extend_i32_u).set(V0);
  } else code.i64(unit === Integer.STC ? 1 : 0).set(V0);
  flags.prepare(THEN_CARRY);
  code.get(V0).set(FS).i64(1).set(FN);
  flags.setThen(THEN_CARRY, 64, false);
}

function direction(w: Writer, set: boolean): void {
  const { code } = w,
    address = w.setting.state + EFLAGS;
  code.i32(0).i32(0).access(Op.i32_load, address);
  if (set) code.i32(DIRECTION).op(Op.i32_or);
  else code.i32(~DIRECTION).op(Op.i32_and);
  code.access(Op.i32_store, address);
}

// ---------------------------------------------------------------------------------------------- others
/** The load is made whatever the condition. */
function conditionalMove(w: Writer, i: Instruction, size: Size): void {
  open(w, i, size, false);
  pushOperand(w, i, size);
  pushRegister(w, i.reg, size);
  w.flags.condition(i.immediate & 15);
  w.code.op(Op.select);
  cut(w, size);
  w.code.set(V0);
  writeRegister(w, i.reg, size, V0);
}

function leave(w: Writer, size: Size): void {
  const { code } = w;
  w.whole(RBP);
  code.tee(V0);
  inStack(w, size >>> 3, false);
  w.check(size >>> 3, false);
  code
    .get(V0)
    .i64(size >>> 3)
    .op(Op.i64_add);
  setStack(w);
  w.load(size);
  w.write(RBP * 8, size);
}
