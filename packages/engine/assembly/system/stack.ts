import { SEG_SS } from "../../src/layout";
import { commit, linearWrite, segmentLinear, segmentFailed, linearRead, systemStore, writableNow } from "../mmu";
import { is64, stackMask } from "../mode";
import { recSize } from "../record";
import { FAULT, OK } from "../status";
import { raiseError } from "./raise";
import { AR_CODE, AR_CONFORMING, AR_DB, AR_UNUSABLE, RSP, SS, segmentAr, segmentBase, segmentLimit } from "./registers";
import { canonicalAddress } from "./segments";
/**
 * Stack frames. A frame is gathered first; then there must be room for all of it, then its slots are translated in the order in which they are
 * pushed (SDM 2 CALL, INT n, PUSHA: CR2 and the error code are those of the first push that is impossible), then it is written: a fault leaves
 * nothing half done.
 */

/** Up to 40 values of a frame in push order (u64 each). */
const VALUES: usize = memory.data(64 * 8, 16);
let count: u32 = 0;
/** The instruction whose stores may hit decoded code; 0 where a transfer follows in any case. */
let instruction: usize = 0;
/** Where the frame goes, from frameRoom(). */
let stackBase: u64 = 0, stackTop: u64 = 0, mask: u64 = 0;
let slotSize: u32 = 0;
let wide = false, supervisor = false;

/** Starts a frame. */
export function frameBegin(pc: usize = 0): void {
  count = 0;
  instruction = pc;
}
/** Adds the next pushed value. */
export function framePush(value: u64): void {
  store<u64>(VALUES + <usize>count * 8, value);
  count++;
}
// @ts-ignore: decorator
@inline export function frameValue(index: u32): u64 { return load<u64>(VALUES + <usize>index * 8); }

/** Is [offset, offset + bytes) inside a data segment with these attributes? */
function inStackSegment(ar: u32, limit: u32, offset: u64, bytes: u32): bool {
  const last = offset + bytes - 1;
  if ((ar & (AR_CODE | AR_CONFORMING)) == AR_CONFORMING) return offset > <u64>limit && last <= ((ar & AR_DB) != 0 ? 0xffffffff : 0xffff);
  return last <= <u64>limit;
}

// @ts-ignore: decorator
@inline function put(p: usize, size: u32, value: u64): void {
  if (size == 8) store<u64>(p, value);
  else if (size == 4) store<u32>(p, <u32>value);
  else store<u16>(p, <u16>value);
}

/**
 * Chooses the stack: `slots` values of `size` bytes go below `sp` on one with these attributes, and must have room there (#SS with `error`).
 * `long`: 64-bit addressing, no limits. `inner`: the stack of a more privileged level, written as a supervisor.
 */
export function frameRoom(base: u64, limit: u32, ar: u32, sp: u64, size: u32, long: bool, inner: bool, error: u32, slots: u32): i32 {
  mask = long ? <u64>-1 : (ar & AR_DB) != 0 ? 0xffffffff : 0xffff;
  stackBase = long ? 0 : base;
  stackTop = sp;
  slotSize = size;
  wide = long;
  supervisor = inner;
  const total = slots * size, bottom = (sp - total) & mask;
  if (long) return canonicalAddress(bottom) && canonicalAddress(bottom + total - 1) ? OK : raiseError(SS, error);
  if ((ar & AR_UNUSABLE) != 0) return raiseError(SS, error);
  if (bottom + total - 1 <= mask) return inStackSegment(ar, limit, bottom, total) ? OK : raiseError(SS, error);
  for (let i: u32 = 1; i <= slots; i++) if (!inStackSegment(ar, limit, (sp - i * size) & mask, size)) return raiseError(SS, error);
  return OK;
}
/** The same for the current stack, whose limit faults are #SS(0). */
export function frameRoomCurrent(size: u32, slots: u32): i32 {
  return frameRoom(segmentBase(SEG_SS), segmentLimit(SEG_SS), segmentAr(SEG_SS), load<u64>(RSP), size, is64(), false, 0, slots);
}

/** Linear address after `slots` pushes. */
function slotAddress(slots: u32): u64 {
  const linear = stackBase + ((stackTop - <u64>(slots * slotSize)) & mask);
  return wide ? linear : linear & 0xffffffff;
}
/** Pointer to the value pushed as number `index`; 0: a fault or exit is recorded. */
function slotPointer(index: u32): usize {
  const linear = slotAddress(index + 1);
  return supervisor ? systemStore(linear, slotSize) : linearWrite(linear, slotSize, SEG_SS, instruction);
}

/** Whether the values gathered so far, from number `first` on, can be written. */
export function frameCheck(first: u32): i32 {
  for (let i = first; i < count; i++) if (slotPointer(i) == 0) return FAULT;
  return OK;
}

/** The stack pointer after the frame, set by frameStore(); RSP itself is left to the caller. */
export let frameSp: u64 = 0;

/** Writes the gathered frame where frameRoom() said. */
export function frameStore(): i32 {
  const size = slotSize, total = count * size, bottom = slotAddress(count);
  frameSp = (stackTop - <u64>total) & mask;
  const p = frameSp + total - 1 <= mask ? writableNow(bottom, total, supervisor) : 0; // a frame that wraps around is not in one piece
  if (p != 0) {
    for (let i: u32 = 0; i < count; i++) put(p + total - (i + 1) * size, size, frameValue(i));
    return OK;
  }
  if (frameCheck(0) != OK) return FAULT;
  for (let i: u32 = 0; i < count; i++) {
    const slot = slotPointer(i);
    if (slot == 0) return FAULT;
    put(slot, size, frameValue(i));
    if (!commit(slot)) return FAULT;
  }
  return OK;
}

/** Writes the gathered frame on the current stack, for which there is room, and moves RSP. */
export function frameStoreCurrent(): i32 {
  const status = frameStore();
  if (status == OK) setStackPointer(frameSp);
  return status;
}
/** Writes the gathered frame on the current stack and moves RSP. Limit faults are #SS(0). */
export function frameWriteCurrent(size: u32): i32 {
  return frameRoomCurrent(size, count) == OK ? frameStoreCurrent() : FAULT;
}

/** Sets as much of RSP as the stack's address size covers. */
export function setStackPointer(value: u64): void { writeStackPointer(value, stackMask()); }
export function writeStackPointer(value: u64, mask: u64): void {
  if (mask == 0xffff) store<u16>(RSP, <u16>value);
  else store<u64>(RSP, value & mask);
}

/** Operand size of stack instructions: 64-bit code has no 32-bit pushes and pops. */
export function stackOperandSize(pc: usize): u32 {
  const size = recSize(pc);
  return is64() && size == 4 ? 8 : size;
}

/** Value popped by stackRead. */
export let popped: u64 = 0;

/** Reads `size` bytes at RSP + displacement into `popped`, with the current privilege. False: a fault or exit is recorded. */
export function stackRead(displacement: u32, size: u32, pc: usize): bool {
  const offset = (load<u64>(RSP) + displacement) & stackMask();
  const linear = segmentLinear(SEG_SS, offset, size, false);
  if (segmentFailed(linear)) return false;
  const p = linearRead(linear, size, SEG_SS, pc);
  if (p == 0) return false;
  popped = size == 8 ? load<u64>(p) : size == 4 ? <u64>load<u32>(p) : <u64>load<u16>(p);
  return true;
}

/**
 * Are the next `slots` values, from RSP + displacement on, inside the stack segment? #SS(0) if not: what the manual's pseudo-code asks before it
 * pops the first of them.
 */
export function stackHolds(displacement: u32, size: u32, slots: u32): bool {
  if (is64()) return true;
  const ar = segmentAr(SEG_SS), limit = segmentLimit(SEG_SS), offset = load<u64>(RSP) + displacement, cut = stackMask();
  let inside = (ar & AR_UNUSABLE) == 0;
  for (let i: u32 = 0; i < slots && inside; i++) inside = inStackSegment(ar, limit, (offset + i * size) & cut, size);
  if (!inside) raiseError(SS, 0);
  return inside;
}

/** Pushes one value. */
export function push(value: u64, size: u32): i32 {
  frameBegin();
  framePush(value);
  return frameWriteCurrent(size);
}
