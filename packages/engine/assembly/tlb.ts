import {
  COUNTERS, GLOBAL_GENERATION, GUEST_PAGE_CHAINS, GUEST_PAGE_HASHES, GUEST_PAGE_LINKS, JUMP_CACHE, JUMP_CACHE_ENTRIES, JUMP_GENERATION, LAST_GENERATION, PROCESSOR, REGION_CACHE, REGION_CACHE_ENTRIES, TIER_PAGES, TIER_PAGES_BYTES, TLB,
  TLB_BASE,
  TLB_CLOCK, TLB_CONTEXTS, TLB_EMPTY, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_JUMP_PAGES, TLB_JUMP_PAGES_BITS, TLB_LISTS, TLB_LIST_BYTES, TLB_SET, TLB_SETS, TLB_SET_BYTES, TLB_SET_INFO, TLB_TABLES,
  TLB_TABLE_BYTES,
} from "../src/layout";
import { LIST_BYTES, LIST_GENERATION } from "../src/code-layout";
/**
 * Tagged translation caches: a table for each context (supervisor, supervisor with EFLAGS.AC, user), and one that stays empty.
 *
 * entry: u64 read tag, u64 write tag, u64 execute tag (each the linear page address, or 1 for none), u32 addend so that
 * host address = low half of the linear address + addend, u32 flags. One compare of (linear + size - 1) & ~0xfff with the tag
 * checks page, right and crossing at once. Write tags are withheld from pages with decoded code, so that a write to them is seen.
 *
 * Translations belong to a processor, a VPID and an EPT pointer (SDM 3C 29.4). That tag is not in the entries: each tag used of late has a set of
 * tables of its own, and the set in use is where TLB_BASE points. So an access needs no further comparison for the tag, a VM entry, VM exit or
 * EPTP switch flushes nothing, and a flush costs only what its own set holds. The price is memory (800 KiB of linear memory for a set once it is
 * used); and if more than TLB_SETS tags are in use, they take sets from each other.
 *
 * There are so many entries because a kernel that goes through its files has some three thousand pages in use: with 2,048 entries find missed 750,000 times in 265
 * million instructions, with 8,192 seldom, and a miss leaves translated code.
 *
 * Each entry is in the chain of the guest-physical page it was last made for, so that one page's translations are dropped without a look at
 * the others. Flushes and INVLPG leave the chains as they are: an emptied entry that is met there is emptied once more.
 */
const NONE: u64 = 1;
/** Flags of an entry. */
const LISTED: u32 = 1;
const GLOBAL: u32 = 2;
const LARGE: u32 = 4; // part of a 2 or 4 MiB page
const GIANT: u32 = 8; // part of a 1 GiB page
/** The page of an entry that is in no chain. */
const UNCHAINED: u32 = 0xffffffff;
const LINK_BYTES: u32 = 16;

/** Description of a set (64 bytes). */
const S_EPTP: usize = 0; // u64, 0: no EPT
const S_VPID: usize = 8;
const S_PROCESSOR: usize = 12;
const S_COUNTS: usize = 16; // u32 for each context: filled entries
const S_GIANT: usize = 28; // u32: a part of a 1 GiB page is cached, bit 0 in the lower half of the address space, bit 1 in the upper one
const S_LARGE: usize = 32; // u64: where 2 and 4 MiB pages are cached in the lower half (a bit for 4 MiB, by hash): INVLPG must look at all entries there
const S_GENERATION: usize = 40; // u32: jump generation to go on with, 0: a new one
const S_GLOBAL_GENERATION: usize = 52; // the same for code of global pages
const S_USED: usize = 44; // u32: TLB_CLOCK when it was last chosen, 0: never, its tables hold nothing yet
const S_WATCHED: usize = 48; // u32: its entries were made with data breakpoints enabled
const S_LARGE_UPPER: usize = 56; // u64: as S_LARGE in the upper half, where kernels have most of their large pages
const INFO_BYTES: usize = 64;
const INFO_END: usize = TLB_SET_INFO + TLB_SETS * INFO_BYTES;

// @ts-ignore: decorator
@inline export function entryOf(table: usize, linear: u64): usize {
  return table + ((u32(linear >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES);
}
/** Context that a table is for: 0 supervisor, 1 supervisor with EFLAGS.AC, 2 user, 3 the empty one. */
// @ts-ignore: decorator
@inline export function contextOf(table: u32): u32 { return (table / TLB_TABLE_BYTES) & 3; }
/** Table of a context in the current set. */
// @ts-ignore: decorator
@inline export function tableOf(context: u32): u32 { return context == 3 ? TLB_EMPTY : load<u32>(TLB_TABLES) + context * TLB_TABLE_BYTES; }

// @ts-ignore: decorator
@inline function setOf(info: usize): usize { return TLB + ((info - TLB_SET_INFO) / INFO_BYTES) * TLB_SET_BYTES; }
// @ts-ignore: decorator
@inline function listOf(info: usize, context: u32): usize { return setOf(info) + TLB_LISTS + context * TLB_LIST_BYTES; }
// @ts-ignore: decorator
@inline function countOf(info: usize, context: u32): usize { return info + S_COUNTS + (context << 2); }

export function initTlb(): void {
  memory.fill(TLB_SET_INFO, 0, TLB_SETS * INFO_BYTES);
  memory.fill(GUEST_PAGE_CHAINS, 0, GUEST_PAGE_HASHES * 4);
  clearTable(TLB_EMPTY);
  store<u32>(TLB_SET, 0);
  selectTranslations(0, 0, false);
  store<u32>(TLB_BASE, tableOf(0));
}
function clearTable(table: usize): void {
  for (let i: u32 = 0; i < <u32>TLB_ENTRIES; i++) clear(table + i * TLB_ENTRY_BYTES);
}
// @ts-ignore: decorator
@inline function clear(e: usize): void {
  store<u64>(e, NONE); store<u64>(e, NONE, 8); store<u64>(e, NONE, 16); store<u32>(e, 0, 28);
}
/** Empties an entry but leaves it listed. */
// @ts-ignore: decorator
@inline function disarm(e: usize): void { store<u64>(e, NONE); store<u64>(e, NONE, 8); store<u64>(e, NONE, 16); }

// ---------------------------------------------------------------------------------------------- sets
/**
 * Makes the set of a VPID (0: none) and an EPT pointer (0: no EPT) the current one; `watched` says whether data breakpoints are enabled, since
 * entries are made differently then. The translations that the set held when it was last used are valid again.
 */
export function selectTranslations(vpid: u32, eptp: u64, watched: bool): void {
  const now = load<u32>(TLB_SET), processor = load<u32>(PROCESSOR);
  if (now != 0 && isFor(now, processor, vpid, eptp)) {
    watchTranslations(watched);
    return;
  }
  let chosen: usize = 0;
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) {
    if (load<u32>(info, S_USED) != 0 && isFor(info, processor, vpid, eptp)) { chosen = info; break; }
    if (info != now && (chosen == 0 || load<u32>(info, S_USED) < load<u32>(chosen, S_USED))) chosen = info;
  }
  if (now != 0) {
    store<u32>(now, load<u32>(JUMP_GENERATION), S_GENERATION);
    store<u32>(now, load<u32>(GLOBAL_GENERATION), S_GLOBAL_GENERATION);
  }
  if (load<u32>(chosen, S_USED) == 0) prepareSet(chosen);
  else if (!isFor(chosen, processor, vpid, eptp)) flushSet(chosen);
  store<u64>(chosen, eptp, S_EPTP);
  store<u32>(chosen, vpid, S_VPID);
  store<u32>(chosen, processor, S_PROCESSOR);
  store<u32>(TLB_CLOCK, max<u32>(load<u32>(TLB_CLOCK) + 1, 1)); // never 0, which says that a set was not used
  store<u32>(chosen, load<u32>(TLB_CLOCK), S_USED);
  store<u32>(TLB_SET, <u32>chosen);
  store<u32>(TLB_TABLES, <u32>setOf(chosen));
  store<u32>(TLB_BASE, tableOf(contextOf(load<u32>(TLB_BASE))));
  const local = load<u32>(chosen, S_GENERATION), global = load<u32>(chosen, S_GLOBAL_GENERATION);
  store<u32>(JUMP_GENERATION, local);
  store<u32>(GLOBAL_GENERATION, global);
  if (local == 0) newGeneration(chosen, JUMP_GENERATION);
  if (global == 0) newGeneration(chosen, GLOBAL_GENERATION);
  watchTranslations(watched);
}
// @ts-ignore: decorator
@inline function isFor(info: usize, processor: u32, vpid: u32, eptp: u64): bool {
  return load<u64>(info, S_EPTP) == eptp && load<u32>(info, S_VPID) == vpid && load<u32>(info, S_PROCESSOR) == processor;
}
function prepareSet(info: usize): void {
  const set = setOf(info);
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) clearTable(set + c * TLB_TABLE_BYTES);
  memory.fill(set + TLB_JUMP_PAGES, 0, 2 * JUMP_PAGES_BYTES);
  memory.fill(linkOf(<u32>(set - TLB) / TLB_ENTRY_BYTES), 0xff, TLB_CONTEXTS * TLB_ENTRIES * LINK_BYTES);
}
/** Data breakpoints are enabled or not: entries of the current set made while it was otherwise are dropped. */
export function watchTranslations(watched: bool): void {
  const info: usize = load<u32>(TLB_SET);
  if (load<u32>(info, S_WATCHED) == u32(watched)) return;
  flushSet(info);
  store<u32>(info, u32(watched), S_WATCHED);
}

// ---------------------------------------------------------------------------------------------- jumps
/*
 * Entries of the jump cache say for a linear address where its decoded code is. They are translations, kept longer than those of the TLB, and void when
 * their generation is not in force any more. There are two in force: one for code of global pages, which a write to CR3 leaves alone, one for the
 * rest. And the set keeps which pages have entries, so that INVLPG of any other page, most often of data, leaves all of them alone.
 */
const JUMP_PAGES_BYTES: usize = TLB_JUMP_PAGES_BITS / 8;

/** Whether an entry of the jump cache with this key holds for code of this mode. */
// @ts-ignore: decorator
@inline export function isCurrentJump(key: u32, mode: u32): bool {
  return key == ((load<u32>(JUMP_GENERATION) << 8) | mode) || key == ((load<u32>(GLOBAL_GENERATION) << 8) | mode);
}
/** Key of an entry for code at `linear`, whose translation has just been used. Code in two pages is never taken for global: its pages are noted together. */
export function jumpKey(linear: u64, secondPage: u64, mode: u32): u32 {
  const place = isGlobalCode(linear) && secondPage == 0 ? GLOBAL_GENERATION : JUMP_GENERATION;
  noteCode(linear, place);
  if (secondPage != 0) notePage(jumpPages(load<u32>(TLB_SET), place), secondPage, LARGE | GIANT);
  return (load<u32>(place) << 8) | mode;
}
/** Whether code at `linear`, whose translation has just been used, is in a global page. */
export function isGlobalCode(linear: u64): bool { return (flagsOfCode(linear) & GLOBAL) != 0; }
/** What is known of code at `linear` is void when the generation at `place` (JUMP_GENERATION or GLOBAL_GENERATION) has gone on. */
export function noteCode(linear: u64, place: usize): void { notePage(jumpPages(load<u32>(TLB_SET), place), linear, flagsOfCode(linear)); }
function flagsOfCode(linear: u64): u32 {
  let table = load<u32>(TLB_BASE);
  if (table == <u32>TLB_EMPTY) table = tableOf(2);
  const e = entryOf(table, linear);
  return load<u64>(e, 16) == (linear & ~0xfff) ? load<u32>(e, 28) : LARGE | GIANT; // not cached: its page has any size
}
// @ts-ignore: decorator
@inline function jumpPages(info: usize, place: usize): usize {
  return setOf(info) + TLB_JUMP_PAGES + (place == GLOBAL_GENERATION ? JUMP_PAGES_BYTES : 0);
}
function notePage(pages: usize, linear: u64, flags: u32): void {
  note(pages, hashed(linear, 12));
  if ((flags & LARGE) != 0) note(pages, hashed(linear, 22));
  if ((flags & GIANT) != 0) note(pages, hashed(linear, 30));
}
/** Bit for the page of 2 to the power of `shift` bytes; 2 MiB pages have that of 4 MiB. */
// @ts-ignore: decorator
@inline function hashed(linear: u64, shift: u32): u32 {
  const page = u32(linear >> <u64>shift);
  return (page ^ (page >>> 12) ^ (shift * 0x47)) & (TLB_JUMP_PAGES_BITS - 1);
}
// @ts-ignore: decorator
@inline function note(pages: usize, bit: u32): void { store<u8>(pages + (bit >>> 3), load<u8>(pages + (bit >>> 3)) | <u8>(<u32>1 << (bit & 7))); }
// @ts-ignore: decorator
@inline function isNoted(pages: usize, bit: u32): bool { return ((load<u8>(pages + (bit >>> 3)) >>> (bit & 7)) & 1) != 0; }

/** Entries under the current set that have the generation at `place` are void. */
function newGeneration(info: usize, place: usize): void {
  memory.fill(jumpPages(info, place), 0, JUMP_PAGES_BYTES);
  const next = (load<u32>(LAST_GENERATION) + 1) & 0xffffff;
  if (next == 0) { // the numbers wrap around: entries left from the first round must not become valid again
    memory.fill(JUMP_CACHE, 0, JUMP_CACHE_ENTRIES * 16);
    memory.fill(REGION_CACHE, 0, REGION_CACHE_ENTRIES * 16);
    for (let list: usize = TIER_PAGES; list < <usize>(TIER_PAGES + TIER_PAGES_BYTES); list += LIST_BYTES) store<u32>(list, 0, LIST_GENERATION);
    forgetGenerations();
    store<u32>(JUMP_GENERATION, 1);
    store<u32>(GLOBAL_GENERATION, 2);
    store<u32>(LAST_GENERATION, 2);
    return;
  }
  store<u32>(LAST_GENERATION, next);
  store<u32>(place, next);
}
/** Code is gone: all entries are void, under every set. */
export function forgetJumps(): void {
  forgetGenerations();
  const info: usize = load<u32>(TLB_SET);
  newGeneration(info, JUMP_GENERATION);
  newGeneration(info, GLOBAL_GENERATION);
}
function forgetGenerations(): void {
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) {
    store<u32>(info, 0, S_GENERATION);
    store<u32>(info, 0, S_GLOBAL_GENERATION);
  }
}
/** Entries under one set that have the generation of `place` are void. */
function forgetJumpsOf(info: usize, place: usize): void {
  store<u32>(info + (place == GLOBAL_GENERATION ? S_GLOBAL_GENERATION : S_GENERATION), 0);
  if (<u32>info == load<u32>(TLB_SET)) newGeneration(info, place);
}
/** Entries under one set for the page of `linear` are void, whatever its size. */
function forgetJumpsTo(info: usize, linear: u64): void {
  const small = hashed(linear, 12), large = hashed(linear, 22), giant = hashed(linear, 30);
  const local = jumpPages(info, JUMP_GENERATION), global = jumpPages(info, GLOBAL_GENERATION);
  if (isNoted(local, small) || isNoted(local, large) || isNoted(local, giant)) forgetJumpsOf(info, JUMP_GENERATION);
  if (isNoted(global, small) || isNoted(global, large) || isNoted(global, giant)) forgetJumpsOf(info, GLOBAL_GENERATION);
}

// ---------------------------------------------------------------------------------------------- entries
// @ts-ignore: decorator
@inline function largePlace(info: usize, linear: u64): usize { return info + (linear >> 63 != 0 ? S_LARGE_UPPER : S_LARGE); }
// @ts-ignore: decorator
@inline function largeBit(linear: u64): u64 { return ((linear >> 22) ^ (linear >> 28)) & 63; }

/**
 * Makes the entry of `linear` in `table` describe the page at host address `host`, whose guest-physical page number is `guestPage`; tags are
 * given as 0 (no) or 1 (yes).
 */
export function fillEntry(table: usize, linear: u64, guestPage: u32, host: u32, read: bool, write: bool, execute: bool, global: bool, large: bool, giant: bool): usize {
  const e = entryOf(table, linear), page = linear & ~0xfff;
  const info = TLB_SET_INFO + ((table - TLB) / TLB_SET_BYTES) * INFO_BYTES, context = contextOf(<u32>table);
  let flags = load<u32>(e, 28);
  if ((flags & LISTED) == 0) {
    const n = load<u32>(countOf(info, context));
    store<u16>(listOf(info, context) + n * 2, <u16>((<u32>e - <u32>table) / TLB_ENTRY_BYTES));
    store<u32>(countOf(info, context), n + 1);
  }
  flags = LISTED | (global ? GLOBAL : 0) | (large ? LARGE : 0) | (giant ? GIANT : 0);
  if (large) {
    const place = largePlace(info, linear);
    store<u64>(place, load<u64>(place) | <u64>1 << largeBit(linear));
  }
  if (giant) store<u32>(info, load<u32>(info, S_GIANT) | 1 << u32(linear >> 63), S_GIANT);
  store<u64>(e, read ? page : NONE);
  store<u64>(e, write ? page : NONE, 8);
  store<u64>(e, execute ? page : NONE, 16);
  store<u32>(e, host - <u32>page, 24);
  store<u32>(e, flags, 28);
  chain((<u32>e - TLB) / TLB_ENTRY_BYTES, guestPage);
  return e;
}

// @ts-ignore: decorator
@inline function headOf(guestPage: u32): usize {
  return GUEST_PAGE_CHAINS + (((guestPage ^ (guestPage >>> 12)) & (GUEST_PAGE_HASHES - 1)) << 2);
}
// @ts-ignore: decorator
@inline function linkOf(number: u32): usize { return GUEST_PAGE_LINKS + number * LINK_BYTES; }

/** Puts an entry into the chain of a page. */
function chain(number: u32, guestPage: u32): void {
  const link = linkOf(number);
  if (load<u32>(link) == guestPage) return;
  unchain(number);
  const head = headOf(guestPage), next = load<u32>(head);
  store<u32>(link, guestPage);
  store<u32>(link, next, 4);
  store<u32>(link, 0, 8);
  if (next != 0) store<u32>(linkOf(next - 1), number + 1, 8);
  store<u32>(head, number + 1);
}
function unchain(number: u32): void {
  const link = linkOf(number), page = load<u32>(link);
  if (page == UNCHAINED) return;
  const next = load<u32>(link, 4), previous = load<u32>(link, 8);
  if (next != 0) store<u32>(linkOf(next - 1), previous, 8);
  if (previous != 0) store<u32>(linkOf(previous - 1), next, 4);
  else store<u32>(headOf(page), next);
  store<u32>(link, UNCHAINED);
}

/** Withdraws read, write and execute tags (bits 1, 2, 4 of `rights`) from every translation made for a guest-physical page. */
export function withdrawGuestPage(guestPage: u32, rights: u32): void {
  let at: u32 = load<u32>(headOf(guestPage));
  while (at != 0) {
    const number = at - 1, link = linkOf(number);
    at = load<u32>(link, 4);
    if (load<u32>(link) != guestPage) continue;
    const e = TLB + number * TLB_ENTRY_BYTES;
    if (rights & 1) store<u64>(e, NONE);
    if (rights & 2) store<u64>(e, NONE, 8);
    if (rights & 4) store<u64>(e, NONE, 16);
    if ((rights & 7) == 7) unchain(number);
  }
}

/** Withdraws write tags from every translation of the host page: code has been decoded there. */
export function protectHostPage(host: u32): void {
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) {
    for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
      const table = setOf(info) + c * TLB_TABLE_BYTES, list = listOf(info, c), n = load<u32>(countOf(info, c));
      for (let i: u32 = 0; i < n; i++) {
        const e = table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES;
        const tag = load<u64>(e, 8);
        if (tag != NONE && <u32>tag + load<u32>(e, 24) == host) store<u64>(e, NONE, 8);
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------- flushes of one set
function flushSet(info: usize): void {
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = setOf(info) + c * TLB_TABLE_BYTES, list = listOf(info, c), n = load<u32>(countOf(info, c));
    for (let i: u32 = 0; i < n; i++) clear(table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES);
    store<u32>(countOf(info, c), 0);
  }
  store<u64>(info, 0, S_LARGE);
  store<u64>(info, 0, S_LARGE_UPPER);
  store<u32>(info, 0, S_GIANT);
  forgetJumpsOf(info, JUMP_GENERATION);
  forgetJumpsOf(info, GLOBAL_GENERATION);
}
function flushNonGlobalOf(info: usize): void {
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = setOf(info) + c * TLB_TABLE_BYTES, list = listOf(info, c), n = load<u32>(countOf(info, c));
    let kept: u32 = 0;
    for (let i: u32 = 0; i < n; i++) {
      const index = load<u16>(list + i * 2), e = table + <usize>index * TLB_ENTRY_BYTES;
      if (load<u32>(e, 28) & GLOBAL) { store<u16>(list + kept * 2, index); kept++; } else clear(e);
    }
    store<u32>(countOf(info, c), kept);
  }
  forgetJumpsOf(info, JUMP_GENERATION);
}
function flushPageOf(info: usize, linear: u64): void {
  const page = linear & ~0xfff;
  const giant = (load<u32>(info, S_GIANT) >>> u32(linear >> 63)) & 1, large = load<u64>(largePlace(info, linear)) >> largeBit(linear);
  const everything = ((<u64>giant | large) & 1) != 0;
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = setOf(info) + c * TLB_TABLE_BYTES;
    if (!everything) {
      const e = entryOf(table, linear);
      if (load<u64>(e) == page || load<u64>(e, 8) == page || load<u64>(e, 16) == page) disarm(e);
      continue;
    }
    const list = listOf(info, c), n = load<u32>(countOf(info, c));
    for (let i: u32 = 0; i < n; i++) {
      const e = table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES;
      const tag = load<u64>(e) != NONE ? load<u64>(e) : load<u64>(e, 8) != NONE ? load<u64>(e, 8) : load<u64>(e, 16);
      // a large page is dropped with all its fragments; a 2 MiB page is treated as one of 4 MiB
      const flags = load<u32>(e, 28);
      if (tag == page || ((flags & LARGE) != 0 && (tag >> 22) == (page >> 22)) || ((flags & GIANT) != 0 && (tag >> 30) == (page >> 30))) disarm(e);
    }
  }
  forgetJumpsTo(info, linear);
}

// ---------------------------------------------------------------------------------------------- flushes by tag
/** Whether a set is in use for this processor and a VPID. */
// @ts-ignore: decorator
@inline function hasVpid(info: usize, vpid: u32): bool {
  return load<u32>(info, S_VPID) == vpid && load<u32>(info, S_PROCESSOR) == load<u32>(PROCESSOR) && load<u32>(info, S_USED) != 0;
}
// @ts-ignore: decorator
@inline function currentVpid(): u32 { return load<u32>(load<u32>(TLB_SET), S_VPID); }
// @ts-ignore: decorator
@inline function countFlush(): void { store<u32>(COUNTERS, load<u32>(COUNTERS) + 1); }

/** Drops the translations of a VPID, whatever their EPT pointer: linear and combined mappings (SDM 3C 29.4.1). */
export function flushVpid(vpid: u32): void {
  countFlush();
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) if (hasVpid(info, vpid)) flushSet(info);
}
/** Those not marked global. */
export function flushVpidNonGlobal(vpid: u32): void {
  countFlush();
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) if (hasVpid(info, vpid)) flushNonGlobalOf(info);
}
/** Those of the page of `linear`, global or not: the whole page if it is a large one. */
export function flushVpidPage(vpid: u32, linear: u64): void {
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) if (hasVpid(info, vpid)) flushPageOf(info, linear);
}
/** Drops the translations of every VPID but 0. */
export function flushVpids(): void { flushProcessor(false); }
/** Drops all translations of this processor, for a change of something that belongs to no VMCS and so to no single VPID (PKRU). */
export function flushEverywhere(): void { flushProcessor(true); }
function flushProcessor(zero: bool): void {
  countFlush();
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) {
    const vpid = load<u32>(info, S_VPID);
    if ((vpid != 0 || zero) && hasVpid(info, vpid)) flushSet(info);
  }
}
/** Drops the combined mappings made through EPT whose top table is at `root`; 0: through any EPT. */
export function flushEptRoot(root: u64): void {
  countFlush();
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) {
    const eptp = load<u64>(info, S_EPTP);
    if (eptp == 0 || !hasVpid(info, load<u32>(info, S_VPID))) continue;
    if (root == 0 || (eptp & 0x000ffffffffff000) == root) flushSet(info);
  }
}

/** A flush by the guest: drops its own translations, under the VPID in force. */
export function flushTlb(): void { flushVpid(currentVpid()); }
export function flushNonGlobal(): void { flushVpidNonGlobal(currentVpid()); }
export function flushPage(linear: u64): void { flushVpidPage(currentVpid(), linear); }

/** Drops every translation of every processor. */
export function flushAll(): void {
  countFlush();
  for (let info: usize = TLB_SET_INFO; info < INFO_END; info += INFO_BYTES) if (load<u32>(info, S_USED) != 0) flushSet(info);
}
