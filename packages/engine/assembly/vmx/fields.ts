/**
 * Moving a VMCS between its region in hypervisor memory and the processor (SDM 3C 25.11.3).
 *
 * Guest-state fields that are registers live in the state block, so entries and exits copy nothing. When a VMCS stops being
 * current they are gathered into their slots of the working copy, which is then copied to the region; VMPTRLD does the
 * opposite.
 */
import {
  ACTIVITY, CR0, CR3, CR4, CPL, DR, EFER, GDTR_BASE, GDTR_LIMIT, HYPERVISOR, IDTR_BASE, IDTR_LIMIT, INTERRUPTIBILITY, MSR_BNDCFGS,
  MSR_DEBUGCTL, MSR_PAT, MSR_PERF_GLOBAL_CTRL, MSR_PKRS, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, PDPTE,
  PENDING_DEBUG, REGS, RIP, SEG_AR, SEG_BASE, SEG_LIMIT, SEG_SEL,
} from "../../src/layout";
import {
  DIRTY_ALL, GROUP_GUEST_16, GROUP_GUEST_32, GROUP_GUEST_64, GROUP_GUEST_N, VMCS, VMCS_BYTES, VMCS_REVISION, V_DIRTY,
  DIRTY_PAGING, FIELDS_CONTROL, FIELDS_GUEST, FIELDS_HOST, GROUP_CONTROL_16, GROUP_CONTROL_32, GROUP_CONTROL_64, GROUP_CONTROL_N, GROUP_HOST_16,
  GROUP_HOST_32, GROUP_HOST_64, GROUP_HOST_N, GROUP_READONLY_32, GROUP_READONLY_64, GROUP_READONLY_N, NO_REGION, VMCS_USED, V_LAUNCH_STATE, V_REGION,
  V_REVISION, V_TO_LOAD,
} from "../../src/vmcs-layout";
import { readFlags, writeFlags } from "../flags";

/** Instruction errors (SDM 3C 31.4). */
const ERROR_VMPTRLD_REVISION: u32 = 11;
const ERROR_VMPTRLD_ADDRESS: u32 = 9;
const ERROR_VMCLEAR_ADDRESS: u32 = 2;

const RSP = REGS + 32;

/** Registers to slots. */
function gather(): void {
  for (let n = 0; n < 8; n++) {
    store<u16>(GROUP_GUEST_16 + n * 8, load<u16>(SEG_SEL + n * 4));
    store<u32>(GROUP_GUEST_32 + n * 8, load<u32>(SEG_LIMIT + n * 4));
    store<u32>(GROUP_GUEST_32 + 0x50 + n * 8, load<u32>(SEG_AR + n * 4));
    store<u64>(GROUP_GUEST_N + 0x18 + n * 8, load<u64>(SEG_BASE + n * 8));
  }
  store<u64>(GROUP_GUEST_64 + 0x08, load<u64>(MSR_DEBUGCTL));
  store<u64>(GROUP_GUEST_64 + 0x10, load<u64>(MSR_PAT));
  store<u64>(GROUP_GUEST_64 + 0x18, load<u64>(EFER));
  store<u64>(GROUP_GUEST_64 + 0x20, load<u64>(MSR_PERF_GLOBAL_CTRL));
  for (let n = 0; n < 4; n++) store<u64>(GROUP_GUEST_64 + 0x28 + n * 8, load<u64>(PDPTE + n * 8));
  store<u64>(GROUP_GUEST_64 + 0x48, load<u64>(MSR_BNDCFGS));
  store<u64>(GROUP_GUEST_64 + 0x60, load<u64>(MSR_PKRS));
  store<u32>(GROUP_GUEST_32 + 0x40, load<u32>(GDTR_LIMIT));
  store<u32>(GROUP_GUEST_32 + 0x48, load<u32>(IDTR_LIMIT));
  store<u32>(GROUP_GUEST_32 + 0x90, load<u32>(INTERRUPTIBILITY));
  store<u32>(GROUP_GUEST_32 + 0x98, load<u32>(ACTIVITY));
  store<u32>(GROUP_GUEST_32 + 0xa8, load<u32>(MSR_SYSENTER_CS));
  store<u64>(GROUP_GUEST_N, load<u64>(CR0));
  store<u64>(GROUP_GUEST_N + 0x08, load<u64>(CR3));
  store<u64>(GROUP_GUEST_N + 0x10, load<u64>(CR4));
  store<u64>(GROUP_GUEST_N + 0x58, load<u64>(GDTR_BASE));
  store<u64>(GROUP_GUEST_N + 0x60, load<u64>(IDTR_BASE));
  store<u64>(GROUP_GUEST_N + 0x68, load<u64>(DR + 56));
  store<u64>(GROUP_GUEST_N + 0x70, load<u64>(RSP));
  store<u64>(GROUP_GUEST_N + 0x78, load<u64>(RIP));
  store<u64>(GROUP_GUEST_N + 0x80, <u64>readFlags());
  store<u64>(GROUP_GUEST_N + 0x88, load<u64>(PENDING_DEBUG));
  store<u64>(GROUP_GUEST_N + 0x90, load<u64>(MSR_SYSENTER_ESP));
  store<u64>(GROUP_GUEST_N + 0x98, load<u64>(MSR_SYSENTER_EIP));
}

/** Slots to registers. */
function scatter(): void {
  for (let n = 0; n < 8; n++) {
    store<u32>(SEG_SEL + n * 4, <u32>load<u16>(GROUP_GUEST_16 + n * 8));
    store<u32>(SEG_LIMIT + n * 4, load<u32>(GROUP_GUEST_32 + n * 8));
    store<u32>(SEG_AR + n * 4, load<u32>(GROUP_GUEST_32 + 0x50 + n * 8));
    store<u64>(SEG_BASE + n * 8, load<u64>(GROUP_GUEST_N + 0x18 + n * 8));
  }
  store<u64>(MSR_DEBUGCTL, load<u64>(GROUP_GUEST_64 + 0x08));
  store<u64>(MSR_PAT, load<u64>(GROUP_GUEST_64 + 0x10));
  store<u64>(EFER, load<u64>(GROUP_GUEST_64 + 0x18));
  store<u64>(MSR_PERF_GLOBAL_CTRL, load<u64>(GROUP_GUEST_64 + 0x20));
  for (let n = 0; n < 4; n++) store<u64>(PDPTE + n * 8, load<u64>(GROUP_GUEST_64 + 0x28 + n * 8));
  store<u64>(MSR_BNDCFGS, load<u64>(GROUP_GUEST_64 + 0x48));
  store<u64>(MSR_PKRS, load<u64>(GROUP_GUEST_64 + 0x60));
  store<u32>(GDTR_LIMIT, load<u32>(GROUP_GUEST_32 + 0x40));
  store<u32>(IDTR_LIMIT, load<u32>(GROUP_GUEST_32 + 0x48));
  store<u32>(INTERRUPTIBILITY, load<u32>(GROUP_GUEST_32 + 0x90));
  store<u32>(ACTIVITY, load<u32>(GROUP_GUEST_32 + 0x98));
  store<u64>(MSR_SYSENTER_CS, <u64>load<u32>(GROUP_GUEST_32 + 0xa8));
  store<u64>(CR0, load<u64>(GROUP_GUEST_N));
  store<u64>(CR3, load<u64>(GROUP_GUEST_N + 0x08));
  store<u64>(CR4, load<u64>(GROUP_GUEST_N + 0x10));
  store<u64>(GDTR_BASE, load<u64>(GROUP_GUEST_N + 0x58));
  store<u64>(IDTR_BASE, load<u64>(GROUP_GUEST_N + 0x60));
  store<u64>(DR + 56, load<u64>(GROUP_GUEST_N + 0x68));
  store<u64>(RSP, load<u64>(GROUP_GUEST_N + 0x70));
  store<u64>(RIP, load<u64>(GROUP_GUEST_N + 0x78));
  writeFlags(<u32>load<u64>(GROUP_GUEST_N + 0x80));
  store<u64>(PENDING_DEBUG, load<u64>(GROUP_GUEST_N + 0x88));
  store<u64>(MSR_SYSENTER_ESP, load<u64>(GROUP_GUEST_N + 0x90));
  store<u64>(MSR_SYSENTER_EIP, load<u64>(GROUP_GUEST_N + 0x98));
  store<u32>(CPL, (load<u32>(SEG_AR + 8) >>> 5) & 3);
}

/** Writes the current VMCS back to its region, if it has one. */
function writeBack(): void {
  const region = load<u32>(V_REGION);
  if (region == NO_REGION || region == 0) return;
  gather();
  memory.copy(<usize>region, VMCS, VMCS_USED);
}

/** A page that can hold a VMCS: aligned, in memory, and not the processor's own state. */
function isRegion(region: u32): bool {
  return (region & 0xfff) == 0 && region >= <u32>HYPERVISOR && <u64>region + VMCS_BYTES <= <u64>memory.size() << 16;
}

/**
 * VMPTRLD: makes the VMCS region at `region` (an HPA, 4 KiB aligned) current. Returns 0, or the VM-instruction error: 9 bad
 * address, 11 wrong revision identifier. The guest state of the VMCS becomes the processor's. `written`: the groups (DIRTY_) that have been written in the
 * region since the VMCS was last current; all others have passed the checks of an entry as they are.
 */
export function vmptrld(region: u32, written: u32): u32 {
  if (!isRegion(region)) return ERROR_VMPTRLD_ADDRESS;
  if (load<u32>(region) != VMCS_REVISION) return ERROR_VMPTRLD_REVISION;
  if (load<u32>(V_REGION) == region) return 0;
  writeBack();
  memory.copy(VMCS, <usize>region, VMCS_USED);
  store<u32>(V_REGION, region);
  // The next entry checks what was written, and loads everything; translations are dropped only if a field they depend on was written while it was current
  store<u32>(V_DIRTY, load<u32>(V_DIRTY) | written);
  store<u32>(V_TO_LOAD, load<u32>(V_TO_LOAD) | (DIRTY_ALL & ~DIRTY_PAGING));
  scatter();
  return 0;
}

/**
 * VMCLEAR: writes the VMCS of `region` back if it is current, and makes its launch state clear. Afterwards no VMCS is
 * current if it was. Returns 0, or 2 (bad address).
 */
export function vmclear(region: u32): u32 {
  if (!isRegion(region)) return ERROR_VMCLEAR_ADDRESS;
  if (load<u32>(V_REGION) == region) {
    writeBack();
    store<u32>(V_REGION, NO_REGION);
    store<u32>(V_DIRTY, DIRTY_ALL); // an entry must see that there is no VMCS
  }
  store<u32>(region + (V_LAUNCH_STATE - VMCS), 0);
  return 0;
}

/** VMPTRST: the current region's address, 0xFFFFFFFF when none. */
export function vmptrst(): u32 {
  const region = load<u32>(V_REGION);
  return region == 0 ? NO_REGION : region;
}

/** Makes the working copy a VMCS in the state after reset of the processor; it has no region until it is given one (V_REGION). */
export function vmcsReset(): void {
  memory.fill(VMCS, 0, VMCS_BYTES);
  store<u32>(V_REVISION, VMCS_REVISION);
  store<u32>(V_DIRTY, DIRTY_ALL);
}

/** Groups of fields of each type: [offset in a region, bytes], in multiples of 16. */
const CONTROLS: StaticArray<u32> = [
  GROUP_CONTROL_16 - VMCS, GROUP_GUEST_16 - GROUP_CONTROL_16, GROUP_CONTROL_64 - VMCS, GROUP_READONLY_64 - GROUP_CONTROL_64,
  GROUP_CONTROL_32 - VMCS, GROUP_READONLY_32 - GROUP_CONTROL_32, GROUP_CONTROL_N - VMCS, GROUP_READONLY_N - GROUP_CONTROL_N,
];
const HOST: StaticArray<u32> = [
  GROUP_HOST_16 - VMCS, GROUP_CONTROL_64 - GROUP_HOST_16, GROUP_HOST_64 - VMCS, GROUP_CONTROL_32 - GROUP_HOST_64,
  GROUP_HOST_32 - VMCS, GROUP_CONTROL_N - GROUP_HOST_32, GROUP_HOST_N - VMCS, VMCS + VMCS_USED - GROUP_HOST_N,
];
/** Guest state, in multiples of 8: selectors and interrupt status; limits to SYSENTER_CS; CR0 to IDTR; RSP to SYSENTER_EIP. */
const GUEST: StaticArray<u32> = [
  GROUP_GUEST_16 - VMCS, 0x48, GROUP_GUEST_32 - VMCS, 0xb0, GROUP_GUEST_N - VMCS, 0x68, GROUP_GUEST_N + 0x70 - VMCS, 0x30,
];

function sameGroups(a: usize, b: usize, groups: StaticArray<u32>): bool {
  for (let n = 0; n < groups.length; n += 2) {
    const from = <usize>unchecked(groups[n]), end = from + <usize>unchecked(groups[n + 1]);
    let differs = i64x2.splat(0);
    for (let at = from; at < end; at += 16) differs = v128.or(differs, v128.xor(v128.load(a + at), v128.load(b + at)));
    if (v128.any_true(differs)) return false;
  }
  return true;
}

function copyGroups(to: usize, from: usize, groups: StaticArray<u32>): void {
  for (let n = 0; n < groups.length; n += 2) {
    const begin = <usize>unchecked(groups[n]), end = begin + <usize>unchecked(groups[n + 1]);
    for (let at = begin; at < end; at += 16) v128.store(to + at, v128.load(from + at));
  }
}

function copyGuest(to: usize, from: usize): void {
  for (let n = 0; n < GUEST.length; n += 2) {
    const begin = <usize>unchecked(GUEST[n]), end = begin + <usize>unchecked(GUEST[n + 1]);
    for (let at = begin; at < end; at += 8) store<u64>(to + at, load<u64>(from + at));
  }
}

/** Whether the control fields, or those of the host state (FIELDS_), are the same in two regions; VMCS stands for the current one. */
export function sameFields(a: u32, b: u32, types: u32): bool {
  if ((types & FIELDS_CONTROL) != 0 && !sameGroups(a, b, CONTROLS)) return false;
  return (types & FIELDS_HOST) == 0 || sameGroups(a, b, HOST);
}

/** Copies the fields of these types from one region to another. */
export function copyFields(to: u32, from: u32, types: u32): void {
  if (types & FIELDS_CONTROL) copyGroups(to, from, CONTROLS);
  if (types & FIELDS_HOST) copyGroups(to, from, HOST);
  if (types & FIELDS_GUEST) copyGuest(to, from);
}

/** RFLAGS for the wrapper: the arithmetic flags are kept lazily. */
export function guestFlags(): u32 { return readFlags(); }
export function setGuestFlags(flags: u32): void { writeFlags(flags); }
