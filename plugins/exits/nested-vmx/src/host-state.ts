/** What an exit loads: vmcs12's host state becomes the guest state of the machine's own VMCS, in its region (SDM 3C 28.5). */
import type { Vcpu } from '@visorkit/core';
import type { VmcsRegions } from '@visorkit/machine';
import { ExitReason, Interruptibility, VmcsField as F } from '@visorkit/x86';
import { CR4, EFER, ENTRY_FAILURE, Entry, Exit, INFO_NMI, Pin, Secondary } from './bits.js';
import { secondaryOf } from './entry-checks.js';
import type { NestedVcpu } from './vcpu.js';

/** ET, NW, CD and what is reserved stay as they are (28.5.1); there is nothing above bit 31. */
const CR0_KEPT = 0x7ffa_ffd0;
const EFER_LONG = EFER.LME | EFER.LMA;
const FLAT = 0xffff_ffff;
const UNUSABLE = 0x10000;
const CODE64 = 0xa09b,
  CODE32 = 0xc09b,
  DATA = 0xc093,
  BUSY_TSS = 0x8b;

/** Fields that are loaded as they are: [guest state, host state]. */
const LOADED = [
  [F.GUEST_CR3, F.HOST_CR3],
  [F.GUEST_SYSENTER_ESP, F.HOST_SYSENTER_ESP],
  [F.GUEST_SYSENTER_EIP, F.HOST_SYSENTER_EIP],
  [F.GUEST_RSP, F.HOST_RSP],
  [F.GUEST_RIP, F.HOST_RIP],
  [F.GUEST_FS_BASE, F.HOST_FS_BASE],
  [F.GUEST_GS_BASE, F.HOST_GS_BASE],
  [F.GUEST_TR_BASE, F.HOST_TR_BASE],
  [F.GUEST_GDTR_BASE, F.HOST_GDTR_BASE],
  [F.GUEST_IDTR_BASE, F.HOST_IDTR_BASE],
] as const;

/** Fields that every exit makes the same: [guest state, value]. */
const FIXED = [
  [F.GUEST_DR7, 0x400],
  [F.GUEST_IA32_DEBUGCTL, 0],
  [F.GUEST_RFLAGS, 2],
  [F.GUEST_PENDING_DEBUG, 0],
  [F.GUEST_ACTIVITY, 0],
  [F.GUEST_ES_BASE, 0],
  [F.GUEST_CS_BASE, 0],
  [F.GUEST_SS_BASE, 0],
  [F.GUEST_DS_BASE, 0],
  [F.GUEST_ES_LIMIT, FLAT],
  [F.GUEST_CS_LIMIT, FLAT],
  [F.GUEST_SS_LIMIT, FLAT],
  [F.GUEST_DS_LIMIT, FLAT],
  [F.GUEST_FS_LIMIT, FLAT],
  [F.GUEST_GS_LIMIT, FLAT],
  [F.GUEST_TR_LIMIT, 0x67],
  [F.GUEST_TR_ACCESS_RIGHTS, BUSY_TSS],
  [F.GUEST_LDTR_SELECTOR, 0],
  [F.GUEST_LDTR_BASE, 0],
  [F.GUEST_LDTR_LIMIT, 0],
  [F.GUEST_LDTR_ACCESS_RIGHTS, UNUSABLE],
  [F.GUEST_GDTR_LIMIT, 0xffff],
  [F.GUEST_IDTR_LIMIT, 0xffff],
] as const;

/** Data segments, unusable with a null selector: [selector of the host, selector, access rights]. */
const DATA_SEGMENTS = [
  [F.HOST_ES_SELECTOR, F.GUEST_ES_SELECTOR, F.GUEST_ES_ACCESS_RIGHTS],
  [F.HOST_SS_SELECTOR, F.GUEST_SS_SELECTOR, F.GUEST_SS_ACCESS_RIGHTS],
  [F.HOST_DS_SELECTOR, F.GUEST_DS_SELECTOR, F.GUEST_DS_ACCESS_RIGHTS],
  [F.HOST_FS_SELECTOR, F.GUEST_FS_SELECTOR, F.GUEST_FS_ACCESS_RIGHTS],
  [F.HOST_GS_SELECTOR, F.GUEST_GS_SELECTOR, F.GUEST_GS_ACCESS_RIGHTS],
] as const;

/** What translations are made with. */
const PAGING = [F.GUEST_CR0, F.GUEST_CR3, F.GUEST_CR4, F.GUEST_IA32_EFER] as const;

/** What `write` has found. */
export interface HostWritten {
  /** Translations are made with something else than when the guest was entered. */
  moved: boolean;
  /** Controls of the machine's own VMCS have changed too. */
  controls: boolean;
}

export class HostState {
  readonly #words: Uint32Array;
  /** LOADED and FIXED by words of a region. */
  readonly #loaded: Int32Array;
  readonly #fixed: Int32Array;
  readonly #before = new Uint32Array(PAGING.length * 2);
  readonly #written: HostWritten = { moved: false, controls: false };

  constructor(regions: VmcsRegions) {
    const word = (field: number): number => regions.offsetOf(field) >>> 2;
    this.#words = regions.words;
    this.#loaded = Int32Array.from(LOADED.flatMap(([to, from]) => [word(to), word(from)]));
    // Each slot of 8 bytes has 0 above the field
    this.#fixed = Int32Array.from(FIXED.flatMap(([field, value]) => [word(field), value]));
  }

  /** Writes it. `reason` and `interruptionInfo` are those of the exit. The result is reused. */
  write(n: NestedVcpu, vcpu: Vcpu, reason: number, interruptionInfo: number): HostWritten {
    const { vmcs12, vmcs01: to } = n,
      vmcs = vcpu.vmcs!,
      before = this.#before;
    const failed = reason >= ENTRY_FAILURE;
    const exit = vmcs12.read32(F.EXIT_CONTROLS),
      host64 = (exit & Exit.HOST_64) !== 0;
    for (let at = 0; at < PAGING.length; at++) {
      before[at * 2] = to.read32(PAGING[at]);
      before[at * 2 + 1] = to.high(PAGING[at]);
    }
    this.#copy(to.page >>> 2, vmcs12.page >>> 2);
    const cr0 = failed ? to.read32(F.GUEST_CR0) : vmcs.read32(F.GUEST_CR0);
    to.write32(F.GUEST_CR0, ((vmcs12.read32(F.HOST_CR0) & ~CR0_KEPT) | (cr0 & CR0_KEPT)) >>> 0);
    const cr4 = vmcs12.read32(F.HOST_CR4);
    to.write32(F.GUEST_CR4, (host64 ? cr4 | CR4.PAE : cr4 & ~CR4.PCIDE) >>> 0);
    to.write32(F.GUEST_SYSENTER_CS, vmcs12.read32(F.HOST_SYSENTER_CS));
    if ((exit & Exit.LOAD_PAT) !== 0) to.copy(F.GUEST_IA32_PAT, vmcs12, F.HOST_IA32_PAT);
    else if (!failed)
      to.writeHalves(F.GUEST_IA32_PAT, vmcs.read32(F.GUEST_IA32_PAT), vmcs.read32(F.GUEST_IA32_PAT | 1));
    const loads = (exit & Exit.LOAD_EFER) !== 0;
    const efer = loads ? vmcs12.read32(F.HOST_IA32_EFER) : (failed ? to : vmcs).read32(F.GUEST_IA32_EFER);
    to.write32(F.GUEST_IA32_EFER, host64 ? efer | EFER_LONG : efer & ~EFER_LONG);
    const entry = to.read32(F.ENTRY_CONTROLS),
      wanted = (host64 ? entry | Entry.IA32E : entry & ~Entry.IA32E) >>> 0;
    if (entry !== wanted) to.write32(F.ENTRY_CONTROLS, wanted);
    to.write32(F.GUEST_CS_SELECTOR, vmcs12.read32(F.HOST_CS_SELECTOR));
    to.write32(F.GUEST_CS_ACCESS_RIGHTS, host64 ? CODE64 : CODE32);
    to.write32(F.GUEST_TR_SELECTOR, vmcs12.read32(F.HOST_TR_SELECTOR));
    for (let at = 0; at < DATA_SEGMENTS.length; at++) {
      const [host, field, rights] = DATA_SEGMENTS[at],
        selector = vmcs12.read32(host);
      to.write32(field, selector);
      to.write32(rights, selector === 0 ? DATA | UNUSABLE : DATA);
    }
    const blocking = reason === ExitReason.EXCEPTION && interruptionInfo === INFO_NMI;
    to.write32(F.GUEST_INTERRUPTIBILITY, blocking ? Interruptibility.NMI : this.#blocking(n, vcpu, failed));
    to.write32(F.ENTRY_INTERRUPTION_INFO, 0);
    if ((secondaryOf(vmcs12) & Secondary.EPT) === 0 && !failed) to.write32(F.PML_INDEX, vmcs.read32(F.PML_INDEX));
    let moved = false;
    for (let at = 0; at < PAGING.length; at++)
      moved ||= before[at * 2] !== to.read32(PAGING[at]) || before[at * 2 + 1] !== to.high(PAGING[at]);
    const written = this.#written;
    written.moved = moved;
    written.controls = entry !== wanted;
    return written;
  }

  #copy(to: number, from: number): void {
    const words = this.#words,
      loaded = this.#loaded,
      fixed = this.#fixed;
    for (let at = 0; at < loaded.length; at += 2) {
      words[to + loaded[at]] = words[from + loaded[at + 1]];
      words[to + loaded[at] + 1] = words[from + loaded[at + 1] + 1];
    }
    for (let at = 0; at < fixed.length; at += 2) {
      words[to + fixed[at]] = fixed[at + 1];
      words[to + fixed[at] + 1] = 0;
    }
  }

  /** Blocking by NMI after the exit (28.5.5): an NMI that exits blocks others; a virtual one says nothing about those of the hypervisor. */
  #blocking({ vmcs12, vmcs01 }: NestedVcpu, vcpu: Vcpu, failed: boolean): number {
    const virtual = failed || (vmcs12.read32(F.PIN_CONTROLS) & Pin.VIRTUAL_NMIS) !== 0;
    return (virtual ? vmcs01 : vcpu.vmcs!).read32(F.GUEST_INTERRUPTIBILITY) & Interruptibility.NMI;
  }
}
