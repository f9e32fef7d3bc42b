/** Which pages of RAM the guest has used last, as far as a cache of the processor tells. */
import type { Engine } from './engine.js';
import { EPT_CACHE, EPT_CACHE_ENTRIES } from './layout.js';

const PAGE = 4096;
const ENTRY_BYTES = 16;

/** Guest-physical addresses of the pages in the cache of EPT translations, a thousand at most. */
export function recentPages({ words }: Engine): Set<number> {
  const pages = new Set<number>();
  for (let entry = 0; entry < EPT_CACHE_ENTRIES; entry++) {
    const at = (EPT_CACHE + entry * ENTRY_BYTES) >>> 2;
    if (words[at] % PAGE === 0) pages.add(words[at + 1] * 0x1_0000_0000 + words[at]);
  }
  return pages;
}
