/**
 * What a VM exit loads (SDM 3C 28.5), from one region into another. The host of this processor is JavaScript and loads nothing; a hypervisor that is a guest
 * itself, whose VMCS is in its memory, gets the host state of that VMCS as the guest state of the one that it runs under.
 */
import { CR0, EFER, MSR_PAT } from "../../src/layout";
import {
  GROUP_GUEST_16, GROUP_GUEST_32, GROUP_GUEST_64, GROUP_GUEST_N, GROUP_HOST_16, GROUP_HOST_32, GROUP_HOST_64, GROUP_HOST_N, HOST_CONTROLS_CHANGED,
  HOST_PAGING_CHANGED, VMCS, V_ENTRY_CONTROLS, V_EXIT_CONTROLS,
} from "../../src/vmcs-layout";
import { CR4_PAE, CR4_PCIDE, EFER_LMA, EFER_LME } from "../mode";
import { ENTRY_IA32E_GUEST, EXIT_HOST_64_BIT, EXIT_LOAD_EFER, EXIT_LOAD_PAT } from "./controls";

const SELECTORS = GROUP_GUEST_16 - VMCS;
const LIMITS = GROUP_GUEST_32 - VMCS;
const RIGHTS = LIMITS + 0x50;
const GUEST_64 = GROUP_GUEST_64 - VMCS;
const GUEST_N = GROUP_GUEST_N - VMCS;
const BASES = GUEST_N + 0x18;
const HOST_SELECTORS = GROUP_HOST_16 - VMCS;
const HOST_64 = GROUP_HOST_64 - VMCS;
const HOST_N = GROUP_HOST_N - VMCS;
const ENTRY_CONTROLS = V_ENTRY_CONTROLS - VMCS;

/** ET, NW, CD and what is reserved stay as they are (28.5.1). */
const CR0_KEPT: u64 = 0xffffffff7ffaffd0;
const UNUSABLE: u32 = 0x10000;
const CODE_64: u32 = 0xa09b;
const CODE_32: u32 = 0xc09b;
const DATA: u32 = 0xc093;
const BUSY_TSS: u32 = 0x8b;
const FLAT: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline function copy(to: usize, from: usize): void { store<u64>(to, load<u64>(from)); }

function loadSegment(to: usize, segment: usize, selector: u32, base: u64, limit: u32, rights: u32): void {
  store<u16>(to + SELECTORS + segment * 8, <u16>selector);
  store<u64>(to + BASES + segment * 8, base);
  store<u32>(to + LIMITS + segment * 8, limit);
  store<u32>(to + RIGHTS + segment * 8, rights);
}

/** ES, SS, DS, FS or GS: the number of a host selector is that of its segment. */
function loadData(to: usize, from: usize, segment: usize, base: u64): void {
  const selector = <u32>load<u16>(from + HOST_SELECTORS + segment * 8);
  loadSegment(to, segment, selector, base, FLAT, selector == 0 ? DATA | UNUSABLE : DATA);
}

function loadSegments(to: usize, from: usize, host64: bool): void {
  loadSegment(to, 1, load<u16>(from + HOST_SELECTORS + 8), 0, FLAT, host64 ? CODE_64 : CODE_32);
  loadData(to, from, 0, 0);
  loadData(to, from, 2, 0);
  loadData(to, from, 3, 0);
  loadData(to, from, 4, load<u64>(from + HOST_N + 0x18));
  loadData(to, from, 5, load<u64>(from + HOST_N + 0x20));
  loadSegment(to, 6, 0, 0, 0, UNUSABLE);
  loadSegment(to, 7, load<u16>(from + HOST_SELECTORS + 0x30), load<u64>(from + HOST_N + 0x28), 0x67, BUSY_TSS);
  copy(to + GUEST_N + 0x58, from + HOST_N + 0x30); // GDTR, IDTR
  copy(to + GUEST_N + 0x60, from + HOST_N + 0x38);
  store<u32>(to + LIMITS + 0x40, 0xffff);
  store<u32>(to + LIMITS + 0x48, 0xffff);
}

/**
 * The host state of the VMCS in region `from` becomes the guest state of the one in region `to`, but for its blocking of events, which becomes none.
 * `entered`: what an exit keeps is what the guest has now; else, after an entry that failed, it is what `to` has. Says what has changed there: HOST_PAGING_CHANGED
 * CR0, CR3, CR4 or EFER, HOST_CONTROLS_CHANGED the VM-entry controls.
 */
export function loadHostState(to: usize, from: usize, entered: bool): u32 {
  const exit = load<u32>(from + (V_EXIT_CONTROLS - VMCS)), host64 = (exit & EXIT_HOST_64_BIT) != 0;
  const oldCr0 = load<u64>(to + GUEST_N), oldEfer = load<u64>(to + GUEST_64 + 0x18);
  const cr0 = (load<u64>(from + HOST_N) & ~CR0_KEPT) | ((entered ? load<u64>(CR0) : oldCr0) & CR0_KEPT);
  const cr3 = load<u64>(from + HOST_N + 8);
  let cr4 = load<u64>(from + HOST_N + 0x10);
  cr4 = host64 ? cr4 | CR4_PAE : cr4 & ~CR4_PCIDE;
  let efer = exit & EXIT_LOAD_EFER ? load<u64>(from + HOST_64 + 8) : entered ? load<u64>(EFER) : oldEfer;
  efer = host64 ? efer | EFER_LME | EFER_LMA : efer & ~(EFER_LME | EFER_LMA);
  let changed: u32 = 0;
  if (cr0 != oldCr0 || cr3 != load<u64>(to + GUEST_N + 8) || cr4 != load<u64>(to + GUEST_N + 0x10) || efer != oldEfer) changed = HOST_PAGING_CHANGED;
  store<u64>(to + GUEST_N, cr0);
  store<u64>(to + GUEST_N + 8, cr3);
  store<u64>(to + GUEST_N + 0x10, cr4);
  store<u64>(to + GUEST_64 + 0x18, efer);
  store<u64>(to + GUEST_64 + 8, 0); // IA32_DEBUGCTL
  store<u64>(to + GUEST_N + 0x68, 0x400); // DR7
  if (exit & EXIT_LOAD_PAT) copy(to + GUEST_64 + 0x10, from + HOST_64);
  else if (entered) copy(to + GUEST_64 + 0x10, MSR_PAT);
  store<u32>(to + LIMITS + 0xa8, load<u32>(from + (GROUP_HOST_32 - VMCS))); // SYSENTER
  copy(to + GUEST_N + 0x90, from + HOST_N + 0x40);
  copy(to + GUEST_N + 0x98, from + HOST_N + 0x48);
  copy(to + GUEST_N + 0x70, from + HOST_N + 0x50); // RSP, RIP, RFLAGS
  copy(to + GUEST_N + 0x78, from + HOST_N + 0x58);
  store<u64>(to + GUEST_N + 0x80, 2);
  store<u64>(to + GUEST_N + 0x88, 0); // pending debug exceptions, interruptibility, activity
  store<u32>(to + LIMITS + 0x90, 0);
  store<u32>(to + LIMITS + 0x98, 0);
  loadSegments(to, from, host64);
  const entry = load<u32>(to + ENTRY_CONTROLS), wanted = host64 ? entry | ENTRY_IA32E_GUEST : entry & ~ENTRY_IA32E_GUEST;
  if (wanted != entry) {
    store<u32>(to + ENTRY_CONTROLS, wanted);
    changed |= HOST_CONTROLS_CHANGED;
  }
  return changed;
}
