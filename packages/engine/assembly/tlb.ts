import {
  COUNTERS, JUMP_CACHE, JUMP_CACHE_ENTRIES, JUMP_GENERATION, TLB, TLB_CONTEXTS, TLB_COUNTS, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_FILLED, TLB_GIANT_SEEN, TLB_LARGE_SEEN,
} from "../src/layout";
/**
 * Tagged translation caches, one per context (supervisor, supervisor with EFLAGS.AC, user, and one that stays empty).
 *
 * entry: u64 read tag, u64 write tag, u64 execute tag (each the linear page address, or 1 for none), u32 addend so that
 * host address = low half of the linear address + addend, u32 flags. One compare of (linear + size - 1) & ~0xfff with the tag
 * checks page, right and crossing at once. Write tags are withheld from pages with decoded code, so that a write to them is seen.
 */
const NONE: u64 = 1;
const TABLE_BYTES: u32 = TLB_ENTRIES * TLB_ENTRY_BYTES;
const LIST_BYTES: u32 = 0x4000;
/** Flags of an entry. */
const LISTED: u32 = 1;
const GLOBAL: u32 = 2;
const LARGE: u32 = 4;

/** Changes with every flush: entries of the jump cache with another generation are void. */
// @ts-ignore: decorator
@inline export function jumpGeneration(): u32 { return load<u32>(JUMP_GENERATION); }

// @ts-ignore: decorator
@inline export function entryOf(table: usize, linear: u64): usize {
  return table + ((u32(linear >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES);
}

export function initTlb(): void {
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    store<u32>(TLB_COUNTS + c * 4, 0);
    for (let i: u32 = 0; i < <u32>TLB_ENTRIES; i++) clear(TLB + c * TABLE_BYTES + i * TLB_ENTRY_BYTES);
  }
}
// @ts-ignore: decorator
@inline function clear(e: usize): void {
  store<u64>(e, NONE); store<u64>(e, NONE, 8); store<u64>(e, NONE, 16); store<u32>(e, 0, 28);
}
/** Code that is reached through links or the jump cache must be looked up anew. */
export function newJumpGeneration(): void {
  const next = (jumpGeneration() + 1) & 0xffffff;
  if (next == 0) memory.fill(JUMP_CACHE, 0, JUMP_CACHE_ENTRIES * 16); // numbers come round: what is left of the first time must not count again
  store<u32>(JUMP_GENERATION, next == 0 ? 1 : next);
}

/** Makes the entry of `linear` in `table` describe the page at host address `host`; tags are given as 0 (no) or 1 (yes). */
export function fillEntry(table: usize, linear: u64, host: u32, read: bool, write: bool, execute: bool, global: bool, large: bool, giant: bool): usize {
  const e = entryOf(table, linear), page = linear & ~0xfff;
  const context = (<u32>table - TLB) / TABLE_BYTES;
  let flags = load<u32>(e, 28);
  if ((flags & LISTED) == 0) {
    const n = load<u32>(TLB_COUNTS + context * 4);
    store<u16>(TLB_FILLED + context * LIST_BYTES + n * 2, <u16>((<u32>e - <u32>table) / TLB_ENTRY_BYTES));
    store<u32>(TLB_COUNTS + context * 4, n + 1);
  }
  flags = LISTED | (global ? GLOBAL : 0) | (large || giant ? LARGE : 0);
  if (large) store<u64>(TLB_LARGE_SEEN, load<u64>(TLB_LARGE_SEEN) | <u64>1 << (u32(linear >> 21) & 63));
  if (giant) store<u32>(TLB_GIANT_SEEN, 1);
  store<u64>(e, read ? page : NONE);
  store<u64>(e, write ? page : NONE, 8);
  store<u64>(e, execute ? page : NONE, 16);
  store<u32>(e, host - <u32>page, 24);
  store<u32>(e, flags, 28);
  return e;
}

/** Drops every translation. */
export function flushTlb(): void {
  store<u32>(COUNTERS, load<u32>(COUNTERS) + 1);
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES, list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(TLB_COUNTS + c * 4);
    for (let i: u32 = 0; i < n; i++) clear(table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES);
    store<u32>(TLB_COUNTS + c * 4, 0);
  }
  store<u64>(TLB_LARGE_SEEN, 0);
  store<u32>(TLB_GIANT_SEEN, 0);
  newJumpGeneration();
}
/** Drops translations not marked global. */
export function flushNonGlobal(): void {
  store<u32>(COUNTERS, load<u32>(COUNTERS) + 1);
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES, list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(TLB_COUNTS + c * 4);
    let kept: u32 = 0;
    for (let i: u32 = 0; i < n; i++) {
      const index = load<u16>(list + i * 2), e = table + <usize>index * TLB_ENTRY_BYTES;
      if (load<u32>(e, 28) & GLOBAL) { store<u16>(list + kept * 2, index); kept++; } else clear(e);
    }
    store<u32>(TLB_COUNTS + c * 4, kept);
  }
  newJumpGeneration();
}
/** Empties an entry but leaves it listed. */
// @ts-ignore: decorator
@inline function disarm(e: usize): void { store<u64>(e, NONE); store<u64>(e, NONE, 8); store<u64>(e, NONE, 16); }

/** Drops what is cached for the page of `linear`, global or not (INVLPG): the whole page if it is a large one. */
export function flushPage(linear: u64): void {
  const page = linear & ~0xfff;
  const everything = load<u32>(TLB_GIANT_SEEN) != 0 || ((load<u64>(TLB_LARGE_SEEN) >> (u32(linear >> 21) & 63)) & 1) != 0;
  for (let c: u32 = 0; c < <u32>TLB_CONTEXTS; c++) {
    const table = TLB + c * TABLE_BYTES;
    if (!everything) {
      const e = entryOf(table, linear);
      if (load<u64>(e) == page || load<u64>(e, 8) == page || load<u64>(e, 16) == page) disarm(e);
      continue;
    }
    const list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(TLB_COUNTS + c * 4);
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
    const table = TLB + c * TABLE_BYTES, list = TLB_FILLED + c * LIST_BYTES, n = load<u32>(TLB_COUNTS + c * 4);
    for (let i: u32 = 0; i < n; i++) {
      const e = table + <usize>load<u16>(list + i * 2) * TLB_ENTRY_BYTES;
      const tag = load<u64>(e, 8);
      if (tag != NONE && <u32>tag + load<u32>(e, 24) == host) store<u64>(e, NONE, 8);
    }
  }
}
