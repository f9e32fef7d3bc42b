/** Which pages of RAM the guest has used last, as far as a cache of the processor tells. */
import type { Engine } from './engine.js';
import { EPT_CACHE, EPT_CACHE_ENTRIES, EPT_CONTEXT } from './layout.js';

const PAGE = 4096;
const ENTRY_BYTES = 16;

/** Guest-physical addresses of the pages in the cache of translations through the EPT in force, a thousand at most. */
export function recentPages({ words }: Engine): Set<number> {
  const pages = new Set<number>(),
    context = words[EPT_CONTEXT >>> 2];
  for (let entry = 0; entry < EPT_CACHE_ENTRIES; entry++) {
    const at = (EPT_CACHE + entry * ENTRY_BYTES) >>> 2;
    const number = words[at] % PAGE;
    if (number === context) pages.add(words[at + 1] * 0x1_0000_0000 + words[at] - number);
  }
  return pages;
}
