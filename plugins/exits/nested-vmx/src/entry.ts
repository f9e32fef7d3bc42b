/** VM entry of the hypervisor's guest: vmcs02 is made from vmcs12 and from what the machine itself needs, and becomes current. */
import { RETRY } from '@visorkit/core';
import type { Outcome, Vcpu, VmcsFields } from '@visorkit/core';
import type { RegionFields } from '@visorkit/machine';
import type { VmcsRegions } from '@visorkit/machine';
import { Interruptibility, VmcsField as F } from '@visorkit/x86';
import { CR0, CR4, EFER, ENTRY_FAILURE, Entry, INFO_VALID, PAGE, Pin, Primary, SHADOW, Secondary } from './bits.js';
import type { Capabilities } from './capabilities.js';
import { checkControls, checkFixedBits, checkHostState, secondaryOf } from './entry-checks.js';
import type { ReadByte } from './entry-checks.js';
import { HOST_STATE } from './fields.js';
import type { Leaving } from './leaving.js';
import { Merging, WINDOWS } from './merging.js';
import type { Parts } from './parts.js';
import { PDPTES, loadPdptes } from './pdptes.js';
import { Prepared } from './prepared.js';
import { TIMER_TICKS } from './vcpu.js';
import type { NestedVcpu, Vmcs02 } from './vcpu.js';

/** How many VMCSs of the hypervisor have one to run with at the same time. */
const MOST_REGIONS = 8;
const LAUNCH_STATE = 8;
const DEBUGCTL_BTF = 2;
/** Guest state that an entry takes from vmcs12 with a control, and else leaves as the hypervisor has it. */
const CONTROLLED = [
  [Entry.LOAD_DEBUG, F.GUEST_IA32_DEBUGCTL],
  [Entry.LOAD_DEBUG, F.GUEST_DR7],
  [Entry.LOAD_PAT, F.GUEST_IA32_PAT],
  [Entry.LOAD_EFER, F.GUEST_IA32_EFER],
] as const;
/** What translations are made with: fields whose change the processor is to be told of. */
const PAGING = [F.GUEST_CR0, F.GUEST_CR3, F.GUEST_CR4, F.GUEST_IA32_EFER, ...PDPTES] as const;

export class Entering {
  readonly merging: Merging;
  readonly #regions: VmcsRegions;
  readonly #capabilities: Capabilities;
  #clock = 0;
  /** PAGING by words of a region, and what vmcs02 has there before it is written. */
  readonly #paging: Int32Array;
  readonly #before = new Uint32Array(PAGING.length * 2);
  /** The vCPU that enters, for `#byte`. */
  #vcpu: Vcpu | undefined;
  readonly #byte: ReadByte = (gpa) => this.parts.memory.readByte(this.#vcpu!, gpa);
  readonly #circumstances = { longMode: false, changes: 0, drops: 0 };

  constructor(
    private readonly parts: Parts,
    private readonly leaving: Leaving,
  ) {
    this.merging = new Merging(parts);
    this.#regions = parts.regions;
    this.#capabilities = parts.capabilities;
    this.#paging = Int32Array.from(
      PAGING.flatMap((field) => {
        const word = parts.regions.offsetOf(field) >>> 2;
        return [word, word + 1];
      }),
    );
  }

  /** VMLAUNCH and VMRESUME (27.1 to 27.8). `error`: VMfail with this number, -1 VMfailInvalid; an outcome: the guest is entered, or left at once. */
  enter(n: NestedVcpu, vcpu: Vcpu, resume: boolean): { error: number } | Outcome {
    const { vmcs12 } = n,
      { words } = this.#regions,
      vmcs = vcpu.vmcs!;
    if (n.current < 0) return { error: -1 };
    if (vmcs12.page < 0 || words[vmcs12.page >>> 2] >= SHADOW) return { error: -1 };
    if ((vmcs.read32(F.GUEST_INTERRUPTIBILITY) & Interruptibility.MOV_SS) !== 0) return { error: 26 };
    const launched = words[(vmcs12.page + LAUNCH_STATE) >>> 2] !== 0;
    if (launched !== resume) return { error: resume ? 5 : 4 };
    const now = this.#circumstances;
    now.longMode = (vmcs.read32(F.GUEST_IA32_EFER) & EFER.LMA) !== 0;
    now.changes = this.#regions.changes;
    now.drops = this.parts.ept02.drops;
    const known = regionOf(n);
    if (known?.prepared.holds(vmcs12.page, now) === true) {
      if (checkFixedBits(vmcs12, this.#capabilities) !== undefined) return this.#failed(n, vcpu, 33, 0);
      return this.#enterGuest(n, vcpu, known, true);
    }
    known?.prepared.forget();
    this.#vcpu = vcpu;
    if (checkControls(vmcs12, this.#capabilities, this.#byte) !== undefined) return { error: 7 };
    if (checkHostState(vmcs12, this.#capabilities, now.longMode) !== undefined) return { error: 8 };
    if (checkFixedBits(vmcs12, this.#capabilities) !== undefined) return this.#failed(n, vcpu, 33, 0);
    return this.#enterGuest(n, vcpu, known ?? this.#newRegion(n, vcpu), false);
  }

  /** `prepared`: vmcs02 is what it was at the last entry, but for the guest state. */
  #enterGuest(n: NestedVcpu, vcpu: Vcpu, chosen: Vmcs02, prepared: boolean): { error: number } | Outcome {
    const { vmcs12, vmcs02 } = n,
      regions = this.#regions;
    chosen.used = ++this.#clock;
    vmcs02.page = chosen.region;
    const own = regions.own(vcpu);
    const second = secondaryOf(vmcs12);
    this.#notePaging(vmcs02.page);
    this.#writeGuestState(n, own);
    const pdptes = this.#loadPdptes(n, vcpu, second);
    if (prepared) {
      chosen.prepared.use(vmcs02.page);
      this.merging.mergeChanging(n, own, second);
    } else {
      this.merging.merge(n, vmcs02, own);
      if (this.#comparable(vmcs12, second)) {
        // what merging has looked up may have emptied EPT02
        this.#circumstances.drops = this.parts.ept02.drops;
        chosen.prepared.keep(vmcs12.page, vmcs02.page, this.#circumstances);
      }
    }
    const moved = this.#pagingMoved(vmcs02.page);
    regions.load(vcpu, chosen.region, vmcs12.read32(F.PRIMARY_CONTROLS) & WINDOWS, prepared ? 'guest-state' : 'any');
    // The field is checked even where the guest keeps what the hypervisor has (27.3.1.5)
    const loadsDebug = (vmcs12.read32(F.ENTRY_CONTROLS) & Entry.LOAD_DEBUG) !== 0;
    const debugctl = loadsDebug ? -1 : vmcs12.read32(F.GUEST_IA32_DEBUGCTL) & DEBUGCTL_BTF;
    const failure = regions.check(vcpu, prepared ? 'written' : undefined, debugctl);
    const link = failure === undefined && pdptes ? this.#badLink(n, vcpu) : false;
    if (failure !== undefined || !pdptes || link) {
      chosen.prepared.forget();
      regions.load(vcpu, regions.ownRegion(vcpu));
      if (failure !== undefined && failure.kind !== 'guest-state')
        return { error: failure.kind === 'controls' ? 7 : 8 };
      return this.#failed(n, vcpu, 33, failure?.qualification ?? (link ? 4 : 2));
    }
    // Without VPIDs, an entry drops translations with their dirty flags: writes are looked at anew (29.4.3.1)
    if ((second & Secondary.PML) !== 0 && (second & Secondary.VPID) === 0)
      this.parts.ept02.empty(vmcs12.address(F.EPT_POINTER));
    const vpid = vmcs02.read32(F.VPID);
    const other = n.vpids.get(vpid) !== chosen.region;
    if (moved || other) regions.pagingChanged(vcpu);
    if (other) n.vpids.set(vpid, chosen.region);
    const count = vmcs12.read32(F.ENTRY_MSR_LOAD_COUNT);
    const failed = count === 0 ? 0 : this.parts.areas.load(vcpu, vmcs12.address(F.ENTRY_MSR_LOAD_ADDRESS), count);
    if (failed !== 0) {
      chosen.prepared.forget();
      regions.load(vcpu, regions.ownRegion(vcpu));
      return this.#failed(n, vcpu, 34, failed);
    }
    regions.words[(vmcs12.page + LAUNCH_STATE) >>> 2] = 1;
    regions.noteWrite(vcpu, n.current);
    n.inGuest = true;
    n.active = chosen;
    n.byMachine = n.busLock = false;
    n.injected = vmcs12.read32(F.ENTRY_INTERRUPTION_INFO);
    if ((vmcs12.read32(F.PIN_CONTROLS) & Pin.PREEMPTION_TIMER) !== 0) {
      n.timerDeadline = (regions.timerTicks(vcpu) + vmcs12.read32(F.GUEST_PREEMPTION_TIMER)) % TIMER_TICKS;
      n.timerFresh = true;
    }
    if (this.parts.hooks.vmcsSwitch.isUsed())
      this.parts.hooks.vmcsSwitch.call({ to: 'guest', vmcs: n.current, reason: 0 }, vcpu);
    return RETRY;
  }

  /** The entry fails after the checks of controls and host state: the hypervisor goes on as after an exit (27.8). */
  #failed(n: NestedVcpu, vcpu: Vcpu, reason: 33 | 34, qualification: number): Outcome {
    return this.leaving.failedEntry(n, vcpu, (reason | ENTRY_FAILURE) >>> 0, qualification);
  }

  /** A VMCS to run this vmcs12 with. */
  #newRegion(n: NestedVcpu, vcpu: Vcpu): Vmcs02 {
    let chosen: Vmcs02;
    if (n.regions.length < MOST_REGIONS) {
      const region = this.#regions.newRegion();
      chosen = { vmcs12: n.current, region, used: 0, prepared: new Prepared(this.#regions) };
      n.regions.push(chosen);
    } else {
      chosen = n.regions.reduce((a, b) => (a.used <= b.used ? a : b));
      chosen.vmcs12 = n.current;
      chosen.prepared.forget();
      for (const [vpid, region] of n.vpids) if (region === chosen.region) n.vpids.delete(vpid);
    }
    n.vmcs02.page = chosen.region;
    const own = this.#regions.own(vcpu);
    for (const field of HOST_STATE) n.vmcs02.write64(field, own.read64(field));
    return chosen;
  }

  /** What the checks and the merging depend on is in fields that can be compared. VTPR and an event to inject are looked at with each entry. */
  #comparable(vmcs12: RegionFields, second: number): boolean {
    if (vmcs12.read32(F.ENTRY_INTERRUPTION_INFO) >= INFO_VALID) return false;
    const threshold = Secondary.VIRTUAL_INTERRUPT_DELIVERY | Secondary.APIC_ACCESSES;
    return (vmcs12.read32(F.PRIMARY_CONTROLS) & Primary.TPR_SHADOW) === 0 || (second & threshold) !== 0;
  }

  // ------------------------------------------------------------------------------------------------ guest state
  #writeGuestState({ vmcs12, vmcs02 }: NestedVcpu, own: VmcsFields): void {
    this.#regions.copy(vmcs02.page, vmcs12.page, 'guest');
    const entry = vmcs12.read32(F.ENTRY_CONTROLS);
    for (const [control, field] of CONTROLLED) {
      if ((entry & control) !== 0) vmcs02.copy(field, vmcs12);
      else vmcs02.writeHalves(field, own.read32(field), own.read32(field | 1));
    }
    if ((entry & Entry.LOAD_EFER) === 0) {
      // LMA follows the control, and LME with paging (27.3.2.1)
      const paging = (vmcs12.read32(F.GUEST_CR0) & CR0.PG) !== 0,
        ia32e = (entry & Entry.IA32E) !== 0;
      let efer = own.read32(F.GUEST_IA32_EFER) & ~EFER.LMA;
      if (paging) efer &= ~EFER.LME;
      if (ia32e) efer |= EFER.LMA | (paging ? EFER.LME : 0);
      vmcs02.write32(F.GUEST_IA32_EFER, efer);
    }
  }

  /** Keeps PAGING of vmcs02 in mind. */
  #notePaging(page: number): void {
    const { words } = this.#regions,
      at = page >>> 2;
    for (let n = 0; n < this.#paging.length; n++) this.#before[n] = words[at + this.#paging[n]];
  }
  /** It is not what it was. */
  #pagingMoved(page: number): boolean {
    const { words } = this.#regions,
      at = page >>> 2;
    for (let n = 0; n < this.#paging.length; n++) if (this.#before[n] !== words[at + this.#paging[n]]) return true;
    return false;
  }

  /** PDPTEs of PAE paging: from vmcs12 with EPT, from memory without (27.3.2.4). False: a reserved bit is set. */
  #loadPdptes({ vmcs12, vmcs02 }: NestedVcpu, vcpu: Vcpu, second: number): boolean {
    if ((second & Secondary.EPT) !== 0) {
      for (const field of PDPTES) vmcs02.copy(field, vmcs12);
      return true;
    }
    if ((vmcs12.read32(F.GUEST_CR0) & CR0.PG) === 0 || (vmcs12.read32(F.GUEST_CR4) & CR4.PAE) === 0) return true;
    if ((vmcs12.read32(F.ENTRY_CONTROLS) & Entry.IA32E) !== 0) return true;
    const { memory } = this.parts,
      { physicalBits } = this.#capabilities;
    return loadPdptes(vmcs02, vmcs12.read32(F.GUEST_CR3), { memory, vcpu, physicalBits });
  }

  /** The VMCS link pointer (27.3.1.5). */
  #badLink(n: NestedVcpu, vcpu: Vcpu): boolean {
    const { vmcs12 } = n;
    if (vmcs12.read32(F.VMCS_LINK_POINTER) === 0xffff_ffff && vmcs12.high(F.VMCS_LINK_POINTER) === 0xffff_ffff)
      return false;
    const link = vmcs12.address(F.VMCS_LINK_POINTER);
    if (link % PAGE !== 0 || link >= 2 ** this.#capabilities.physicalBits || link === n.current) return true;
    const revision = this.parts.memory.read32(vcpu, link);
    const shadow = (secondaryOf(vmcs12) & Secondary.VMCS_SHADOWING) !== 0;
    return revision !== (this.#regions.revision | (shadow ? SHADOW : 0)) >>> 0;
  }
}

/** The VMCS that the current vmcs12 was last run with. */
function regionOf({ active, regions, current }: NestedVcpu): Vmcs02 | undefined {
  if (active?.vmcs12 === current) return active;
  return regions.find(({ vmcs12 }) => vmcs12 === current);
}
