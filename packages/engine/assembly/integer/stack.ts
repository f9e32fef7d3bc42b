import { REGS, SEG_SS } from "../../src/layout";
import { commit, linearRead, linearWrite, operandWrite, segmentLinear } from "../mmu";
import { stackMask } from "../mode";
import { FAULT, OK } from "../status";
import { frameBegin, framePush, frameValue, frameWriteCurrent, popped, stackHolds, stackRead } from "../system/stack";
import { imm32, loadSized, storeRegister, storeSized } from "./operands";
/** Stack instructions that have no handler of their own: all stack widths and operand sizes. */

/** Linear address of `size` bytes at a stack pointer, none (segmentFailed) if the stack segment does not allow it. */
export function stackLinear(sp: u64, size: u32, write: bool): u64 {
  return segmentLinear(SEG_SS, sp & stackMask(), size, write);
}
export function setStackPointer(v: u64): void {
  const mask = stackMask();
  if (mask == 0xffff) store<u16>(REGS + 32, <u16>v); else store<u64>(REGS + 32, v & mask);
}
/** Pushes `size` bytes; false on a fault, with RSP unchanged. */
export function push(value: u64, size: u32, pc: usize): bool {
  const sp = load<u64>(REGS + 32) - <u64>size;
  const p = linearWrite(stackLinear(sp, size, true), size, SEG_SS, pc);
  if (p == 0) return false;
  storeSized(p, size, value);
  if (!commit(p)) return false;
  setStackPointer(sp);
  return true;
}

export function pushAll(pc: usize, size: u32): i32 {
  frameBegin(pc);
  for (let i: u32 = 0; i < 8; i++) framePush(load<u64>(REGS + (i << 3))); // SP is the value before
  return frameWriteCurrent(size);
}
export function popAll(pc: usize, size: u32): i32 {
  const sp = load<u64>(REGS + 32);
  if (!stackHolds(0, size, 8)) return FAULT;
  frameBegin();
  for (let i: u32 = 0; i < 8; i++) { // DI first
    if (!stackRead(size * i, size, pc)) return FAULT;
    framePush(popped);
  }
  for (let i: u32 = 0; i < 8; i++) if (i != 3) storeRegister(REGS + ((7 - i) << 3), size, frameValue(i));
  setStackPointer(sp + <u64>(size * 8));
  return OK;
}
/** POP to memory: the address is computed with RSP already incremented (SDM 2B POP). */
export function popMemory(pc: usize, size: u32): i32 {
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

export function enterFrame(pc: usize, size: u32): i32 {
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
