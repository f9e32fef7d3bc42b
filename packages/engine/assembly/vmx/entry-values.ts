/** Which values registers may hold in VMX operation: the fixed-bit capability MSRs and the reserved bits of MSRs. */
import {
  CR4_DE, CR4_FSGSBASE, CR4_LA57, CR4_MCE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PAE, CR4_PCE, CR4_PCIDE, CR4_PGE, CR4_PKE, CR4_PKS,
  CR4_PSE, CR4_PVI, CR4_SMAP, CR4_SMEP, CR4_TSD, CR4_UMIP, CR4_VME, CR4_VMXE,
} from "../mode";

/**
 * IA32_VMX_CR0_FIXED0: PE and PG (neither with "unrestricted guest"). NE and CR4.VMXE are not fixed: the host is not on this
 * processor, and without them a guest can start in its state after reset with no masks for CR0 and CR4.
 */
export const CR0_FIXED0: u64 = 0x80000001;
/** IA32_VMX_CR4_FIXED1: every bit that this processor knows. */
export const CR4_ALLOWED: u64 = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR
  | CR4_OSXMMEXCPT | CR4_UMIP | CR4_LA57 | CR4_VMXE | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS;
/** SCE, LME, LMA, NXE. */
export const EFER_ALLOWED: u64 = 0xd01;
export const EFER_LME_BIT: u64 = 1 << 8;
export const EFER_LMA_BIT: u64 = 1 << 10;
/** IA32_DEBUGCTL: LBR and BTF. */
export const DEBUGCTL_ALLOWED: u64 = 3;
/** IA32_PERF_GLOBAL_CTRL: no counters are reported. */
export const PERF_GLOBAL_ALLOWED: u64 = 0;

/** IA32_PAT: each byte one of 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-. */
export function patValid(pat: u64): bool {
  for (let i = 0; i < 8; i++) {
    const type = <u32>(pat & 0xff);
    if (type > 7 || type == 2 || type == 3) return false;
    pat >>= 8;
  }
  return true;
}
