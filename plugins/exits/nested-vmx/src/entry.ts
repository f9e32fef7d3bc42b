/** VM entry of the hypervisor's guest: vmcs02 is made from vmcs12 and from what the machine itself needs, and becomes current. */
import { RETRY } from '@visorkit/core';
import type { Outcome, Vcpu, VmcsFields } from '@visorkit/core';
import type { RegionFields, VmcsRegions } from '@visorkit/machine';
import { Cr0, Cr4, Efer, Interruptibility, VmcsField as F } from '@visorkit/x86';
import { ENTRY_FAILURE, Entry, Exit, NO_LINK, PAGE, Pin, Primary, SHADOW, Secondary } from './bits.js';
import type { Capabilities } from './capabilities.js';
import { checkControls, checkFixedBits, checkHostState, secondaryOf } from './entry-checks.js';
import { HOST_STATE, PLAIN_GUEST_STATE, stretches } from './fields.js';
import type { Leaving } from './leaving.js';
import type { Parts } from './parts.js';
import { PDPTES, loadPdptes } from './pdptes.js';
import type { NestedVcpu, Vmcs02 } from './vcpu.js';

/** How many VMCSs of the hypervisor have one to run with at the same time. */
const MOST_REGIONS = 8;
const LAUNCH_STATE = 8;
const FULL_VPID = 0xffff;
const WINDOWS = Primary.INTERRUPT_WINDOW | Primary.NMI_WINDOW;
/** Primary controls of the machine's own that do not concern the hypervisor's guest, or that are made from both. */
const NOT_OWN =
  Primary.HLT |
  Primary.TPR_SHADOW |
  Primary.PAUSE |
  Primary.IO_BITMAPS |
  Primary.UNCONDITIONAL_IO |
  Primary.MSR_BITMAPS |
  Primary.TSC_OFFSETTING |
  WINDOWS;
/** Secondary controls that the machine's own plugins may hold for every guest. */
const OWN_SECONDARY = Secondary.DESCRIPTOR_TABLE | Secondary.WBINVD | Secondary.RDRAND | Secondary.RDSEED;
/** Secondary controls that the processor carries out as the hypervisor sets them. */
const AS_GIVEN =
  Secondary.APIC_ACCESSES |
  Secondary.DESCRIPTOR_TABLE |
  Secondary.RDTSCP |
  Secondary.X2APIC |
  Secondary.WBINVD |
  Secondary.UNRESTRICTED_GUEST |
  Secondary.APIC_REGISTERS |
  Secondary.VIRTUAL_INTERRUPT_DELIVERY |
  Secondary.PAUSE_LOOP |
  Secondary.RDRAND |
  Secondary.INVPCID |
  Secondary.RDSEED |
  Secondary.XSAVES |
  Secondary.MODE_BASED_EXECUTE |
  Secondary.TSC_SCALING;
/** What translations are made with: fields whose change the processor is to be told of. */
const PAGING = [F.GUEST_CR0, F.GUEST_CR3, F.GUEST_CR4, F.GUEST_IA32_EFER, ...PDPTES] as const;
/** Control fields that mean the same in both. */
const COPIED: readonly number[] = [
  F.EOI_EXIT_BITMAP_0,
  F.EOI_EXIT_BITMAP_1,
  F.EOI_EXIT_BITMAP_2,
  F.EOI_EXIT_BITMAP_3,
  F.XSS_EXITING_BITMAP,
  F.CR3_TARGET_COUNT,
  F.CR3_TARGET_0,
  F.CR3_TARGET_1,
  F.CR3_TARGET_2,
  F.CR3_TARGET_3,
  F.TPR_THRESHOLD,
  F.PLE_GAP,
  F.PLE_WINDOW,
  F.ENTRY_INTERRUPTION_INFO,
  F.ENTRY_EXCEPTION_ERROR_CODE,
  F.ENTRY_INSTRUCTION_LENGTH,
];

export class Entering {
  readonly #stretches: readonly (readonly [number, number])[];
  readonly #regions: VmcsRegions;
  readonly #capabilities: Capabilities;
  #clock = 0;
  /** PAGING of vmcs02 before it is written. */
  readonly #before = new Float64Array(PAGING.length);
  /** By vCPU: the machine's own MSR bitmap has no bit set. */
  readonly #noOwnMsrs: (boolean | undefined)[] = [];
  /** By vCPU: a page for a merged MSR bitmap. */
  readonly #bitmaps: number[] = [];

  constructor(
    private readonly parts: Parts,
    private readonly leaving: Leaving,
  ) {
    this.#regions = parts.regions;
    this.#capabilities = parts.capabilities;
    this.#stretches = stretches(parts.regions, PLAIN_GUEST_STATE);
  }

  /** The machine's own controls of a vCPU have changed. */
  ownControlsChanged(index: number): void {
    this.#noOwnMsrs[index] = undefined;
    const n = this.parts.nested[index];
    if (n.inGuest) this.#mergeControls(n, n.vcpu.vmcs!, this.#regions.own(n.vcpu));
  }

  /** VMLAUNCH and VMRESUME (27.1 to 27.8). `error`: VMfail with this number, -1 VMfailInvalid; an outcome: the guest is entered, or left at once. */
  enter(n: NestedVcpu, vcpu: Vcpu, resume: boolean): { error: number } | Outcome {
    const { vmcs12 } = n,
      { words } = this.#regions;
    if (n.current < 0) return { error: -1 };
    if (vmcs12.page < 0 || words[vmcs12.page >>> 2] >= SHADOW) return { error: -1 };
    if ((vcpu.vmcs!.read32(F.GUEST_INTERRUPTIBILITY) & Interruptibility.MOV_SS) !== 0) return { error: 26 };
    const launched = words[(vmcs12.page + LAUNCH_STATE) >>> 2] !== 0;
    if (launched !== resume) return { error: resume ? 5 : 4 };
    const byte = (gpa: number): number => this.parts.memory.readByte(vcpu, gpa);
    if (checkControls(vmcs12, this.#capabilities, byte) !== undefined) return { error: 7 };
    const longMode = (vcpu.efer & Efer.LMA) !== 0n;
    if (checkHostState(vmcs12, this.#capabilities, longMode) !== undefined) return { error: 8 };
    if (checkFixedBits(vmcs12, this.#capabilities) !== undefined) return this.#failed(n, vcpu, 33, 0);
    return this.#enterGuest(n, vcpu);
  }

  #enterGuest(n: NestedVcpu, vcpu: Vcpu): { error: number } | Outcome {
    const { vmcs12, vmcs02 } = n,
      regions = this.#regions;
    const chosen = this.#choose(n, vcpu);
    const own = regions.own(vcpu);
    for (let at = 0; at < PAGING.length; at++) this.#before[at] = vmcs02.address(PAGING[at]);
    this.#writeGuestState(n, own);
    const pdptes = this.#loadPdptes(n, vcpu);
    this.#mergeControls(n, vmcs02, own);
    let moved = false;
    for (let at = 0; at < PAGING.length; at++) moved ||= vmcs02.address(PAGING[at]) !== this.#before[at];
    regions.load(vcpu, chosen.region, vmcs12.read32(F.PRIMARY_CONTROLS) & WINDOWS);
    const failure = regions.check(vcpu);
    const link = failure === undefined && pdptes ? this.#badLink(n, vcpu) : false;
    if (failure !== undefined || !pdptes || link) {
      regions.load(vcpu, regions.ownRegion(vcpu));
      if (failure !== undefined && failure.kind !== 'guest-state')
        return { error: failure.kind === 'controls' ? 7 : 8 };
      return this.#failed(n, vcpu, 33, failure?.qualification ?? (link ? 4 : 2));
    }
    // Without VPIDs, an entry drops translations with their dirty flags: writes are looked at anew (29.4.3.1)
    const second = secondaryOf(vmcs12);
    if ((second & Secondary.PML) !== 0 && (second & Secondary.VPID) === 0)
      this.parts.ept02.empty(vmcs12.address(F.EPT_POINTER));
    const vpid = vmcs02.read32(F.VPID);
    if (moved || n.vpids.get(vpid) !== chosen.region) regions.pagingChanged(vcpu);
    n.vpids.set(vpid, chosen.region);
    const failed = this.parts.areas.load(
      vcpu,
      vmcs12.address(F.ENTRY_MSR_LOAD_ADDRESS),
      vmcs12.read32(F.ENTRY_MSR_LOAD_COUNT),
    );
    if (failed !== 0) {
      regions.load(vcpu, regions.ownRegion(vcpu));
      return this.#failed(n, vcpu, 34, failed);
    }
    regions.words[(vmcs12.page + LAUNCH_STATE) >>> 2] = 1;
    n.inGuest = true;
    n.active = chosen;
    n.byMachine = false;
    n.injected = vmcs12.read32(F.ENTRY_INTERRUPTION_INFO);
    if ((vmcs12.read32(F.PIN_CONTROLS) & Pin.PREEMPTION_TIMER) !== 0) {
      const shift = BigInt(this.#capabilities.timerShift);
      const value = BigInt(vmcs12.read32(F.GUEST_PREEMPTION_TIMER));
      n.timerDeadline = ((regions.timeStamp(vcpu) >> shift) + value) << shift;
    }
    if (this.parts.hooks.vmcsSwitch.isUsed())
      this.parts.hooks.vmcsSwitch.call({ to: 'guest', vmcs: n.current, reason: 0 }, vcpu);
    return RETRY;
  }

  /** The entry fails after the checks of controls and host state: the hypervisor goes on as after an exit (27.8). */
  #failed(n: NestedVcpu, vcpu: Vcpu, reason: 33 | 34, qualification: number): Outcome {
    return this.leaving.failedEntry(n, vcpu, (reason | ENTRY_FAILURE) >>> 0, qualification);
  }

  /** The VMCS to run this vmcs12 with. */
  #choose(n: NestedVcpu, vcpu: Vcpu): Vmcs02 {
    let chosen = n.regions.find(({ vmcs12 }) => vmcs12 === n.current);
    if (chosen === undefined) {
      if (n.regions.length < MOST_REGIONS) {
        chosen = { vmcs12: n.current, region: this.#regions.newRegion(), used: 0 };
        n.regions.push(chosen);
      } else {
        chosen = n.regions.reduce((a, b) => (a.used <= b.used ? a : b));
        chosen.vmcs12 = n.current;
        for (const [vpid, region] of n.vpids) if (region === chosen.region) n.vpids.delete(vpid);
      }
      n.vmcs02.page = chosen.region;
      const own = this.#regions.own(vcpu);
      for (const field of HOST_STATE) n.vmcs02.write64(field, own.read64(field));
    }
    chosen.used = ++this.#clock;
    n.vmcs02.page = chosen.region;
    return chosen;
  }

  // ------------------------------------------------------------------------------------------------ guest state
  #writeGuestState({ vmcs12, vmcs02 }: NestedVcpu, own: VmcsFields): void {
    const { bytes } = this.#regions;
    for (const [from, end] of this.#stretches)
      bytes.copyWithin(vmcs02.page + from, vmcs12.page + from, vmcs12.page + end);
    const entry = vmcs12.read32(F.ENTRY_CONTROLS);
    const loaded = (bit: number, field: number): void => {
      if ((entry & bit) !== 0) vmcs02.copy(field, vmcs12);
      else vmcs02.write64(field, own.read64(field));
    };
    loaded(Entry.LOAD_DEBUG, F.GUEST_IA32_DEBUGCTL);
    loaded(Entry.LOAD_DEBUG, F.GUEST_DR7);
    loaded(Entry.LOAD_PAT, F.GUEST_IA32_PAT);
    loaded(Entry.LOAD_EFER, F.GUEST_IA32_EFER);
    if ((entry & Entry.LOAD_EFER) === 0) {
      // LMA follows the control, and LME with paging (27.3.2.1)
      const paging = (vmcs12.read64(F.GUEST_CR0) & Cr0.PG) !== 0n,
        ia32e = (entry & Entry.IA32E) !== 0;
      let efer = own.read64(F.GUEST_IA32_EFER) & ~Efer.LMA;
      if (paging) efer &= ~Efer.LME;
      if (ia32e) efer |= Efer.LMA | (paging ? Efer.LME : 0n);
      vmcs02.write64(F.GUEST_IA32_EFER, efer);
    }
  }

  /** PDPTEs of PAE paging: from vmcs12 with EPT, from memory without (27.3.2.4). False: a reserved bit is set. */
  #loadPdptes({ vmcs12, vmcs02 }: NestedVcpu, vcpu: Vcpu): boolean {
    if ((secondaryOf(vmcs12) & Secondary.EPT) !== 0) {
      for (const field of PDPTES) vmcs02.copy(field, vmcs12);
      return true;
    }
    const cr0 = vmcs12.read64(F.GUEST_CR0),
      cr4 = vmcs12.read64(F.GUEST_CR4);
    if ((cr0 & Cr0.PG) === 0n || (cr4 & Cr4.PAE) === 0n) return true;
    if ((vmcs12.read32(F.ENTRY_CONTROLS) & Entry.IA32E) !== 0) return true;
    const { memory } = this.parts,
      { physicalBits } = this.#capabilities;
    return loadPdptes(vmcs02, vmcs12.read32(F.GUEST_CR3), { memory, vcpu, physicalBits });
  }

  /** The VMCS link pointer (27.3.1.5). */
  #badLink(n: NestedVcpu, vcpu: Vcpu): boolean {
    const { vmcs12 } = n;
    if (vmcs12.read64(F.VMCS_LINK_POINTER) === NO_LINK) return false;
    const link = vmcs12.address(F.VMCS_LINK_POINTER);
    if (link % PAGE !== 0 || link >= 2 ** this.#capabilities.physicalBits || link === n.current) return true;
    const revision = this.parts.memory.read32(vcpu, link);
    const shadow = (secondaryOf(vmcs12) & Secondary.VMCS_SHADOWING) !== 0;
    return revision !== (this.#regions.revision | (shadow ? SHADOW : 0)) >>> 0;
  }

  // ------------------------------------------------------------------------------------------------ controls
  /**
   * Everything in vmcs02 that is made from vmcs12 and the machine's own VMCS; `to` is vmcs02, in its region or in the processor. Host-physical
   * addresses have 32 bits: a write of the low half clears the upper one.
   */
  #mergeControls(n: NestedVcpu, to: VmcsFields, own: VmcsFields): void {
    const { vmcs12, vcpu } = n;
    const pin = vmcs12.read32(F.PIN_CONTROLS),
      primary = vmcs12.read32(F.PRIMARY_CONTROLS),
      second = secondaryOf(vmcs12);
    const { controls } = this.#regions.capabilities;
    // NMIs of the machine come through a window, unless they exit to the hypervisor
    const virtualNmis = (pin & Pin.VIRTUAL_NMIS) !== 0 || (pin & Pin.NMI) === 0 ? Pin.VIRTUAL_NMIS : 0;
    to.write32(
      F.PIN_CONTROLS,
      (controls.pin.required | Pin.NMI | virtualNmis | (pin & (Pin.EXTERNAL_INTERRUPT | Pin.PREEMPTION_TIMER))) >>> 0,
    );
    const ownPrimary = own.read32(F.PRIMARY_CONTROLS);
    let needed = ownPrimary & ~NOT_OWN;
    if ((primary & Primary.TPR_SHADOW) !== 0) needed &= ~(Primary.CR8_LOAD | Primary.CR8_STORE);
    const current = to.read32(F.PRIMARY_CONTROLS) & WINDOWS;
    const bitmap = this.#msrBitmap(n, vcpu, primary, own);
    const offsetting = (primary | ownPrimary) & Primary.TSC_OFFSETTING;
    to.write32(
      F.PRIMARY_CONTROLS,
      (controls.primary.required |
        needed |
        (primary & ~(Primary.IO_BITMAPS | Primary.UNCONDITIONAL_IO | Primary.MSR_BITMAPS | WINDOWS)) |
        Primary.IO_BITMAPS |
        Primary.SECONDARY |
        offsetting |
        current |
        (bitmap === 0 ? 0 : Primary.MSR_BITMAPS)) >>>
        0,
    );
    to.write32(F.MSR_BITMAP, bitmap);
    to.write32(F.IO_BITMAP_A, own.read32(F.IO_BITMAP_A));
    to.write32(F.IO_BITMAP_B, own.read32(F.IO_BITMAP_B));
    this.#mergeSecondary(n, to, own, second);
    this.#mergeExceptions(vmcs12, to, own);
    to.write32(
      F.EXIT_CONTROLS,
      (own.read32(F.EXIT_CONTROLS) | (vmcs12.read32(F.EXIT_CONTROLS) & Exit.ACKNOWLEDGE)) >>> 0,
    );
    const ia32e = n.inGuest ? to.read32(F.ENTRY_CONTROLS) & Entry.IA32E : vmcs12.read32(F.ENTRY_CONTROLS) & Entry.IA32E;
    to.write32(F.ENTRY_CONTROLS, ((own.read32(F.ENTRY_CONTROLS) & ~Entry.IA32E) | ia32e) >>> 0);
    this.#mergeTime(vmcs12, to, own, primary, second);
    this.#mergeMasks(vmcs12, to, second);
    if (n.inGuest) return;
    for (const field of COPIED) n.vmcs02.copy(field, vmcs12);
    to.write64(F.VMCS_LINK_POINTER, NO_LINK);
    to.write32(F.VM_FUNCTION_CONTROLS, 0);
  }

  #mergeSecondary(n: NestedVcpu, to: VmcsFields, own: VmcsFields, second: number): void {
    const { vmcs12, vcpu } = n;
    const ownSecond = own.read32(F.SECONDARY_CONTROLS);
    let value = Secondary.EPT | (second & AS_GIVEN) | (ownSecond & OWN_SECONDARY);
    value |= second & Secondary.VM_FUNCTIONS; // with no function allowed, so that VMFUNC exits
    if ((second & Secondary.EPT) !== 0) {
      const pointer = vmcs12.address(F.EPT_POINTER);
      const ept = this.parts.ept02.for(pointer, (second & Secondary.MODE_BASED_EXECUTE) !== 0);
      to.write32(F.EPT_POINTER, this.parts.ept02.pointerOf(ept));
    } else {
      // Its guest-physical addresses are the hypervisor's: the machine's own tables do
      to.write32(F.EPT_POINTER, own.read32(F.EPT_POINTER));
      value |= ownSecond & Secondary.PML;
      to.write32(F.PML_ADDRESS, own.read32(F.PML_ADDRESS));
      to.write32(F.PML_INDEX, own.read32(F.PML_INDEX));
    }
    if ((second & Secondary.VPID) !== 0) {
      value |= Secondary.VPID;
      to.write32(F.VPID, vpidOf(vmcs12.read32(F.VPID)));
    } else to.write32(F.VPID, 0);
    to.write32(F.SECONDARY_CONTROLS, value >>> 0);
    const page = (field: number): void => {
      const hpa = this.parts.memory.page(vcpu, vmcs12.address(field));
      to.write32(field, hpa < 0 ? this.parts.nowhere : hpa);
    };
    if ((vmcs12.read32(F.PRIMARY_CONTROLS) & Primary.TPR_SHADOW) !== 0) page(F.VIRTUAL_APIC_ADDRESS);
    if ((second & Secondary.APIC_ACCESSES) !== 0) page(F.APIC_ACCESS_ADDRESS);
  }

  #mergeExceptions(vmcs12: RegionFields, to: VmcsFields, own: VmcsFields): void {
    const PAGE_FAULT = 1 << 14;
    const ours = own.read32(F.EXCEPTION_BITMAP),
      theirs = vmcs12.read32(F.EXCEPTION_BITMAP);
    to.write32(F.EXCEPTION_BITMAP, (ours | theirs) >>> 0);
    // With page faults of the machine's own, all exit, and the decision is made then
    const all = (ours & PAGE_FAULT) !== 0;
    to.write32(F.PAGE_FAULT_ERROR_MASK, all ? 0 : vmcs12.read32(F.PAGE_FAULT_ERROR_MASK));
    to.write32(F.PAGE_FAULT_ERROR_MATCH, all ? 0 : vmcs12.read32(F.PAGE_FAULT_ERROR_MATCH));
  }

  /** Offset and multiplier of the time stamp counter, one upon the other (25.6.5, 26.3). */
  #mergeTime(vmcs12: RegionFields, to: VmcsFields, own: VmcsFields, primary: number, second: number): void {
    const one = 1n << 48n;
    const offsetOwn = (own.read32(F.PRIMARY_CONTROLS) & Primary.TSC_OFFSETTING) !== 0;
    const scaleOwn = offsetOwn && (own.read32(F.SECONDARY_CONTROLS) & Secondary.TSC_SCALING) !== 0;
    const theirs = (primary & Primary.TSC_OFFSETTING) !== 0;
    const multiplier = theirs && (second & Secondary.TSC_SCALING) !== 0 ? vmcs12.read64(F.TSC_MULTIPLIER) : one;
    const offset = theirs ? vmcs12.read64(F.TSC_OFFSET) : 0n;
    if (!offsetOwn) {
      to.write64(F.TSC_OFFSET, offset);
      to.write64(F.TSC_MULTIPLIER, multiplier);
      return;
    }
    const ownMultiplier = scaleOwn ? own.read64(F.TSC_MULTIPLIER) : one;
    const ownOffset = BigInt.asIntN(64, own.read64(F.TSC_OFFSET));
    to.write64(F.TSC_MULTIPLIER, BigInt.asUintN(64, (ownMultiplier * multiplier) >> 48n));
    to.write64(F.TSC_OFFSET, BigInt.asUintN(64, ((ownOffset * multiplier) >> 48n) + offset));
    if (scaleOwn) to.write32(F.SECONDARY_CONTROLS, (to.read32(F.SECONDARY_CONTROLS) | Secondary.TSC_SCALING) >>> 0);
  }

  /** Guest/host masks: the hypervisor's bits, and those that are fixed in VMX operation (26.3). */
  #mergeMasks(vmcs12: RegionFields, to: VmcsFields, second: number): void {
    const { cr0Fixed0, cr4Fixed0 } = this.#capabilities;
    const unrestricted = (second & Secondary.UNRESTRICTED_GUEST) !== 0;
    const merge = (mask: number, shadow: number, value: bigint, fixed: bigint): void => {
      const theirs = vmcs12.read64(mask);
      to.write64(mask, theirs | fixed);
      to.write64(shadow, (vmcs12.read64(shadow) & theirs) | (value & ~theirs));
    };
    const cr0 = vmcs12.read64(F.GUEST_CR0),
      cr4 = vmcs12.read64(F.GUEST_CR4);
    merge(F.CR0_MASK, F.CR0_READ_SHADOW, cr0, unrestricted ? Cr0.NE : cr0Fixed0);
    merge(F.CR4_MASK, F.CR4_READ_SHADOW, cr4, cr4Fixed0);
  }

  /** HPA of the MSR bitmap; 0 when every MSR exits. The hypervisor's own page serves when the machine asks for no MSR. */
  #msrBitmap(n: NestedVcpu, vcpu: Vcpu, primary: number, own: VmcsFields): number {
    if ((primary & Primary.MSR_BITMAPS) === 0) return 0;
    const theirs = this.parts.memory.page(vcpu, n.vmcs12.address(F.MSR_BITMAP));
    if (theirs < 0) return 0;
    const { words } = this.#regions,
      ours = own.read32(F.MSR_BITMAP) >>> 2,
      last = PAGE / 4;
    this.#noOwnMsrs[vcpu.index] ??= words.subarray(ours, ours + last).every((word) => word === 0);
    if (this.#noOwnMsrs[vcpu.index]) return theirs;
    const merged = (this.#bitmaps[vcpu.index] ??= this.#regions.allocatePage());
    for (let at = 0; at < last; at++) words[(merged >>> 2) + at] = words[ours + at] | words[(theirs >>> 2) + at];
    return merged;
  }
}

/** The VPID that the processor knows a VPID of the hypervisor by: 1 is the hypervisor's own. The two highest ones share a tag. */
export function vpidOf(vpid: number): number {
  return Math.min(vpid + 1, FULL_VPID);
}
