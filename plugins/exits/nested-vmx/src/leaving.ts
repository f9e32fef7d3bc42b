/** VM exits of the hypervisor's guest to the hypervisor: its state goes to vmcs12, and the vCPU goes on with vmcs12's host state (SDM 3C chapter 28). */
import { RETRY, stop } from '@visorkit/core';
import type { Outcome, Vcpu } from '@visorkit/core';
import { Cr4, Efer, ExitReason, Interruptibility, VmcsField as F } from '@visorkit/x86';
import { ENTRY_FAILURE, Entry, Exit, INFO_NMI, Pin, Secondary } from './bits.js';
import { secondaryOf } from './entry-checks.js';
import { EXIT_INFORMATION, PLAIN_GUEST_STATE, stretches } from './fields.js';
import { PDPTES, loadPdptes } from './pdptes.js';
import type { RegionFields } from '@visorkit/machine';
import type { Parts } from './parts.js';
import type { NestedVcpu } from './vcpu.js';

/** What an exit says that the processor itself has not made: fields of vmcs12 that are not 0. */
export interface MadeExit {
  readonly qualification?: bigint;
  readonly interruptionInfo?: number;
  readonly interruptionErrorCode?: number;
  readonly instructionLength?: number;
  /** The guest waits in the HLT state. */
  readonly halted?: boolean;
}

const INVVPID_CONTEXT = 1;
const ABORT_INDICATOR = 4;
/** VMX-abort indicators (28.7). */
const ABORT_SAVE = 1,
  ABORT_PDPTE = 2,
  ABORT_LOAD = 4;
/** ET, NW, CD and what is reserved stay as they are (28.5.1). */
const CR0_KEPT = 0xffff_ffff_7ffa_ffd0n;
const EFER_LONG = Efer.LME | Efer.LMA;
const FLAT = 0xffff_ffff;
const UNUSABLE = 0x10000;
const CODE64 = 0xa09b,
  CODE32 = 0xc09b,
  DATA = 0xc093,
  BUSY_TSS = 0x8b;
const HLT = 1;

/** [selector, base, limit and rights in the guest area, selector of the host, base of the host]. ES, SS, DS have base 0. */
const DATA_SEGMENTS = [
  [0, F.HOST_ES_SELECTOR, 0],
  [2, F.HOST_SS_SELECTOR, 0],
  [3, F.HOST_DS_SELECTOR, 0],
  [4, F.HOST_FS_SELECTOR, F.HOST_FS_BASE],
  [5, F.HOST_GS_SELECTOR, F.HOST_GS_BASE],
] as const;

export class Leaving {
  readonly #plain: readonly (readonly [number, number])[];
  readonly #information: readonly (readonly [number, number])[];

  constructor(private readonly parts: Parts) {
    this.#plain = stretches(parts.regions, PLAIN_GUEST_STATE);
    this.#information = stretches(parts.regions, EXIT_INFORMATION);
  }

  /** The exit that the processor has just made is the hypervisor's. `reason`: another one than the processor's. */
  reflect(n: NestedVcpu, vcpu: Vcpu, reason = vcpu.exit.reason): Outcome {
    return this.#leave(n, vcpu, reason, undefined);
  }

  /** An exit that the processor has not made. */
  make(n: NestedVcpu, vcpu: Vcpu, reason: number, made: MadeExit = {}): Outcome {
    return this.#leave(n, vcpu, reason, made);
  }

  /** VM entry has failed: nothing of the guest is saved (27.8). The backend's own VMCS is current. */
  failedEntry(n: NestedVcpu, vcpu: Vcpu, reason: number, qualification: number): Outcome {
    const { vmcs12 } = n;
    vmcs12.write32(F.EXIT_REASON, reason);
    vmcs12.write32(F.EXIT_QUALIFICATION, qualification);
    const { regions } = this.parts;
    // its state in its region, where the host state is written over it
    regions.load(vcpu, n.active?.region ?? n.regions[0]?.region ?? this.#spare(n));
    return this.#toHost(n, vcpu, reason);
  }

  #spare(n: NestedVcpu): number {
    const region = this.parts.regions.newRegion();
    n.regions.push({ vmcs12: -1, region, used: 0 });
    return region;
  }

  #leave(n: NestedVcpu, vcpu: Vcpu, reason: number, made: MadeExit | undefined): Outcome {
    const { vmcs12, vmcs02 } = n,
      { regions, areas } = this.parts;
    const timer = this.#timerLeft(n, vcpu, reason);
    const stored = areas.store(vcpu, vmcs12.address(F.EXIT_MSR_STORE_ADDRESS), vmcs12.read32(F.EXIT_MSR_STORE_COUNT));
    if (!stored) return this.#abort(n, vcpu, ABORT_SAVE);
    this.#writeHostState(n, vcpu, reason, made);
    const moved = this.#pagingMoves(n);
    regions.load(vcpu, regions.ownRegion(vcpu));
    n.inGuest = false;
    vcpu.exit.idtVectoringInfo = 0; // its event is vmcs12's now
    this.#saveGuestState(n, timer, made);
    if (made === undefined) for (const [from, end] of this.#information) this.#copy(vmcs12, vmcs02, from, end);
    else this.#tell(vmcs12, made);
    vmcs12.write32(F.EXIT_REASON, reason);
    vmcs12.write32(F.ENTRY_INTERRUPTION_INFO, vmcs12.read32(F.ENTRY_INTERRUPTION_INFO) & 0x7fff_ffff);
    return this.#arrive(n, vcpu, reason, moved);
  }

  /** After a failed entry: the host state, without anything of the guest. A region of no use is current meanwhile. */
  #toHost(n: NestedVcpu, vcpu: Vcpu, reason: number): Outcome {
    const { regions } = this.parts;
    this.#writeHostState(n, vcpu, reason, {});
    const moved = this.#pagingMoves(n);
    regions.load(vcpu, regions.ownRegion(vcpu));
    return this.#arrive(n, vcpu, reason, moved);
  }

  /** The hypervisor is current: what is left of the exit. */
  #arrive(n: NestedVcpu, vcpu: Vcpu, reason: number, moved: boolean): Outcome {
    const { vmcs12 } = n,
      { regions, areas, hooks } = this.parts;
    if (moved) regions.pagingChanged(vcpu);
    // Without VPIDs, exits drop the linear translations (29.4.3.1)
    if ((secondaryOf(vmcs12) & Secondary.VPID) === 0)
      regions.invvpid(vcpu, INVVPID_CONTEXT, regions.own(vcpu).read32(F.VPID));
    if (!this.#hostPdptes(n, vcpu)) return this.#abort(n, vcpu, ABORT_PDPTE);
    const failed = areas.load(vcpu, vmcs12.address(F.EXIT_MSR_LOAD_ADDRESS), vmcs12.read32(F.EXIT_MSR_LOAD_COUNT));
    if (failed !== 0) return this.#abort(n, vcpu, ABORT_LOAD);
    if (hooks.vmcsSwitch.isUsed()) hooks.vmcsSwitch.call({ to: 'hypervisor', vmcs: n.current, reason }, vcpu);
    return RETRY;
  }

  // ------------------------------------------------------------------------------------------------ guest state
  #saveGuestState({ vmcs12, vmcs02 }: NestedVcpu, timer: number, made: MadeExit | undefined): void {
    for (const [from, end] of this.#plain) this.#copy(vmcs12, vmcs02, from, end);
    const exit = vmcs12.read32(F.EXIT_CONTROLS),
      second = secondaryOf(vmcs12);
    if ((exit & Exit.SAVE_DEBUG) !== 0) {
      vmcs12.copy(F.GUEST_IA32_DEBUGCTL, vmcs02);
      vmcs12.copy(F.GUEST_DR7, vmcs02);
    }
    if ((exit & Exit.SAVE_PAT) !== 0) vmcs12.copy(F.GUEST_IA32_PAT, vmcs02);
    if ((exit & Exit.SAVE_EFER) !== 0) vmcs12.copy(F.GUEST_IA32_EFER, vmcs02);
    if ((exit & Exit.SAVE_TIMER) !== 0) vmcs12.write32(F.GUEST_PREEMPTION_TIMER, timer);
    if ((second & Secondary.EPT) !== 0) for (const field of PDPTES) vmcs12.copy(field, vmcs02);
    if ((second & Secondary.UNRESTRICTED_GUEST) !== 0) {
      const ia32e = vmcs02.read32(F.ENTRY_CONTROLS) & Entry.IA32E;
      vmcs12.write32(F.ENTRY_CONTROLS, ((vmcs12.read32(F.ENTRY_CONTROLS) & ~Entry.IA32E) | ia32e) >>> 0);
    }
    if (made?.halted === true) vmcs12.write32(F.GUEST_ACTIVITY, vmcs02.read32(F.GUEST_ACTIVITY) || HLT);
  }

  #copy(to: RegionFields, from: RegionFields, start: number, end: number): void {
    this.parts.regions.bytes.copyWithin(to.page + start, from.page + start, from.page + end);
  }

  #tell(vmcs12: RegionFields, made: MadeExit): void {
    vmcs12.write64(F.EXIT_QUALIFICATION, made.qualification ?? 0n);
    vmcs12.write32(F.EXIT_INTERRUPTION_INFO, made.interruptionInfo ?? 0);
    vmcs12.write32(F.EXIT_INTERRUPTION_ERROR_CODE, made.interruptionErrorCode ?? 0);
    vmcs12.write32(F.EXIT_INSTRUCTION_LENGTH, made.instructionLength ?? 0);
    vmcs12.write32(F.EXIT_INSTRUCTION_INFO, 0);
    vmcs12.write32(F.IDT_VECTORING_INFO, 0);
  }

  /** Ticks that the hypervisor's preemption timer has left, for an exit that saves them. */
  #timerLeft(n: NestedVcpu, vcpu: Vcpu, reason: number): number {
    const { vmcs12 } = n;
    if ((vmcs12.read32(F.PIN_CONTROLS) & Pin.PREEMPTION_TIMER) === 0 || reason === ExitReason.PREEMPTION_TIMER)
      return 0;
    if ((vmcs12.read32(F.EXIT_CONTROLS) & Exit.SAVE_TIMER) === 0) return 0;
    return n.timerLeft(this.parts.regions.timeStamp(vcpu, true), this.parts.capabilities.timerShift);
  }

  // ------------------------------------------------------------------------------------------------ host state
  /** The guest state of the machine's own VMCS, in its region, becomes vmcs12's host state (28.5). */
  #writeHostState(n: NestedVcpu, vcpu: Vcpu, reason: number, made: MadeExit | undefined): void {
    const { vmcs12, vmcs01: to } = n,
      vmcs = vcpu.vmcs!;
    const failed = reason >= ENTRY_FAILURE;
    const exit = vmcs12.read32(F.EXIT_CONTROLS),
      host64 = (exit & Exit.HOST_64) !== 0;
    const cr0 = failed ? to.read64(F.GUEST_CR0) : vmcs.read64(F.GUEST_CR0);
    n.vmcs01Before[0] = to.address(F.GUEST_CR0);
    n.vmcs01Before[1] = to.address(F.GUEST_CR3);
    n.vmcs01Before[2] = to.address(F.GUEST_CR4);
    n.vmcs01Before[3] = to.address(F.GUEST_IA32_EFER);
    to.write64(F.GUEST_CR0, (vmcs12.read64(F.HOST_CR0) & ~CR0_KEPT) | (cr0 & CR0_KEPT));
    to.copy(F.GUEST_CR3, vmcs12, F.HOST_CR3);
    const cr4 = vmcs12.read64(F.HOST_CR4);
    to.write64(F.GUEST_CR4, host64 ? cr4 | Cr4.PAE : cr4 & ~Cr4.PCIDE);
    to.write32(F.GUEST_DR7, 0x400);
    to.write32(F.GUEST_IA32_DEBUGCTL, 0);
    to.write32(F.GUEST_SYSENTER_CS, vmcs12.read32(F.HOST_SYSENTER_CS));
    to.copy(F.GUEST_SYSENTER_ESP, vmcs12, F.HOST_SYSENTER_ESP);
    to.copy(F.GUEST_SYSENTER_EIP, vmcs12, F.HOST_SYSENTER_EIP);
    if ((exit & Exit.LOAD_PAT) !== 0) to.copy(F.GUEST_IA32_PAT, vmcs12, F.HOST_IA32_PAT);
    else if (!failed) to.write64(F.GUEST_IA32_PAT, vmcs.read64(F.GUEST_IA32_PAT));
    const efer =
      (exit & Exit.LOAD_EFER) !== 0
        ? vmcs12.read64(F.HOST_IA32_EFER)
        : failed
          ? to.read64(F.GUEST_IA32_EFER)
          : vmcs.read64(F.GUEST_IA32_EFER);
    to.write64(F.GUEST_IA32_EFER, host64 ? efer | EFER_LONG : efer & ~EFER_LONG);
    const entry = to.read32(F.ENTRY_CONTROLS);
    to.write32(F.ENTRY_CONTROLS, (host64 ? entry | Entry.IA32E : entry & ~Entry.IA32E) >>> 0);
    this.#writeSegments(vmcs12, to, host64);
    to.copy(F.GUEST_RSP, vmcs12, F.HOST_RSP);
    to.copy(F.GUEST_RIP, vmcs12, F.HOST_RIP);
    to.write32(F.GUEST_RFLAGS, 2);
    to.write32(F.GUEST_PENDING_DEBUG, 0);
    to.write32(F.GUEST_ACTIVITY, 0);
    to.write32(F.GUEST_INTERRUPTIBILITY, this.#blocking(n, vmcs.read32(F.GUEST_INTERRUPTIBILITY), reason, made));
    to.write32(F.ENTRY_INTERRUPTION_INFO, 0);
    if ((secondaryOf(vmcs12) & Secondary.EPT) === 0 && !failed) to.write32(F.PML_INDEX, vmcs.read32(F.PML_INDEX));
  }

  /** Blocking by NMI after the exit (28.5.5): an NMI that exits blocks others; a virtual one says nothing about those of the hypervisor. */
  #blocking({ vmcs12, vmcs01 }: NestedVcpu, guest: number, reason: number, made: MadeExit | undefined): number {
    if (reason === ExitReason.EXCEPTION && made?.interruptionInfo === INFO_NMI) return Interruptibility.NMI;
    const virtual = (vmcs12.read32(F.PIN_CONTROLS) & Pin.VIRTUAL_NMIS) !== 0 || reason >= ENTRY_FAILURE;
    return (virtual ? vmcs01.read32(F.GUEST_INTERRUPTIBILITY) : guest) & Interruptibility.NMI;
  }

  #writeSegments(vmcs12: RegionFields, to: RegionFields, host64: boolean): void {
    // `base`: the host field it comes from, 0 for a base of 0
    const write = (segment: number, selector: number, base: number, limit: number, rights: number): void => {
      to.write32(F.GUEST_ES_SELECTOR + segment * 2, selector);
      if (base === 0) to.write32(F.GUEST_ES_BASE + segment * 2, 0);
      else to.copy(F.GUEST_ES_BASE + segment * 2, vmcs12, base);
      to.write32(F.GUEST_ES_LIMIT + segment * 2, limit);
      to.write32(F.GUEST_ES_ACCESS_RIGHTS + segment * 2, rights);
    };
    write(1, vmcs12.read32(F.HOST_CS_SELECTOR), 0, FLAT, host64 ? CODE64 : CODE32);
    for (const [segment, selectorField, base] of DATA_SEGMENTS) {
      const selector = vmcs12.read32(selectorField);
      write(segment, selector, base, FLAT, selector === 0 ? DATA | UNUSABLE : DATA);
    }
    write(7, vmcs12.read32(F.HOST_TR_SELECTOR), F.HOST_TR_BASE, 0x67, BUSY_TSS);
    write(6, 0, 0, 0, UNUSABLE);
    to.copy(F.GUEST_GDTR_BASE, vmcs12, F.HOST_GDTR_BASE);
    to.copy(F.GUEST_IDTR_BASE, vmcs12, F.HOST_IDTR_BASE);
    to.write32(F.GUEST_GDTR_LIMIT, 0xffff);
    to.write32(F.GUEST_IDTR_LIMIT, 0xffff);
  }

  /** The hypervisor's paging is not what it was when its guest was entered. */
  #pagingMoves({ vmcs01, vmcs01Before: before }: NestedVcpu): boolean {
    return (
      before[0] !== vmcs01.address(F.GUEST_CR0) ||
      before[1] !== vmcs01.address(F.GUEST_CR3) ||
      before[2] !== vmcs01.address(F.GUEST_CR4) ||
      before[3] !== vmcs01.address(F.GUEST_IA32_EFER)
    );
  }

  /** PDPTEs of a hypervisor with PAE paging (28.5.4). */
  #hostPdptes({ vmcs12 }: NestedVcpu, vcpu: Vcpu): boolean {
    if ((vmcs12.read32(F.EXIT_CONTROLS) & Exit.HOST_64) !== 0) return true;
    if ((vmcs12.read64(F.HOST_CR4) & Cr4.PAE) === 0n) return true;
    const { memory, capabilities, regions } = this.parts;
    const { physicalBits } = capabilities;
    const sound = loadPdptes(vcpu.vmcs!, vmcs12.read32(F.HOST_CR3), { memory, vcpu, physicalBits });
    regions.pagingChanged(vcpu);
    return sound;
  }

  /** A VMX abort: the processor shuts down (28.7). */
  #abort(n: NestedVcpu, vcpu: Vcpu, indicator: number): Outcome {
    const { regions } = this.parts;
    regions.words[(n.vmcs12.page + ABORT_INDICATOR) >>> 2] = indicator;
    if (regions.otherIsCurrent(vcpu)) regions.load(vcpu, regions.ownRegion(vcpu));
    n.inGuest = false;
    return stop(
      `VMX abort ${indicator} on vCPU ${vcpu.index}: the guest's hypervisor cannot be gone on with after an exit of its guest (VMCS at 0x${n.current.toString(16)}).`,
      { reason: 'triple-fault' },
    );
  }
}
