import { CR0, FPU_CW, FPU_SW, FPU_TRAP, REGS } from "../../src/layout";
import { CR0_MP, CR0_TS } from "../mode";
import { commit, operandRead, operandWrite } from "../mmu";
import { recModrm, recUnitOp } from "../record";
import { FAULT, OK } from "../status";
import { raise } from "../system/raise";
import { Fp, IE, OE, PE, ROUND_ZERO, UE } from "./environment";
import { K_DENORMAL } from "./softfloat";
import { xOperandClass, xSe, xSig } from "./floatx80";
import {
  bcdHigh, raiseLoad, x80FromBcd, x80FromF32, x80FromF64, x80FromI64, x80ToBcd, x80ToF32, x80ToF64, x80ToInteger,
} from "./convert80";
import {
  begin, checkPending, complete, finit, isEmpty, NAN_SE, NAN_SIG, noteInstruction, noteOperand, pop, pushSt, setControl, setStatusWord,
  stackFault, statusWord, stSe, stSig,
} from "./x87-state";
import { quickRegister } from "./x87-quick";
import { arithmetic, registerForm } from "./x87-register";
import { loadEnvironment, restoreState, saveState, storeEnvironment } from "./x87-environment";
/**
 * The x87 instructions: dispatch and memory forms (SDM vol. 2, appendix A.5; aliases that the manual leaves out but
 * processors have are in x87-register.ts). Unmasked exceptions are left pending in the status word for the next waiting instruction.
 */

/** Runs one instruction of D8-DF (recUnitOp 0-7) or WAIT (8). */
export function execX87(pc: usize): i32 {
  const op = recUnitOp(pc);
  if (op == 8) {
    const cr0 = load<u64>(CR0);
    if ((cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) return raise(7);
    return checkPending();
  }
  if (load<u32>(FPU_TRAP)) return raise(7);
  const modrm = recModrm(pc);
  const reg = (modrm >>> 3) & 7;
  if (modrm < 0xc0) {
    if (op == 1 && reg >= 6) return reg == 6 ? storeEnvironment(pc) : storeWord(pc, load<u16>(FPU_CW));
    if (op == 5 && reg >= 6) return reg == 6 ? saveState(pc) : storeWord(pc, load<u16>(FPU_SW));
    const status = checkPending();
    return status == OK ? memoryForm(pc, op, reg) : status;
  }
  if (op == 3 && reg == 4) {
    switch (modrm & 7) {
      case 0: case 1: case 4: return OK; // FNENI, FNDISI, FNSETPM: no operation since the 387
      case 2: setStatusWord(statusWord() & 0x7f00); return OK; // FNCLEX
      case 3: finit(); return OK;
    }
    return raise(6);
  }
  if (op == 7 && modrm == 0xe0) { store<u16>(REGS, load<u16>(FPU_SW)); return OK; }
  const status = checkPending();
  if (status != OK) return status;
  return quickRegister(pc, op, modrm) ? OK : registerForm(pc, op, modrm);
}

function storeWord(pc: usize, value: u16): i32 {
  const p = operandWrite(pc, 2);
  if (!p) return FAULT;
  store<u16>(p, value);
  return commit(p) ? OK : FAULT;
}

/** Memory formats. */
const M_F32: u32 = 0;
const M_F64: u32 = 1;
const M_I16: u32 = 2;
const M_I32: u32 = 3;
const M_I64: u32 = 4;
const M_F80: u32 = 5;
const M_BCD: u32 = 6;
// @ts-ignore: decorator
@inline function sizeOf(format: u32): u32 { return format == M_I16 ? 2 : format == M_F32 || format == M_I32 ? 4 : format >= M_F80 ? 10 : 8; }

function memoryForm(pc: usize, op: u32, reg: u32): i32 {
  switch (op) {
    case 0: return arithmeticForm(pc, reg, M_F32);
    case 2: return arithmeticForm(pc, reg, M_I32);
    case 4: return arithmeticForm(pc, reg, M_F64);
    case 6: return arithmeticForm(pc, reg, M_I16);
    case 1:
      if (reg == 0) return loadForm(pc, M_F32);
      if (reg == 2 || reg == 3) return storeForm(pc, M_F32, reg == 3, false);
      if (reg == 4) return loadEnvironment(pc);
      if (reg == 5) return loadControl(pc);
      break;
    case 3:
      if (reg == 0) return loadForm(pc, M_I32);
      if (reg >= 1 && reg <= 3) return storeForm(pc, M_I32, reg != 2, reg == 1);
      if (reg == 5) return loadForm(pc, M_F80);
      if (reg == 7) return storeForm(pc, M_F80, true, false);
      break;
    case 5:
      if (reg == 0) return loadForm(pc, M_F64);
      if (reg == 1) return storeForm(pc, M_I64, true, true);
      if (reg == 2 || reg == 3) return storeForm(pc, M_F64, reg == 3, false);
      if (reg == 4) return restoreState(pc);
      break;
    case 7:
      if (reg == 0) return loadForm(pc, M_I16);
      if (reg >= 1 && reg <= 3) return storeForm(pc, M_I16, reg != 2, reg == 1);
      if (reg == 4) return loadForm(pc, M_BCD);
      if (reg == 5) return loadForm(pc, M_I64);
      return storeForm(pc, reg == 6 ? M_BCD : M_I64, true, false);
  }
  return raise(6);
}

function loadControl(pc: usize): i32 {
  const p = operandRead(pc, 2);
  if (!p) return FAULT;
  setControl(load<u16>(p));
  return OK;
}
/** Brings a memory operand into xSig, xSe and returns its class (what raiseLoad() needs). */
function fetch(p: usize, format: u32): u32 {
  switch (format) {
    case M_F32: return x80FromF32(load<u32>(p));
    case M_F64: return x80FromF64(load<u64>(p));
    case M_I16: x80FromI64(i64(load<i16>(p))); return 0;
    case M_I32: x80FromI64(i64(load<i32>(p))); return 0;
    case M_I64: x80FromI64(load<i64>(p)); return 0;
    case M_F80: xSig = load<u64>(p); xSe = load<u16>(p, 8); return 0;
  }
  x80FromBcd(load<u64>(p), load<u16>(p, 8));
  return 0;
}

function loadForm(pc: usize, format: u32): i32 {
  const p = operandRead(pc, sizeOf(format));
  if (!p) return FAULT;
  begin(pc);
  noteInstruction(pc);
  noteOperand(pc);
  if (!isEmpty(7)) {
    if (stackFault(true)) pushSt(NAN_SIG, NAN_SE);
    return OK;
  }
  raiseLoad(fetch(p, format));
  if (complete() || !(Fp.flags & IE)) pushSt(xSig, xSe); // a denormal is loaded even if DE is unmasked
  return OK;
}

function arithmeticForm(pc: usize, kind: u32, format: u32): i32 {
  const p = operandRead(pc, sizeOf(format));
  if (!p) return FAULT;
  begin(pc);
  noteInstruction(pc);
  noteOperand(pc);
  const k = fetch(p, format);
  xOperandClass = k & K_DENORMAL;
  arithmetic(kind, 0, false, xSig, xSe);
  return OK;
}

/** FST, FSTP, FIST, FISTP, FISTTP and FBSTP: the value is stored before the status word or the stack changes. */
function storeForm(pc: usize, format: u32, popping: bool, truncate: bool): i32 {
  const p = operandWrite(pc, sizeOf(format));
  if (!p) return FAULT;
  begin(pc);
  const empty = isEmpty(0);
  const sig = empty ? NAN_SIG : stSig(0), se = empty ? NAN_SE : stSe(0);
  const mode = truncate ? ROUND_ZERO : Fp.rounding;
  let low: u64 = 0, high: u32 = 0;
  switch (format) {
    case M_F32: low = x80ToF32(sig, se); break;
    case M_F64: low = x80ToF64(sig, se); break;
    case M_I16: low = u64(x80ToInteger(sig, se, 16, mode)); break;
    case M_I32: low = u64(x80ToInteger(sig, se, 32, mode)); break;
    case M_I64: low = u64(x80ToInteger(sig, se, 64, mode)); break;
    case M_BCD: low = x80ToBcd(sig, se); high = bcdHigh; break;
    case M_F80: low = sig; high = se; break;
  }
  const raised = empty ? IE : Fp.flags;
  const blocked = (raised & ~Fp.masks & (IE | OE | UE)) != 0;
  if (!blocked) {
    switch (sizeOf(format)) {
      case 2: store<u16>(p, u16(low)); break;
      case 4: store<u32>(p, u32(low)); break;
      case 8: store<u64>(p, low); break;
      default: store<u64>(p, low); store<u16>(p, u16(high), 8);
    }
    if (!commit(p)) return FAULT;
  }
  noteInstruction(pc);
  noteOperand(pc);
  if (empty) stackFault(false);
  else {
    if (blocked) Fp.flags &= ~PE; // nothing was rounded
    complete();
  }
  if (popping && !blocked) pop();
  return OK;
}
