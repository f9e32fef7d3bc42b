import { REGS } from "../src/layout";
/** Stand-in for mmu.ts: linear addresses are addresses in linear memory; those from FAULTS on fault. */
const FAULTS: u64 = 0x1f000;
export function segmentFailed(linear: u64): bool { return false; }
export function effectiveAddress(pc: usize): u64 {
  return load<u64>(REGS + <usize>load<u8>(pc, 8)) + (load<u64>(REGS + <usize>load<u8>(pc, 9)) << <u64>(load<u8>(pc, 10) & 3)) + <u64><i64>load<i32>(pc, 16);
}
export function segmentLinear(segment: u32, offset: u64, size: u32, write: bool): u64 { return offset; }
export function linearRead(linear: u64, size: u32, segment: u32, pc: usize): usize { return linear + size > FAULTS ? 0 : <usize>linear; }
export function linearWrite(linear: u64, size: u32, segment: u32, pc: usize): usize { return linear + size > FAULTS ? 0 : <usize>linear; }
export function operandRead(pc: usize, size: u32): usize { return linearRead(effectiveAddress(pc), size, 3, pc); }
export function operandWrite(pc: usize, size: u32): usize { return linearWrite(effectiveAddress(pc), size, 3, pc); }
export function commit(p: usize): bool { return true; }
