import {
  COUNTERS, GUEST_PAGE_CHAINS, GUEST_PAGE_HASHES, GUEST_PAGE_LINKS, JUMP_CACHE, JUMP_CACHE_ENTRIES, TLB, TLB_CONTEXTS, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_FILLED,
} from "../src/layout";
/**
 * Tagged translation caches, one per context (supervisor, supervisor with EFLAGS.AC, user, and one that stays empty).
 *
 * entry: u64 read tag, u64 write tag, u64 execute tag (each the linear page address, or 1 for none), u32 addend so that
 * host address = low half of the linear address + addend, u32 flags. One compare of (linear + size - 1) & ~0xfff with the tag
 * checks page, right and crossing at once. Write tags are withheld from pages with decoded code, so that a write to them is seen.
 *
 * Each entry is in the chain of the guest-physical page it was last made for, so that one page's translations are dropped without a look at
 * the others. Flushes and INVLPG leave the chains as they are: an emptied entry that is met there is emptied once more.
 */
const NONE: u64 = 1;
const TABLE_BYTES: u32 = TLB_ENTRIES * TLB_ENTRY_BYTES;
const LIST_BYTES: u32 = 0x4000;
/** Flags of an entry. */
const LISTED: u32 = 1;
const GLOBAL: u32 = 2;
const LARGE: u32 = 4;

/** Grows with every flush: the jump cache's entries of older generations are void. */
export let jumpGeneration: u32 = 1;
/** Linear pages of the large pages cached (bits by hash), so that INVLPG knows when it must look at all entries. */
let largeSeen0: u64 = 0;
let giantSeen: bool = false;
const counts = memory.data(TLB_CONTEXTS * 4, 4);
/** The page of an entry that is in no chain. */
const UNCHAINED: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline export function entryOf(table: usize, linear: u64): usize {
  return table + ((u32(linear >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES);
}

export function initTlb(): void {
  memory.fill(GUEST_PAGE_CHAINS, 0, GUEST_PAGE_HASHES * 2);
  memory.fill(GUEST_PAGE_LINKS, 0xff, TLB_CONTEXTS * TLB_ENTRIES * 8);
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    store<u32>(counts + c * 4, 0);
    for (let i: u32 = 0; i < <u32>TLB_ENTRIES; i++) clear(TLB + c * TABLE_BYTES + i * TLB_ENTRY_BYTES);
  }
}
// @ts-ignore: decorator
@inline function clear(e: usize): void {
  store<u64>(e, NONE); store<u64>(e, NONE, 8); store<u64>(e, NONE, 16); store<u32>(e, 0, 28);
}
/** Code that is reached through links or the jump cache must be looked up anew. */
export function newJumpGeneration(): void {
  jumpGeneration = (jumpGeneration + 1) & 0xffffff;
  if (jumpGeneration != 0) return;
  jumpGeneration = 1;
  memory.fill(JUMP_CACHE, 0, JUMP_CACHE_ENTRIES * 16); // what is left of the last generation 1 must not count again
}

/**
 * Makes the entry of `linear` in `table` describe the page at host address `host`, whose guest-physical page number is `guestPage`; tags are
 * given as 0 (no) or 1 (yes).
 */
export function fillEntry(table: usize, linear: u64, guestPage: u32, host: u32, read: bool, write: bool, execute: bool, global: bool, large: bool, giant: bool): usize {
  const e = entryOf(table, linear), page = linear & ~0xfff;
  const context = (<u32>table - TLB) / TABLE_BYTES;
  let flags = load<u32>(e, 28);
  if ((flags & LISTED) == 0) {
    const n = load<u32>(counts + context * 4);
    store<u16>(TLB_FILLED + context * LIST_BYTES + n * 2, <u16>((<u32>e - <u32>table) / TLB_ENTRY_BYTES));
    store<u32>(counts + context * 4, n + 1);
  }
  flags = LISTED | (global ? GLOBAL : 0) | (large || giant ? LARGE : 0);
  if (large) largeSeen0 |= <u64>1 << (u32(linear >> 21) & 63);
  if (giant) giantSeen = true;
  store<u64>(e, read ? page : NONE);
  store<u64>(e, write ? page : NONE, 8);
  store<u64>(e, execute ? page : NONE, 16);
  store<u32>(e, host - <u32>page, 24);
  store<u32>(e, flags, 28);
  chain(context * TLB_ENTRIES + (<u32>e - <u32>table) / TLB_ENTRY_BYTES, guestPage);
  return e;
}

// @ts-ignore: decorator
@inline function headOf(guestPage: u32): usize {
  return GUEST_PAGE_CHAINS + (((guestPage ^ (guestPage >>> 12)) & (GUEST_PAGE_HASHES - 1)) << 1);
}
// @ts-ignore: decorator
@inline function linkOf(number: u32): usize { return GUEST_PAGE_LINKS + (number << 3); }

/** Puts an entry into the chain of a page. */
function chain(number: u32, guestPage: u32): void {
  const link = linkOf(number);
  if (load<u32>(link) == guestPage) return;
  unchain(number);
  const head = headOf(guestPage), next = load<u16>(head);
  store<u32>(link, guestPage);
  store<u16>(link, next, 4);
  store<u16>(link, 0, 6);
  if (next != 0) store<u16>(linkOf(next - 1), <u16>(number + 1), 6);
  store<u16>(head, <u16>(number + 1));
}
function unchain(number: u32): void {
  const link = linkOf(number), page = load<u32>(link);
  if (page == UNCHAINED) return;
  const next = load<u16>(link, 4), previous = load<u16>(link, 6);
  if (next != 0) store<u16>(linkOf(next - 1), previous, 6);
  if (previous != 0) store<u16>(linkOf(previous - 1), next, 4);
  else store<u16>(headOf(page), next);
  store<u32>(link, UNCHAINED);
}

/** Withdraws read, write and execute tags (bits 1, 2, 4 of `rights`) from every translation made for a guest-physical page. */
export function withdrawGuestPage(guestPage: u32, rights: u32): void {
  let at: u32 = load<u16>(headOf(guestPage));
  while (at != 0) {
    const number = at - 1, link = linkOf(number);
    at = load<u16>(link, 4);
    if (load<u32>(link) != guestPage) continue;
    const e = TLB + number * TLB_ENTRY_BYTES;
    if (rights & 1) store<u64>(e, NONE);
    if (rights & 2) store<u64>(e, NONE, 8);
    if (rights & 4) store<u64>(e, NONE, 16);
    if ((rights & 7) == 7) unchain(number);
  }
}

/** Drops every translation. */
export function flushTlb(): void {
  store<u32>(COUNTERS, load<u32>(COUNTERS) + 1);
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES, list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(counts + c * 4);
    for (let i: u32 = 0; i < n; i++) clear(table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES);
    store<u32>(counts + c * 4, 0);
  }
  largeSeen0 = 0; giantSeen = false;
  newJumpGeneration();
}
/** Drops translations not marked global. */
export function flushNonGlobal(): void {
  store<u32>(COUNTERS, load<u32>(COUNTERS) + 1);
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES, list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(counts + c * 4);
    let kept: u32 = 0;
    for (let i: u32 = 0; i < n; i++) {
      const index = load<u16>(list + i * 2), e = table + <usize>index * TLB_ENTRY_BYTES;
      if (load<u32>(e, 28) & GLOBAL) { store<u16>(list + kept * 2, index); kept++; } else clear(e);
    }
    store<u32>(counts + c * 4, kept);
  }
  newJumpGeneration();
}
/** Empties an entry but leaves it listed. */
// @ts-ignore: decorator
@inline function disarm(e: usize): void { store<u64>(e, NONE); store<u64>(e, NONE, 8); store<u64>(e, NONE, 16); }

/** Drops what is cached for the page of `linear`, global or not (INVLPG): the whole page if it is a large one. */
export function flushPage(linear: u64): void {
  const page = linear & ~0xfff;
  const everything = giantSeen || ((largeSeen0 >> (u32(linear >> 21) & 63)) & 1) != 0;
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES;
    if (!everything) {
      const e = entryOf(table, linear);
      if (load<u64>(e) == page || load<u64>(e, 8) == page || load<u64>(e, 16) == page) disarm(e);
      continue;
    }
    const list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(counts + c * 4);
    for (let i: u32 = 0; i < n; i++) {
      const e = table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES;
      const tag = load<u64>(e) != NONE ? load<u64>(e) : load<u64>(e, 8) != NONE ? load<u64>(e, 8) : load<u64>(e, 16);
      // a large page is gone with all its fragments; 1 GiB covers the 2 MiB and 4 MiB ones too
      if (tag == page || ((load<u32>(e, 28) & LARGE) != 0 && (tag >> 30) == (page >> 30))) disarm(e);
    }
  }
  newJumpGeneration();
}

/** Withdraws write tags from every translation of the host page: code has been decoded there. */
export function protectHostPage(host: u32): void {
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES, list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(counts + c * 4);
    for (let i: u32 = 0; i < n; i++) {
      const e = table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES;
      const tag = load<u64>(e, 8);
      if (tag != NONE && <u32>tag + load<u32>(e, 24) == host) store<u64>(e, NONE, 8);
    }
  }
}
