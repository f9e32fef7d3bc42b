import { CR0, FPR, FPU_CW, FPU_DP, FPU_ERROR_PINS, FPU_IP, FPU_OP, FPU_SW, FPU_TAG, MSR_MISC_ENABLE } from "../../src/layout";
import { CR0_NE, currentRip, unblockInterrupts } from "../mode";
import { effectiveAddress } from "../mmu";
import { recModrm, recUnitOp } from "../record";
import { OK } from "../status";
import { raise } from "../system/raise";
import { TYPE_HARDWARE_EXCEPTION, exitException } from "../vmx/exits";
import { Fp, DE, IE, PE, ZE } from "./environment";
import { xOperandClass } from "./floatx80";
/**
 * The x87 register stack, its control, status and tag words, and how exceptions get into them (SDM vol. 1, 8.1 and 8.5).
 * Registers are kept in physical order; only one tag bit each is kept, the other is found from the contents.
 */

export const SW_SF: u32 = 0x40;
export const SW_ES: u32 = 0x80;
export const SW_C0: u32 = 0x100;
export const SW_C1: u32 = 0x200;
export const SW_C2: u32 = 0x400;
export const SW_C3: u32 = 0x4000;
export const SW_B: u32 = 0x8000;
export const SW_CODES: u32 = SW_C0 | SW_C1 | SW_C2 | SW_C3;

const FERR_WIRED: u32 = 1;
const IGNNE: u32 = 2;
const VECTOR_MF: u32 = 16;

export const NAN_SIG: u64 = 0xc000000000000000;
export const NAN_SE: u32 = 0xffff;

// @ts-ignore: decorator
@inline export function statusWord(): u32 { return load<u16>(FPU_SW); }
// @ts-ignore: decorator
@inline export function setStatusWord(v: u32): void { store<u16>(FPU_SW, u16(v)); }
/** Number of the physical register that is ST(i). */
// @ts-ignore: decorator
@inline export function physical(i: u32): u32 { return ((u32(load<u16>(FPU_SW)) >>> 11) + i) & 7; }
/** Address of ST(i). */
// @ts-ignore: decorator
@inline export function st(i: u32): usize { return FPR + (physical(i) << 4); }
// @ts-ignore: decorator
@inline export function isEmpty(i: u32): bool { return ((u32(load<u8>(FPU_TAG)) >>> physical(i)) & 1) == 0; }
// @ts-ignore: decorator
@inline export function stSig(i: u32): u64 { return load<u64>(st(i)); }
// @ts-ignore: decorator
@inline export function stSe(i: u32): u32 { return load<u16>(st(i), 8); }
/** Writes ST(i) and marks it in use. */
export function setSt(i: u32, sig: u64, se: u32): void {
  const p = st(i);
  store<u64>(p, sig);
  store<u16>(p, u16(se), 8);
  store<u8>(FPU_TAG, u8(u32(load<u8>(FPU_TAG)) | (1 << physical(i))));
}
export function setEmpty(i: u32): void { store<u8>(FPU_TAG, u8(u32(load<u8>(FPU_TAG)) & ~(1 << physical(i)))); }
export function moveTop(by: u32): void {
  const sw = statusWord();
  setStatusWord((sw & ~0x3800) | (((sw >>> 11) + by & 7) << 11));
}
export function pop(): void {
  setEmpty(0);
  moveTop(1);
}
export function pushSt(sig: u64, se: u32): void {
  moveTop(7);
  setSt(0, sig, se);
}
export function clearC1(): void { setStatusWord(statusWord() & ~SW_C1); }

/** Address of the instruction being run, for the last-opcode register. */
let instruction: usize = 0;
/** Loads the environment from the control word and starts collecting exceptions. */
export function begin(pc: usize): void {
  instruction = pc;
  const cw: u32 = load<u16>(FPU_CW);
  Fp.rounding = (cw >>> 10) & 3;
  Fp.masks = cw & 0x3f;
  Fp.flags = 0;
  Fp.daz = false;
  Fp.ftz = false;
  Fp.roundedUp = false;
  xOperandClass = 0;
}
/** Significand bits the precision control asks for. */
export function precision(): u32 {
  const pc = (u32(load<u16>(FPU_CW)) >>> 8) & 3;
  return pc == 0 ? 24 : pc == 2 ? 53 : 64;
}
/** Records the instruction pointer (FIP) and, for unmasked exceptions or in compatibility mode, the opcode. FCS reads as 0. */
export function noteInstruction(pc: usize): void {
  store<u64>(FPU_IP, currentRip(pc));
  if (load<u64>(MSR_MISC_ENABLE) & 4) noteOpcode(pc);
}
export function noteOperand(pc: usize): void { store<u64>(FPU_DP, effectiveAddress(pc)); }
function noteOpcode(pc: usize): void { store<u16>(FPU_OP, u16((recUnitOp(pc) & 7) << 8 | recModrm(pc))); }

/** Sets exception flags in the status word, with the summary when one is unmasked. */
function report(flags: u32): void {
  let sw = statusWord() | flags;
  if (flags & ~Fp.masks & 0x3f) {
    raiseSummary(sw);
    sw |= SW_ES | SW_B;
    noteOpcode(instruction);
  }
  setStatusWord(sw);
}
/** An error becomes pending where there was none: IGNNE# was for the last one. */
function raiseSummary(before: u32): void {
  if ((before & SW_ES) == 0) store<u32>(FPU_ERROR_PINS, load<u32>(FPU_ERROR_PINS) & ~IGNNE);
}
/**
 * Ends an operation: moves Fp.flags and C1 into the status word. False when an unmasked operand exception forbids to store anything.
 */
export function complete(): bool {
  clearC1();
  const stopped = (Fp.flags & ~Fp.masks & (IE | DE | ZE)) != 0;
  if (stopped) Fp.flags &= IE | DE | ZE;
  else if (Fp.roundedUp && Fp.flags & PE) setStatusWord(statusWord() | SW_C1);
  report(Fp.flags);
  return !stopped;
}
/** A register needed is empty, or one to be pushed is in use: IE with SF; C1 tells overflow. True if masked (give the indefinite). */
export function stackFault(overflow: bool): bool {
  clearC1();
  Fp.flags = IE;
  report(IE | SW_SF | (overflow ? SW_C1 : 0));
  return (Fp.masks & IE) != 0;
}
/** Recomputes the summary bits after the control or status word was loaded. */
export function updateSummary(): void {
  const sw = statusWord(), pending = (sw & ~load<u16>(FPU_CW) & 0x3f) != 0;
  if (pending) raiseSummary(sw);
  setStatusWord(pending ? sw | SW_ES | SW_B : sw & ~(SW_ES | SW_B));
}
/** Loads the control word: bit 6 reads as 1, the other reserved bits as 0. */
export function setControl(value: u32): void {
  store<u16>(FPU_CW, u16((value & 0x1f3f) | 0x40));
  updateSummary();
}
/**
 * An earlier unmasked exception is reported by the next waiting instruction: #MF, or with CR0.NE = 0 the pin FERR#, upon which the processor stops
 * before that instruction until an interrupt comes, unless IGNNE# lets it go on (SDM 1 8.7.2). The stop is an exit for vector 16, whatever the
 * exception bitmap says. With FERR# wired to nothing, the error is forgotten.
 */
export function checkPending(): i32 {
  if (!(statusWord() & SW_ES)) return OK;
  if (load<u64>(CR0) & CR0_NE) return raise(VECTOR_MF);
  if (load<u32>(FPU_ERROR_PINS) != FERR_WIRED) return OK;
  unblockInterrupts(); // it waits for one, so STI right before holds none back, as with HLT
  return exitException(TYPE_HARDWARE_EXCEPTION, VECTOR_MF, 0, false, 0);
}

export function finit(): void {
  store<u16>(FPU_CW, 0x37f);
  store<u16>(FPU_SW, 0);
  store<u8>(FPU_TAG, 0);
  store<u16>(FPU_OP, 0);
  store<u64>(FPU_IP, 0);
  store<u64>(FPU_DP, 0);
}
/** The full tag word: valid 0, zero 1, special 2, empty 3 per register (SDM vol. 1, 8.1.7). */
export function fullTags(): u32 {
  const tags: u32 = load<u8>(FPU_TAG);
  let word: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    let tag: u32 = 3;
    if ((tags >>> i) & 1) {
      const p = FPR + (i << 4);
      const e: u32 = u32(load<u16>(p, 8)) & 0x7fff;
      const sig = load<u64>(p);
      tag = e == 0 && sig == 0 ? 1 : e == 0 || e == 0x7fff || !(sig >> 63) ? 2 : 0;
    }
    word |= tag << (i * 2);
  }
  return word;
}
export function setFullTags(word: u32): void {
  let tags: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) if (((word >>> (i * 2)) & 3) != 3) tags |= 1 << i;
  store<u8>(FPU_TAG, u8(tags));
}
