/** The controls of vmcs02, made from vmcs12's and from what the machine itself needs. */
import type { Vcpu, VmcsFields } from '@visorkit/core';
import type { RegionFields, VmcsRegions } from '@visorkit/machine';
import { VmcsField as F } from '@visorkit/x86';
import { CR0, Entry, Exit, NO_LINK, PAGE, Pin, Primary, Secondary } from './bits.js';
import type { Capabilities } from './capabilities.js';
import { secondaryOf } from './entry-checks.js';
import type { Parts } from './parts.js';
import type { NestedVcpu } from './vcpu.js';

const FULL_VPID = 0xffff;
export const WINDOWS = Primary.INTERRUPT_WINDOW | Primary.NMI_WINDOW;
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
const OWN_SECONDARY =
  Secondary.DESCRIPTOR_TABLE |
  Secondary.WBINVD |
  Secondary.RDRAND |
  Secondary.RDSEED |
  Secondary.BUS_LOCK |
  Secondary.INSTRUCTION_TIMEOUT;
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
  Secondary.TSC_SCALING |
  Secondary.USER_WAIT |
  Secondary.BUS_LOCK |
  Secondary.INSTRUCTION_TIMEOUT;
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

/** [mask, read shadow, register]. */
const SHADOWED = [
  [F.CR0_MASK, F.CR0_READ_SHADOW, F.GUEST_CR0],
  [F.CR4_MASK, F.CR4_READ_SHADOW, F.GUEST_CR4],
] as const;

export class Merging {
  readonly #regions: VmcsRegions;
  readonly #capabilities: Capabilities;
  /** By vCPU: the machine's own MSR bitmap has no bit set. */
  readonly #noOwnMsrs: (boolean | undefined)[] = [];
  /** By vCPU: a page for a merged MSR bitmap. */
  readonly #bitmaps: number[] = [];

  constructor(private readonly parts: Parts) {
    this.#regions = parts.regions;
    this.#capabilities = parts.capabilities;
  }

  /** The machine's own controls of a vCPU have changed. */
  ownControlsChanged(index: number): void {
    this.#noOwnMsrs[index] = undefined;
    const n = this.parts.nested[index];
    for (const { prepared } of n.regions) prepared.forget();
    if (n.inGuest) this.merge(n, n.vcpu.vmcs!, this.#regions.own(n.vcpu));
  }

  /**
   * Everything in vmcs02 that is made from vmcs12 and the machine's own VMCS; `to` is vmcs02, in its region or in the processor. Host-physical
   * addresses have 32 bits: a write of the low half clears the upper one.
   */
  merge(n: NestedVcpu, to: VmcsFields, own: VmcsFields): void {
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
    const bitmap = this.#msrBitmap(vmcs12, vcpu, primary, own);
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

  /** What of it depends on more than control fields: the rest of vmcs02 is as `merge` made it. */
  mergeChanging({ vmcs12, vmcs02, vcpu }: NestedVcpu, own: VmcsFields, second: number): void {
    this.mergeShadows(vmcs12, vmcs02);
    if ((second & Secondary.EPT) === 0) vmcs02.write32(F.PML_INDEX, own.read32(F.PML_INDEX));
    const bitmap = vmcs02.read32(F.MSR_BITMAP);
    if (bitmap !== 0 && bitmap === this.#bitmaps[vcpu.index])
      this.#msrBitmap(vmcs12, vcpu, vmcs12.read32(F.PRIMARY_CONTROLS), own);
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
      if ((second & Secondary.SUB_PAGES) !== 0) {
        value |= Secondary.SUB_PAGES;
        const table = this.parts.ept02.subPages(ept, vmcs12.address(F.SUB_PAGE_PERMISSION_TABLE_POINTER));
        to.write32(F.SUB_PAGE_PERMISSION_TABLE_POINTER, table);
      }
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
    // The hypervisor's limit, if it has one
    const limits = (second & Secondary.INSTRUCTION_TIMEOUT) !== 0 ? vmcs12 : own;
    to.write32(F.INSTRUCTION_TIMEOUT, limits.read32(F.INSTRUCTION_TIMEOUT));
    const page = (field: number): void => {
      const hpa = this.parts.memory.page(vcpu, vmcs12.address(field)),
        nowhere = this.parts.nowhere.page;
      if (hpa < 0) this.#regions.bytes.fill(0xff, nowhere, nowhere + PAGE); // as it is read
      to.write32(field, hpa < 0 ? nowhere : hpa);
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
    to.write64(F.CR0_MASK, vmcs12.read64(F.CR0_MASK) | BigInt(unrestricted ? CR0.NE : cr0Fixed0));
    to.write64(F.CR4_MASK, vmcs12.read64(F.CR4_MASK) | BigInt(cr4Fixed0));
    this.mergeShadows(vmcs12, to);
  }

  /** Read shadows: the hypervisor's where its masks are set, elsewhere what its guest has (26.3). */
  mergeShadows(vmcs12: RegionFields, to: VmcsFields): void {
    for (const [mask, shadow, register] of SHADOWED) {
      const low = vmcs12.read32(mask);
      to.write32(shadow, ((vmcs12.read32(shadow) & low) | (vmcs12.read32(register) & ~low)) >>> 0);
      const high = vmcs12.high(mask) & vmcs12.high(shadow); // the register has nothing there
      if (high !== 0) to.write64(shadow, (BigInt(high >>> 0) << 32n) | BigInt(to.read32(shadow)));
    }
  }

  /** HPA of the MSR bitmap; 0 when every MSR exits. The hypervisor's own page serves when the machine asks for no MSR. */
  #msrBitmap(vmcs12: RegionFields, vcpu: Vcpu, primary: number, own: VmcsFields): number {
    if ((primary & Primary.MSR_BITMAPS) === 0) return 0;
    const theirs = this.parts.memory.page(vcpu, vmcs12.address(F.MSR_BITMAP));
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
