import { EFLAGS, LF_AUX, LF_RESULT, REGS, RIP, SEG_BASE, SEG_SS, SEG_ZERO } from "../src/layout";
import {
  addFlags16, addFlags32, addFlags64, addFlags8, divide128, divideRemainder, imul16, imul32, imul64, mulHigh, mulHighSigned, multiplyFlags, rcl16, rcl32, rcl64, rcl8, rcr16,
  rcr32, rcr64, rcr8, rol16, rol32, rol64, rol8, ror16, ror32, ror64, ror8, rotateFlags, sar16, sar32, sar64, sar8, shl16, shl32, shl64, shl8, shr16, shr32, shr64, shr8,
  subFlags16, subFlags32, subFlags64, subFlags8,
} from "./alu";
import { AF, CF, DF, OF, PF, SF, ZF, arithmeticFlags, changeFlags, getAF, getCF, getOF, getPF, getSF, getZF, setArithmeticFlags, setLogicFlags } from "./flags";
import { F_ADX, F_BMI1, F_BMI2, F_CX16, F_MOVBE, F_POPCNT, F_SSE4_2, hasFeature } from "./features";
import * as I from "./integer-ops";
import { SEGMENT_FAULT, commit, effectiveAddress, fastModify, fastRead, fastWrite, linearModify, linearRead, linearWrite, operandModify, operandRead, operandWrite, segmentLinear } from "./mmu";
import { is64, isCanonical, nextRip, stackMask } from "./mode";
import { AM_CHECKED, AM_SHORT, isRegisterForm, recRm, recReg, recSegment, recSize, recVvvv, regPtr, rmPtr } from "./record";
import { FAULT, JUMP, OK } from "./status";
import { raise, raiseError } from "./system/exceptions";
/**
 * The integer instructions that are not frequent enough for handlers of their own, in all their forms. Operand sizes are 1, 2, 4
 * or 8 bytes from the record.
 */

// @ts-ignore: decorator
@inline function imm32(pc: usize): i32 { return load<i32>(pc, 24); }

function loadSized(p: usize, size: u32): u64 {
  return size == 4 ? <u64>load<u32>(p) : size == 8 ? load<u64>(p) : size == 2 ? <u64>load<u16>(p) : <u64>load<u8>(p);
}
/** Stores into memory. */
function storeSized(p: usize, size: u32, v: u64): void {
  if (size == 4) store<u32>(p, <u32>v); else if (size == 8) store<u64>(p, v); else if (size == 2) store<u16>(p, <u16>v); else store<u8>(p, <u8>v);
}
/** Stores into a register: 32 bits clear the upper half. */
function storeRegister(p: usize, size: u32, v: u64): void {
  if (size == 4) store<u64>(p, v & 0xffffffff); else storeSized(p, size, v);
}
/** Sign-extends from an operand size. */
function signed(v: u64, size: u32): i64 {
  return size == 4 ? <i64><i32>v : size == 8 ? <i64>v : size == 2 ? <i64><i16>v : <i64><i8>v;
}
/** Pointer to the r/m operand for reading; 0 on a fault. */
function source(pc: usize, size: u32): usize { return isRegisterForm(pc) ? rmPtr(pc) : operandRead(pc, size); }

/** The condition of Jcc, SETcc and CMOVcc by its number. */
export function testCondition(cc: u32): bool {
  let r: bool;
  switch (cc >>> 1) {
    case 0: r = getOF() != 0; break;
    case 1: r = getCF() != 0; break;
    case 2: r = getZF() != 0; break;
    case 3: r = (getCF() | getZF()) != 0; break;
    case 4: r = getSF() != 0; break;
    case 5: r = getPF() != 0; break;
    case 6: r = getSF() != getOF(); break;
    default: r = (getZF() | (getSF() ^ getOF())) != 0; break;
  }
  return (cc & 1) != 0 ? !r : r;
}

// ---------------------------------------------------------------------------------------------------- stack

/** Linear address of `size` bytes at a stack pointer, SEGMENT_FAULT if the stack segment does not allow it. */
function stackLinear(sp: u64, size: u32, write: bool): u64 {
  return segmentLinear(SEG_SS, sp & stackMask(), size, write);
}
function setStackPointer(v: u64): void {
  const mask = stackMask();
  if (mask == 0xffff) store<u16>(REGS + 32, <u16>v); else store<u64>(REGS + 32, v & mask);
}
/** Pushes `size` bytes; false on a fault, with RSP unchanged. */
function push(value: u64, size: u32, pc: usize): bool {
  const sp = load<u64>(REGS + 32) - <u64>size;
  const p = linearWrite(stackLinear(sp, size, true), size, SEG_SS, pc);
  if (p == 0) return false;
  storeSized(p, size, value);
  if (!commit(p)) return false;
  setStackPointer(sp);
  return true;
}

// ---------------------------------------------------------------------------------------------------- main switch

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
      const target = cutTarget(load<u64>(0x1088) + <u64><i64>imm32(pc), size);
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
    default: return execInteger2(pc, op, size);
  }
}

function execInteger2(pc: usize, op: u32, size: u32): i32 {
  switch (op) {
    case I.INT_BSF: case I.INT_BSR: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      if (v == 0) { // the destination is left alone; a 32-bit one too, upper half included
        setArithmeticFlags((arithmeticFlags() & ~(CF | OF | SF | AF | PF)) | ZF | PF);
        return OK;
      }
      const r = op == I.INT_BSF ? ctz(v) : 63 - clz(v);
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(<i64>r);
      if (r == 0) setArithmeticFlags(arithmeticFlags() & ~ZF);
      return OK;
    }
    case I.INT_TZCNT: case I.INT_LZCNT: {
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size), bits = <u64>size << 3;
      const r = v == 0 ? bits : op == I.INT_TZCNT ? ctz(v) : clz(v) - (64 - bits);
      storeRegister(regPtr(pc), size, r);
      setArithmeticFlags((v == 0 ? CF : 0) | (r == 0 ? ZF : 0));
      return OK;
    }
    case I.INT_POPCNT: {
      if (!hasFeature(F_POPCNT)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const r = popcnt(loadSized(p, size));
      storeRegister(regPtr(pc), size, r);
      setArithmeticFlags(r == 0 ? ZF : 0);
      return OK;
    }
    case I.INT_BSWAP: {
      const r = regPtr(pc);
      if (size == 8) store<u64>(r, bswap<u64>(load<u64>(r)));
      else if (size == 4) store<u64>(r, <u64>bswap<u32>(load<u32>(r)));
      else store<u16>(r, 0); // undefined by the manual; processors give 0
      return OK;
    }
    case I.INT_CMOV: {
      const p = source(pc, size); // the load is made whatever the condition
      if (p == 0) return FAULT;
      const v = testCondition(<u32>imm32(pc)) ? loadSized(p, size) : loadSized(regPtr(pc), size);
      storeRegister(regPtr(pc), size, v);
      return OK;
    }
    case I.INT_SETCC_M: {
      const p = operandWrite(pc, 1);
      if (p == 0) return FAULT;
      store<u8>(p, <u8>testCondition(<u32>imm32(pc)));
      return commit(p) ? OK : FAULT;
    }
    case I.INT_CRC32_8: case I.INT_CRC32: {
      if (!hasFeature(F_SSE4_2)) return raise(6);
      const n = op == I.INT_CRC32_8 ? 1 : size;
      const p = source(pc, n);
      if (p == 0) return FAULT;
      store<u64>(regPtr(pc), <u64>crc32c(load<u32>(regPtr(pc)), loadSized(p, n), n));
      return OK;
    }
    case I.INT_MOVBE_LOAD: {
      if (!hasFeature(F_MOVBE)) return raise(6);
      const p = operandRead(pc, size);
      if (p == 0) return FAULT;
      storeRegister(regPtr(pc), size, swapBytes(loadSized(p, size), size));
      return OK;
    }
    case I.INT_MOVBE_STORE: {
      if (!hasFeature(F_MOVBE)) return raise(6);
      const p = operandWrite(pc, size);
      if (p == 0) return FAULT;
      storeSized(p, size, swapBytes(load<u64>(regPtr(pc)), size));
      return commit(p) ? OK : FAULT;
    }
    case I.INT_ADCX: case I.INT_ADOX: {
      if (!hasFeature(F_ADX)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const a = loadSized(regPtr(pc), size), b = loadSized(p, size), c = op == I.INT_ADCX ? getCF() : getOF();
      const r = a + b + <u64>c;
      const carry = size == 4 ? u32(r >> 32) : u32(((a & b) | ((a | b) & ~r)) >> 63);
      storeRegister(regPtr(pc), size, r);
      if (op == I.INT_ADCX) setCarry(carry); else rotateFlags(getCF(), carry);
      return OK;
    }
    case I.INT_ANDN: {
      if (!hasFeature(F_BMI1)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const r = ~load<u64>(REGS + (recVvvv(pc) << 3)) & loadSized(p, size);
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(signed(r, size));
      return OK;
    }
    case I.INT_BLSR: case I.INT_BLSMSK: case I.INT_BLSI: {
      if (!hasFeature(F_BMI1)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size);
      const r = op == I.INT_BLSR ? v & (v - 1) : op == I.INT_BLSMSK ? v ^ (v - 1) : v & (0 - v);
      storeRegister(REGS + (recVvvv(pc) << 3), size, r);
      setLogicFlags(signed(r, size));
      setCarryOnly(op == I.INT_BLSI ? u32(v != 0) : u32(v == 0));
      return OK;
    }
    case I.INT_BEXTR: {
      if (!hasFeature(F_BMI1)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const control = load<u32>(REGS + (recVvvv(pc) << 3)), start = control & 0xff, length = (control >>> 8) & 0xff;
      let r: u64 = start < 64 ? loadSized(p, size) >> <u64>start : 0;
      if (length < 64) r &= (<u64>1 << <u64>length) - 1;
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(signed(r, size));
      return OK;
    }
    case I.INT_BZHI: {
      if (!hasFeature(F_BMI2)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const n = load<u8>(REGS + (recVvvv(pc) << 3)) as u32, bits = size << 3;
      let r = loadSized(p, size);
      if (n < bits) r &= (<u64>1 << <u64>n) - 1;
      storeRegister(regPtr(pc), size, r);
      setLogicFlags(signed(r, size));
      setCarryOnly(u32(n > bits - 1));
      return OK;
    }
    case I.INT_PEXT: case I.INT_PDEP: {
      if (!hasFeature(F_BMI2)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      let mask = loadSized(p, size), from = loadSized(REGS + (recVvvv(pc) << 3), size), r: u64 = 0;
      if (op == I.INT_PEXT) {
        for (let k: u64 = 0; mask != 0; k++) { const bit = mask & (0 - mask); if (from & bit) r |= <u64>1 << k; mask &= mask - 1; }
      } else {
        for (; mask != 0; from >>= 1) { const bit = mask & (0 - mask); if (from & 1) r |= bit; mask &= mask - 1; }
      }
      storeRegister(regPtr(pc), size, r);
      return OK;
    }
    case I.INT_MULX: {
      if (!hasFeature(F_BMI2)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const a = loadSized(REGS + 16, size), b = loadSized(p, size);
      const low = a * b, high = size == 8 ? mulHigh(a, b) : low >> 32;
      storeRegister(REGS + (recVvvv(pc) << 3), size, low);
      storeRegister(regPtr(pc), size, high); // last: it wins when both name one register
      return OK;
    }
    case I.INT_SHLX: case I.INT_SARX: case I.INT_SHRX: {
      if (!hasFeature(F_BMI2)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size), n = load<u64>(REGS + (recVvvv(pc) << 3)) & (size == 8 ? 63 : 31);
      const r = op == I.INT_SHLX ? v << n : op == I.INT_SHRX ? v >> n : <u64>(signed(v, size) >> <i64>n);
      storeRegister(regPtr(pc), size, r);
      return OK;
    }
    case I.INT_RORX: {
      if (!hasFeature(F_BMI2)) return raise(6);
      const p = source(pc, size);
      if (p == 0) return FAULT;
      const v = loadSized(p, size), n = <u32>imm32(pc) & (size == 8 ? 63 : 31);
      storeRegister(regPtr(pc), size, size == 8 ? rotr<u64>(v, n) : <u64>rotr<u32>(<u32>v, n));
      return OK;
    }
    default: return raise(6);
  }
}

// ---------------------------------------------------------------------------------------------------- parts

function addFlags(a: u64, b: u64, r: u64, size: u32): void {
  if (size == 4) addFlags32(<u32>a, <u32>b, <u32>r); else if (size == 8) addFlags64(a, b, r);
  else if (size == 2) addFlags16(<u16>a, <u16>b, <u16>r); else addFlags8(<u8>a, <u8>b, <u8>r);
}
function subFlags(a: u64, b: u64, r: u64, size: u32): void {
  if (size == 4) subFlags32(<u32>a, <u32>b, <u32>r); else if (size == 8) subFlags64(a, b, r);
  else if (size == 2) subFlags16(<u16>a, <u16>b, <u16>r); else subFlags8(<u8>a, <u8>b, <u8>r);
}
/** CF alone; OF keeps its value. */
function setCarry(cf: u32): void { rotateFlags(cf, getOF()); }
/** CF after a logic operation (OF is 0). */
function setCarryOnly(cf: u32): void { rotateFlags(cf, 0); }

function cutTarget(target: u64, size: u32): u64 { return size == 8 ? target : size == 4 ? target & 0xffffffff : target & 0xffff; }
/** May the near target be jumped to? Outside 64-bit mode it must lie within CS.limit (SDM 2A JMP, #GP(0)). */
function insideCode(target: u64): bool {
  return is64() ? isCanonical(target) : target <= <u64>load<u32>(0x1150 + 4);
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

function pushAll(pc: usize, size: u32): i32 {
  const sp = load<u64>(REGS + 32);
  // all or nothing: probe both ends, then write from the top down
  const bottom = stackLinear(sp - <u64>(size * 8), size, true);
  if (linearWrite(bottom, size, SEG_SS, pc) == 0) return FAULT;
  for (let i: u32 = 0; i < 8; i++) {
    const p = linearWrite(stackLinear(sp - <u64>(size * (i + 1)), size, true), size, SEG_SS, pc);
    if (p == 0) return FAULT;
    storeSized(p, size, load<u64>(REGS + (i << 3))); // SP is the value before
    if (!commit(p)) return FAULT;
  }
  setStackPointer(sp - <u64>(size * 8));
  return OK;
}
function popAll(pc: usize, size: u32): i32 {
  const sp = load<u64>(REGS + 32);
  if (linearRead(stackLinear(sp + <u64>(size * 7), size, false), size, SEG_SS, pc) == 0) return FAULT;
  for (let i: u32 = 0; i < 8; i++) { // DI first
    const p = linearRead(stackLinear(sp + <u64>(size * i), size, false), size, SEG_SS, pc);
    if (p == 0) return FAULT;
    if (i != 3) storeRegister(REGS + ((7 - i) << 3), size, loadSized(p, size));
  }
  setStackPointer(sp + <u64>(size * 8));
  return OK;
}
/** POP to memory: the address is computed with RSP already incremented (SDM 2B POP). */
function popMemory(pc: usize, size: u32): i32 {
  const before = load<u64>(REGS + 32);
  const p = linearRead(stackLinear(before, size, false), size, SEG_SS, pc);
  if (p == 0) return FAULT;
  const v = loadSized(p, size);
  setStackPointer(before + <u64>size);
  const q = operandWrite(pc, size);
  if (q != 0) {
    storeSized(q, size, v);
    if (commit(q)) return OK;
  }
  store<u64>(REGS + 32, before);
  return FAULT;
}

function enterFrame(pc: usize, size: u32): i32 {
  const bytes = <u64>(<u32>imm32(pc) & 0xffff), level = (<u32>imm32(pc) >>> 16) & 31, mask = stackMask();
  const sp = load<u64>(REGS + 32), bp = load<u64>(REGS + 40);
  let at = sp - <u64>size;
  // the frame pointer is all of ESP, of which a 16-bit stack has moved the lower half
  const temporary = mask == 0xffff ? (sp & 0xffff0000) | (at & 0xffff) : at & mask;
  let p = linearWrite(stackLinear(at, size, true), size, SEG_SS, pc);
  if (p == 0) return FAULT;
  storeSized(p, size, bp);
  if (!commit(p)) return FAULT;
  for (let i: u32 = 1; i < level; i++) {
    const q = linearRead(stackLinear(bp - <u64>(size * i), size, false), size, SEG_SS, pc);
    if (q == 0) return FAULT;
    const v = loadSized(q, size);
    at -= <u64>size;
    p = linearWrite(stackLinear(at, size, true), size, SEG_SS, pc);
    if (p == 0) return FAULT;
    storeSized(p, size, v);
    if (!commit(p)) return FAULT;
  }
  if (level > 0) {
    at -= <u64>size;
    p = linearWrite(stackLinear(at, size, true), size, SEG_SS, pc);
    if (p == 0) return FAULT;
    storeSized(p, size, temporary);
    if (!commit(p)) return FAULT;
  }
  // a write at the final stack pointer must be possible too (SDM 2A ENTER)
  if (bytes != 0 && linearWrite(stackLinear(at - bytes, size, true), size, SEG_SS, pc) == 0) return FAULT;
  setStackPointer(at - bytes);
  if (size == 2) store<u16>(REGS + 40, <u16>temporary); else store<u64>(REGS + 40, temporary);
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
  const target = cutTarget(load<u64>(0x1088) + <u64><i64>imm32(pc), size);
  if (taken && !insideCode(target)) return raiseError(13, 0);
  if (op != I.INT_JCXZ) storeRegister(cx, width, count);
  store<u64>(RIP, taken ? target : nextRip(pc));
  return JUMP;
}

function multiply(pc: usize, size: u32, isSigned: bool): i32 {
  const p = source(pc, size);
  if (p == 0) return FAULT;
  if (size == 8) {
    const a = load<u64>(REGS), b = load<u64>(p), low = a * b;
    const high = isSigned ? <u64>mulHighSigned(<i64>a, <i64>b) : mulHigh(a, b);
    store<u64>(REGS, low);
    store<u64>(REGS + 16, high);
    multiplyFlags(<i64>low, u32(isSigned ? <i64>high != (<i64>low >> 63) : high != 0));
    return OK;
  }
  if (isSigned) {
    const a = signed(load<u64>(REGS), size), b = signed(loadSized(p, size), size), full = a * b;
    setProduct(<u64>full, size);
    multiplyFlags(signed(<u64>full, size), u32(signed(<u64>full, size) != full));
  } else {
    const full = loadSized(REGS, size) * loadSized(p, size);
    setProduct(full, size);
    multiplyFlags(signed(full, size), u32((full >> <u64>(size << 3)) != 0));
  }
  return OK;
}
function setProduct(full: u64, size: u32): void {
  if (size == 1) store<u16>(REGS, <u16>full);
  else if (size == 2) { store<u16>(REGS, <u16>full); store<u16>(REGS + 16, <u16>(full >> 16)); }
  else { store<u64>(REGS, full & 0xffffffff); store<u64>(REGS + 16, (full >> 32) & 0xffffffff); }
}

function divide(pc: usize, size: u32): i32 {
  const p = source(pc, size);
  if (p == 0) return FAULT;
  const d = loadSized(p, size);
  if (d == 0) return raise(0);
  if (size == 8) {
    const high = load<u64>(REGS + 16);
    if (high >= d) return raise(0);
    const q = divide128(high, load<u64>(REGS), d);
    store<u64>(REGS, q);
    store<u64>(REGS + 16, divideRemainder);
    return OK;
  }
  const n = dividend(size), q = n / d;
  if ((q >> <u64>(size << 3)) != 0) return raise(0);
  setQuotient(q, n % d, size);
  return OK;
}
function dividend(size: u32): u64 {
  return size == 1 ? <u64>load<u16>(REGS) : size == 2 ? (<u64>load<u16>(REGS + 16) << 16) | <u64>load<u16>(REGS) : (load<u64>(REGS + 16) << 32) | <u64>load<u32>(REGS);
}
function setQuotient(q: u64, r: u64, size: u32): void {
  if (size == 1) { store<u8>(REGS, <u8>q); store<u8>(REGS, <u8>r, 1); }
  else { storeRegister(REGS, size, q); storeRegister(REGS + 16, size, r); }
}
function divideSigned(pc: usize, size: u32): i32 {
  const p = source(pc, size);
  if (p == 0) return FAULT;
  const d = signed(loadSized(p, size), size);
  if (d == 0) return raise(0);
  if (size == 8) {
    let high = load<u64>(REGS + 16), low = load<u64>(REGS);
    const negative = <i64>high < 0;
    if (negative) { low = 0 - low; high = ~high + u64(low == 0); }
    const ad = d < 0 ? 0 - <u64>d : <u64>d;
    if (high >= ad) return raise(0);
    let q = divide128(high, low, ad), r = divideRemainder;
    const negativeQuotient = negative != (d < 0);
    if (negativeQuotient ? q > 0x8000000000000000 : q > 0x7fffffffffffffff) return raise(0);
    if (negativeQuotient) q = 0 - q;
    if (negative) r = 0 - r;
    store<u64>(REGS, q);
    store<u64>(REGS + 16, r);
    return OK;
  }
  const n = signed(dividend(size), size << 1);
  if (n == i64.MIN_VALUE && d == -1) return raise(0);
  const q = n / d;
  if (signed(<u64>q, size) != q) return raise(0);
  setQuotient(<u64>q, <u64>(n % d), size);
  return OK;
}

function compareExchange(pc: usize, size: u32): i32 {
  const isReg = isRegisterForm(pc);
  const p = isReg ? rmPtr(pc) : operandModify(pc, size);
  if (p == 0) return FAULT;
  const current = loadSized(p, size), expected = loadSized(REGS, size), equal = current == expected;
  const value = loadSized(regPtr(pc), size);
  if (isReg) {
    if (equal) storeRegister(p, size, value); else { storeRegister(REGS, size, current); }
  } else {
    storeSized(p, size, equal ? value : current); // written either way
    if (!commit(p)) return FAULT;
    if (!equal) storeRegister(REGS, size, current);
  }
  subFlags(expected, current, expected - current, size);
  return OK;
}
function compareExchange8(pc: usize): i32 {
  const p = operandModify(pc, 8);
  if (p == 0) return FAULT;
  const current = load<u64>(p), expected = (load<u64>(REGS + 16) << 32) | <u64>load<u32>(REGS), equal = current == expected;
  if (equal) store<u64>(p, (load<u64>(REGS + 8) << 32) | <u64>load<u32>(REGS + 24));
  else store<u64>(p, current);
  if (!commit(p)) return FAULT;
  if (!equal) { store<u64>(REGS, current & 0xffffffff); store<u64>(REGS + 16, current >> 32); }
  changeFlags(ZF, equal ? ZF : 0);
  return OK;
}
function compareExchange16(pc: usize): i32 {
  if (!hasFeature(F_CX16)) return raise(6);
  if (effectiveAddressUnaligned(pc)) return raiseError(13, 0);
  const p = operandModify(pc, 16);
  if (p == 0) return FAULT;
  const low = load<u64>(p), high = load<u64>(p, 8), equal = low == load<u64>(REGS) && high == load<u64>(REGS + 16);
  if (equal) { store<u64>(p, load<u64>(REGS + 24)); store<u64>(p, load<u64>(REGS + 8), 8); }
  if (!commit(p)) return FAULT;
  if (!equal) { store<u64>(REGS, low); store<u64>(REGS + 16, high); }
  changeFlags(ZF, equal ? ZF : 0);
  return OK;
}
// 16-byte alignment of the linear address (64-bit mode: only FS and GS have a base)
function effectiveAddressUnaligned(pc: usize): bool {
  return ((effectiveAddress(pc) + load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3))) & 15) != 0;
}

function shift(pc: usize, size: u32, count: u32): i32 {
  const kind = (load<u8>(pc, 20) >>> 3) & 7, n = count & (size == 8 ? 63 : 31);
  const isReg = isRegisterForm(pc);
  const p = isReg ? rmPtr(pc) : operandModify(pc, size);
  if (p == 0) return FAULT;
  const v = loadSized(p, size);
  let r = v;
  // flags are only final once a memory-mapped result is committed
  const result = load<u64>(LF_RESULT), aux = load<u32>(LF_AUX);
  if (n != 0) {
    switch (size) {
      case 1: r = <u64>shift8(<u8>v, n, kind); break;
      case 2: r = <u64>shift16(<u16>v, n, kind); break;
      case 4: r = <u64>shift32(<u32>v, n, kind); break;
      default: r = shift64(v, n, kind); break;
    }
  }
  if (isReg) storeRegister(p, size, r);
  else {
    storeSized(p, size, r);
    if (!commit(p)) { store<u64>(LF_RESULT, result); store<u32>(LF_AUX, aux); return FAULT; }
  }
  return OK;
}
function shift8(v: u8, n: u32, kind: u32): u8 {
  switch (kind) {
    case 0: return rol8(v, n & 7);
    case 1: return ror8(v, n & 7);
    case 2: return rcl8(v, n % 9);
    case 3: return rcr8(v, n % 9);
    case 5: return shr8(v, n);
    case 7: return sar8(v, n);
    default: return shl8(v, n);
  }
}
function shift16(v: u16, n: u32, kind: u32): u16 {
  switch (kind) {
    case 0: return rol16(v, n & 15);
    case 1: return ror16(v, n & 15);
    case 2: return rcl16(v, n % 17);
    case 3: return rcr16(v, n % 17);
    case 5: return shr16(v, n);
    case 7: return sar16(v, n);
    default: return shl16(v, n);
  }
}
function shift32(v: u32, n: u32, kind: u32): u32 {
  switch (kind) {
    case 0: return rol32(v, n);
    case 1: return ror32(v, n);
    case 2: return rcl32(v, n);
    case 3: return rcr32(v, n);
    case 5: return shr32(v, n);
    case 7: return sar32(v, n);
    default: return shl32(v, n);
  }
}
function shift64(v: u64, n: u32, kind: u32): u64 {
  switch (kind) {
    case 0: return rol64(v, n);
    case 1: return ror64(v, n);
    case 2: return rcl64(v, n);
    case 3: return rcr64(v, n);
    case 5: return shr64(v, n);
    case 7: return sar64(v, n);
    default: return shl64(v, n);
  }
}

function shiftDouble(pc: usize, size: u32, count: u32, left: bool): i32 {
  const n = <u64>(count & (size == 8 ? 63 : 31)), bits = <u64>(size << 3);
  const isReg = isRegisterForm(pc);
  const p = isReg ? rmPtr(pc) : operandModify(pc, size);
  if (p == 0) return FAULT;
  const a = loadSized(p, size), b = loadSized(regPtr(pc), size);
  if (n == 0) {
    if (isReg) storeRegister(p, size, a); else if (!commit(p)) return FAULT;
    return OK;
  }
  let r: u64, cf: u32;
  if (size == 2) { // counts above 16 are undefined; processors shift the 48 bits dest:src:dest
    if (left) { const w = (a << 32) | (b << 16) | a; r = (w << n) >> 32; cf = u32(w >> (48 - n)) & 1; }
    else { const w = (a << 32) | (b << 16) | a; r = w >> n; cf = u32(w >> (n - 1)) & 1; }
    r &= 0xffff;
  } else if (left) { r = (a << n) | (b >> (bits - n)); cf = u32(a >> (bits - n)) & 1; }
  else { r = (a >> n) | (b << (bits - n)); cf = u32(a >> (n - 1)) & 1; }
  if (isReg) storeRegister(p, size, r);
  else { storeSized(p, size, r); if (!commit(p)) return FAULT; }
  setLogicFlags(signed(r, size));
  rotateFlags(cf, u32((r ^ a) >> (bits - 1)) & 1); // OF: the sign changed
  return OK;
}

function bitTest(pc: usize, size: u32, kind: u32, immediate: bool): i32 {
  const bits = <i64>(size << 3);
  const index = immediate ? <i64>(<u32>imm32(pc) & <u32>(bits - 1)) : signed(load<u64>(regPtr(pc)), size);
  const bit = <u64>index & <u64>(bits - 1);
  let p: usize;
  const isReg = isRegisterForm(pc);
  if (isReg) p = rmPtr(pc);
  else if (immediate) p = kind == 0 ? operandRead(pc, size) : operandModify(pc, size);
  else {
    // a bit string: the register selects the operand-size unit, signed
    const displaced = load<i32>(pc, 16), unitOffset = (index >> (size == 8 ? 6 : size == 4 ? 5 : 4)) * <i64>size;
    const linear = stringLinear(pc, unitOffset, size, kind != 0);
    p = kind == 0 ? linearRead(linear, size, recSegment(pc), pc) : linearModify(linear, size, recSegment(pc), pc);
  }
  if (p == 0) return FAULT;
  const v = loadSized(p, size), mask = <u64>1 << bit;
  const r = kind == 1 ? v | mask : kind == 2 ? v & ~mask : v ^ mask;
  if (kind != 0) {
    if (isReg) storeRegister(p, size, r);
    else { storeSized(p, size, r); if (!commit(p)) return FAULT; }
  }
  setCarry(u32((v & mask) != 0));
  return OK;
}
/** Linear address of the operand displaced by `offset` bytes before segmentation. */
function stringLinear(pc: usize, offset: i64, size: u32, write: bool): u64 {
  const am = load<u8>(pc, 11), a = effectiveAddress(pc) + <u64>offset;
  if (am == AM_CHECKED) return segmentLinear(recSegment(pc), (load<u8>(pc, 10) & 0x80) != 0 ? a & 0xffff : a & 0xffffffff, size, write);
  const cut = am == AM_SHORT || !is64() ? a & 0xffffffff : a;
  return cut + load<u64>(SEG_BASE + (<usize>load<u8>(pc, 12) << 3));
}

function swapBytes(v: u64, size: u32): u64 {
  return size == 8 ? bswap<u64>(v) : size == 4 ? <u64>bswap<u32>(<u32>v) : <u64>bswap<u16>(<u16>v);
}
/** CRC-32C (polynomial 11EDC6F41h, reflected) over `size` bytes. */
function crc32c(crc: u32, data: u64, size: u32): u32 {
  for (let i: u32 = 0; i < size; i++) {
    crc ^= <u32>data & 0xff;
    data >>= 8;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
  }
  return crc;
}

function decimalAdjust(subtract: bool): void {
  const al = <u32>load<u8>(REGS), cf = getCF(), af = getAF();
  let r = al, newCf: u32 = 0, newAf: u32 = 0;
  if ((al & 15) > 9 || af != 0) {
    newAf = 1;
    newCf = cf | (subtract ? u32(al < 6) : u32(al > 0xf9));
    r = subtract ? r - 6 : r + 6;
  }
  if (al > 0x99 || cf != 0) { r = subtract ? r - 0x60 : r + 0x60; newCf = 1; }
  else if (!subtract) newCf = 0;
  store<u8>(REGS, <u8>r);
  setLogicFlags(<i64><i8>r);
  store<u32>(LF_AUX, (newCf << 31) | (newCf << 30) | (newAf << 3));
}
function asciiAdjust(subtract: bool): void {
  const al = <u32>load<u8>(REGS), adjust = (al & 15) > 9 || getAF() != 0;
  if (adjust) {
    if (subtract) { store<u16>(REGS, load<u16>(REGS) - 6); store<u8>(REGS, load<u8>(REGS, 1) - 1, 1); }
    else store<u16>(REGS, load<u16>(REGS) + 0x106);
  }
  store<u8>(REGS, load<u8>(REGS) & 15);
  setLogicFlags(<i64>load<i8>(REGS));
  if (adjust) store<u32>(LF_AUX, 0xc0000008);
}
