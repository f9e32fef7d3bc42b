import { is64 } from "../mode";
import { commit, linearRead, linearWrite } from "../mmu";
/** Copies between guest memory and a buffer for operands larger than one access (FSAVE, FXSAVE, XSAVE), at most one page long. */

// @ts-ignore: decorator
@inline function wrap(linear: u64): u64 { return is64() ? linear : linear & 0xffffffff; }

/**
 * Checks that `size` bytes can be written, so that a fault comes before the first store: the first `head` bytes, then the last byte, which
 * is the order in which processors find faults of operands across two pages.
 */
export function probeWrite(linear: u64, size: u32, head: u32, segment: u32, pc: usize): bool {
  return linearWrite(wrap(linear), head, segment, pc) != 0 && linearWrite(wrap(linear + size - 1), 1, segment, pc) != 0;
}
/** The same for reading. */
export function probeRead(linear: u64, size: u32, head: u32, segment: u32, pc: usize): bool {
  return linearRead(wrap(linear), head, segment, pc) != 0 && linearRead(wrap(linear + size - 1), 1, segment, pc) != 0;
}
/** Writes a buffer in pieces of up to 64 bytes; false when a fault or an exit was recorded. */
export function writeArea(linear: u64, from: usize, size: u32, segment: u32, pc: usize): bool {
  for (let done: u32 = 0; done < size; done += 64) {
    const n = min<u32>(64, size - done);
    const p = linearWrite(wrap(linear + done), n, segment, pc);
    if (!p) return false;
    memory.copy(p, from + done, n);
    if (!commit(p)) return false;
  }
  return true;
}
/** Reads guest memory into a buffer. */
export function readArea(linear: u64, to: usize, size: u32, segment: u32, pc: usize): bool {
  for (let done: u32 = 0; done < size; done += 64) {
    const n = min<u32>(64, size - done);
    const p = linearRead(wrap(linear + done), n, segment, pc);
    if (!p) return false;
    memory.copy(to + done, p, n);
  }
  return true;
}
