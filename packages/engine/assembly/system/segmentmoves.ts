import { SEG_CS, SEG_GS, SEG_SS } from "../../src/layout";
import { F_AMD, hasFeature } from "../features";
import { commit, linearWrite, operandRead, segmentLinear, segmentFailed } from "../mmu";
import { blockInterrupts, stackMask } from "../mode";
import { isRegisterForm, recReg, recRm, recSize, regPtr, rmPtr } from "../record";
import { END, FAULT, OK } from "../status";
import { raise } from "./raise";
import { farPointerSize, storeWordOperand, writeRegister } from "./operands";
import { RSP, UD, segmentSelector } from "./registers";
import { loadSegment, segmentLoaded } from "./segments";
import { popped, push, setStackPointer, stackOperandSize, stackRead } from "./stack";
/** MOV, PUSH and POP of segment registers, LES LDS LSS LFS LGS (SDM 2). */

export function movFromSegment(pc: usize): i32 {
  const segment = recReg(pc) & 7;
  if (segment > <u32>SEG_GS) return raise(UD);
  const value = segmentSelector(segment);
  return storeWordOperand(pc, value);
}

export function movToSegment(pc: usize): i32 {
  const segment = recReg(pc) & 7;
  if (segment > <u32>SEG_GS || segment == SEG_CS) return raise(UD);
  let p = rmPtr(pc);
  if (!isRegisterForm(pc)) {
    p = operandRead(pc, 2);
    if (p == 0) return FAULT;
  }
  if (loadSegment(segment, load<u16>(p)) != OK) return FAULT;
  return afterLoad(segment);
}

/** MOV SS and POP SS hold interrupts and debug traps back for one instruction (SDM 3A 6.8.3). */
function afterLoad(segment: u32): i32 {
  const status = segmentLoaded(segment);
  if (segment != SEG_SS) return status;
  blockInterrupts(2);
  return END;
}

/** A 32-bit push of a segment register writes only its 16 bits; with AMD all 32 (APM 3 PUSH). */
export function pushSegment(pc: usize): i32 {
  const size = stackOperandSize(pc), value = segmentSelector(recReg(pc));
  if (size != 4 || hasFeature(F_AMD)) return push(value, size);
  const sp = (load<u64>(RSP) - 4) & stackMask();
  const linear = segmentLinear(SEG_SS, sp, 4, true);
  if (segmentFailed(linear)) return FAULT;
  const p = linearWrite(linear, 2, SEG_SS, pc);
  if (p == 0) return FAULT;
  store<u16>(p, <u16>value);
  if (!commit(p)) return FAULT;
  setStackPointer(sp);
  return OK;
}

export function popSegment(pc: usize): i32 {
  const size = stackOperandSize(pc), segment = recReg(pc);
  if (!stackRead(0, size, pc)) return FAULT;
  const sp = load<u64>(RSP) + size, mask = stackMask();
  if (loadSegment(segment, <u32>popped & 0xffff) != OK) return FAULT;
  // the stack pointer moves by the old stack's address size
  if (mask == 0xffff) store<u16>(RSP, <u16>sp);
  else store<u64>(RSP, sp & mask);
  return afterLoad(segment);
}

/** LES LDS LSS LFS LGS: the segment's number takes the place of ModRM.rm. */
export function loadFarPointer(pc: usize): i32 {
  if (isRegisterForm(pc)) return raise(UD);
  const size = farPointerSize(pc), segment = recRm(pc);
  const p = operandRead(pc, size + 2);
  if (p == 0) return FAULT;
  const offset: u64 = size == 8 ? load<u64>(p) : size == 4 ? <u64>load<u32>(p) : <u64>load<u16>(p);
  const selector = <u32>load<u16>(p + size);
  if (loadSegment(segment, selector) != OK) return FAULT;
  writeRegister(regPtr(pc), size, offset);
  return segmentLoaded(segment);
}
