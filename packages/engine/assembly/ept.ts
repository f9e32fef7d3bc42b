import { EPTP_IN_FORCE, EPT_CACHE, EPT_CACHE_ENTRIES, EPT_CONTEXT, EPT_CONTEXTS, EPT_CONTEXTS_KEPT, EPT_FLAGS, EPT_LAST_CONTEXT, EPT_LEVELS, EPT_ROOT, LATE_PAGES, MAXPHYADDR, STRUCTURE_PAGES } from "../src/layout";
import { eptViolation, logDirtyPage } from "./vmx/ept";
import { eptMisconfiguration } from "./vmx/exits";
/**
 * Guest-physical to host-physical addresses: the EPT walk (SDM 3C 29.3), with a small cache of 4 KiB translations. Host-physical
 * addresses are addresses in linear memory; an entry that points outside of it is a misconfiguration.
 */
export const EPT_READ: u32 = 1;
export const EPT_WRITE: u32 = 2;
export const EPT_EXECUTE: u32 = 4;
/** Rights bit: the dirty flag needs no setting on a write (already set, or accessed/dirty flags are off). */
export const EPT_DIRTY_DONE: u32 = 8;
/** Rights bit: execute at linear addresses of user mode. The same as EPT_EXECUTE, unless "mode-based execute control for EPT" gives it bit 10 of the entries. */
export const EPT_EXECUTE_USER: u32 = 32;
/** Rights bit of a cached translation: the page is marked as one that holds paging structures. */
export const EPT_STRUCTURE: u32 = 16;

/** How an access came about; decides the exit qualification. */
export const FOR_DATA: u32 = 0;
export const FOR_WALK: u32 = 1; // guest paging structure
export const FOR_PHYSICAL: u32 = 2; // no linear address

// Results of a translation besides its value: for its caller alone, so they need no place in the state
/** Rights of the last translation (EPT_* bits). */
export let eptRights: u32 = 0;
/** Why the last translation failed: 0 it did not, 1 violation, 2 misconfiguration. The exit is recorded by eptFault(). */
export let eptFailure: u32 = 0;

/** Bit 63 of the entry that stopped the last walk: the violation is an exit even with "EPT-violation #VE" (SDM 3C 26.5.7.1). */
let suppressVe = true;

/** EPT_FLAGS: EPT is on; accessed and dirty flags are kept; a dirty flag that is set is logged. */
const ENABLED: u32 = 1;
const ACCESSED_DIRTY: u32 = 2;
const PML: u32 = 4;
/** "Mode-based execute control for EPT". */
const BY_MODE: u32 = 8;
const ENTRY_EXECUTE_USER: u32 = 1 << 10;

/** Selects the EPT hierarchy (EPTP as in SDM 3C 25.6.11). Called at VM entry when it changed, and by VMFUNC. */
export function setEptPointer(on: bool, eptp: u64, pageModificationLog: bool, byMode: bool): void {
  const flags = ENABLED | ((eptp & 0x40) != 0 ? ACCESSED_DIRTY : 0) | (pageModificationLog ? PML : 0) | (byMode ? BY_MODE : 0);
  store<u32>(EPT_FLAGS, on ? flags : 0);
  store<u64>(EPT_ROOT, eptp & 0x000ffffffffff000);
  store<u32>(EPT_LEVELS, u32((eptp >> 3) & 7) + 1);
  useEptContext();
}
export function eptAccessedDirty(): bool { return (load<u32>(EPT_FLAGS) & ACCESSED_DIRTY) != 0; }

/** Whether an EPT dirty flag that is set is logged. */
export function eptLogsDirty(): bool { return (load<u32>(EPT_FLAGS) & PML) != 0; }

/** Whether user-mode execution has a right of its own. */
export function eptByMode(): bool { return (load<u32>(EPT_FLAGS) & BY_MODE) != 0; }

const NOTHING: u64 = 1;
const FIRST_CONTEXT: u32 = 2;
const LAST_CONTEXT: u32 = 4095;
const CONTEXT_BYTES: usize = 16;
const CONTEXTS_END: usize = EPT_CONTEXTS + EPT_CONTEXTS_KEPT * CONTEXT_BYTES;
const CONTEXT_FLAGS: usize = 8;
const CONTEXT_NUMBER: usize = 12;

/** The cached translations of the EPT pointer in force are used from here on: those of others stay, so that a hypervisor may go to and fro between two. */
export function useEptContext(): void {
  const pointer = load<u64>(EPTP_IN_FORCE), flags = load<u32>(EPT_FLAGS);
  for (let at: usize = EPT_CONTEXTS; at < CONTEXTS_END; at += CONTEXT_BYTES) {
    const number = load<u32>(at, CONTEXT_NUMBER);
    if (number != 0 && load<u64>(at) == pointer && load<u32>(at, CONTEXT_FLAGS) == flags) { store<u32>(EPT_CONTEXT, number); return; }
  }
  let number = load<u32>(EPT_LAST_CONTEXT) + 1;
  if (number < FIRST_CONTEXT || number > LAST_CONTEXT) {
    for (let i: u32 = 0; i < <u32>EPT_CACHE_ENTRIES; i++) store<u64>(EPT_CACHE + i * 16, NOTHING);
    memory.fill(EPT_CONTEXTS, 0, EPT_CONTEXTS_KEPT * CONTEXT_BYTES);
    number = FIRST_CONTEXT;
  }
  const at: usize = EPT_CONTEXTS + (number & (EPT_CONTEXTS_KEPT - 1)) * CONTEXT_BYTES; // in the place of the oldest
  store<u64>(at, pointer);
  store<u32>(at, flags, CONTEXT_FLAGS);
  store<u32>(at, number, CONTEXT_NUMBER);
  store<u32>(EPT_LAST_CONTEXT, number);
  store<u32>(EPT_CONTEXT, number);
}

/** Drops cached translations through the hierarchies whose tables begin at `root`; 0: through all. */
export function flushEptCache(root: u64): void {
  for (let at: usize = EPT_CONTEXTS; at < CONTEXTS_END; at += CONTEXT_BYTES)
    if (root == 0 || (load<u64>(at) & 0x000ffffffffff000) == root) store<u32>(at, 0, CONTEXT_NUMBER);
  useEptContext();
}

// @ts-ignore: decorator
@inline function tagOf(gpa: u64): u64 { return (gpa & ~0xfff) | load<u32>(EPT_CONTEXT); }

// @ts-ignore: decorator
@inline function slotOf(gpa: u64): usize { return EPT_CACHE + (u32(gpa >> 12) & (EPT_CACHE_ENTRIES - 1)) * 16; }

/** Drops the cached translation of a page (its number: gpa / 4096). */
export function dropEptPage(page: u32): void {
  const slot = EPT_CACHE + (page & (EPT_CACHE_ENTRIES - 1)) * 16;
  if (u32(load<u64>(slot) >> 12) == page) store<u64>(slot, NOTHING);
}

// @ts-ignore: decorator
@inline function structureByte(page: u32): usize { return STRUCTURE_PAGES + ((page & 0xfffff) >>> 3); }

/** A walk of the guest's tables has read an entry there: translations depend on this page. */
export function noteStructure(gpa: u64): void {
  const page = u32(gpa >> 12), at = structureByte(page), slot = slotOf(gpa);
  store<u8>(at, <u8>(<u32>load<u8>(at) | (<u32>1 << (page & 7))));
  if (load<u64>(slot) == tagOf(gpa)) store<u32>(slot, load<u32>(slot, 12) | EPT_STRUCTURE, 12);
}
/** Whether translations may depend on the page. Clears its mark, so the caller must drop them all. The page's cached translation must be gone. */
export function takeStructure(page: u32): bool {
  const at = structureByte(page), bit = <u32>1 << (page & 7), bits = <u32>load<u8>(at);
  if ((bits & bit) == 0) return false;
  store<u8>(at, <u8>(bits & ~bit));
  return true;
}

// @ts-ignore: decorator
@inline export function inMemory(hpa: u64, bytes: u64): bool { return hpa + bytes <= (<u64>memory.size() << 16); }

/** Puts the content of a page of RAM where it belongs, and clears its bit in LATE_PAGES. */
// @ts-ignore: decorator
@external("env", "bringPage") declare function bringPage(frame: u32): void;

/** A page is about to be used: its content may have to come first. */
function needPage(frame: u32): void {
  const page = frame >>> 12;
  if ((<u32>load<u8>(LATE_PAGES + (page >>> 3)) & (1 << (page & 7))) != 0) bringPage(frame & ~0xfff);
}

/**
 * Host-physical address of a guest-physical one for an access (EPT_* bits), or 0 with eptFailure set. Nothing is recorded yet:
 * the caller decides whether the failure is an exit (eptFault) or an access the framework has already done.
 */
export function eptTranslate(gpa: u64, access: u32): u32 {
  const slot = slotOf(gpa);
  if (load<u64>(slot) == tagOf(gpa)) {
    const rights = load<u32>(slot, 12);
    const needed = access | ((access & EPT_WRITE) << 2);
    if ((rights & needed) == needed) {
      eptRights = rights;
      return load<u32>(slot, 8) | (u32(gpa) & 0xfff);
    }
  }
  return walk(gpa, access, slot);
}

/** Host-physical address that the EPT have for a guest-physical one, whatever the rights: for observers. 0 where they have none. */
export function eptFrame(gpa: u64): u32 {
  if ((load<u32>(EPT_FLAGS) & ENABLED) == 0) return inMemory(gpa & ~0xfff, 4096) ? u32(gpa) : 0;
  let table = load<u64>(EPT_ROOT), shift: u32 = 3 + 9 * load<u32>(EPT_LEVELS);
  if (gpa >> (shift + 9)) return 0;
  while (true) {
    const at = table + (((gpa >> shift) & 0x1ff) << 3);
    if (!inMemory(at, 8)) return 0;
    const entry = load<u64>(u32(at)), address = entry & 0x000ffffffffff000;
    if (address == 0) return 0;
    if (shift == 12 || (entry & 0x80) != 0) {
      const below = (<u64>1 << shift) - 1, frame = (address & ~below) | (gpa & below);
      if (!inMemory(frame & ~0xfff, 4096)) return 0;
      needPage(u32(frame));
      return u32(frame);
    }
    table = address;
    shift -= 9;
  }
}

/** Bit 61: sub-page permissions count for this page of 4 KiB. */
const SUB_PAGES: u64 = 1 << 61;

/**
 * For a write that the EPT have refused: the frame of the page, if it is one of 4 KiB whose entry has bit 61 and that can be read, and nothing above forbids writing; 0
 * otherwise. `mark`: the write is about to be done, so the flags are set and the page logged; 0 then where the log is full (that exit is recorded).
 */
export function eptSubPageFrame(gpa: u64, mark: bool): u32 {
  const flags = load<u32>(EPT_FLAGS);
  if ((flags & ENABLED) == 0) return 0;
  let table = load<u64>(EPT_ROOT), shift: u32 = 3 + 9 * load<u32>(EPT_LEVELS);
  while (true) {
    const at = table + (((gpa >> shift) & 0x1ff) << 3);
    if (!inMemory(at, 8)) return 0;
    const entry = load<u64>(u32(at)), own = u32(entry) & 7;
    table = entry & 0x000ffffffffff000;
    if (shift == 12) {
      if ((own & 3) != EPT_READ || (entry & SUB_PAGES) == 0 || !inMemory(table, 4096)) return 0;
      if (mark && (flags & ACCESSED_DIRTY) != 0) {
        if ((flags & PML) != 0 && (entry & 0x200) == 0 && !logDirtyPage(gpa & ~0xfff)) return 0;
        store<u64>(u32(at), entry | 0x300);
      }
      return u32(table);
    }
    if ((own & 3) != 3 || (entry & 0x80) != 0) return 0;
    shift -= 9;
  }
}

/** While set, a translation fails where it would set a flag. */
let quiet = false;
export function setEptQuiet(on: bool): void { quiet = on; }

function fail(kind: u32, rights: u32): u32 { eptFailure = kind; eptRights = rights; return 0; }

function walk(gpa: u64, access: u32, slot: usize): u32 {
  const flags = load<u32>(EPT_FLAGS), accessedDirty = (flags & ACCESSED_DIRTY) != 0;
  if ((flags & ENABLED) == 0) {
    if (!inMemory(gpa & ~0xfff, 4096)) return fail(1, 0);
    needPage(u32(gpa));
    const all = EPT_READ | EPT_WRITE | EPT_EXECUTE | EPT_EXECUTE_USER | EPT_DIRTY_DONE;
    store<u64>(slot, tagOf(gpa)); store<u32>(slot, u32(gpa) & ~0xfff, 8); store<u32>(slot, all, 12);
    eptRights = all;
    return u32(gpa);
  }
  const physical = (<u64>1 << load<u32>(MAXPHYADDR)) - 1;
  const topShift = 12 + 9 * load<u32>(EPT_LEVELS);
  if (gpa >> topShift) { suppressVe = true; return fail(1, 0); }
  let table = load<u64>(EPT_ROOT), rights: u32 = 7 | EPT_EXECUTE_USER, shift = topShift - 9;
  const byMode = (flags & BY_MODE) != 0;
  while (true) {
    const at = table + (((gpa >> shift) & 0x1ff) << 3);
    if (!inMemory(at, 8)) return fail(2, 0);
    const p = u32(at);
    const entry = load<u64>(p);
    let own = u32(entry) & 7;
    if (byMode ? (u32(entry) & ENTRY_EXECUTE_USER) != 0 : (own & EPT_EXECUTE) != 0) own |= EPT_EXECUTE_USER;
    if (own == 0) { suppressVe = (entry >> 63) != 0; return fail(1, 0); }
    const leaf = shift == 12 || ((entry & 0x80) != 0 && (shift == 21 || shift == 30));
    // SDM 3C 29.3.3.1: writable but not readable, reserved bits, reserved memory types
    if ((own & 3) == 2 || (entry & 0x000fffffffffffff & ~physical) != 0) return fail(2, 0);
    if (!leaf) {
      if ((entry & 0xf8) != 0) return fail(2, 0);
    } else {
      const type = u32(entry >> 3) & 7;
      if (type == 2 || type == 3 || type == 7) return fail(2, 0);
      if (shift > 12 && (entry & ((<u64>1 << shift) - 1) & ~0xfff) != 0) return fail(2, 0);
    }
    rights &= own;
    if (!leaf) {
      if (accessedDirty && (entry & 0x100) == 0) {
        if (quiet) return fail(1, 0);
        store<u64>(p, entry | 0x100);
      }
      table = entry & 0x000ffffffffff000;
      shift -= 9;
      continue;
    }
    if ((rights & access) != access) { suppressVe = (entry >> 63) != 0; return fail(1, rights); }
    let done: u32 = EPT_DIRTY_DONE;
    if (accessedDirty) {
      let now = entry | 0x100;
      if (quiet && (now != entry || ((access & EPT_WRITE) != 0 && (entry & 0x200) == 0))) return fail(1, rights);
      if ((access & EPT_WRITE) != 0 && (entry & 0x200) == 0) {
        if ((flags & PML) != 0 && !logDirtyPage(gpa & ~0xfff)) return fail(3, rights); // the log is full: that exit is recorded
        now |= 0x200;
      }
      if (now != entry) store<u64>(p, now);
      done = (now & 0x200) != 0 ? EPT_DIRTY_DONE : 0;
    }
    const frame = (entry & 0x000ffffffffff000 & ~((<u64>1 << shift) - 1)) | (gpa & ((<u64>1 << shift) - 1));
    if (!inMemory(frame & ~0xfff, 4096)) return fail(2, 0);
    needPage(u32(frame));
    rights |= done;
    store<u64>(slot, tagOf(gpa)); store<u32>(slot, u32(frame) & ~0xfff, 8); store<u32>(slot, rights, 12);
    eptRights = rights;
    return u32(frame);
  }
}

/** Records the exit of a failed translation (SDM 3C table 28-7 for the qualification). */
export function eptFault(gpa: u64, linear: u64, access: u32, kind: u32): void {
  if (eptFailure == 3) return;
  if (eptFailure == 2) { eptMisconfiguration(gpa); return; }
  let q = (access & 7) | ((eptRights & 7) << 3);
  if (access == EPT_EXECUTE_USER) q |= EPT_EXECUTE;
  if (eptByMode()) {
    if ((eptRights & EPT_EXECUTE_USER) != 0) q |= 0x40;
    if (access == EPT_EXECUTE_USER) q |= 0x200; // a linear address of user mode (bit 9)
  }
  if (kind != FOR_PHYSICAL) q |= 0x80;
  if (kind == FOR_DATA) q |= 0x100;
  eptViolation(gpa, linear, kind != FOR_PHYSICAL, q, suppressVe);
}
