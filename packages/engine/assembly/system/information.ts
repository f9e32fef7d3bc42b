import {
  CR4, EFLAGS, FIRST_PAUSE, LAST_PAUSE, MONITOR_ADDRESS, MSR_KERNEL_GS_BASE, MSR_MISC_ENABLE, MSR_TSC_AUX, PKRU, RUN_FLAGS, SEG_BASE, SEG_GS, TLB_BASE, XCR0,
} from "../../src/layout";
import { V_PLE_GAP, V_PLE_WINDOW } from "../../src/vmcs-layout";
import {
  F_FSGSBASE, F_MONITOR, F_PKU, F_RDPID, F_RDRAND, F_RDSEED, F_RDTSCP, F_SERIALIZE, F_SMAP, F_WAITPKG, F_XGETBV1, F_XSAVE, hasFeature,
} from "../features";
import { AC, CF, setArithmeticFlags } from "../flags";
import { componentsInUse } from "../fp/state";
import { linearRead, segmentLinear, segmentFailed } from "../mmu";
import { CR4_FSGSBASE, CR4_OSXSAVE, CR4_PCE, CR4_PKE, CR4_TSD, is64 } from "../mode";
import { P_66, recPrefixes, recSegment, recSize } from "../record";
import { PAUSED } from "../run-flags";
import { END, FAULT, OK } from "../status";
import { flushEverywhere, tableOf } from "../tlb";
import { hostTsc, nextRandom } from "../time";
import {
  PRIMARY_MONITOR_EXITING, PRIMARY_MWAIT_EXITING, PRIMARY_PAUSE_EXITING, PRIMARY_RDPMC_EXITING, PRIMARY_RDTSC_EXITING, SECONDARY_PAUSE_LOOP_EXITING,
  SECONDARY_RDRAND_EXITING,  SECONDARY_RDSEED_EXITING, SECONDARY_RDTSCP, SECONDARY_USER_WAIT, primaryControl, secondaryControl,
} from "../vmx/controls";
import {
  REASON_CPUID, REASON_MONITOR, REASON_MWAIT, REASON_PAUSE, REASON_RDPMC, REASON_RDRAND, REASON_RDSEED, REASON_RDTSC, REASON_RDTSCP, REASON_UMWAIT, REASON_XSETBV,
} from "../generated/exit-reasons";
import { vmexit, vmexitInfo } from "../vmx/exits";
import { guestTsc } from "../vmx/intercepts";
import { raise, raiseError } from "./raise";
import { implicitMask, randomInfo, waitInfo } from "./instructioninfo";
import { MISC_ENABLE_MONITOR } from "./msr";
import { rmRegister, writeRegister } from "./operands";
import { GP, RAX, RCX, RDX, UD, cpl, protectedMode } from "./registers";
import { canonicalBase } from "./segments";
/** Instructions that tell or wait: CPUID, time, random numbers, MONITOR, FS and GS bases, XCR0, protection keys, SMAP's AC. */

export function cpuid(pc: usize): i32 { return vmexit(pc, REASON_CPUID, 0); }

// ---------------------------------------------------------------------------------------------- time and counters
/** CR4.TSD keeps RDTSC and RDTSCP for CPL 0. */
function timeForbidden(): bool { return (load<u64>(CR4) & CR4_TSD) != 0 && cpl() != 0 && protectedMode(); }
function setTime(pc: usize): void {
  const value = guestTsc(hostTsc(pc));
  store<u64>(RAX, value & 0xffffffff);
  store<u64>(RDX, value >> 32);
}

export function rdtsc(pc: usize): i32 {
  if (timeForbidden()) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_RDTSC_EXITING)) return vmexit(pc, REASON_RDTSC, 0);
  setTime(pc);
  return OK;
}
export function rdtscp(pc: usize): i32 {
  if (!hasFeature(F_RDTSCP) || !secondaryControl(SECONDARY_RDTSCP)) return raise(UD);
  if (timeForbidden()) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_RDTSC_EXITING)) return vmexit(pc, REASON_RDTSCP, 0);
  setTime(pc);
  store<u64>(RCX, <u64>load<u32>(MSR_TSC_AUX));
  return OK;
}
/** There are no performance counters: a counter number that does not exist is #GP(0). */
export function rdpmc(pc: usize): i32 {
  if ((load<u64>(CR4) & CR4_PCE) == 0 && cpl() != 0 && protectedMode()) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_RDPMC_EXITING)) return vmexit(pc, REASON_RDPMC, 0);
  return raiseError(GP, 0);
}
export function rdpid(pc: usize): i32 {
  if (!hasFeature(F_RDPID) || !secondaryControl(SECONDARY_RDTSCP)) return raise(UD);
  store<u64>(rmRegister(pc), <u64>load<u32>(MSR_TSC_AUX));
  return OK;
}

// ---------------------------------------------------------------------------------------------- random numbers
function random(pc: usize, reason: u32, exiting: bool): i32 {
  if (exiting) {
    const status = vmexit(pc, reason, 0);
    vmexitInfo(randomInfo(pc));
    return status;
  }
  writeRegister(rmRegister(pc), recSize(pc), nextRandom());
  setArithmeticFlags(CF);
  return OK;
}
export function rdrand(pc: usize): i32 {
  return hasFeature(F_RDRAND) ? random(pc, REASON_RDRAND, secondaryControl(SECONDARY_RDRAND_EXITING)) : raise(UD);
}
export function rdseed(pc: usize): i32 {
  return hasFeature(F_RDSEED) ? random(pc, REASON_RDSEED, secondaryControl(SECONDARY_RDSEED_EXITING)) : raise(UD);
}

// ---------------------------------------------------------------------------------------------- waiting

/** PAUSE exiting at every level, PAUSE-loop exiting at CPL 0 (SDM 3C 26.1.3). */
export function pause(pc: usize): i32 {
  if (primaryControl(PRIMARY_PAUSE_EXITING)) return vmexit(pc, REASON_PAUSE, 0);
  if (!secondaryControl(SECONDARY_PAUSE_LOOP_EXITING) || cpl() != 0) return OK;
  const now = hostTsc(pc), flags = load<u32>(RUN_FLAGS);
  if ((flags & PAUSED) == 0 || now - load<u64>(LAST_PAUSE) > <u64>load<u32>(V_PLE_GAP)) {
    store<u32>(RUN_FLAGS, flags | PAUSED);
    store<u64>(FIRST_PAUSE, now);
  } else if (now - load<u64>(FIRST_PAUSE) > <u64>load<u32>(V_PLE_WINDOW)) return vmexit(pc, REASON_PAUSE, 0);
  store<u64>(LAST_PAUSE, now);
  return OK;
}

/** CPUID's MONITOR bit follows IA32_MISC_ENABLE. */
function monitorMissing(): bool { return !hasFeature(F_MONITOR) || (load<u64>(MSR_MISC_ENABLE) & MISC_ENABLE_MONITOR) == 0 || cpl() != 0; }
export function monitor(pc: usize): i32 {
  if (monitorMissing()) return raise(UD);
  if (primaryControl(PRIMARY_MONITOR_EXITING)) return vmexit(pc, REASON_MONITOR, 0);
  if (load<u32>(RCX) != 0) return raiseError(GP, 0);
  const segment = recSegment(pc);
  const linear = segmentLinear(segment, load<u64>(RAX) & implicitMask(pc), 1, false);
  if (segmentFailed(linear) || linearRead(linear, 1, segment, pc) == 0) return FAULT;
  store<u64>(MONITOR_ADDRESS, linear == 0 ? 1 : linear);
  return OK;
}
/** MWAIT that does not exit ends at once: the processor may leave its optimised state for any reason. */
export function mwait(pc: usize): i32 {
  if (monitorMissing()) return raise(UD);
  const armed = load<u64>(MONITOR_ADDRESS) != 0;
  if (primaryControl(PRIMARY_MWAIT_EXITING)) return vmexit(pc, REASON_MWAIT, u64(armed));
  if ((load<u32>(RCX) & ~1) != 0) return raiseError(GP, 0);
  store<u64>(MONITOR_ADDRESS, 0);
  return END;
}

/** Are UMONITOR, UMWAIT and TPAUSE undefined (SDM 3C 26.3)? */
function userWaitMissing(): bool { return !hasFeature(F_WAITPKG) || !secondaryControl(SECONDARY_USER_WAIT); }
/** The address is in the register that ModRM names, of the address size. */
export function umonitor(pc: usize): i32 {
  if (userWaitMissing()) return raise(UD);
  const segment = recSegment(pc);
  const linear = segmentLinear(segment, load<u64>(rmRegister(pc)) & implicitMask(pc), 1, false);
  if (segmentFailed(linear) || linearRead(linear, 1, segment, pc) == 0) return FAULT;
  store<u64>(MONITOR_ADDRESS, linear == 0 ? 1 : linear);
  return OK;
}
/** UMWAIT and TPAUSE: the wait ends at once, as that of MWAIT, and before its time is up: CF = 0. */
export function userWait(pc: usize, reason: u32): i32 {
  if (userWaitMissing()) return raise(UD);
  if (timeForbidden()) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_RDTSC_EXITING)) {
    const status = vmexit(pc, reason, 0);
    vmexitInfo(waitInfo(pc));
    return status;
  }
  if ((load<u32>(rmRegister(pc)) & ~1) != 0) return raiseError(GP, 0);
  if (reason == REASON_UMWAIT) store<u64>(MONITOR_ADDRESS, 0);
  setArithmeticFlags(0);
  return END;
}
export function serialize(): i32 { return hasFeature(F_SERIALIZE) ? END : raise(UD); }

// ---------------------------------------------------------------------------------------------- FS and GS bases
export function readBase(pc: usize, segment: u32): i32 {
  if (!hasFeature(F_FSGSBASE) || !is64() || (load<u64>(CR4) & CR4_FSGSBASE) == 0) return raise(UD);
  const base = load<u64>(SEG_BASE + (segment << 3));
  store<u64>(rmRegister(pc), recSize(pc) == 8 ? base : base & 0xffffffff);
  return OK;
}
export function writeBase(pc: usize, segment: u32): i32 {
  if (!hasFeature(F_FSGSBASE) || !is64() || (load<u64>(CR4) & CR4_FSGSBASE) == 0) return raise(UD);
  const value = recSize(pc) == 8 ? load<u64>(rmRegister(pc)) : <u64>load<u32>(rmRegister(pc));
  if (!canonicalBase(value)) return raiseError(GP, 0);
  store<u64>(SEG_BASE + (segment << 3), value);
  return OK;
}
export function swapgs(): i32 {
  if (!is64()) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  const base = load<u64>(SEG_BASE + SEG_GS * 8);
  store<u64>(SEG_BASE + SEG_GS * 8, load<u64>(MSR_KERNEL_GS_BASE));
  store<u64>(MSR_KERNEL_GS_BASE, base);
  return OK;
}

// ---------------------------------------------------------------------------------------------- XCR0, PKRU, AC
function xsaveDisabled(pc: usize): bool {
  return !hasFeature(F_XSAVE) || (load<u64>(CR4) & CR4_OSXSAVE) == 0 || (recPrefixes(pc) & P_66) != 0;
}
export function xgetbv(pc: usize): i32 {
  if (xsaveDisabled(pc)) return raise(UD);
  const index = load<u32>(RCX);
  let value = load<u64>(XCR0);
  if (index == 1 && hasFeature(F_XGETBV1)) value &= componentsInUse();
  else if (index != 0) return raiseError(GP, 0);
  store<u64>(RAX, value & 0xffffffff);
  store<u64>(RDX, value >> 32);
  return OK;
}
/** Always exits: the framework checks the value and sets XCR0. */
export function xsetbv(pc: usize): i32 {
  if (xsaveDisabled(pc)) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  return vmexit(pc, REASON_XSETBV, 0);
}

export function rdpkru(): i32 {
  if (!hasFeature(F_PKU) || (load<u64>(CR4) & CR4_PKE) == 0) return raise(UD);
  if (load<u32>(RCX) != 0) return raiseError(GP, 0);
  store<u64>(RAX, <u64>load<u32>(PKRU));
  store<u64>(RDX, 0);
  return OK;
}
export function wrpkru(): i32 {
  if (!hasFeature(F_PKU) || (load<u64>(CR4) & CR4_PKE) == 0) return raise(UD);
  if ((load<u32>(RCX) | load<u32>(RDX)) != 0) return raiseError(GP, 0);
  store<u32>(PKRU, load<u32>(RAX));
  flushEverywhere(); // translations were made with the old rights
  return OK;
}

/** STAC and CLAC: only the translation table in use changes. */
export function setAccessCheck(on: bool): i32 {
  if (!hasFeature(F_SMAP) || cpl() != 0) return raise(UD);
  const flags = load<u32>(EFLAGS);
  store<u32>(EFLAGS, on ? flags | AC : flags & ~AC);
  store<u32>(TLB_BASE, tableOf(on ? 1 : 0));
  return OK;
}
