/** Stands for assembly/mmu.ts in the tests of this folder: every memory operand is at one place, and nothing faults. */
export const OPERAND: usize = 0x9000;
export function segmentFailed(linear: u64): bool { return false; }
export function operandRead(pc: usize, size: u32): usize { return OPERAND; }
export function operandWrite(pc: usize, size: u32): usize { return OPERAND; }
export function commit(p: usize): bool { return true; }
export function linearOf(pc: usize, size: u32, write: bool): u64 { return u64(OPERAND); }
export function linearRead(linear: u64, size: u32, segment: u32, pc: usize): usize { return usize(linear); }
export function linearWrite(linear: u64, size: u32, segment: u32, pc: usize): usize { return usize(linear); }
export function effectiveAddress(pc: usize): u64 { return 0; }
