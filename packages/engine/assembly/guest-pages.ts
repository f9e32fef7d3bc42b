import { PAGE_BLOCKS } from "../src/layout";
import { dropEptPage, flushEptCache, takeStructure } from "./ept";
import { flushAll, forgetJumps, withdrawGuestPage } from "./tlb";
/** What the hypervisor calls after it has changed EPT entries (INVEPT, SDM 3C 29.4.3.3), for one page or for all. */

const EXECUTE: u32 = 4;
/** Translations that were made through the page, as one that holds paging structures, are void too. */
const STRUCTURE: u32 = 8;

/**
 * One guest-physical page (its number: gpa / 4096) has lost rights, or lies in another frame now. `lost`: read 1, write 2 (or its dirty flag
 * was cleared), execute 4, 8 see STRUCTURE. `frame` is the host page it lay in. Rights that a page has gained need no call: what is not
 * cached as allowed is looked up.
 */
export function invalidateGuestPage(page: u32, frame: u32, lost: u32): void {
  dropEptPage(page);
  withdrawGuestPage(page, lost);
  // from now on blocks of the page are found only through its translation: not by links from other pages, nor by the jump cache
  if ((lost & EXECUTE) != 0 && load<u32>(PAGE_BLOCKS + ((frame >>> 12) << 2)) != 0) forgetJumps();
  if ((lost & STRUCTURE) != 0 && takeStructure(page)) flushAll();
}

/** Everything that was derived from EPT entries. */
export function invalidateGuestPages(): void {
  flushEptCache(0);
  flushAll();
}
