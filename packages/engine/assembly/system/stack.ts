import { SEG_SS } from "../../src/layout";
import { commit, linearWrite, segmentLinear, segmentFailed, linearRead, systemWrite } from "../mmu";
import { is64, stackMask } from "../mode";
import { recSize } from "../record";
import { FAULT, OK } from "../status";
import { raiseError } from "./raise";
import { AR_CODE, AR_CONFORMING, AR_DB, AR_UNUSABLE, RSP, SS, segmentAr, segmentBase, segmentLimit } from "./registers";
import { canonicalAddress } from "./segments";
/**
 * Stack frames. A frame is gathered first, then checked and translated as a whole, then written: a fault leaves nothing half done.
 */

/** Up to 40 values of a frame in push order (u64 each), then up to 16 popped ones. */
const VALUES: usize = memory.data(64 * 8, 16);
let count: u32 = 0;

/** Starts a frame. */
export function frameBegin(): void { count = 0; }
/** Adds the next pushed value. */
export function framePush(value: u64): void {
  store<u64>(VALUES + <usize>count * 8, value);
  count++;
}
export function frameCount(): u32 { return count; }

/** Is [offset, offset + bytes) inside a data segment with these attributes? */
export function inStackSegment(ar: u32, limit: u32, offset: u64, bytes: u32): bool {
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

/** The stack pointer after the frame, set by frameWrite. */
export let frameSp: u64 = 0;

/**
 * Writes the gathered frame below `sp` on a stack with these attributes. `long`: 64-bit addressing, no limits. `inner`: the stack of a more
 * privileged level, written as a supervisor. `error` is the error code of a #SS. Sets frameSp; RSP itself is left to the caller.
 */
export function frameWrite(base: u64, limit: u32, ar: u32, sp: u64, size: u32, long: bool, inner: bool, error: u32): i32 {
  const mask: u64 = long ? <u64>-1 : (ar & AR_DB) != 0 ? 0xffffffff : 0xffff;
  const total = count * size;
  const bottom = (sp - total) & mask;
  if (long) {
    if (!canonicalAddress(bottom) || !canonicalAddress(bottom + total - 1)) return raiseError(SS, error);
  } else if ((ar & AR_UNUSABLE) != 0) return raiseError(SS, error);
  const whole = total <= 64 && (long || bottom + total - 1 <= mask);
  if (whole) {
    if (!long && !inStackSegment(ar, limit, bottom, total)) return raiseError(SS, error);
    const linear = long ? bottom : (base + bottom) & 0xffffffff;
    const p = inner ? systemWrite(linear, total) : linearWrite(linear, total, SEG_SS, 0);
    if (p == 0) return FAULT;
    for (let i: u32 = 0; i < count; i++) put(p + total - (i + 1) * size, size, load<u64>(VALUES + <usize>i * 8));
    if (!commit(p)) return FAULT;
  } else {
    // A large frame, or one that wraps around a 64 KiB stack: translate every item, then write them
    for (let pass = 0; pass < 2; pass++) {
      for (let i: u32 = 0; i < count; i++) {
        const offset = (sp - (i + 1) * size) & mask;
        if (!long && !inStackSegment(ar, limit, offset, size)) return raiseError(SS, error);
        const linear = long ? offset : (base + offset) & 0xffffffff;
        const p = inner ? systemWrite(linear, size) : linearWrite(linear, size, SEG_SS, 0);
        if (p == 0) return FAULT;
        if (pass == 1) {
          put(p, size, load<u64>(VALUES + <usize>i * 8));
          if (!commit(p)) return FAULT;
        }
      }
    }
  }
  frameSp = bottom;
  return OK;
}

/** Writes the gathered frame on the current stack and moves RSP. Limit faults are #SS(0). */
export function frameWriteCurrent(size: u32): i32 {
  const status = frameWrite(segmentBase(SEG_SS), segmentLimit(SEG_SS), segmentAr(SEG_SS), load<u64>(RSP), size, is64(), false, 0);
  if (status == OK) setStackPointer(frameSp);
  return status;
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

/** Pushes one value. */
export function push(value: u64, size: u32): i32 {
  frameBegin();
  framePush(value);
  return frameWriteCurrent(size);
}
