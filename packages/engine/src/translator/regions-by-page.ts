/** Which regions have code in a page. */
import type { PlacedRegion } from './translator.js';

export class RegionsByPage {
  /** By host address of the page. */
  private readonly pages = new Map<number, Set<PlacedRegion>>();

  add(region: PlacedRegion): void {
    for (const { host } of region.pages) {
      const list = this.pages.get(host);
      if (list === undefined) this.pages.set(host, new Set([region]));
      else list.add(region);
    }
  }
  remove(region: PlacedRegion): void {
    for (const { host } of region.pages) {
      const others = this.pages.get(host)!;
      others.delete(region);
      if (others.size === 0) this.pages.delete(host);
    }
  }
  /** Whether one of a mode has the code at an offset of a page. */
  have(page: number, offset: number, mode: number): boolean {
    for (const region of this.pages.get(page) ?? []) {
      if (region.mode !== mode) continue;
      for (const { host, extents } of region.pages) {
        if (host !== page) continue;
        for (let n = 0; n < extents.length; n += 2) if (offset >= extents[n]! && offset < extents[n + 1]!) return true;
      }
    }
    return false;
  }
}
