import { EFER, EFLAGS, MSR_CSTAR, MSR_FMASK, MSR_LSTAR, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, SEG_CS, SEG_SS } from "../../src/layout";
import { F_AMD, F_SEP, F_SYSCALL, hasFeature } from "../features";
import { IF, RF, TF, VM, readFlags, writeFlags } from "../flags";
import { EFER_SCE, is64, isLongMode, modeChanged, nextRip } from "../mode";
import { recSize } from "../record";
import { JUMP } from "../status";
import { dropSingleStep, singleStepNow } from "./debug";
import { raise, raiseError } from "./raise";
import { GP, R11, RCX, RDX, RSP, UD, cpl, protectedMode, setRip, setSegment, setSelector } from "./registers";
import { canonicalAddress, setStackDpl } from "./segments";
/**
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT as Intel processors do them (SDM 2; SDM 3A 5.8.7, 5.8.8). With AMD's vendor string, SYSCALL and SYSRET
 * also work outside 64-bit mode, SYSRET keeps the stack segment, and SYSENTER and SYSEXIT do not work in long mode (AMD64 manual volume 3:
 * SYSCALL, SYSRET, appendix D).
 */

/** Flat code and data segments with DPL `level`, which these instructions load without descriptors. */
function loadFlatCode(selector: u32, level: u32, long: bool): void {
  setSegment(SEG_CS, selector, 0, 0xffffffff, (long ? 0xa09b : 0xc09b) | (level << 5));
}
function loadFlatStack(selector: u32, level: u32): void { setSegment(SEG_SS, selector, 0, 0xffffffff, 0xc093 | (level << 5)); }

export function syscall(pc: usize): i32 {
  if (!hasFeature(F_SYSCALL) || (load<u64>(EFER) & EFER_SCE) == 0 || (!is64() && (!hasFeature(F_AMD) || !protectedMode()))) return raise(UD);
  if (!isLongMode()) return legacySyscall(pc);
  const flags = readFlags() & ~RF;
  const target = is64() ? load<u64>(MSR_LSTAR) : load<u64>(MSR_CSTAR);
  store<u64>(RCX, nextRip(pc));
  store<u64>(R11, flags);
  writeFlags(flags & ~load<u32>(MSR_FMASK));
  const selector = load<u32>(MSR_STAR, 4) & 0xfffc;
  loadFlatCode(selector, 0, true);
  loadFlatStack(selector + 8, 0);
  setRip(target);
  if ((load<u32>(EFLAGS) & TF) == 0) dropSingleStep();
  modeChanged();
  return JUMP;
}

/** AMD's SYSCALL in legacy mode: the target is in STAR, and only IF and VM are cleared. */
function legacySyscall(pc: usize): i32 {
  store<u64>(RCX, nextRip(pc));
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~(VM | IF | RF));
  const selector = load<u32>(MSR_STAR, 4) & 0xfffc;
  loadFlatCode(selector, 0, false);
  loadFlatStack(selector + 8, 0);
  setRip(load<u32>(MSR_STAR));
  modeChanged();
  return JUMP;
}
/** AMD's SYSRET outside 64-bit mode: IF is set, the other flags stay. */
function legacySysret(): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  const selector = load<u32>(MSR_STAR, 4) >>> 16;
  store<u32>(EFLAGS, load<u32>(EFLAGS) | IF);
  loadFlatCode(selector | 3, 3, false);
  keepStack(selector + 8);
  setRip(load<u32>(RCX));
  modeChanged();
  return JUMP;
}
/** SS after AMD's SYSRET (APM 3 SYSRET): the selector is what STAR says, RPL included; the hidden part stays, but for the level. */
function keepStack(selector: u32): void {
  setSelector(SEG_SS, selector);
  setStackDpl(3);
}

export function sysret(pc: usize): i32 {
  if (!hasFeature(F_SYSCALL) || (load<u64>(EFER) & EFER_SCE) == 0 || (!is64() && (!hasFeature(F_AMD) || !protectedMode()))) return raise(UD);
  if (!is64()) return legacySysret();
  const wide = recSize(pc) == 8, target = load<u64>(RCX), amd = hasFeature(F_AMD);
  // Intel checks RCX while still at CPL 0; with AMD the fetch at CPL 3 faults
  if (cpl() != 0 || (wide && !amd && !canonicalAddress(target))) return raiseError(GP, 0);
  const selector = load<u32>(MSR_STAR, 4) >>> 16;
  writeFlags(load<u32>(R11) & 0x3c7fd7);
  loadFlatCode((selector + (wide ? 16 : 0)) | 3, 3, wide);
  if (amd) keepStack(selector + 8);
  else loadFlatStack((selector + 8) | 3, 3);
  setRip(wide ? target : target & 0xffffffff);
  if ((load<u32>(EFLAGS) & TF) != 0) singleStepNow();
  else dropSingleStep();
  modeChanged();
  return JUMP;
}

export function sysenter(): i32 {
  if (!hasFeature(F_SEP) || (isLongMode() && hasFeature(F_AMD))) return raise(UD);
  const selector = load<u32>(MSR_SYSENTER_CS) & 0xfffc;
  if (!protectedMode() || selector == 0) return raiseError(GP, 0);
  const long = isLongMode();
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~(VM | IF | RF));
  const sp = load<u64>(MSR_SYSENTER_ESP), target = load<u64>(MSR_SYSENTER_EIP);
  store<u64>(RSP, long ? sp : sp & 0xffffffff);
  setRip(long ? target : target & 0xffffffff);
  loadFlatCode(selector, 0, long);
  loadFlatStack(selector + 8, 0);
  modeChanged();
  return JUMP;
}

export function sysexit(pc: usize): i32 {
  if (!hasFeature(F_SEP) || (isLongMode() && hasFeature(F_AMD))) return raise(UD);
  const selector = load<u32>(MSR_SYSENTER_CS) & 0xfffc;
  if (!protectedMode() || selector == 0 || cpl() != 0) return raiseError(GP, 0);
  const wide = recSize(pc) == 8;
  let sp = load<u64>(RCX), target = load<u64>(RDX);
  if (wide) {
    if (!canonicalAddress(sp) || !canonicalAddress(target)) return raiseError(GP, 0);
  } else {
    sp &= 0xffffffff;
    target &= 0xffffffff;
  }
  store<u64>(RSP, sp);
  setRip(target);
  loadFlatCode((selector + (wide ? 32 : 16)) | 3, 3, wide);
  loadFlatStack((selector + (wide ? 40 : 24)) | 3, 3);
  modeChanged();
  return JUMP;
}
