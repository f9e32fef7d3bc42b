/**
 * What the MMU reports from an EPT walk: violations (as exits or as virtualization exceptions), and page-modification
 * logging (SDM 3C 29.3.3.2, 26.5.7.1, 29.3.6). The walk itself is in ../ept.ts.
 */
import { CR0, EVENT_INFO } from "../../src/layout";
import { V_EPTP_INDEX, V_PML_ADDRESS, V_PML_INDEX, V_VE_INFORMATION } from "../../src/vmcs-layout";
import { raise } from "../system/raise";
import { SECONDARY_EPT_VIOLATION_VE, secondaryControl } from "./controls";
import { REASON_EPT_VIOLATION } from "../generated/exit-reasons";
import { recordEptViolation, recordPmlFull } from "./exits";

const VECTOR_VE: u32 = 20;
/** Offsets in the virtualization-exception information area (table 26-1). */
const VE_REASON: usize = 0;
const VE_BUSY: usize = 4;
const VE_QUALIFICATION: usize = 8;
const VE_LINEAR: usize = 16;
const VE_PHYSICAL: usize = 24;
const VE_EPTP_INDEX: usize = 32;

/**
 * EPT violation. `qualification` holds bits 0-6 and 8-11 (table 28-7). `suppressVe` is bit 63 of the EPT entry that stopped the
 * walk (the leaf, or the entry that is not present). If it is clear and "EPT-violation #VE" is set, the guest gets #VE, else
 * the framework gets an exit. Either an exit or an exception is recorded.
 */
export function eptViolation(
  gpa: u64, linear: u64, linearValid: bool, qualification: u32, suppressVe: bool = true,
): void {
  if (!suppressVe && secondaryControl(SECONDARY_EPT_VIOLATION_VE) && (load<u64>(CR0) & 1) && load<u32>(EVENT_INFO) == 0) {
    const area = <usize>load<u64>(V_VE_INFORMATION);
    if (load<u32>(area + VE_BUSY) == 0) {
      store<u32>(area + VE_REASON, REASON_EPT_VIOLATION);
      store<u32>(area + VE_BUSY, 0xffffffff);
      store<u64>(area + VE_QUALIFICATION, <u64>qualification | (linearValid ? 1 << 7 : 0));
      store<u64>(area + VE_LINEAR, linear);
      store<u64>(area + VE_PHYSICAL, gpa);
      store<u16>(area + VE_EPTP_INDEX, load<u16>(V_EPTP_INDEX));
      raise(VECTOR_VE);
      return;
    }
  }
  recordEptViolation(gpa, linear, linearValid, qualification);
}

/**
 * Before an EPT dirty flag goes from 0 to 1: logs the page of `gpa` and moves the index down. False when the log is full (index
 * not 0-511): an exit has then been recorded and the access must not be done.
 */
export function logDirtyPage(gpa: u64): bool {
  const index = <u32>load<u16>(V_PML_INDEX);
  if (index > 511) { recordPmlFull(); return false; }
  store<u64>(<usize>load<u64>(V_PML_ADDRESS) + index * 8, gpa & ~0xfff);
  store<u16>(V_PML_INDEX, <u16>(index - 1));
  return true;
}
