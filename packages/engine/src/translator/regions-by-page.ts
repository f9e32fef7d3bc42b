/** Which regions have code in a page. */
import type { PlacedRegion } from './placed-region.js';

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
  /** Those of a mode that have the code at an offset of a page. */
  having(page: number, offset: number, mode: number): PlacedRegion[] {
    return [...(this.pages.get(page) ?? [])].filter((region) => region.mode === mode && has(region, page, offset));
  }
}

function has({ pages }: PlacedRegion, page: number, offset: number): boolean {
  for (const { host, extents } of pages) {
    if (host !== page) continue;
    for (let n = 0; n < extents.length; n += 2) if (offset >= extents[n]! && offset < extents[n + 1]!) return true;
  }
  return false;
}
