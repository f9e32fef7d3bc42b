/** Views of guest memory as EPT hierarchies: the vmx backend's side of MemoryViews. */
import { fail } from '@visorkit/core';
import type { Vcpu } from '@visorkit/core';
import * as vmcsLayout from '@visorkit/engine/vmcs-layout';
import type { Engine, MmioLog, ProcessorBanks } from '@visorkit/engine';
import type { DirtyTracking, MemoryView, MemoryViews, ShadowPage } from '@visorkit/machine';
import { EptBuilder, EptMemoryType, VmcsField, controlBits, eptPointer } from '@visorkit/x86';
import type { EptMapping, EptTables } from '@visorkit/x86';
import type { GuestMap, MappedRange } from './guest-map.js';
import type { OwnVmcs } from './own-vmcs.js';
import { VmxMemoryView } from './memory-view.js';
import type { ViewState, ViewSurroundings } from './memory-view.js';
import { ShadowPages } from './shadow-pages.js';
import type { ShadowPagesState } from './shadow-pages.js';
import { WrittenLog } from './written-log.js';

const PAGE = 4096;
/** Four levels of tables reach so far. */
const REACH = 2 ** 48;
/** What VMFUNC can select from (SDM 3C 26.5.6.3). */
const LIST_ENTRIES = 512;
const EPT_SWITCHING = 1n;
const VM_FUNCTIONS = controlBits('secondary', ['enable-vm-functions']);
const PML = controlBits('secondary', ['enable-pml']);
const NO_VIEW = -1;
const POINTER = vmcsLayout.V_EPTP >>> 2;

/**
 * All there is to know about the views of a VM, as plain data. Addresses are those of the hypervisor's memory: the engine's state, which holds it,
 * is restored first.
 */
export interface MemoryViewsState {
  memory: number;
  roms: MappedRange[];
  shadows: ShadowPagesState;
  views: ViewState[];
  /** The index of the view that each vCPU is in; -1 where it has tables of a plugin. */
  current: number[];
  tracking: DirtyTracking;
  logs: number[];
  /** The list that VMFUNC selects from; 0 none. */
  list: number;
}

export class VmxMemoryViews implements MemoryViews, ViewSurroundings {
  readonly base: VmxMemoryView;
  readonly engine: Engine;
  readonly shadows: ShadowPages;
  tracking: DirtyTracking = 'off';
  /** Grows with each change of what views show or allow. */
  changes = 0;
  /** By index; with gaps where views were destroyed. */
  readonly #views: (VmxMemoryView | undefined)[] = [];
  readonly #byRoot = new Map<number, VmxMemoryView>();
  readonly #log: WrittenLog;
  #list = 0;

  constructor(
    private readonly banks: ProcessorBanks,
    readonly map: GuestMap,
    private readonly own: OwnVmcs,
  ) {
    this.engine = banks.engine;
    this.shadows = new ShadowPages(this.engine);
    this.#log = new WrittenLog(banks, own);
    const ept = this.#builder();
    for (const { gpa, hpa, size, rights } of map.ram) ept.map(gpa, hpa, size, { rights });
    this.base = this.#add(0, ept);
    this.use(this.base);
  }

  get all(): readonly VmxMemoryView[] {
    return this.#views.filter((view) => view !== undefined);
  }

  get pages(): readonly ShadowPage[] {
    return this.shadows.all;
  }

  create(from: MemoryView = this.base): VmxMemoryView {
    const source = this.#own(from);
    let index = 0;
    while (this.#views[index] !== undefined) index++;
    if (index === LIST_ENTRIES)
      fail('VIEWS_FULL', `There are ${LIST_ENTRIES} views already, which is all that VMFUNC can select from.`);
    const view = this.#add(index, source.ept.clone());
    view.copyFrom(source);
    if (this.tracking !== 'off') view.forgetWritten();
    this.#fillList();
    return view;
  }

  destroy(view: MemoryView): void {
    const own = this.#own(view);
    if (own === this.base)
      fail('VIEW_IN_USE', 'The base view cannot be destroyed: it exists as long as the VM does.', { index: 0 });
    for (let index = 0; index < this.banks.count; index++) {
      if (this.#viewOf(index) === own)
        fail('VIEW_IN_USE', `vCPU ${index} is in view ${own.index}: put it into another one first.`, {
          index: own.index,
          vcpu: index,
        });
    }
    if (this.tracking === 'log') this.collectWritten();
    this.#remove(own);
    own.dispose();
    this.#fillList();
    this.engine.flushTranslations();
  }

  use(view: MemoryView, vcpu?: Pick<Vcpu, 'index'>): void {
    const own = this.#own(view);
    if (vcpu !== undefined) this.#enter(own, this.#index(vcpu));
    else for (let index = 0; index < this.banks.count; index++) this.#enter(own, index);
  }

  current(vcpu: Pick<Vcpu, 'index'>): VmxMemoryView {
    return this.#viewOf(this.#index(vcpu)) ?? this.base;
  }

  allocatePage(from?: number): ShadowPage {
    const range = from === undefined ? undefined : this.map.at(from);
    if (from !== undefined && range === undefined)
      fail(
        'VIEW_UNMAPPED',
        `Guest-physical 0x${from.toString(16)} is not mapped: it is neither RAM nor read-only memory.`,
        {
          gpa: from,
        },
      );
    const page = this.shadows.allocate();
    if (range !== undefined) {
      const frame = range.hpa + Math.floor((from! - range.gpa) / PAGE) * PAGE;
      this.engine.memory.bring(frame, PAGE);
      this.engine.bytes.copyWithin(page.address, frame, frame + PAGE);
    }
    return page;
  }

  releasePage(page: ShadowPage): void {
    this.shadows.release(page);
  }

  allowVmfunc(): void {
    this.#list ||= this.engine.pages.allocatePage();
    this.#fillList();
    for (let index = 0; index < this.banks.count; index++) {
      const vmcs = this.own.of(index),
        secondary = vmcs.read32(VmcsField.SECONDARY_CONTROLS);
      vmcs.write64(VmcsField.EPTP_LIST_ADDRESS, BigInt(this.#list));
      vmcs.write64(VmcsField.VM_FUNCTION_CONTROLS, EPT_SWITCHING);
      vmcs.write32(VmcsField.SECONDARY_CONTROLS, (secondary | controlBits('secondary', ['enable-vm-functions'])) >>> 0);
    }
  }

  trackDirty(how: DirtyTracking): void {
    if (how !== 'off' && how !== 'flags' && how !== 'log')
      fail('VIEW_TRACKING', `Written pages are found by "flags" or by "log", or not ("off"); got ${String(how)}.`);
    if (how === 'log' && this.#log.taken)
      fail(
        'VIEW_TRACKING',
        'A plugin uses the control enable-pml for a log of its own; track written pages by "flags" instead.',
      );
    for (const view of this.all) {
      if (how !== 'off') view.ept.splitLargePages();
      view.forgetWritten();
    }
    if (this.tracking === 'log' || how === 'log') this.#log.enable(how === 'log');
    this.tracking = how;
    // written anew, because each EPT pointer contains the bit that switches dirty flags on
    for (let index = 0; index < this.banks.count; index++) {
      const view = this.#viewOf(index);
      if (view !== undefined) this.#write(view, index);
    }
    this.#fillList();
    this.engine.flushTranslations();
  }

  // ------------------------------------------------------------------------------------------------ for the backend
  /** Read-only memory, in all views. */
  mapRom(gpa: number, bytes: Uint8Array): void {
    const { hpa, size, rights } = this.map.addRom(gpa, bytes);
    for (const { ept } of this.all) ept.map(gpa, hpa, size, { rights });
    this.engine.flushTranslations();
  }

  /** A device over RAM, in all views; what they showed there is forgotten. Gives what takes it away. */
  coverRam(gpa: number, size: number): () => void {
    const uncover = this.map.cover(gpa, size);
    for (const { ept } of this.all) ept.unmap(gpa, size);
    this.engine.flushTranslations();
    return () => {
      for (const range of uncover())
        for (const { ept } of this.all) ept.map(range.gpa, range.hpa, range.size, { rights: range.rights });
      this.engine.flushTranslations();
    };
  }

  /** Answers, in the log, a read of a hidden page by the vCPU that is on the engine. False when its view does not hide the page. */
  answerRead(log: MmioLog): boolean {
    const decoys = this.#viewOf(this.banks.current)?.decoys;
    if (decoys === undefined || decoys.size === 0) return false; // the usual case, at every read of a device
    const decoy = decoys.get(log.page);
    if (decoy === undefined) return false;
    const offset = log.gpa % PAGE;
    for (let i = 0; i < log.size; i++) log.setData(i, 1, decoy[offset + i]);
    log.complete();
    return true;
  }

  /** Host-physical address of what a vCPU's view shows at `gpa`, or of the machine's own memory there; undefined where there is none. */
  addressOf({ index }: Pick<Vcpu, 'index'>, gpa: number, page: 'shown' | 'own'): number | undefined {
    const view = page === 'own' ? undefined : this.#viewOf(index);
    if (view !== undefined) return view.ept.find(gpa)?.hpa;
    const range = this.map.at(gpa);
    return range === undefined ? undefined : range.hpa + (gpa - range.gpa);
  }

  /** The leaf that maps `gpa` in the vCPU's view. */
  mappingOf({ index }: Pick<Vcpu, 'index'>, gpa: number): EptMapping | undefined {
    const view = this.#viewOf(index) ?? this.base;
    return gpa < REACH ? view.ept.find(gpa) : undefined;
  }

  changed(): void {
    this.changes++;
  }

  /** A write to `gpa` goes past the tables: it counts as one all the same. */
  noteWrite({ index }: Pick<Vcpu, 'index'>, gpa: number): void {
    if (this.tracking !== 'off') this.#viewOf(index)?.noteWrite(gpa);
  }

  /** Empties the log of the vCPU on the engine, which is full (exit 62). False when the log is a plugin's. */
  logFull(): boolean {
    if (this.tracking !== 'log') return false;
    this.#collect(this.banks.current);
    return true;
  }

  collectWritten(): void {
    for (let index = 0; index < this.banks.count; index++) this.#collect(index);
  }

  /** Secondary controls that the views need, whatever plugins hold. */
  get ownControls(): number {
    return (this.#list === 0 ? 0 : VM_FUNCTIONS) | (this.tracking === 'log' ? PML : 0);
  }

  save(): MemoryViewsState {
    return {
      memory: this.engine.memory.size,
      roms: this.map.save(),
      shadows: this.shadows.save(),
      views: this.all.map((view) => view.save()),
      current: Array.from({ length: this.banks.count }, (_, index) => this.#viewOf(index)?.index ?? NO_VIEW),
      tracking: this.tracking,
      logs: this.#log.save(),
      list: this.#list,
    };
  }

  /** Throws `VIEW_STATE` for the state of a VM that was composed differently. */
  checkState(state: MemoryViewsState): void {
    const { count } = this.banks,
      { size } = this.engine.memory;
    if (state.memory !== size || state.current.length !== count)
      fail(
        'VIEW_STATE',
        `The saved views are those of ${state.current.length} vCPUs and ${state.memory} bytes of memory; this VM has ${count} and ${size}.`,
      );
  }

  /** Views and shadow pages of the same index and id stay the same objects; others come and go. */
  restore(state: MemoryViewsState): void {
    this.checkState(state);
    this.changed();
    this.map.restore(state.roms);
    this.shadows.restore(state.shadows);
    const pages = new Map(this.shadows.all.map((page) => [page.id, page]));
    for (const view of this.all) {
      if (state.views.some(({ index }) => index === view.index)) continue;
      this.#remove(view);
      view.destroyed = true;
    }
    this.#byRoot.clear();
    for (const saved of state.views) {
      const ept = this.#builder(saved.ept),
        view = this.#views[saved.index] ?? this.#add(saved.index, ept);
      view.restoreState(saved, ept, pages);
      this.#byRoot.set(ept.root, view);
    }
    this.tracking = state.tracking;
    this.#log.restore(state.logs);
    this.#list = state.list;
    state.current.forEach((number, index) => {
      const view = this.#views[number];
      if (view !== undefined) this.#write(view, index);
    });
    this.engine.flushTranslations();
  }

  // ------------------------------------------------------------------------------------------------ parts
  #builder(saved?: EptTables): EptBuilder {
    const { words, pages } = this.engine;
    return new EptBuilder(
      { words, allocatePage: () => pages.allocatePage(), freePage: (page) => pages.freePage(page) },
      saved,
    );
  }

  #add(index: number, ept: EptBuilder): VmxMemoryView {
    const view = new VmxMemoryView(index, ept, this);
    this.#views[index] = view;
    this.#byRoot.set(ept.root, view);
    return view;
  }

  #remove(view: VmxMemoryView): void {
    this.#views[view.index] = undefined;
    this.#byRoot.delete(view.ept.root);
  }

  /** The view that a plugin names; a destroyed one, or another VM's, is refused. */
  #own(view: MemoryView): VmxMemoryView {
    const found = this.#views[view.index];
    if (found !== view)
      return fail('VIEW_DESTROYED', `View ${view.index} was destroyed, or is another VM's.`, { index: view.index });
    return found;
  }

  #index({ index }: Pick<Vcpu, 'index'>): number {
    if (!(index >= 0 && index < this.banks.count))
      fail('VIEW_VCPU', `There is no vCPU ${index}; this VM has ${this.banks.count}.`, { index });
    return index;
  }

  /**
   * The view that a vCPU is in. The VMCS says it: VMFUNC changes the pointer without telling anybody. undefined: a plugin has given it tables of
   * its own.
   */
  #viewOf(index: number): VmxMemoryView | undefined {
    const pointer = this.own.away(index)
      ? this.own.of(index).read32(VmcsField.EPT_POINTER)
      : this.banks.state(index).words[POINTER];
    return this.#byRoot.get((pointer & ~(PAGE - 1)) >>> 0);
  }

  #enter(view: VmxMemoryView, index: number): void {
    if (this.#viewOf(index) === view) return;
    if (this.tracking === 'log') this.#collect(index); // collects what it wrote in the view that it leaves
    this.#write(view, index);
  }

  #write(view: VmxMemoryView, index: number): void {
    const vmcs = this.own.of(index);
    this.changed();
    vmcs.write64(VmcsField.EPT_POINTER, this.#pointer(view));
    vmcs.write32(VmcsField.EPTP_INDEX, view.index);
  }

  #pointer(view: VmxMemoryView): bigint {
    return eptPointer(view.ept.root, EptMemoryType.WB, this.tracking !== 'off');
  }

  #fillList(): void {
    if (this.#list === 0) return;
    for (let index = 0; index < LIST_ENTRIES; index++) {
      const view = this.#views[index];
      this.engine.longs[(this.#list >>> 3) + index] = view === undefined ? 0n : this.#pointer(view);
    }
  }

  /** Empties a vCPU's log into the lists of the views that it may have written in: the dirty flags say which it was. */
  #collect(index: number): void {
    if (this.tracking !== 'log') return;
    const current = this.#viewOf(index),
      views = this.#list === 0 && current !== undefined ? [current] : this.all;
    this.#log.drain(index, (page) => {
      for (const { written } of views) written.add(page);
    });
  }
}
