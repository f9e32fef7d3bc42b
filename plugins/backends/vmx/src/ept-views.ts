/**
 * Views of guest memory: EPT hierarchies that differ in rights, or in what a page shows. What introspection plugins build on.
 *
 * The base view maps all of RAM with all rights. A view made from it starts equal. Rights are changed page by page; an access
 * that the current view does not allow is exit 48, whose qualification says what was tried.
 */
import { fail, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { Engine, MmioLog, ProcessorBanks } from '@visorkit/engine';
import { EptRights, VmcsField, eptPointer } from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';
import type { GuestMap } from './guest-map.js';

const PAGE = 4096;
const LIST_ENTRIES = 512;

/** One hierarchy. */
export interface EptView {
  /** Its place in the list that VMFUNC selects from. */
  readonly index: number;
  /** Rights (EptRights: READ 1, WRITE 2, EXECUTE 4) of the 4 KiB page that holds `gpa`. */
  protectPage(gpa: number, rights: number): void;
  /** Rights that the view gives at `gpa`; 0 where nothing is mapped. */
  rights(gpa: number): number;
  /**
   * Lets the page at `gpa` execute as it is but read as `decoy` (4096 bytes): execute-only, with reads answered from the decoy
   * without an exit. Writes are exit 48.
   */
  hidePage(gpa: number, decoy: Uint8Array): void;
  /** Full rights again, and the page's own bytes. */
  restorePage(gpa: number): void;
  /** Calls back for each page written since the last call (EPT dirty flags), and clears the flags. Needs `trackDirty(true)`. */
  dirtyPages(page: (gpa: number, size: number) => void): void;
}

class View implements EptView {
  /** Bytes shown instead of a page's own, by page number. */
  readonly decoys = new Map<number, Uint8Array>();

  constructor(
    readonly index: number,
    readonly ept: EptBuilder,
    private readonly changed: () => void,
  ) {}

  protectPage(gpa: number, rights: number): void {
    if ((rights & ~7) !== 0 || (rights & 3) === EptRights.WRITE) {
      fail(
        'EPT_RIGHTS',
        `EPT rights are a sum of read 1, write 2 and execute 4, and write needs read; got ${rights}.`,
        { rights },
      );
    }
    if (this.ept.find(gpa) === undefined)
      fail(
        'EPT_UNMAPPED',
        `Guest-physical 0x${gpa.toString(16)} is not mapped: it is neither RAM nor read-only memory.`,
        { gpa },
      );
    this.ept.protect(gpa, rights);
    this.changed();
  }

  rights(gpa: number): number {
    return this.ept.find(gpa)?.rights ?? 0;
  }

  hidePage(gpa: number, decoy: Uint8Array): void {
    if (decoy.length !== PAGE)
      fail('EPT_DECOY_SIZE', `A decoy is a whole page of ${PAGE} bytes, not ${decoy.length}.`, {
        length: decoy.length,
      });
    this.protectPage(gpa, EptRights.EXECUTE);
    this.decoys.set(Math.floor(gpa / PAGE), decoy.slice());
  }

  restorePage(gpa: number): void {
    this.decoys.delete(Math.floor(gpa / PAGE));
    this.protectPage(gpa, EptRights.RWX);
  }

  dirtyPages(page: (gpa: number, size: number) => void): void {
    this.ept.harvest(1 << 9, page);
    this.changed();
  }
}

export class EptViews {
  readonly base: EptView;
  readonly #views: View[] = [];
  #current: View;
  #list = 0;
  #trackDirty = false;

  private readonly engine: Engine;

  constructor(
    private readonly banks: ProcessorBanks,
    private readonly map: GuestMap,
  ) {
    this.engine = banks.engine;
    this.#current = this.#add(map.ept);
    this.base = this.#current;
  }

  /** The view the guest runs under. VMFUNC in the guest may have changed it. */
  get current(): EptView {
    const pointer = this.engine.vmcs.read64(VmcsField.EPT_POINTER) & ~0xfffn;
    return this.#views.find(({ ept }) => BigInt(ept.root) === pointer) ?? this.#current;
  }

  /** A new view, equal to the base view as it is now. */
  create(): EptView {
    if (this.#views.length === LIST_ENTRIES)
      fail('EPT_VIEWS_FULL', `There are ${LIST_ENTRIES} EPT views already, which is all that VMFUNC can select from.`);
    const view = this.#add(this.map.ept.clone());
    if (this.#list !== 0) this.#fillList();
    return view;
  }

  /** Makes a view the one the guest runs under from the next entry on. */
  use(view: EptView): void {
    this.#current = this.#views[view.index];
    this.banks.forAll(({ vmcs }) => vmcs.write64(VmcsField.EPT_POINTER, this.#pointer(this.#current)));
  }

  /** Short for `current.protectPage`. */
  protectPage(gpa: number, rights: number): void {
    this.current.protectPage(gpa, rights);
  }

  /** Lets the guest switch views itself with VMFUNC (EAX = 0, ECX = index). Needs the control `enable-vm-functions`. */
  allowVmfunc(): void {
    this.#list ||= this.engine.pages.allocatePage();
    this.#fillList();
    this.banks.forAll(({ vmcs }) => {
      vmcs.write64(VmcsField.EPTP_LIST_ADDRESS, BigInt(this.#list));
      vmcs.write64(VmcsField.VM_FUNCTION_CONTROLS, 1n);
      vmcs.write32(VmcsField.SECONDARY_CONTROLS, (vmcs.read32(VmcsField.SECONDARY_CONTROLS) | (1 << 13)) >>> 0);
    });
  }

  /** EPT accessed and dirty flags on or off, in all views. */
  trackDirty(on: boolean): void {
    this.#trackDirty = on;
    this.use(this.current);
    if (this.#list !== 0) this.#fillList();
  }

  /** A read that the current view hides: answers it into the log. False when the page is not hidden. */
  answerRead(log: MmioLog): boolean {
    const view = this.#current;
    if (view.decoys.size === 0) return false;
    const decoy = view.decoys.get(log.page);
    if (decoy === undefined) return false;
    const offset = log.gpa % PAGE;
    for (let i = 0; i < log.size; i++) log.setData(i, 1, decoy[offset + i]);
    log.complete();
    return true;
  }

  #pointer(view: View): bigint {
    return eptPointer(view.ept.root, 6, this.#trackDirty);
  }

  #fillList(): void {
    for (const view of this.#views) this.engine.longs[(this.#list >>> 3) + view.index] = this.#pointer(view);
  }

  #add(ept: EptBuilder): View {
    const view = new View(this.#views.length, ept, () => this.engine.flushTranslations());
    this.#views.push(view);
    return view;
  }
}

/** Views of guest memory; only on the vmx backend (capability `ept.views`). */
export const EptViewsToken: Token<EptViews> = token('ept-views');
