/** Regions where they are: in the processor's table, made of code in some pages. */
/** Where a region is entered, and the code that it has. */
export interface PlacedRegion {
  /** First record of the block that enters it. */
  readonly record: number;
  readonly host: number;
  readonly mode: number;
  /** The TLB table that it was made for; 0: any. */
  readonly tlb: number;
  /** Where it has code, the page that it is entered in first. */
  readonly pages: readonly CoveredPage[];
}

export interface CoveredPage {
  readonly host: number;
  /** Serial number of the code that was there. */
  readonly serial: number;
  /** First byte and end of each piece of the region's code, in the page. */
  readonly extents: Uint16Array;
}

/** Why there is no region any more: code was written, all decoded code was forgotten, or there were too many. */
export type LostRegion = 'written' | 'emptied' | 'evicted';
