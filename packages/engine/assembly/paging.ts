import { ADDRESS_PINS_LOW, CPL, CR0, CR3, CR4, EFER, EFLAGS, MAXPHYADDR, MSR_PKRS, PDPTE, PKRU } from "../src/layout";
import { AC } from "./flags";
import { EPT_READ, EPT_STRUCTURE, EPT_WRITE, FOR_WALK, eptAccessedDirty, eptFault, eptFrame, eptRights, eptTranslate, noteStructure, setEptQuiet } from "./ept";
import { isGiven, permittedWalk } from "./mmio";
import { F_PAGE1GB, hasFeature } from "./features";
import { CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PKE, CR4_PKS, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE } from "./mode";
/**
 * The guest's own page tables (SDM 3A chapter 5): none, 32-bit, PAE, 4-level and 5-level paging. A walk gives the guest-physical
 * address and the rights; whether they suffice is decided by permits(), so that a TLB entry can be made for more than the access
 * that caused the walk.
 */
export const READ: u32 = 1;
export const WRITE: u32 = 2;
export const EXECUTE: u32 = 4;

/** Rights found by a walk. */
export const R_WRITE: u32 = 1;
export const R_USER: u32 = 2;
export const R_NX: u32 = 4;
export const R_GLOBAL: u32 = 8;
export const R_LARGE: u32 = 16; // 2 MiB or 4 MiB
export const R_GIANT: u32 = 32; // 1 GiB
export const R_DIRTY: u32 = 64;
export const R_KEY_SHIFT: u32 = 8;

export const WALK_OK: i32 = 0;
export const WALK_PAGE_FAULT: i32 = 1;
export const WALK_EXIT: i32 = 2;

/** Results of walk(), for its caller alone: guest-physical address, rights, page-fault error code. */
export let walkGpa: u64 = 0;
export let walkRights: u32 = 0;
export let walkError: u32 = 0;

const ERR_PRESENT: u32 = 1;
const ERR_WRITE: u32 = 2;
const ERR_USER: u32 = 4;
const ERR_RESERVED: u32 = 8;
const ERR_FETCH: u32 = 16;
const ERR_KEY: u32 = 32;

/** While set, a walk changes nothing and records nothing (introspection from outside). */
export let probing = false;
export function setProbing(on: bool): void { probing = on; }

let quiet = false;
/** While set, walks and translations fail where anybody but the processor could see that they were made. */
export function setQuiet(on: bool): void {
  quiet = on;
  setEptQuiet(on);
}

/** Error-code bits that depend on the access alone. */
function accessError(access: u32, user: bool): u32 {
  let e: u32 = user ? ERR_USER : 0;
  if (access == WRITE) e |= ERR_WRITE;
  if (access == EXECUTE && ((load<u64>(EFER) & EFER_NXE) != 0 || (load<u64>(CR4) & CR4_SMEP) != 0)) e |= ERR_FETCH;
  return e;
}

/** Do the rights allow the access? `supervisorToUser` says that EFLAGS.AC lifts SMAP. Sets walkError if not. */
export function permits(rights: u32, access: u32, user: bool, supervisorToUser: bool): bool {
  const cr4 = load<u64>(CR4);
  const userPage = (rights & R_USER) != 0;
  let ok = true;
  if (user) {
    ok = userPage && (access != WRITE || (rights & R_WRITE) != 0) && (access != EXECUTE || (rights & R_NX) == 0);
  } else if (access == EXECUTE) {
    ok = (rights & R_NX) == 0 && !(userPage && (cr4 & CR4_SMEP) != 0);
  } else {
    if (userPage && (cr4 & CR4_SMAP) != 0 && !supervisorToUser) ok = false;
    if (access == WRITE && (rights & R_WRITE) == 0 && (load<u64>(CR0) & CR0_WP) != 0) ok = false;
  }
  // protection keys guard pages against data accesses (SDM 3A 5.6.2): PKRU user pages, from supervisor mode too; IA32_PKRS supervisor pages
  if (access != EXECUTE && (cr4 & (userPage ? CR4_PKE : CR4_PKS)) != 0 && (load<u64>(EFER) & EFER_LMA) != 0) {
    const bits = load<u32>(userPage ? PKRU : MSR_PKRS) >>> ((rights >>> R_KEY_SHIFT) << 1);
    if ((bits & 1) != 0 || ((bits & 2) != 0 && access == WRITE && (user || (load<u64>(CR0) & CR0_WP) != 0))) {
      // the PK bit is set even if something else forbids the access too (SDM 3A 5.7)
      walkError = accessError(access, user) | ERR_PRESENT | ERR_KEY;
      return false;
    }
  }
  if (!ok) walkError = accessError(access, user) | ERR_PRESENT;
  return ok;
}

let linearOfWalk: u64 = 0;
/** Host address of a paging-structure entry, 0 when the EPT do not allow it (the exit is recorded). */
function entryAt(gpa: u64): usize {
  gpa = onPins(gpa);
  if (probing) return eptFrame(gpa); // what views trap is for the guest
  const access = eptAccessedDirty() ? EPT_READ | EPT_WRITE : EPT_READ;
  let p = eptTranslate(gpa, access);
  if (p == 0 && quiet) return 0;
  if (p == 0 && (p = permittedWalk(gpa)) != 0) { noteStructure(gpa); return p; }
  if (p == 0) eptFault(gpa, linearOfWalk, access, FOR_WALK);
  else if ((eptRights & EPT_STRUCTURE) == 0) noteStructure(gpa);
  return p;
}
/** Sets bits in an entry of which the tables allow reading; false when the EPT do not allow writing it. */
function markEntry(gpa: u64, p: usize, wide: bool, bits: u32): bool {
  gpa = onPins(gpa);
  const old = load<u32>(p);
  if ((old & bits) == bits || probing) return true;
  if (quiet) return false;
  if (eptTranslate(gpa, EPT_WRITE) == 0) {
    const permitted = permittedWalk(gpa);
    if (permitted == 0) { eptFault(gpa, linearOfWalk, EPT_READ | EPT_WRITE, FOR_WALK); return false; }
    if (isGiven(permitted)) return true;
  }
  store<u32>(p, old | bits);
  return true;
}

// the entries used by a walk, outermost first
const trailGpa = memory.data(48, 8);
const trailPtr = memory.data(24, 8);

function pageFault(access: u32, user: bool, bits: u32): i32 {
  walkError = accessError(access, user) | bits;
  return WALK_PAGE_FAULT;
}

/**
 * Walks the tables for a linear address. On WALK_OK walkGpa and walkRights are set, the accessed flags are set, and the dirty flag
 * for a write.
 */
export function walk(linear: u64, access: u32, user: bool, supervisorToUser: bool): i32 {
  if ((load<u64>(CR0) & CR0_PG) == 0) {
    walkGpa = onPins(linear & 0xffffffff);
    walkRights = R_WRITE | R_USER | R_GLOBAL | R_DIRTY;
    return permitsWithoutPaging();
  }
  linearOfWalk = linear;
  const status = (load<u64>(CR4) & CR4_PAE) == 0 ? walk32(<u32>linear, access, user, supervisorToUser) : walk64(linear, access, user, supervisorToUser);
  walkGpa = onPins(walkGpa);
  return status;
}
/** A physical address as it leaves the processor (the A20 gate). */
// @ts-ignore: decorator
@inline export function onPins(gpa: u64): u64 { return gpa & ~load<u64>(ADDRESS_PINS_LOW); }
// without paging nothing is checked; R_USER would run into SMEP or SMAP, which only act with paging
function permitsWithoutPaging(): i32 { walkRights = R_WRITE | R_GLOBAL | R_DIRTY | R_USER; return WALK_OK; }

function finish(count: u32, wide: bool, access: u32, user: bool, supervisorToUser: bool): i32 {
  if (!permits(walkRights, access, user, supervisorToUser)) return WALK_PAGE_FAULT;
  for (let i: u32 = 0; i < count; i++) {
    const last = i + 1 == count;
    if (!markEntry(load<u64>(trailGpa + i * 8), load<u32>(trailPtr + i * 4), wide, last && access == WRITE ? 0x60 : 0x20)) return WALK_EXIT;
  }
  if (access == WRITE) walkRights |= R_DIRTY;
  return WALK_OK;
}

function walk32(linear: u32, access: u32, user: bool, supervisorToUser: bool): i32 {
  const pdeGpa = (load<u64>(CR3) & 0xfffff000) + <u64>((linear >>> 22) << 2);
  let p = entryAt(pdeGpa);
  if (p == 0) return WALK_EXIT;
  const pde = load<u32>(p);
  if ((pde & 1) == 0) return pageFault(access, user, 0);
  store<u64>(trailGpa, pdeGpa); store<u32>(trailPtr, p);
  let rights = ((pde >>> 1) & 3);
  if ((pde & 0x80) != 0 && (load<u64>(CR4) & CR4_PSE) != 0) {
    // PSE-36: bits 20:13 are address bits 39:32; bit 21 and those above the width are reserved
    const high = (pde >>> 13) & 0xff;
    const width = load<u32>(MAXPHYADDR);
    if ((pde & 0x200000) != 0 || (width < 40 && (high >>> (width > 32 ? width - 32 : 0)) != 0)) return pageFault(access, user, ERR_PRESENT | ERR_RESERVED);
    walkGpa = (<u64>high << 32) | <u64>(pde & 0xffc00000) | <u64>(linear & 0x3fffff);
    walkRights = rights | R_LARGE | ((pde & 0x100) >>> 5) | (pde & 0x40);
    return finish(1, false, access, user, supervisorToUser);
  }
  const pteGpa = <u64>(pde & 0xfffff000) + <u64>(((linear >>> 12) & 0x3ff) << 2);
  p = entryAt(pteGpa);
  if (p == 0) return WALK_EXIT;
  const pte = load<u32>(p);
  if ((pte & 1) == 0) return pageFault(access, user, 0);
  store<u64>(trailGpa, pteGpa, 8); store<u32>(trailPtr, p, 4);
  rights &= (pte >>> 1) & 3;
  walkGpa = <u64>(pte & 0xfffff000) | <u64>(linear & 0xfff);
  walkRights = rights | ((pte & 0x100) >>> 5) | (pte & 0x40);
  return finish(2, false, access, user, supervisorToUser);
}

function walk64(linear: u64, access: u32, user: bool, supervisorToUser: bool): i32 {
  const efer = load<u64>(EFER), long = (efer & EFER_LMA) != 0;
  const physical = (<u64>1 << load<u32>(MAXPHYADDR)) - 1;
  const addressMask: u64 = 0x000ffffffffff000;
  // bits that must be clear: above the physical width; bits 62:52 too in PAE paging; NX unless enabled
  let reserved: u64 = (long ? 0x000fffffffffffff : 0x7fffffffffffffff) & ~physical;
  if ((efer & EFER_NXE) == 0) reserved |= 0x8000000000000000;
  let rights: u32 = R_WRITE | R_USER, count: u32 = 0, shift: u32 = 0, table: u64 = 0;
  if (!long) {
    const pdpte = load<u64>(PDPTE + ((u32(linear) >>> 30) << 3));
    if ((pdpte & 1) == 0) return pageFault(access, user, 0);
    table = pdpte & addressMask;
    shift = 21;
  } else {
    table = load<u64>(CR3) & addressMask;
    shift = (load<u64>(CR4) & CR4_LA57) != 0 ? 48 : 39;
  }
  while (true) {
    const gpa = table + (((linear >> shift) & 0x1ff) << 3);
    const p = entryAt(gpa);
    if (p == 0) return WALK_EXIT;
    const entry = load<u64>(p);
    if ((entry & 1) == 0) return pageFault(access, user, 0);
    const large = shift > 12 && (entry & 0x80) != 0;
    let bad = (entry & reserved) != 0;
    if (large) {
      if (shift > 30 || (shift == 30 && !hasFeature(F_PAGE1GB))) bad = true;
      else if ((entry & ((<u64>1 << shift) - 1) & 0x000fffffffffe000) != 0) bad = true;
    }
    if (bad) return pageFault(access, user, ERR_PRESENT | ERR_RESERVED);
    store<u64>(trailGpa + count * 8, gpa); store<u32>(trailPtr + count * 4, p);
    count++;
    rights &= (u32(entry >> 1) & 3) | ~3;
    if (<i64>entry < 0) rights |= R_NX;
    if (large || shift == 12) {
      const offset = (<u64>1 << shift) - 1;
      walkGpa = (entry & addressMask & ~offset) | (linear & offset);
      walkRights = rights | ((u32(entry) & 0x100) >>> 5) | (u32(entry) & 0x40) | (shift == 21 ? R_LARGE : shift == 30 ? R_GIANT : 0)
        | ((u32(entry >> 59) & 15) << R_KEY_SHIFT);
      return finish(count, true, access, user, supervisorToUser);
    }
    table = entry & addressMask;
    shift -= 9;
  }
}
/** Does EFLAGS.AC lift SMAP for explicit supervisor accesses? */
// @ts-ignore: decorator
@inline export function acLiftsSmap(): bool { return (load<u32>(EFLAGS) & AC) != 0 && load<u32>(CPL) != 3; }
