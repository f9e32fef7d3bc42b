/** Which pages of RAM the guest has used last, as far as the processor's caches tell. */
import type { Engine } from './engine.js';
import {
  EPT_CACHE,
  EPT_CACHE_ENTRIES,
  EPT_CONTEXT,
  GUEST_PAGE_LINKS,
  TLB_ENTRY_BYTES,
  TLB_SETS,
  TLB_SET_BYTES,
} from './layout.js';

const PAGE = 4096;
const ENTRY_BYTES = 16;
const LINK_BYTES = 16;
const LINKS = (TLB_SETS * TLB_SET_BYTES) / TLB_ENTRY_BYTES;
const NO_PAGE = 0xffff_ffff;

/**
 * Guest-physical addresses of the pages in the cache of translations through the EPT in force, a thousand at most, which has the guest's paging structures
 * too, and of those that the TLB has entries for.
 */
export function recentPages({ words }: Engine): Set<number> {
  const pages = new Set<number>(),
    context = words[EPT_CONTEXT >>> 2];
  for (let entry = 0; entry < EPT_CACHE_ENTRIES; entry++) {
    const at = (EPT_CACHE + entry * ENTRY_BYTES) >>> 2;
    const number = words[at] % PAGE;
    if (number === context) pages.add(words[at + 1] * 0x1_0000_0000 + words[at] - number);
  }
  for (let link = 0; link < LINKS; link++) {
    const page = words[(GUEST_PAGE_LINKS + link * LINK_BYTES) >>> 2];
    // a set that was never used has zeros
    if (page !== 0 && page !== NO_PAGE) pages.add(page * PAGE);
  }
  return pages;
}
