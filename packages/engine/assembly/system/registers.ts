import { CPL, CR0, EFLAGS, REGS, RIP, SEG_AR, SEG_BASE, SEG_LIMIT, SEG_SEL } from "../../src/layout";
/** Short names for the state the system instructions work on, and the bits of access rights. */

export const RAX: usize = REGS;
export const RCX: usize = REGS + 8;
export const RDX: usize = REGS + 16;
export const RBX: usize = REGS + 24;
export const RSP: usize = REGS + 32;
export const RBP: usize = REGS + 40;
export const RSI: usize = REGS + 48;
export const RDI: usize = REGS + 56;
export const R11: usize = REGS + 88;

/** Access rights in the VMCS format (SDM 3C table 25-2). */
export const AR_TYPE: u32 = 15;
export const AR_ACCESSED: u32 = 1;
/** Writable data, or readable code. */
export const AR_WRITABLE: u32 = 2;
/** Expand-down data, or conforming code. */
export const AR_CONFORMING: u32 = 4;
export const AR_CODE: u32 = 8;
export const AR_S: u32 = 1 << 4;
export const AR_P: u32 = 1 << 7;
export const AR_L: u32 = 1 << 13;
export const AR_DB: u32 = 1 << 14;
export const AR_G: u32 = 1 << 15;
export const AR_UNUSABLE: u32 = 1 << 16;

/** System descriptor types (SDM 3A table 3-2). */
export const TYPE_TSS16: u32 = 1;
export const TYPE_LDT: u32 = 2;
export const TYPE_TSS16_BUSY: u32 = 3;
export const TYPE_CALL_GATE16: u32 = 4;
export const TYPE_TASK_GATE: u32 = 5;
export const TYPE_INTERRUPT_GATE16: u32 = 6;
export const TYPE_TRAP_GATE16: u32 = 7;
export const TYPE_TSS: u32 = 9;
export const TYPE_TSS_BUSY: u32 = 11;
export const TYPE_CALL_GATE: u32 = 12;
export const TYPE_INTERRUPT_GATE: u32 = 14;
export const TYPE_TRAP_GATE: u32 = 15;

/** Exception vectors with error codes that system instructions raise. */
export const DE: u32 = 0;
export const DB: u32 = 1;
export const BP: u32 = 3;
export const OVERFLOW: u32 = 4;
export const BR: u32 = 5;
export const UD: u32 = 6;
export const NM: u32 = 7;
export const DOUBLE_FAULT: u32 = 8;
export const TS: u32 = 10;
export const NP: u32 = 11;
export const SS: u32 = 12;
export const GP: u32 = 13;
export const PF_VECTOR: u32 = 14;

// @ts-ignore: decorator
@inline export function segmentBase(segment: u32): u64 { return load<u64>(SEG_BASE + (segment << 3)); }
// @ts-ignore: decorator
@inline export function segmentLimit(segment: u32): u32 { return load<u32>(SEG_LIMIT + (segment << 2)); }
// @ts-ignore: decorator
@inline export function segmentAr(segment: u32): u32 { return load<u32>(SEG_AR + (segment << 2)); }
// @ts-ignore: decorator
@inline export function segmentSelector(segment: u32): u32 { return load<u32>(SEG_SEL + (segment << 2)) & 0xffff; }
export function setSegment(segment: u32, selector: u32, base: u64, limit: u32, ar: u32): void {
  store<u32>(SEG_SEL + (segment << 2), selector & 0xffff);
  store<u64>(SEG_BASE + (segment << 3), base);
  store<u32>(SEG_LIMIT + (segment << 2), limit);
  store<u32>(SEG_AR + (segment << 2), ar);
}
// @ts-ignore: decorator
@inline export function setSelector(segment: u32, selector: u32): void { store<u32>(SEG_SEL + (segment << 2), selector & 0xffff); }
// @ts-ignore: decorator
@inline export function cpl(): u32 { return load<u32>(CPL); }
// @ts-ignore: decorator
@inline export function iopl(): u32 { return (load<u32>(EFLAGS) >>> 12) & 3; }
// @ts-ignore: decorator
@inline export function protectedMode(): bool { return (load<u64>(CR0) & 1) != 0; }
// @ts-ignore: decorator
@inline export function dplOf(ar: u32): u32 { return (ar >>> 5) & 3; }
// @ts-ignore: decorator
@inline export function setRip(rip: u64): void { store<u64>(RIP, rip); }
// @ts-ignore: decorator
@inline export function rip(): u64 { return load<u64>(RIP); }
