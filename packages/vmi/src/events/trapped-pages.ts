/**
 * The pages of views that something is trapped on, by those who watch accesses and by breakpoints: which rights are left to each, and what it shows.
 * A page that nobody traps any more has its rights back.
 */
import { fail } from '@visorkit/core';
import type { GuestMemory, Undo } from '@visorkit/core';
import { PageRights } from '@visorkit/machine';
import type { MemoryView, MemoryViews, ShadowPage } from '@visorkit/machine';
import { once, placed } from './subscribers.js';

export const PAGE = 4096;
const INT3 = Uint8Array.of(0xcc);

/** Somebody who takes rights away from pages. */
export interface Trap {
  readonly order: number;
  /** The rights that the guest must not have on a page (its number), a sum of PageRights. */
  taken(page: number): number;
}

/** A page with traps. */
export interface TrappedPage<T extends Trap = Trap> {
  /** Its rights without traps. */
  before: number;
  /** In their order; never changed, only replaced. */
  traps: readonly T[];
  /** Offsets of breakpoints, and how many there are at each; the page shows `shadow` then. */
  readonly breakpoints: Map<number, number>;
  shadow: ShadowPage | undefined;
}

/** The traps of one view. */
export class TrappedView<T extends Trap> {
  readonly pages = new Map<number, TrappedPage<T>>();

  constructor(
    readonly view: MemoryView,
    private readonly views: MemoryViews,
    private readonly memory: GuestMemory,
  ) {}

  /** Adds a trap to pages, by their numbers. */
  add(trap: T, pages: Iterable<number>): Undo {
    const trapped = [...pages];
    // Pages that had the same list get the same list: one for a whole range
    const lists = new Map<readonly T[], readonly T[]>();
    const done: number[] = [];
    const undo = once(() => {
      const without = new Map<readonly T[], readonly T[]>();
      for (const page of done) {
        const state = this.pages.get(page);
        if (state === undefined) continue;
        let list = without.get(state.traps);
        if (list === undefined) without.set(state.traps, (list = state.traps.filter((other) => other !== trap)));
        state.traps = list;
        this.update(page, state);
      }
    });
    try {
      for (const page of trapped) {
        const state = this.#page(page);
        let list = lists.get(state.traps);
        if (list === undefined) lists.set(state.traps, (list = placed(state.traps, trap)));
        state.traps = list;
        done.push(page);
        this.update(page, state);
      }
    } catch (error) {
      undo();
      throw error;
    }
    return undo;
  }

  /** Puts a breakpoint at a guest-physical address. Throws `VMI_BREAKPOINT_PAGE` on a page that shows another one. */
  addBreakpoint(gpa: number): Undo {
    const page = Math.floor(gpa / PAGE),
      offset = gpa % PAGE;
    const known = this.pages.get(page);
    if (known?.shadow === undefined && this.view.frame(gpa) !== page * PAGE)
      fail(
        'VMI_BREAKPOINT_PAGE',
        `A breakpoint at guest-physical 0x${gpa.toString(16)} is not possible in view ${this.view.index}: it does not show the machine's own page there.`,
        { gpa },
      );
    const state = known ?? this.#page(page);
    const { breakpoints } = state;
    breakpoints.set(offset, (breakpoints.get(offset) ?? 0) + 1);
    if (state.shadow === undefined) this.#show(page, state);
    else state.shadow.write(INT3, offset);
    this.update(page, state);
    return once(() => {
      const left = (breakpoints.get(offset) ?? 1) - 1;
      if (left > 0) {
        breakpoints.set(offset, left);
        return;
      }
      breakpoints.delete(offset);
      if (breakpoints.size > 0) this.refresh(page);
      this.update(page, state);
    });
  }

  /** The bytes of the machine's page have changed: the shadow page shows them too, but for the breakpoints. */
  refresh(page: number): void {
    const state = this.pages.get(page);
    if (state?.shadow === undefined) return;
    if (!this.memory.contains(page * PAGE, PAGE)) {
      // Read-only memory outside of RAM
      this.#hideShadow(page, state);
      this.#show(page, state);
      return;
    }
    const bytes = this.memory.read(page * PAGE, PAGE);
    for (const offset of state.breakpoints.keys()) bytes[offset] = INT3[0];
    state.shadow.write(bytes);
  }

  /** Gives the page the rights that its traps leave it, and its own bytes without breakpoints. */
  update(page: number, state: TrappedPage<T>): void {
    if (this.view.destroyed) {
      this.pages.delete(page);
      return;
    }
    const { traps, before, breakpoints } = state;
    if (breakpoints.size === 0 && state.shadow !== undefined) this.#hideShadow(page, state);
    let taken = breakpoints.size > 0 ? PageRights.RW : 0;
    for (let i = 0; i < traps.length; i++) taken |= traps[i].taken(page);
    if ((taken & PageRights.READ) !== 0) taken |= PageRights.WRITE; // who may write must be able to read
    const rights = before & ~taken;
    if (this.view.rights(page * PAGE) !== rights) this.view.protect(page * PAGE, rights);
    if (traps.length === 0 && breakpoints.size === 0) this.pages.delete(page);
  }

  /** Takes all traps out of the view, and remembers them. */
  suspend(): void {
    if (this.view.destroyed) return;
    for (const [page, state] of this.pages) {
      if (state.shadow !== undefined) this.#hideShadow(page, state);
      this.view.protect(page * PAGE, state.before);
    }
  }

  /** Puts the traps into the view as it is now. */
  resume(): void {
    if (this.view.destroyed) {
      this.pages.clear();
      return;
    }
    for (const [page, state] of this.pages) {
      state.before = this.view.rights(page * PAGE);
      state.shadow = undefined;
      if (state.breakpoints.size > 0) this.#show(page, state);
      this.update(page, state);
    }
  }

  #page(page: number): TrappedPage<T> {
    let state = this.pages.get(page);
    if (state !== undefined) return state;
    const gpa = page * PAGE;
    if (this.view.frame(gpa) === undefined)
      fail(
        'VIEW_UNMAPPED',
        `Guest-physical 0x${gpa.toString(16)} is not mapped: it is neither RAM nor read-only memory.`,
        { gpa },
      );
    state = { before: this.view.rights(gpa), traps: [], breakpoints: new Map(), shadow: undefined };
    this.pages.set(page, state);
    return state;
  }

  #show(page: number, state: TrappedPage<T>): void {
    state.shadow = this.views.allocatePage(page * PAGE);
    for (const offset of state.breakpoints.keys()) state.shadow.write(INT3, offset);
    this.view.remap(page * PAGE, state.shadow);
  }

  #hideShadow(page: number, state: TrappedPage<T>): void {
    this.view.remap(page * PAGE, page * PAGE);
    this.views.releasePage(state.shadow!);
    state.shadow = undefined;
  }
}
