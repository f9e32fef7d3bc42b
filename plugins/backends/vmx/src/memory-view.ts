/** One view of guest memory: an EPT hierarchy, the shadow pages it shows, and what hidden pages are read as. */
import { fail } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import { PageRights } from '@visorkit/machine';
import type { DirtyTracking, Frame, MemoryView } from '@visorkit/machine';
import { EptEntry } from '@visorkit/x86';
import type { EptBuilder, EptMapping, EptTables } from '@visorkit/x86';
import type { GuestMap } from './guest-map.js';
import type { ShadowPages, VmxShadowPage } from './shadow-pages.js';

const PAGE = 4096;
/** Four levels of tables reach so far (SDM 3C 29.3.2). */
const REACH = 2 ** 48;
/** A bit of `lost` of invalidateGuestPage that is not a right: page-table walks through the page must be done anew. */
const WALKS = 8;
/** More pages than this are cheaper to invalidate all together. */
const SINGLY = 1024;

const hex = (value: number): string => `0x${value.toString(16)}`;

/** What views share. */
export interface ViewSurroundings {
  readonly engine: Engine;
  readonly map: GuestMap;
  readonly shadows: ShadowPages;
  readonly tracking: DirtyTracking;
  /** Empties the processors' logs of written pages into the views' lists. */
  collectWritten(): void;
  /** Something is shown or allowed that was not, or is not any more. */
  changed(): void;
}

export interface ViewState {
  index: number;
  ept: EptTables;
  /** [gpa / 4096, 4096 bytes] of hidden pages. */
  decoys: [number, Uint8Array][];
  /** [gpa / 4096, id of the shadow page there]. */
  shadows: [number, number][];
  /** gpa / 4096 of pages that the processors' logs have named since the last harvest. */
  written: number[];
}

export class VmxMemoryView implements MemoryView {
  destroyed = false;
  /** What hidden pages are read as, by page number; the arrays are never changed. */
  readonly decoys = new Map<number, Uint8Array>();
  readonly #shadows = new Map<number, VmxShadowPage>();
  /** Pages that the log has named, by number. */
  readonly written = new Set<number>();

  constructor(
    readonly index: number,
    public ept: EptBuilder,
    private readonly around: ViewSurroundings,
  ) {}

  rights(gpa: number): number {
    return this.#find(gpa)?.rights ?? PageRights.NONE;
  }

  frame(gpa: number): Frame | undefined {
    const found = this.#find(gpa);
    if (found === undefined) return undefined;
    const hpa = pageOf(found.hpa);
    return this.around.shadows.at(hpa) ?? this.around.map.gpaOf(hpa);
  }

  protect(gpa: number, rights: number): void {
    if ((rights & ~PageRights.RWX) !== 0 || !Number.isInteger(rights) || (rights & PageRights.RW) === PageRights.WRITE)
      fail('VIEW_RIGHTS', `Rights are a sum of read 1, write 2 and execute 4, and write needs read; got ${rights}.`, {
        rights,
      });
    this.#change(gpa, this.#mapped(gpa), rights);
    if ((rights & PageRights.READ) !== 0) this.decoys.delete(pageNumber(gpa));
  }

  remap(gpa: number, to: Frame): void {
    const found = this.#mapped(gpa);
    if (typeof to === 'number') {
      const range = validGpa(to) ? this.around.map.at(to) : undefined;
      if (range === undefined)
        return fail(
          'VIEW_FRAME',
          `The page at ${hex(gpa)} cannot show ${hex(to)}: there is neither RAM nor read-only memory.`,
          { gpa, to },
        );
      this.#change(gpa, found, found.rights, range.hpa + pageOf(to) - range.gpa);
      this.#show(gpa, undefined);
    } else {
      const page = this.around.shadows.own(to);
      this.#change(gpa, found, found.rights, page.address);
      this.#show(gpa, page);
    }
  }

  hide(gpa: number, decoy: Uint8Array): void {
    if (decoy.length !== PAGE)
      fail('VIEW_DECOY_SIZE', `A decoy is a whole page of ${PAGE} bytes, not ${decoy.length}.`, {
        length: decoy.length,
      });
    this.#change(gpa, this.#mapped(gpa), PageRights.EXECUTE);
    this.decoys.set(pageNumber(gpa), new Uint8Array(decoy)); // not slice: that of a Buffer is no copy
  }

  restore(gpa: number): void {
    const found = this.#mapped(gpa),
      own = this.around.map.at(gpa)!;
    this.#change(gpa, found, own.rights, own.hpa + pageOf(gpa) - own.gpa);
    this.ept.suppressVe(gpa, true);
    this.#show(gpa, undefined);
    this.decoys.delete(pageNumber(gpa));
  }

  suppressVe(gpa: number, suppress: boolean): void {
    this.#mapped(gpa);
    this.ept.suppressVe(gpa, suppress); // only looked at when a violation comes
  }

  dirtyPages(): number[] {
    this.#alive();
    const { tracking, engine } = this.around,
      pages: number[] = [];
    if (tracking === 'off')
      fail('DIRTY_LOG_OFF', 'Written pages are not being tracked: call trackDirty first, with "flags" or "log".');
    if (tracking === 'log') {
      this.around.collectWritten();
      for (const page of this.written) if (this.ept.takeFlags(page * PAGE, EptEntry.DIRTY)) pages.push(page * PAGE);
      this.written.clear();
      pages.sort((a, b) => a - b);
    } else this.ept.harvest(EptEntry.DIRTY, (gpa) => pages.push(gpa));
    if (pages.length > 0) this.around.changed();
    if (pages.length > SINGLY) engine.flushTranslations();
    else for (const gpa of pages) engine.exports.invalidateGuestPage(gpa / PAGE, 0, PageRights.WRITE);
    return pages;
  }

  /** The page counts as written. */
  noteWrite(gpa: number): void {
    this.ept.setFlags(gpa, EptEntry.DIRTY);
    this.written.add(pageNumber(gpa));
  }

  /** Nothing counts as written. The caller flushes. */
  forgetWritten(): void {
    this.around.changed();
    this.written.clear();
    this.ept.harvest(EptEntry.DIRTY, () => {});
  }

  /** Copies what `other` shows, but not its tables. */
  copyFrom(other: VmxMemoryView): void {
    for (const [page, decoy] of other.decoys) this.decoys.set(page, decoy);
    for (const [page, shadow] of other.#shadows) this.#show(page * PAGE, shadow);
  }

  /** Gives back what it holds. */
  dispose(): void {
    for (const page of [...this.#shadows.keys()]) this.#show(page * PAGE, undefined);
    this.decoys.clear();
    this.written.clear();
    this.ept.dispose();
    this.destroyed = true;
  }

  save(): ViewState {
    return {
      index: this.index,
      ept: this.ept.save(),
      decoys: [...this.decoys],
      shadows: [...this.#shadows].map(([page, { id }]) => [page, id]),
      written: [...this.written],
    };
  }

  /** Takes up saved tables, which are in memory already; the shadow pages are, too. */
  restoreState(
    { decoys, shadows, written }: ViewState,
    ept: EptBuilder,
    pages: ReadonlyMap<number, VmxShadowPage>,
  ): void {
    this.ept = ept;
    this.decoys.clear();
    for (const [page, decoy] of decoys) this.decoys.set(page, new Uint8Array(decoy));
    this.#shadows.clear();
    for (const [page, id] of shadows) this.#show(page * PAGE, pages.get(id));
    this.written.clear();
    for (const page of written) this.written.add(page);
  }

  #alive(): void {
    if (this.destroyed) fail('VIEW_DESTROYED', `View ${this.index} was destroyed.`, { index: this.index });
  }

  #find(gpa: number): EptMapping | undefined {
    this.#alive();
    return validGpa(gpa) ? this.ept.find(gpa) : undefined;
  }

  #mapped(gpa: number): EptMapping {
    return (
      this.#find(gpa) ??
      fail('VIEW_UNMAPPED', `Guest-physical ${hex(gpa)} is not mapped: it is neither RAM nor read-only memory.`, {
        gpa,
      })
    );
  }

  /** Writes the page's entry, and has the processor forget what it no longer says. */
  #change(gpa: number, found: EptMapping, rights: number, hpa?: number): void {
    const frame = pageOf(found.hpa);
    this.around.changed();
    this.ept.protect(gpa, rights, hpa);
    const moved = hpa !== undefined && hpa !== frame,
      lost = moved ? found.rights : found.rights & ~rights;
    if (lost === 0) return;
    // with dirty flags, walks write into paging structures (29.3.5)
    const needed = this.around.tracking === 'off' ? PageRights.READ : PageRights.RW;
    const walks = moved || (lost & needed) !== 0 ? WALKS : 0;
    this.around.engine.exports.invalidateGuestPage(pageNumber(gpa), frame, lost | walks);
  }

  /** Notes that the page shows a shadow page, or none. */
  #show(gpa: number, shadow: VmxShadowPage | undefined): void {
    const page = pageNumber(gpa),
      before = this.#shadows.get(page);
    if (before !== undefined) before.uses--;
    if (shadow === undefined) this.#shadows.delete(page);
    else {
      shadow.uses++;
      this.#shadows.set(page, shadow);
    }
  }
}

function validGpa(gpa: number): boolean {
  return Number.isSafeInteger(gpa) && gpa >= 0 && gpa < REACH;
}
function pageOf(address: number): number {
  return address - (address % PAGE);
}
function pageNumber(gpa: number): number {
  return Math.floor(gpa / PAGE);
}
