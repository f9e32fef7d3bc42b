import { CR4, SEG_BASE } from "../../src/layout";
import { F_CLFLUSHOPT, F_CLFSH, F_CLWB, F_INVPCID, hasFeature } from "../features";
import { effectiveAddress, operandRead } from "../mmu";
import { CR4_PCIDE, is64, isV86 } from "../mode";
import { P_66, isRegisterForm, recModrm, recPrefixes, recSegment, regPtr } from "../record";
import { END, FAULT, OK } from "../status";
import { flushNonGlobal, flushPage, flushTlb } from "../tlb";
import { PRIMARY_INVLPG_EXITING, SECONDARY_INVPCID, SECONDARY_WBINVD_EXITING, primaryControl, secondaryControl } from "../vmx/controls";
import { REASON_INVD, REASON_INVLPG, REASON_INVPCID, REASON_WBINVD } from "../generated/exit-reasons";
import { vmexit, vmexitInfo } from "../vmx/exits";
import { raise, raiseError } from "./raise";
import { displacement, operandInfoWithRegister } from "./instructioninfo";
import { GP, UD, cpl } from "./registers";
import { canonicalAddress, canonicalBase } from "./segments";
/** Caches and translations: there is no data cache to flush, but the rules around the instructions hold (SDM 2). */

export function invlpg(pc: usize): i32 {
  if (isRegisterForm(pc)) return raise(UD);
  if (cpl() != 0) return raiseError(GP, 0);
  const segment = recSegment(pc);
  let linear = effectiveAddress(pc);
  if (!is64()) linear = (linear + load<u64>(SEG_BASE + (segment << 3))) & 0xffffffff;
  else if (segment == 4 || segment == 5) linear += load<u64>(SEG_BASE + (segment << 3));
  if (primaryControl(PRIMARY_INVLPG_EXITING)) return vmexit(pc, REASON_INVLPG, linear);
  if (canonicalAddress(linear)) flushPage(linear);
  return END;
}

export function invpcid(pc: usize): i32 {
  if (!hasFeature(F_INVPCID) || !secondaryControl(SECONDARY_INVPCID) || isRegisterForm(pc)) return raise(UD);
  if (cpl() != 0 || isV86()) return raiseError(GP, 0);
  if (primaryControl(PRIMARY_INVLPG_EXITING)) {
    const status = vmexit(pc, REASON_INVPCID, displacement(pc));
    vmexitInfo(operandInfoWithRegister(pc));
    return status;
  }
  const type = is64() ? load<u64>(regPtr(pc)) : <u64>load<u32>(regPtr(pc));
  const p = operandRead(pc, 16);
  if (p == 0) return FAULT;
  const pcid = load<u64>(p), linear = load<u64>(p, 8);
  if (type > 3) return raiseError(GP, 0);
  if (type < 2) {
    if (pcid >> 12 != 0 || ((load<u64>(CR4) & CR4_PCIDE) == 0 && pcid != 0)) return raiseError(GP, 0);
    // as bases and MSRs: by the widest linear addresses the processor has, whatever CR4.LA57 says
    if (type == 0 && !canonicalBase(linear)) return raiseError(GP, 0);
  } else if (pcid >> 12 != 0) return raiseError(GP, 0);
  if (type == 0) flushPage(linear);
  else if (type == 2) flushTlb();
  else flushNonGlobal();
  return END;
}

export function invd(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  return vmexit(pc, REASON_INVD, 0);
}
export function wbinvd(pc: usize): i32 {
  if (cpl() != 0) return raiseError(GP, 0);
  return secondaryControl(SECONDARY_WBINVD_EXITING) ? vmexit(pc, REASON_WBINVD, 0) : OK;
}

/** CLFLUSH (0F AE /7), CLFLUSHOPT (66) and CLWB (66 /6): checked like a read of one byte. */
export function clflush(pc: usize): i32 {
  const optional = (recPrefixes(pc) & P_66) != 0, writeBack = ((recModrm(pc) >>> 3) & 7) == 6;
  if (!hasFeature(writeBack ? F_CLWB : optional ? F_CLFLUSHOPT : F_CLFSH)) return raise(UD);
  return operandRead(pc, 1) != 0 ? OK : FAULT;
}
