/**
 * VM-entry checks on the host-state area (SDM 3C 27.2.2 to 27.2.4).
 *
 * The host of this processor is JavaScript, so the fields are never loaded; they are checked all the same, because a
 * hypervisor that fills them wrongly must be told so. Returns 0 or the number of the rule that failed (src/entry-rules.ts).
 */
import {
  V_EXIT_CONTROLS, V_HOST_CR0, V_HOST_CR3, V_HOST_CR4, V_HOST_CS, V_HOST_DS, V_HOST_EFER, V_HOST_ES, V_HOST_FS,
  V_HOST_FS_BASE, V_HOST_GDTR_BASE, V_HOST_GS, V_HOST_GS_BASE, V_HOST_IDTR_BASE, V_HOST_PAT, V_HOST_PERF_GLOBAL_CTRL, V_HOST_RIP,
  V_HOST_SS, V_HOST_SYSENTER_EIP, V_HOST_SYSENTER_ESP, V_HOST_TR, V_HOST_TR_BASE, V_ENTRY_CONTROLS,
} from "../../src/vmcs-layout";
import { MAXPHYADDR } from "../../src/layout";
import { CR4_LA57, CR4_PAE, CR4_PCIDE } from "../mode";
import {
  ENTRY_IA32E_GUEST, EXIT_HOST_64_BIT, EXIT_LOAD_EFER, EXIT_LOAD_PAT, EXIT_LOAD_PERF_GLOBAL_CTRL,
} from "./controls";
import { CR0_FIXED0, CR4_ALLOWED, EFER_ALLOWED, EFER_LMA_BIT, EFER_LME_BIT, PERF_GLOBAL_ALLOWED, patValid } from "./entry-values";

/** Is an address canonical with the host's paging (48 or 57 bits)? */
function canonical(linear: u64): bool {
  const shift: i64 = (load<u64>(V_HOST_CR4) & CR4_LA57) != 0 ? 7 : 16;
  return <u64>((<i64>linear << shift) >> shift) == linear;
}
// @ts-ignore: decorator
@inline function badSelector(field: usize): bool { return (load<u16>(field) & 7) != 0; }

export function checkHostState(): u32 {
  const cr0 = load<u64>(V_HOST_CR0), cr4 = load<u64>(V_HOST_CR4), exit = load<u32>(V_EXIT_CONTROLS);
  if ((cr0 & CR0_FIXED0) != CR0_FIXED0 || (cr0 >> 32) != 0) return 70;
  if ((cr4 & ~CR4_ALLOWED) != 0) return 71;
  if ((load<u64>(V_HOST_CR3) >> load<u32>(MAXPHYADDR)) != 0) return 72;
  if (!canonical(load<u64>(V_HOST_SYSENTER_ESP)) || !canonical(load<u64>(V_HOST_SYSENTER_EIP))) return 73;
  if ((exit & EXIT_LOAD_PERF_GLOBAL_CTRL) && (load<u64>(V_HOST_PERF_GLOBAL_CTRL) & ~PERF_GLOBAL_ALLOWED) != 0) return 74;
  if ((exit & EXIT_LOAD_PAT) && !patValid(load<u64>(V_HOST_PAT))) return 75;
  const host64 = (exit & EXIT_HOST_64_BIT) != 0;
  if (exit & EXIT_LOAD_EFER) {
    const efer = load<u64>(V_HOST_EFER);
    if ((efer & ~EFER_ALLOWED) != 0) return 76;
    if (((efer & EFER_LMA_BIT) != 0) != host64 || ((efer & EFER_LME_BIT) != 0) != host64) return 77;
  }
  if (badSelector(V_HOST_ES) || badSelector(V_HOST_CS) || badSelector(V_HOST_SS) || badSelector(V_HOST_DS)
    || badSelector(V_HOST_FS) || badSelector(V_HOST_GS) || badSelector(V_HOST_TR)) return 78;
  if (load<u16>(V_HOST_CS) == 0 || load<u16>(V_HOST_TR) == 0) return 79;
  if (!host64 && load<u16>(V_HOST_SS) == 0) return 80;
  if (!canonical(load<u64>(V_HOST_FS_BASE)) || !canonical(load<u64>(V_HOST_GS_BASE)) || !canonical(load<u64>(V_HOST_TR_BASE))
    || !canonical(load<u64>(V_HOST_GDTR_BASE)) || !canonical(load<u64>(V_HOST_IDTR_BASE))) return 81;
  if (host64) {
    if ((cr4 & CR4_PAE) == 0) return 82;
    if (!canonical(load<u64>(V_HOST_RIP))) return 83;
  } else {
    if (load<u32>(V_ENTRY_CONTROLS) & ENTRY_IA32E_GUEST) return 84;
    if ((cr4 & CR4_PCIDE) != 0) return 85;
    if ((load<u64>(V_HOST_RIP) >> 32) != 0) return 86;
  }
  return 0;
}
