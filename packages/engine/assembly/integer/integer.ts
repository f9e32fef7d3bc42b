import { CODE_BASE, EFLAGS, LF_AUX, REGS, RIP, SEG_BASE, SEG_SS } from "../../src/layout";
import { imul16, imul32, imul64 } from "../alu";
import { hasFeature } from "../features";
import { AF, CF, DF, PF, SF, ZF, arithmeticFlags, changeFlags, getCF, getZF, setLogicFlags } from "../flags";
import { commit, effectiveAddress, linearRead, linearWrite, operandModify, operandRead, segmentLinear } from "../mmu";
import { is64, nextRip, stackMask } from "../mode";
import { AM_CHECKED, AM_SHORT, isRegisterForm, recSegment, recSize, regPtr, rmPtr } from "../record";
import { FAULT, JUMP, OK } from "../status";
import { raise, raiseError } from "../system/raise";
import { execBits } from "./bits";
import { compareExchange, compareExchange16, compareExchange8 } from "./exchange";
import { asciiAdjust, decimalAdjust, divide, divideSigned, multiply } from "./multiply";
import { addFlags, cutTarget, imm32, insideCode, loadSized, setCarry, source, storeRegister, storeSized } from "./operands";
import * as I from "./ops";
import { bitTest, shift, shiftDouble } from "./shift";
import { enterFrame, popAll, popMemory, push, pushAll, setStackPointer, stackLinear } from "./stack";
/**
 * The integer instructions that are not frequent enough for handlers of their own, in all their forms. Operand sizes are 1, 2, 4
 * or 8 bytes from the record.
 */

export function execInteger(pc: usize): i32 {
  const size = recSize(pc), op = <u32>load<u16>(pc, 28);
  switch (op) {
    case I.INT_DAA: case I.INT_DAS: decimalAdjust(op == I.INT_DAS); return OK;
    case I.INT_AAA: case I.INT_AAS: asciiAdjust(op == I.INT_AAS); return OK;
    case I.INT_AAM: {
      const d = <u32>imm32(pc) & 0xff, al = <u32>load<u8>(REGS);
      if (d == 0) return raise(0);
      store<u8>(REGS, <u8>(al / d), 1);
      store<u8>(REGS, <u8>(al % d));
      setLogicFlags(<i64><i8>(al % d));
      return OK;
    }
    case I.INT_AAD: {
      const r = <u8>(<u32>load<u8>(REGS) + <u32>load<u8>(REGS, 1) * (<u32>imm32(pc) & 0xff));
      store<u16>(REGS, <u16>r);
      setLogicFlags(<i64><i8>r);
      return OK;
    }
    case I.INT_SALC: store<u8>(REGS, getCF() != 0 ? 0xff : 0); return OK;
    case I.INT_XLAT: return xlat(pc);
    case I.INT_PUSHA: return pushAll(pc, size);
    case I.INT_POPA: return popAll(pc, size);
    case I.INT_PUSH_I: return push(<u64><i64>imm32(pc), size, pc) ? OK : FAULT;
    case I.INT_PUSH_R: return push(load<u64>(regPtr(pc)), size, pc) ? OK : FAULT;
    case I.INT_PUSH_M: {
      const p = operandRead(pc, size);
      if (p == 0) return FAULT;
      return push(loadSized(p, size), size, pc) ? OK : FAULT;
    }
    case I.INT_POP_R: {
      const sp = load<u64>(REGS + 32);
      const p = linearRead(stackLinear(sp, size, false), size, SEG_SS, pc);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      setStackPointer(sp + <u64>size);
      storeRegister(regPtr(pc), size, v);
      return OK;
    }
    case I.INT_POP_M: return popMemory(pc, size);
    case I.INT_IMUL1: case I.INT_MUL: return multiply(pc, size, op == I.INT_IMUL1);
    case I.INT_IMUL2: case I.INT_IMUL3: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const a = op == I.INT_IMUL3 ? <u64><i64>imm32(pc) : load<u64>(regPtr(pc)), b = loadSized(p, size);
      const r: u64 = size == 2 ? <u64>imul16(<u16>a, <u16>b) : size == 4 ? <u64>imul32(<u32>a, <u32>b) : imul64(a, b);
      storeRegister(regPtr(pc), size, r);
      return OK;
    }
    case I.INT_DIV: return divide(pc, size);
    case I.INT_IDIV: return divideSigned(pc, size);
    case I.INT_XCHG: {
      if (isRegisterForm(pc)) {
        const a = loadSized(regPtr(pc), size), b = loadSized(rmPtr(pc), size);
        storeRegister(regPtr(pc), size, b);
        storeRegister(rmPtr(pc), size, a);
        return OK;
      }
      const p = operandModify(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      storeSized(p, size, loadSized(regPtr(pc), size));
      if (!commit(p)) return FAULT;
      storeRegister(regPtr(pc), size, v);
      return OK;
    }
    case I.INT_XADD: {
      const isReg = isRegisterForm(pc);
      const p = isReg ? rmPtr(pc) : operandModify(pc, size);
      if (p == 0) return FAULT;
      const a = loadSized(p, size), b = loadSized(regPtr(pc), size), r = a + b;
      if (!isReg) { storeSized(p, size, r); if (!commit(p)) return FAULT; }
      storeRegister(regPtr(pc), size, a);
      if (isReg) storeRegister(p, size, r);
      addFlags(a, b, r, size);
      return OK;
    }
    case I.INT_CMPXCHG: return compareExchange(pc, size);
    case I.INT_CMPXCHG8B: return compareExchange8(pc);
    case I.INT_CMPXCHG16B: return compareExchange16(pc);
    case I.INT_CBW: store<u16>(REGS, <u16><i16>load<i8>(REGS)); return OK;
    case I.INT_CWD: store<u16>(REGS + 16, <u16>(load<i16>(REGS) >> 15)); return OK;
    case I.INT_SAHF: {
      if (is64() && !hasFeature(192)) return raise(6);
      changeFlags(SF | ZF | AF | PF | CF, <u32>load<u8>(REGS, 1));
      return OK;
    }
    case I.INT_LAHF: {
      if (is64() && !hasFeature(192)) return raise(6);
      store<u8>(REGS, <u8>((arithmeticFlags() & 0xd5) | 2), 1);
      return OK;
    }
    case I.INT_SHIFT_I: return shift(pc, size, <u32>imm32(pc) & 0xff);
    case I.INT_SHIFT_CL: return shift(pc, size, <u32>load<u8>(REGS + 8));
    case I.INT_SHLD_I: return shiftDouble(pc, size, <u32>imm32(pc), true);
    case I.INT_SHLD_CL: return shiftDouble(pc, size, <u32>load<u8>(REGS + 8), true);
    case I.INT_SHRD_I: return shiftDouble(pc, size, <u32>imm32(pc), false);
    case I.INT_SHRD_CL: return shiftDouble(pc, size, <u32>load<u8>(REGS + 8), false);
    case I.INT_RET: {
      const sp = load<u64>(REGS + 32);
      const p = linearRead(stackLinear(sp, size, false), size, SEG_SS, pc);
      if (p == 0) return FAULT;
      const target = loadSized(p, size);
      if (!insideCode(target)) return raiseError(13, 0);
      setStackPointer(sp + <u64>size + <u64>(<u32>imm32(pc) & 0xffff));
      store<u64>(RIP, target);
      return JUMP;
    }
    case I.INT_CALL: {
      const target = cutTarget(load<u64>(CODE_BASE) + <u64><i64>imm32(pc), size);
      if (!insideCode(target)) return raiseError(13, 0);
      if (!push(nextRip(pc), size, pc)) return FAULT;
      store<u64>(RIP, target);
      return JUMP;
    }
    case I.INT_CALL_RM: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const target = loadSized(p, size);
      if (!insideCode(target)) return raiseError(13, 0);
      if (!push(nextRip(pc), size, pc)) return FAULT;
      store<u64>(RIP, target);
      return JUMP;
    }
    case I.INT_JMP_RM: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const target = loadSized(p, size);
      if (!insideCode(target)) return raiseError(13, 0);
      store<u64>(RIP, target);
      return JUMP;
    }
    case I.INT_ENTER: return enterFrame(pc, size);
    case I.INT_LEAVE: {
      const mask = stackMask(), sp = load<u64>(REGS + 40) & mask;
      const p = linearRead(segmentLinear(SEG_SS, sp, size, false), size, SEG_SS, pc);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      setStackPointer(sp + <u64>size);
      storeRegister(REGS + 40, size, v);
      return OK;
    }
    case I.INT_LOOPNE: case I.INT_LOOPE: case I.INT_LOOP: case I.INT_JCXZ: return loopBranch(pc, op, size);
    case I.INT_CMC: store<u32>(LF_AUX, load<u32>(LF_AUX) ^ 0xc0000000); return OK; // both carries: OF stays
    case I.INT_CLC: setCarry(0); return OK;
    case I.INT_STC: setCarry(1); return OK;
    case I.INT_CLD: store<u32>(EFLAGS, load<u32>(EFLAGS) & ~DF); return OK;
    case I.INT_STD: store<u32>(EFLAGS, load<u32>(EFLAGS) | DF); return OK;
    case I.INT_MOV_A_FAR: {
      const p = linearRead(farAddress(pc), size, 3, pc);
      if (p == 0) return FAULT;
      storeRegister(REGS, size, loadSized(p, size));
      return OK;
    }
    case I.INT_MOV_FAR_A: {
      const p = linearWrite(farAddress(pc), size, 3, pc);
      if (p == 0) return FAULT;
      storeSized(p, size, load<u64>(REGS));
      return commit(p) ? OK : FAULT;
    }
    case I.INT_BT: case I.INT_BTS: case I.INT_BTR: case I.INT_BTC: return bitTest(pc, size, op - I.INT_BT, false);
    case I.INT_BT_I: case I.INT_BTS_I: case I.INT_BTR_I: case I.INT_BTC_I: return bitTest(pc, size, op - I.INT_BT_I, true);
    default: return execBits(pc, op, size);
  }
}

function farAddress(pc: usize): u64 {
  return (<u64>load<u32>(pc, 16) << 32 | <u64>load<u32>(pc, 24)) + load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3));
}

function xlat(pc: usize): i32 {
  // DS:[rBX + AL]; the record names base and segment, AL is added here
  const base = effectiveAddress(pc) + <u64>load<u8>(REGS);
  const am = load<u8>(pc, 11);
  let linear: u64;
  if (am == AM_CHECKED) linear = segmentLinear(recSegment(pc), (load<u8>(pc, 10) & 0x80) != 0 ? base & 0xffff : base & 0xffffffff, 1, false);
  else linear = (am == AM_SHORT ? base & 0xffffffff : base) + load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3));
  const p = linearRead(linear, 1, recSegment(pc), pc);
  if (p == 0) return FAULT;
  store<u8>(REGS, load<u8>(p));
  return OK;
}

function loopBranch(pc: usize, op: u32, size: u32): i32 {
  const width = load<u8>(pc, 10), cx = REGS + 8;
  const mask: u64 = width == 8 ? <u64>-1 : width == 4 ? 0xffffffff : 0xffff;
  let count = load<u64>(cx) & mask, taken: bool;
  if (op == I.INT_JCXZ) taken = count == 0;
  else {
    count = (count - 1) & mask;
    taken = count != 0 && (op == I.INT_LOOP || (op == I.INT_LOOPE) == (getZF() != 0));
  }
  const target = cutTarget(load<u64>(CODE_BASE) + <u64><i64>imm32(pc), size);
  if (taken && !insideCode(target)) return raiseError(13, 0);
  if (op != I.INT_JCXZ) storeRegister(cx, width, count);
  store<u64>(RIP, taken ? target : nextRip(pc));
  return JUMP;
}
