/** VMCSs that plugins run a vCPU with, in the place of the backend's own: the vmx backend's side of VmcsRegions. */
import { fail } from '@visorkit/core';
import type { VmcsFields } from '@visorkit/core';
import { describeEntryRule, regionBytes, regionOffset } from '@visorkit/engine';
import type { Engine, ProcessorBanks } from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import * as vmcsLayout from '@visorkit/engine/vmcs-layout';
import type {
  EntryFailure,
  FieldTypes,
  FrameBehind,
  HostLoaded,
  OfVcpu,
  VmcsCapabilities,
  VmcsRegions,
  Written,
} from '@visorkit/machine';
import { VmcsField } from '@visorkit/x86';
import type { VmxClock } from './clock.js';
import type { VmxMemoryViews } from './memory-views.js';
import { CR4_GUEST } from './registers.js';
import type { OwnVmcs } from './own-vmcs.js';
import type { VmxVcpu } from './vcpu.js';

const PAGE = 4096;
const {
  DIRTY_ALL,
  DIRTY_GUEST,
  DIRTY_PAGING,
  FIELDS_CONTROL,
  FIELDS_GUEST,
  FIELDS_HOST,
  HOST_CONTROLS_CHANGED,
  HOST_PAGING_CHANGED,
} = vmcsLayout;
/** SCE, LME, LMA, NXE; LBR and BTF (assembly/vmx/entry-values.ts). */
const EFER = 0xd01n;
const DEBUGCTL = 3n;
/** CPUID.1:ECX.VMX in the words that gate the processor's instructions (assembly/features.ts). */
const FEATURE_WORD = (layout.FEATURES >>> 2) + 1;
const FEATURE_VMX = 1 << 5;
const INVEPT_SINGLE = 1;
/** Rules of VM entry whose failure has a qualification (27.8). */
const QUALIFICATIONS: Readonly<Record<number, number>> = { 190: 4, 191: 4, 192: 4, 195: 2, 202: 3 };
const KINDS: Readonly<Record<number, EntryFailure['kind']>> = { 7: 'controls', 8: 'host-state', 33: 'guest-state' };

/** Compared one by one, at each entry and exit of a guest's guest: V8 looks up a key that is not always the same by its hash. */
function typesOf(types: FieldTypes): number {
  if (types === 'guest') return FIELDS_GUEST;
  return types === 'control' ? FIELDS_CONTROL : FIELDS_CONTROL | FIELDS_HOST;
}

export class VmxVmcsRegions implements VmcsRegions {
  readonly revision = vmcsLayout.VMCS_REVISION;
  readonly offsetOf = regionOffset;
  readonly bytesOf = regionBytes;
  readonly current = vmcsLayout.VMCS;
  readonly capabilities: VmcsCapabilities;
  readonly #vcpus: VmxVcpu[] = [];
  readonly #listeners = new Set<(index: number) => void>();
  readonly #loaded: HostLoaded = { paging: false, controls: false };
  readonly #frame: FrameBehind = { hpa: 0, rights: 0, size: PAGE };

  constructor(
    private readonly banks: ProcessorBanks,
    private readonly views: VmxMemoryViews,
    private readonly ownVmcs: OwnVmcs,
    private readonly clock: VmxClock,
  ) {
    const { words } = banks.engine;
    this.capabilities = {
      controls: {
        pin: { required: vmcsLayout.PIN_REQUIRED, allowed: vmcsLayout.PIN_ALLOWED },
        primary: { required: vmcsLayout.PRIMARY_REQUIRED, allowed: vmcsLayout.PRIMARY_ALLOWED },
        secondary: { required: 0, allowed: vmcsLayout.SECONDARY_ALLOWED },
        exit: { required: vmcsLayout.EXIT_REQUIRED, allowed: vmcsLayout.EXIT_ALLOWED },
        entry: { required: vmcsLayout.ENTRY_REQUIRED, allowed: vmcsLayout.ENTRY_ALLOWED },
      },
      vmFunctions: vmcsLayout.VM_FUNCTIONS_ALLOWED,
      timerShift: layout.TIMER_SHIFT,
      cr4: CR4_GUEST,
      efer: EFER,
      debugctl: DEBUGCTL,
      physicalBits: words[layout.MAXPHYADDR >>> 2],
    };
  }

  get bytes(): Uint8Array {
    return this.banks.engine.bytes;
  }
  get words(): Uint32Array {
    return this.banks.engine.words;
  }
  get changes(): number {
    return this.views.changes;
  }

  /** Called by each vCPU as it is made. */
  attach(vcpu: VmxVcpu): void {
    this.#vcpus[vcpu.index] = vcpu;
  }
  /** Held controls have changed fields of the vCPU's own VMCS. */
  ownControlsChanged(index: number): void {
    for (const listener of this.#listeners) listener(index);
  }

  allocatePage(): number {
    return this.banks.engine.pages.allocatePage();
  }
  freePage(hpa: number): void {
    this.banks.engine.pages.freePage(hpa);
  }
  newRegion(): number {
    return this.banks.engine.newVmcsRegion();
  }
  ownRegion({ index }: OfVcpu): number {
    return this.ownVmcs.regions[index];
  }
  otherIsCurrent({ index }: OfVcpu): boolean {
    return this.ownVmcs.away(index);
  }
  own({ index }: OfVcpu): VmcsFields {
    return this.ownVmcs.of(index);
  }

  load(vcpu: OfVcpu, region: number, windows = 0, written: Written = 'any'): void {
    const error = this.#engine(vcpu).vmptrld(region, written === 'any' ? undefined : DIRTY_GUEST);
    if (error !== 0)
      fail('VMCS_REGION', `There is no VMCS at host-physical 0x${region.toString(16)}: it was not made by newRegion.`, {
        region,
        error,
      });
    this.#vcpus[vcpu.index].vmcsChanged(windows);
  }

  check(vcpu: OfVcpu, written?: 'written', debugctl = -1): EntryFailure | undefined {
    const failure = this.#engine(vcpu).exports.checkEntry(
      written === undefined ? DIRTY_ALL & ~DIRTY_PAGING : 0,
      debugctl,
    );
    if (failure === 0) return undefined;
    const rule = failure & 0xffff;
    return {
      kind: KINDS[failure >>> 16],
      qualification: QUALIFICATIONS[rule] ?? 0,
      rule: describeEntryRule(rule) ?? `rule ${rule}`,
    };
  }

  same(a: number, b: number, types: 'control' | 'control-and-host'): boolean {
    return this.banks.engine.exports.sameFields(a, b, typesOf(types)) !== 0;
  }
  copy(to: number, from: number, types: FieldTypes): void {
    this.banks.engine.exports.copyFields(to, from, typesOf(types));
  }

  loadHostState(vcpu: OfVcpu, to: number, from: number, entered: boolean): HostLoaded {
    const changed = this.#engine(vcpu).exports.loadHostState(to, from, entered ? 1 : 0),
      loaded = this.#loaded;
    loaded.paging = (changed & HOST_PAGING_CHANGED) !== 0;
    loaded.controls = (changed & HOST_CONTROLS_CHANGED) !== 0;
    return loaded;
  }

  countInstruction(vcpu: OfVcpu): void {
    this.#engine(vcpu).countInstruction();
  }
  betweenInstructions({ index }: OfVcpu): boolean {
    return this.#vcpus[index].atBoundary;
  }
  exitSoon({ index }: OfVcpu): void {
    this.#vcpus[index].exitSoon();
  }
  timeStamp(vcpu: OfVcpu, exact = false): bigint {
    const engine = this.#engine(vcpu);
    if (exact) this.clock.now();
    this.clock.beforeEntry();
    return engine.tsc;
  }
  timerTicks(vcpu: OfVcpu, exact = false): number {
    const engine = this.#engine(vcpu);
    if (exact) this.clock.now();
    this.clock.beforeEntry();
    return engine.timerTicks;
  }
  pagingChanged(vcpu: OfVcpu): void {
    this.#engine(vcpu).vmcs.touch(DIRTY_GUEST | DIRTY_PAGING);
  }

  frame(vcpu: OfVcpu, gpa: number): FrameBehind | undefined {
    const found = this.views.mappingOf(vcpu, gpa);
    if (found === undefined) return undefined;
    const frame = this.#frame;
    frame.hpa = found.hpa - (found.hpa % PAGE);
    frame.rights = found.rights;
    frame.size = found.pageSize;
    this.banks.engine.memory.bring(frame.hpa, PAGE);
    return frame;
  }
  noteWrite(vcpu: OfVcpu, gpa: number): void {
    this.views.noteWrite(vcpu, gpa);
  }
  viewPointer({ index }: OfVcpu): number {
    return this.ownVmcs.of(index).read32(VmcsField.EPT_POINTER);
  }
  deviceAccess({ index }: OfVcpu, gpa: number): 'device' | 'done' | false {
    return this.#vcpus[index].deviceAccess(gpa);
  }

  accessSize(vcpu: OfVcpu): number {
    const { mmio } = this.#engine(vcpu);
    return mmio.requested ? mmio.size : 1;
  }
  again(vcpu: OfVcpu): void {
    this.#engine(vcpu).mmio.retry();
  }

  invvpid(vcpu: OfVcpu, type: number, vpid: number, linear = 0n): void {
    this.#engine(vcpu).invvpid(type, vpid, linear);
  }
  invept(vcpu: OfVcpu, root: number): void {
    // any valid pointer with this root
    this.#engine(vcpu).invept(INVEPT_SINGLE, BigInt(root) | 0x1en);
  }
  flush(): void {
    this.banks.engine.flushTranslations();
  }

  allowVmxe(): void {
    this.banks.forAll(({ words }) => {
      words[FEATURE_WORD] |= FEATURE_VMX;
    });
  }
  onOwnControls(listener: (index: number) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #engine({ index }: OfVcpu): Engine {
    return this.banks.select(index);
  }
}
