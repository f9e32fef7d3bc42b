/**
 * Views of guest memory: what introspection is built on. A view says for each guest-physical page what may be done with it and which bytes are
 * there. The guest runs in one of them, each vCPU in one of its own if need be; changes hold from the next access on, whatever the guest
 * has done with the page before. An access that the view does not allow is the exit `ept-violation` (SDM 3C 29.3.3.2).
 *
 * Only backends with the capability `ept.views` provide them; a plugin asks with `uses: { views: MemoryViewsToken }`.
 * Addresses are guest-physical (gpa), in bytes; one that is not a page's first means the page that it lies in. Pages have 4096 bytes.
 */
import { token } from '@visorkit/core';
import type { Token, Vcpu } from '@visorkit/core';

/** Rights of a page: a sum of READ, WRITE and EXECUTE. Who may write must be able to read (SDM 3C 29.3.3.1): 2 and 6 are refused. */
export const PageRights = { NONE: 0, READ: 1, WRITE: 2, EXECUTE: 4, RW: 3, RX: 5, RWX: 7 } as const;

/** A page outside the guest's memory that views can show in the place of any of its pages. */
export interface ShadowPage {
  /** Stays the same in a saved VM. */
  readonly id: number;
  /** A copy of `length` bytes from `offset`: all 4096 unless given. Throws `SHADOW_PAGE_RANGE`. */
  read(offset?: number, length?: number): Uint8Array;
  /** Puts bytes there; a guest that runs code of the page runs the new one. Throws `SHADOW_PAGE_RANGE`. */
  write(bytes: Uint8Array, offset?: number): void;
}

/** What a page shows: the machine's own page at this guest-physical address, or a shadow page. */
export type Frame = number | ShadowPage;

/**
 * How written pages are found: by the dirty flags of the tables (SDM 3C 29.3.5; a harvest looks at all that may be written), or by a log that the
 * processor keeps (page-modification logging, 29.3.6; a harvest looks at what was written). Both give the same pages.
 */
export type DirtyTracking = 'off' | 'flags' | 'log';

/** One view. All its methods throw `VIEW_DESTROYED` after `destroy`, and `VIEW_UNMAPPED` where there is neither RAM nor read-only memory. */
export interface MemoryView {
  /** Its place in the list that VMFUNC selects from: 0 to 511, the base view has 0. */
  readonly index: number;
  readonly destroyed: boolean;
  /** What the guest may do with the page; 0 too where nothing is mapped. */
  rights(gpa: number): number;
  /** What the page shows; undefined where nothing is mapped. */
  frame(gpa: number): Frame | undefined;
  /** Gives the page these rights. A decoy goes when they include reading. Throws `VIEW_RIGHTS`. */
  protect(gpa: number, rights: number): void;
  /**
   * Shows other bytes at `gpa`, for every kind of access: the machine's page at `to`, or a shadow page. Rights stay (Xen's altp2m calls this
   * change_gfn). Throws `VIEW_FRAME` where `to` is neither.
   */
  remap(gpa: number, to: Frame): void;
  /**
   * Lets the page run as it is (execute-only), but be read as `decoy`, 4096 bytes that are copied; no exit is seen. A write is an
   * `ept-violation`. Throws `VIEW_DECOY_SIZE`.
   */
  hide(gpa: number, decoy: Uint8Array): void;
  /** Gives the page its own bytes and rights back, as in a machine without introspection. */
  restore(gpa: number): void;
  /** Whether violations on the page exit even when `ept-violation-ve` is on (as at first), or raise #VE (bit 63 of the EPT entry, SDM 3C 26.5.7.1). */
  suppressVe(gpa: number, suppress: boolean): void;
  /**
   * Pages that the guest has written in this view since the last call, or since `trackDirty`, in ascending order. Its page tables are among
   * them: walks count as writes (29.3.5). Writes of devices and handlers are not: `GuestMemory.onWrite` reports those. Throws `DIRTY_LOG_OFF`.
   */
  dirtyPages(): number[];
}

/** All views of a VM. */
export interface MemoryViews {
  /** The view that all vCPUs begin in. */
  readonly base: MemoryView;
  /** All existing views, by index. */
  readonly all: readonly MemoryView[];
  /** All existing shadow pages, by id. */
  readonly pages: readonly ShadowPage[];
  /** A new view, equal to `from` (the base view unless given) as it is now: rights, frames, decoys. Throws `VIEWS_FULL` beyond 512. */
  create(from?: MemoryView): MemoryView;
  /** Gives a view's memory back. Throws `VIEW_IN_USE` for the base view and for one that a vCPU is in. */
  destroy(view: MemoryView): void;
  /** Puts a vCPU, or all of them, into a view, from its next entry on. */
  use(view: MemoryView, vcpu?: Pick<Vcpu, 'index'>): void;
  /** The view that a vCPU is in; VMFUNC in the guest may have changed it. The base view if a plugin has given the vCPU EPT tables of its own. */
  current(vcpu: Pick<Vcpu, 'index'>): MemoryView;
  /** A shadow page with the bytes of the machine's page at `from`, or with zeroes. Throws `HYPERVISOR_MEMORY_FULL`. */
  allocatePage(from?: number): ShadowPage;
  /** Gives a shadow page back. Throws `SHADOW_PAGE_IN_USE` while a view shows it. */
  releasePage(page: ShadowPage): void;
  /** Lets the guest change views by VMFUNC (EAX = 0, ECX = index; SDM 3C 26.5.6.3). Needs the control `enable-vm-functions` allowed. */
  allowVmfunc(): void;
  /** Starts, changes or ends the tracking of written pages, in all views; at first no page counts as written. Large pages are split for it. */
  trackDirty(how: DirtyTracking): void;
}

/** Only on backends with the capability `ept.views`. */
export const MemoryViewsToken: Token<MemoryViews> = token('memory-views');
