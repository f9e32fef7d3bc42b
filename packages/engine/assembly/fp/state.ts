import {
  CPL, CR0, CR4, FPR, FPU_CW, FPU_DP, FPU_IP, FPU_OP, FPU_SW, FPU_TAG, FPU_TRAP, MSR_XSS, MXCSR, PKRU, REGS, SSE_TRAP, AVX_TRAP, XCR0, YMM,
} from "../../src/layout";
import { F_FXSR, F_SSE, F_XSAVE, F_XSAVEC, F_XSAVEOPT, F_XSAVES, hasFeature } from "../features";
import { commit, linearOf, operandRead, operandWrite, segmentFailed } from "../mmu";
import { CR0_TS, CR4_OSXSAVE, is64 } from "../mode";
import { P_VEX, recModrm, recPrefixes, recSegment, recSize, recUnitOp } from "../record";
import { FAULT, OK } from "../status";
import { flushEverywhere } from "../tlb";
import { displacement, operandInfo } from "../system/instructioninfo";
import { raise, raiseError } from "../system/raise";
import { SECONDARY_XSAVES, secondaryControl } from "../vmx/controls";
import { REASON_XRSTORS, REASON_XSAVES } from "../generated/exit-reasons";
import { vmexit, vmexitInfo } from "../vmx/exits";
import { xssIntercepted } from "../vmx/intercepts";
import { probeWrite, readArea, writeArea } from "./area";
import { finit, physical, setControl, setStatusWord } from "./x87-state";
/**
 * Saving and restoring the extended state: FXSAVE, FXRSTOR, LDMXCSR, STMXCSR and the XSAVE family (SDM vol. 1, chapters 10.5 and 13).
 * The area is made or taken apart in a buffer, so that a fault leaves both the processor and the memory as they were.
 */

/** State components (XCR0 bits). */
const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const PKRU_STATE: u64 = 0x200;
/** Bit 63 of XCOMP_BV. */
const COMPACTED: u64 = 1 << 63;
/** Offsets in the area. */
const AT_MXCSR: u32 = 24;
const AT_ST: u32 = 32;
const AT_XMM: u32 = 160;
const AT_HEADER: u32 = 512;
const AT_EXTENDED: u32 = 576;
const AT_PKRU: u32 = 2688;
const AVX_BYTES: u32 = 256;
/** MXCSR bits that exist; DAZ does. */
const MXCSR_MASK: u32 = 0xffff;
const MXCSR_INIT: u32 = 0x1f80;

const IMAGE: usize = memory.data(2752, 64);

/** Runs 0F AE /0-/6 and 0F C7 /3-/5 with a memory operand (recUnitOp 0xAE or 0xC7). */
export function execGroup15(pc: usize): i32 {
  const reg = (recModrm(pc) >>> 3) & 7;
  if (recUnitOp(pc) == 0xc7) {
    switch (reg) {
      case 3: return hasFeature(F_XSAVES) ? restoreExtended(pc, true) : raise(6);
      case 4: return hasFeature(F_XSAVEC) ? saveExtended(pc, false, true, false) : raise(6);
      case 5: return hasFeature(F_XSAVES) ? saveExtended(pc, true, true, true) : raise(6);
    }
    return raise(6);
  }
  switch (reg) {
    case 0: return fxsave(pc);
    case 1: return fxrstor(pc);
    case 2: return ldmxcsr(pc);
    case 3: return stmxcsr(pc);
    case 4: return saveExtended(pc, false, false, false);
    case 5: return restoreExtended(pc, false);
    case 6: return hasFeature(F_XSAVEOPT) ? saveExtended(pc, true, false, false) : raise(6);
  }
  return raise(6);
}

// ------------------------------------------------------------------------------------------------ MXCSR
function mxcsrTrap(pc: usize): u32 {
  if (recPrefixes(pc) & P_VEX) return load<u32>(AVX_TRAP);
  return hasFeature(F_SSE) ? load<u32>(SSE_TRAP) : 6;
}
function ldmxcsr(pc: usize): i32 {
  const trap = mxcsrTrap(pc);
  if (trap) return raise(trap);
  const p = operandRead(pc, 4);
  if (!p) return FAULT;
  const value = load<u32>(p);
  if (value & ~MXCSR_MASK) return raiseError(13, 0);
  store<u32>(MXCSR, value);
  return OK;
}
function stmxcsr(pc: usize): i32 {
  const trap = mxcsrTrap(pc);
  if (trap) return raise(trap);
  const p = operandWrite(pc, 4);
  if (!p) return FAULT;
  store<u32>(p, load<u32>(MXCSR));
  return commit(p) ? OK : FAULT;
}

// ------------------------------------------------------------------------------------------------ the legacy region
/** XMM registers visible in the current mode. */
// @ts-ignore: decorator
@inline function vectors(): u32 { return is64() ? 16 : 8; }

/** Writes FCW .. FDP to bytes 0-23 of the image; 64-bit pointers with REX.W. */
function imageX87(wide: bool): void {
  store<u16>(IMAGE, load<u16>(FPU_CW));
  store<u16>(IMAGE, load<u16>(FPU_SW), 2);
  store<u16>(IMAGE, load<u8>(FPU_TAG), 4);
  store<u16>(IMAGE, load<u16>(FPU_OP), 6);
  const mask: u64 = wide ? -1 : 0xffffffff; // FCS and FDS are 0
  store<u64>(IMAGE, load<u64>(FPU_IP) & mask, 8);
  store<u64>(IMAGE, load<u64>(FPU_DP) & mask, 16);
  for (let i: u32 = 0; i < 8; i++) {
    const from = FPR + (physical(i) << 4), to = IMAGE + AT_ST + (i << 4);
    store<u64>(to, load<u64>(from));
    store<u64>(to, u64(load<u16>(from, 8)), 8);
  }
}
function takeX87(wide: bool): void {
  setStatusWord(load<u16>(IMAGE, 2));
  setControl(load<u16>(IMAGE));
  store<u8>(FPU_TAG, load<u8>(IMAGE, 4));
  store<u16>(FPU_OP, load<u16>(IMAGE, 6) & 0x7ff);
  const mask: u64 = wide ? -1 : 0xffffffff;
  store<u64>(FPU_IP, load<u64>(IMAGE, 8) & mask);
  store<u64>(FPU_DP, load<u64>(IMAGE, 16) & mask);
  for (let i: u32 = 0; i < 8; i++) {
    const from = IMAGE + AT_ST + (i << 4), to = FPR + (physical(i) << 4);
    store<u64>(to, load<u64>(from));
    store<u16>(to, load<u16>(from, 8), 8);
  }
}
function imageMxcsr(): void {
  store<u32>(IMAGE, load<u32>(MXCSR), AT_MXCSR);
  store<u32>(IMAGE, MXCSR_MASK, AT_MXCSR + 4);
}
function imageXmm(): void {
  for (let i: u32 = 0; i < vectors(); i++) memory.copy(IMAGE + AT_XMM + (i << 4), YMM + (i << 5), 16);
}
function takeXmm(): void {
  for (let i: u32 = 0; i < vectors(); i++) memory.copy(YMM + (i << 5), IMAGE + AT_XMM + (i << 4), 16);
}

function fxsave(pc: usize): i32 {
  if (!hasFeature(F_FXSR)) return raise(6);
  if (load<u32>(FPU_TRAP)) return raise(7);
  const linear = linearOf(pc, 512, true);
  if (segmentFailed(linear)) return FAULT;
  if (linear & 15) return raiseError(13, 0);
  const segment = recSegment(pc);
  if (!probeWrite(linear, 512, 16, segment, pc)) return FAULT;
  imageX87(recSize(pc) == 8);
  imageMxcsr();
  imageXmm();
  return writeArea(linear, IMAGE, AT_XMM + (vectors() << 4), segment, pc) ? OK : FAULT;
}
function fxrstor(pc: usize): i32 {
  if (!hasFeature(F_FXSR)) return raise(6);
  if (load<u32>(FPU_TRAP)) return raise(7);
  const linear = linearOf(pc, 512, false);
  if (segmentFailed(linear)) return FAULT;
  if (linear & 15) return raiseError(13, 0);
  if (!readArea(linear, IMAGE, 512, recSegment(pc), pc)) return FAULT;
  const mxcsr = load<u32>(IMAGE, AT_MXCSR);
  if (mxcsr & ~MXCSR_MASK) return raiseError(13, 0);
  takeX87(recSize(pc) == 8);
  store<u32>(MXCSR, mxcsr);
  takeXmm();
  return OK;
}

// ------------------------------------------------------------------------------------------------ the XSAVE family
/** XINUSE: the components that are not in their initial configuration (SDM vol. 1, 13.6). */
export function componentsInUse(): u64 {
  let used: u64 = 0;
  let bits = u64(load<u16>(FPU_CW) ^ 0x37f) | load<u16>(FPU_SW) | load<u8>(FPU_TAG) | load<u16>(FPU_OP) | load<u64>(FPU_IP) | load<u64>(FPU_DP);
  for (let i: u32 = 0; i < 8; i++) bits |= load<u64>(FPR + (i << 4)) | load<u16>(FPR + (i << 4), 8);
  if (bits) used = X87;
  let low: u64 = 0, high: u64 = 0;
  for (let i: u32 = 0; i < 16; i++) {
    const p = YMM + (i << 5);
    low |= load<u64>(p) | load<u64>(p, 8);
    high |= load<u64>(p, 16) | load<u64>(p, 24);
  }
  if (low) used |= SSE;
  if (high) used |= AVX;
  if (load<u32>(PKRU)) used |= PKRU_STATE;
  return used;
}
/** EDX:EAX. */
// @ts-ignore: decorator
@inline function requested(): u64 { return u64(load<u32>(REGS)) | (u64(load<u32>(REGS + 16)) << 32); }
/** Bytes an area with these components takes. */
function areaBytes(components: u64, compacted: bool): u32 {
  if (compacted) return AT_EXTENDED + (components & AVX ? AVX_BYTES : 0) + (components & PKRU_STATE ? 8 : 0);
  return components & PKRU_STATE ? AT_PKRU + 8 : components & AVX ? AT_EXTENDED + AVX_BYTES : AT_EXTENDED;
}
/** Offset of PKRU in an area whose XCOMP_BV is given. */
function pkruOffset(compacted: bool, format: u64): u32 {
  return compacted ? AT_EXTENDED + (format & AVX ? AVX_BYTES : 0) : AT_PKRU;
}
/** The checks all of them make: OK or what to return. */
function checkExtended(pc: usize, supervisor: bool, exitReason: u32): i32 {
  if (!hasFeature(F_XSAVE) || !(load<u64>(CR4) & CR4_OSXSAVE)) return raise(6);
  if (supervisor && !secondaryControl(SECONDARY_XSAVES)) return raise(6);
  if (load<u64>(CR0) & CR0_TS) return raise(7);
  if (supervisor) {
    if (load<u32>(CPL)) return raiseError(13, 0);
    if (xssIntercepted(requested() & load<u64>(MSR_XSS))) {
      const status = vmexit(pc, exitReason, displacement(pc));
      vmexitInfo(operandInfo(pc));
      return status;
    }
  }
  return OK;
}

/** XSAVE; with `optimise` XSAVEOPT, with `compact` XSAVEC, with all XSAVES. */
function saveExtended(pc: usize, optimise: bool, compact: bool, supervisor: bool): i32 {
  const status = checkExtended(pc, supervisor, REASON_XSAVES);
  if (status != OK) return status;
  const wanted = requested() & (load<u64>(XCR0) | (supervisor ? load<u64>(MSR_XSS) : 0));
  const size = areaBytes(wanted, compact);
  const linear = linearOf(pc, size, true);
  if (segmentFailed(linear)) return FAULT;
  if (linear & 63) return raiseError(13, 0);
  const segment = recSegment(pc);
  if (!probeWrite(linear, size, 64, segment, pc)) return FAULT;
  if (!compact && !readArea(linear + AT_HEADER, IMAGE + AT_HEADER, 8, segment, pc)) return FAULT;
  const used = componentsInUse() & wanted;
  let saved = optimise || compact ? used : wanted;
  let header = used | (compact ? 0 : load<u64>(IMAGE, AT_HEADER) & ~wanted);
  let mxcsr = (wanted & (SSE | AVX)) != 0;
  if (compact) { // MXCSR belongs to the SSE component
    if (wanted & SSE && load<u32>(MXCSR) != MXCSR_INIT) {
      saved |= SSE;
      header |= SSE;
    }
    mxcsr = (saved & SSE) != 0;
  }
  if (saved & X87) {
    imageX87(recSize(pc) == 8);
    if (!writeArea(linear, IMAGE, AT_MXCSR, segment, pc) || !writeArea(linear + AT_ST, IMAGE + AT_ST, 128, segment, pc)) return FAULT;
  }
  if (mxcsr) {
    imageMxcsr();
    if (!writeArea(linear + AT_MXCSR, IMAGE + AT_MXCSR, 8, segment, pc)) return FAULT;
  }
  if (saved & SSE) {
    imageXmm();
    if (!writeArea(linear + AT_XMM, IMAGE + AT_XMM, vectors() << 4, segment, pc)) return FAULT;
  }
  if (saved & AVX) {
    for (let i: u32 = 0; i < vectors(); i++) memory.copy(IMAGE + AT_EXTENDED + (i << 4), YMM + (i << 5) + 16, 16);
    if (!writeArea(linear + AT_EXTENDED, IMAGE + AT_EXTENDED, vectors() << 4, segment, pc)) return FAULT;
  }
  if (saved & PKRU_STATE) {
    store<u64>(IMAGE, u64(load<u32>(PKRU)), AT_PKRU);
    if (!writeArea(linear + pkruOffset(compact, wanted), IMAGE + AT_PKRU, 8, segment, pc)) return FAULT;
  }
  store<u64>(IMAGE, header, AT_HEADER);
  store<u64>(IMAGE, wanted | COMPACTED, AT_HEADER + 8);
  return writeArea(linear + AT_HEADER, IMAGE + AT_HEADER, compact ? 16 : 8, segment, pc) ? OK : FAULT;
}

/** XRSTOR, and XRSTORS with `supervisor` (SDM vol. 1, 13.8 and 13.12). */
function restoreExtended(pc: usize, supervisor: bool): i32 {
  const status = checkExtended(pc, supervisor, REASON_XRSTORS);
  if (status != OK) return status;
  const enabled = load<u64>(XCR0) | (supervisor ? load<u64>(MSR_XSS) : 0);
  const wanted = requested() & enabled;
  const linear = linearOf(pc, AT_EXTENDED, false);
  if (segmentFailed(linear)) return FAULT;
  if (linear & 63) return raiseError(13, 0);
  const segment = recSegment(pc);
  if (!readArea(linear, IMAGE, AT_EXTENDED, segment, pc)) return FAULT;
  const present = load<u64>(IMAGE, AT_HEADER), format = load<u64>(IMAGE, AT_HEADER + 8);
  const compact = (format & COMPACTED) != 0;
  let reserved = load<u64>(IMAGE, AT_HEADER + 16);
  if (compact) for (let i: u32 = 24; i < 64; i += 8) reserved |= load<u64>(IMAGE + AT_HEADER + i);
  if (reserved) return raiseError(13, 0);
  if (compact) {
    if (!hasFeature(F_XSAVEC) || (format & ~COMPACTED & ~enabled) != 0 || (present & ~format) != 0) return raiseError(13, 0);
  } else if (supervisor || format != 0 || (present & ~enabled) != 0) return raiseError(13, 0);
  const loaded = wanted & present, initialised = wanted & ~present;
  const withMxcsr = compact ? (loaded & SSE) != 0 : (wanted & (SSE | AVX)) != 0;
  const mxcsr = load<u32>(IMAGE, AT_MXCSR);
  if (withMxcsr && (mxcsr & ~MXCSR_MASK) != 0) return raiseError(13, 0);
  if (loaded & AVX && !readArea(linear + AT_EXTENDED, IMAGE + AT_EXTENDED, vectors() << 4, segment, pc)) return FAULT;
  if (loaded & PKRU_STATE && !readArea(linear + pkruOffset(compact, format), IMAGE + AT_PKRU, 8, segment, pc)) return FAULT;

  if (loaded & X87) takeX87(recSize(pc) == 8);
  else if (initialised & X87) {
    finit();
    memory.fill(FPR, 0, 128);
  }
  if (withMxcsr) store<u32>(MXCSR, mxcsr);
  else if (initialised & SSE) store<u32>(MXCSR, MXCSR_INIT);
  if (loaded & SSE) takeXmm();
  else if (initialised & SSE) for (let i: u32 = 0; i < vectors(); i++) memory.fill(YMM + (i << 5), 0, 16);
  if (wanted & AVX) {
    if (!(loaded & AVX)) memory.fill(IMAGE + AT_EXTENDED, 0, AVX_BYTES);
    for (let i: u32 = 0; i < vectors(); i++) memory.copy(YMM + (i << 5) + 16, IMAGE + AT_EXTENDED + (i << 4), 16);
  }
  if (wanted & PKRU_STATE) {
    const value: u32 = loaded & PKRU_STATE ? load<u32>(IMAGE, AT_PKRU) : 0;
    if (value != load<u32>(PKRU)) {
      store<u32>(PKRU, value);
      flushEverywhere(); // translations were made with the old rights
    }
  }
  return OK;
}
