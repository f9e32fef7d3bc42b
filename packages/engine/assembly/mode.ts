import * as L from "../src/code-layout";
import {
  ATTENTION, AVX_TRAP, CPL, CR0, CR4, CODE_BASE, DR, EFER, EFLAGS, FPU_TRAP, INTERRUPTIBILITY, MODE, REGS, SEG_AR, SEG_BASE, SEG_CS, SEG_DS, SEG_ES,
  SEG_LIMIT, SEG_SS, SSE_TRAP, TLB_BASE, XCR0,
} from "../src/layout";
import { AC, RF, TF, VM } from "./flags";
import { recLength, recOffset } from "./record";
import { tableOf } from "./tlb";
/**
 * What the processor's mode means for code: the mode key under which decoded blocks are kept, the TLB table in use, and which
 * units are switched off. Recomputed when a register it depends on changes, so that no instruction asks again.
 */

/** MODE bits, as src/code-layout.ts has them. */
export const MODE_SIZE: u32 = L.MODE_SIZE;
export const MODE_STACK32: u32 = L.MODE_STACK32;
export const MODE_FLAT: u32 = L.MODE_FLAT;
export const MODE_CS_CHECK: u32 = L.MODE_CS_CHECK;
export const MODE_USER: u32 = L.MODE_USER;
export const MODE_REAL: u32 = L.MODE_REAL;

/** ATTENTION bits: why the interpreter must look before the next instruction. The first group needs one instruction at a time. */
export const ATT_TRAP_FLAG: u32 = 1;
export const ATT_DEBUG: u32 = 2; // breakpoints enabled in DR7
export const ATT_SHADOW: u32 = 4; // STI or MOV SS blocking in force
export const ATT_SHADOW_OLD: u32 = 8; // ... and the instruction it protects has been started
export const ATT_RESUME_FLAG: u32 = 16;
export const ATT_MTF: u32 = 32; // monitor trap flag
export const ATT_PENDING_DEBUG: u32 = 64;
export const ATT_MMIO: u32 = 128; // an instruction is run again with logged MMIO data
export const ATT_SUPPLIED: u32 = 8192; // the framework has given the next instruction
export const ATT_STEP: u32 = 0x20ff;
/** The second group only needs a look at block boundaries. */
export const ATT_INTERRUPT_WINDOW: u32 = 256;
export const ATT_NMI_WINDOW: u32 = 512;
export const ATT_TPR: u32 = 1024;
export const ATT_VIRTUAL_INTERRUPT: u32 = 2048;
/** The last instruction ran by itself: what must follow it is still due, even if it cleared the bit that asked for it (POPF and TF). */
export const ATT_STEPPED: u32 = 4096;
export const ATT_BUS_LOCK: u32 = 16384; // the instruction that runs has asserted a bus lock

export const CR0_PE: u64 = 1;
export const CR0_MP: u64 = 2;
export const CR0_EM: u64 = 4;
export const CR0_TS: u64 = 8;
export const CR0_ET: u64 = 16;
export const CR0_NE: u64 = 32;
export const CR0_WP: u64 = 1 << 16;
export const CR0_AM: u64 = 1 << 18;
export const CR0_NW: u64 = 1 << 29;
export const CR0_CD: u64 = 1 << 30;
export const CR0_PG: u64 = 1 << 31;
export const CR4_VME: u64 = 1 << 0;
export const CR4_PVI: u64 = 1 << 1;
export const CR4_TSD: u64 = 1 << 2;
export const CR4_DE: u64 = 1 << 3;
export const CR4_PSE: u64 = 1 << 4;
export const CR4_PAE: u64 = 1 << 5;
export const CR4_MCE: u64 = 1 << 6;
export const CR4_PGE: u64 = 1 << 7;
export const CR4_PCE: u64 = 1 << 8;
export const CR4_OSFXSR: u64 = 1 << 9;
export const CR4_OSXMMEXCPT: u64 = 1 << 10;
export const CR4_UMIP: u64 = 1 << 11;
export const CR4_LA57: u64 = 1 << 12;
export const CR4_VMXE: u64 = 1 << 13;
export const CR4_SMXE: u64 = 1 << 14;
export const CR4_FSGSBASE: u64 = 1 << 16;
export const CR4_PCIDE: u64 = 1 << 17;
export const CR4_OSXSAVE: u64 = 1 << 18;
export const CR4_SMEP: u64 = 1 << 20;
export const CR4_SMAP: u64 = 1 << 21;
export const CR4_PKE: u64 = 1 << 22;
export const CR4_PKS: u64 = 1 << 24;
export const EFER_SCE: u64 = 1;
export const EFER_LME: u64 = 1 << 8;
export const EFER_LMA: u64 = 1 << 10;
export const EFER_NXE: u64 = 1 << 11;

const FLAT_LIMIT: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline export function isLongMode(): bool { return (load<u64>(EFER) & EFER_LMA) != 0; }
// @ts-ignore: decorator
@inline export function is64(): bool { return (load<u32>(MODE) & MODE_SIZE) == 2; }
// @ts-ignore: decorator
@inline export function isReal(): bool { return (load<u64>(CR0) & CR0_PE) == 0; }
// @ts-ignore: decorator
@inline export function isV86(): bool { return (load<u32>(EFLAGS) & VM) != 0; }
/** Operand size of the code segment in bytes: 2, 4 or 8. */
// @ts-ignore: decorator
@inline export function codeSize(): u32 { return 2 << (load<u32>(MODE) & MODE_SIZE); }
/** Bits of RSP that stack instructions use. */
// @ts-ignore: decorator
@inline export function stackMask(): u64 {
  const m = load<u32>(MODE);
  return (m & MODE_SIZE) == 2 ? <u64>-1 : (m & MODE_STACK32) != 0 ? 0xffffffff : 0xffff;
}
/** Cuts an instruction pointer to the code size (16-bit code may still hold a 32-bit EIP: only jumps cut to 16). */
// @ts-ignore: decorator
@inline export function cutRip(rip: u64): u64 { return is64() ? rip : rip & 0xffffffff; }
/** RIP of the instruction at pc. */
// @ts-ignore: decorator
@inline export function currentRip(pc: usize): u64 { return cutRip(load<u64>(CODE_BASE) + recOffset(pc)); }
/** RIP of the instruction after the one at pc. */
// @ts-ignore: decorator
@inline export function nextRip(pc: usize): u64 { return cutRip(load<u64>(CODE_BASE) + recOffset(pc) + recLength(pc)); }

// @ts-ignore: decorator
@inline function isFlat(segment: u32): bool {
  // base 0, limit 4 GiB, present and usable, data read/write expand-up or code readable
  const ar = load<u32>(SEG_AR + segment * 4);
  return load<u64>(SEG_BASE + segment * 8) == 0 && load<u32>(SEG_LIMIT + segment * 4) == FLAT_LIMIT && (ar & 0x1009e) == 0x92;
}

/** Call after CR0, CR4, EFER, CS, SS, CPL, EFLAGS.VM/AC/TF/RF, DR7 or XCR0 changed. */
export function modeChanged(): void {
  const cr0 = load<u64>(CR0), cr4 = load<u64>(CR4), flags = load<u32>(EFLAGS);
  const real = (cr0 & CR0_PE) == 0, v86 = (flags & VM) != 0;
  const cs = load<u32>(SEG_AR + SEG_CS * 4);
  const cpl = (load<u32>(SEG_AR + SEG_SS * 4) >>> 5) & 3; // SDM: CPL is SS.DPL
  store<u32>(CPL, cpl);
  let mode: u32 = 0;
  if (isLongMode() && (cs & 0x2000) != 0) mode = 2;
  else {
    if ((cs & 0x4000) != 0) mode = 1;
    if ((load<u32>(SEG_AR + SEG_SS * 4) & 0x4000) != 0) mode |= MODE_STACK32;
    if (isFlat(SEG_DS) && isFlat(SEG_ES) && isFlat(SEG_SS)) mode |= MODE_FLAT;
    if (load<u32>(SEG_LIMIT + SEG_CS * 4) != FLAT_LIMIT) mode |= MODE_CS_CHECK;
    if (real || v86) mode |= MODE_REAL;
  }
  if (cpl == 3) mode |= MODE_USER;
  store<u32>(MODE, mode);
  let context: u32 = cpl == 3 ? 2 : (flags & AC) != 0 ? 1 : 0;
  if (cpl == 3 && (flags & AC) != 0 && (cr0 & CR0_AM) != 0) context = 3; // alignment is checked on the slow path
  store<u32>(TLB_BASE, tableOf(context));
  const ts = (cr0 & CR0_TS) != 0;
  store<u32>(FPU_TRAP, u32((cr0 & (CR0_TS | CR0_EM)) != 0));
  store<u32>(SSE_TRAP, (cr0 & CR0_EM) != 0 || (cr4 & CR4_OSFXSR) == 0 ? 6 : ts ? 7 : 0);
  store<u32>(AVX_TRAP, real || v86 || (cr4 & CR4_OSXSAVE) == 0 || (load<u64>(XCR0) & 6) != 6 ? 6 : ts ? 7 : 0);
  updateAttention();
}

/** Call after a data segment (ES, DS, FS, GS) was loaded. */
export function segmentChanged(): void {
  const mode = load<u32>(MODE);
  if ((mode & MODE_SIZE) == 2) return;
  const flat = isFlat(SEG_DS) && isFlat(SEG_ES) && isFlat(SEG_SS);
  store<u32>(MODE, flat ? mode | MODE_FLAT : mode & ~MODE_FLAT);
}

/** Recomputes the ATTENTION bits that mirror registers. */
export function updateAttention(): void {
  let a = load<u32>(ATTENTION) & ~(ATT_TRAP_FLAG | ATT_DEBUG | ATT_RESUME_FLAG);
  const flags = load<u32>(EFLAGS);
  if (flags & TF) a |= ATT_TRAP_FLAG;
  if (flags & RF) a |= ATT_RESUME_FLAG;
  if (load<u64>(DR, 56) & 0xff) a |= ATT_DEBUG;
  if (load<u32>(INTERRUPTIBILITY) & 3) a |= ATT_SHADOW;
  else a &= ~(ATT_SHADOW | ATT_SHADOW_OLD);
  store<u32>(ATTENTION, a);
}

/** Interrupts are blocked for one instruction: 1 by STI, 2 by MOV SS or POP SS (INTERRUPTIBILITY bits). Return END afterwards. */
export function blockInterrupts(kind: u32): void {
  store<u32>(INTERRUPTIBILITY, (load<u32>(INTERRUPTIBILITY) & ~3) | kind);
  store<u32>(ATTENTION, (load<u32>(ATTENTION) | ATT_SHADOW) & ~ATT_SHADOW_OLD);
}
/** Ends STI and MOV SS blocking (an event was delivered). */
export function unblockInterrupts(): void {
  store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) & ~3);
  store<u32>(ATTENTION, load<u32>(ATTENTION) & ~(ATT_SHADOW | ATT_SHADOW_OLD));
}
/** Linear address of a RIP. */
// @ts-ignore: decorator
@inline export function linearOfRip(rip: u64): u64 {
  return is64() ? rip : (load<u64>(SEG_BASE + SEG_CS * 8) + rip) & 0xffffffff;
}
/** Is a linear address canonical for the current paging mode? */
export function isCanonical(linear: u64): bool {
  const shift: i64 = (load<u64>(CR4) & CR4_LA57) != 0 ? 7 : 16;
  return <u64>((<i64>linear << shift) >> shift) == linear;
}
// @ts-ignore: decorator
@inline export function reg64(n: u32): u64 { return load<u64>(REGS + n * 8); }
// @ts-ignore: decorator
@inline export function setReg64(n: u32, v: u64): void { store<u64>(REGS + n * 8, v); }
