/** VM exits of the hypervisor's guest to the hypervisor: its state goes to vmcs12, and the vCPU goes on with vmcs12's host state (SDM 3C chapter 28). */
import { RETRY, stop } from '@visorkit/core';
import type { Outcome, Vcpu, VmcsFields } from '@visorkit/core';
import { ExitReason, Interruptibility, VmcsField as F } from '@visorkit/x86';
import { BUS_LOCK_ASSERTED, CR4, ENTRY_FAILURE, Entry, Exit, INFO_NMI, Pin, Primary, Secondary } from './bits.js';
import { checkHostState, secondaryOf } from './entry-checks.js';
import { EXIT_INFORMATION, copyStretches, stretches } from './fields.js';
import type { Stretch } from './fields.js';
import { PDPTES, loadPdptes } from './pdptes.js';
import type { RegionFields } from '@visorkit/machine';
import type { Parts } from './parts.js';
import { Prepared } from './prepared.js';
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
  ABORT_CORRUPTED = 3,
  ABORT_LOAD = 4;
const HLT = 1;

export class Leaving {
  readonly #information: readonly Stretch[];

  constructor(private readonly parts: Parts) {
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
    regions.noteWrite(vcpu, n.current);
    // its state in its region, where the host state is written over it
    regions.load(vcpu, n.active?.region ?? n.regions[0]?.region ?? this.#spare(n));
    return this.#toHost(n, vcpu, reason);
  }

  /** The hypervisor itself cannot be entered. If an exit has loaded a host state that is not valid any more, vmcs12 has been written to meanwhile; undefined else. */
  corrupted(n: NestedVcpu, vcpu: Vcpu): Outcome | undefined {
    const { vmcs12 } = n;
    if (n.current < 0 || vmcs12.page < 0) return undefined;
    const host64 = (vmcs12.read32(F.EXIT_CONTROLS) & Exit.HOST_64) !== 0;
    if (checkHostState(vmcs12, this.parts.capabilities, host64) === undefined) return undefined;
    return this.#abort(n, vcpu, ABORT_CORRUPTED);
  }

  #spare(n: NestedVcpu): number {
    const { regions } = this.parts,
      region = regions.newRegion();
    n.regions.push({ vmcs12: -1, region, used: 0, prepared: new Prepared(regions) });
    return region;
  }

  #leave(n: NestedVcpu, vcpu: Vcpu, reason: number, made: MadeExit | undefined): Outcome {
    const { vmcs12, vmcs02 } = n,
      { regions, areas } = this.parts;
    const timer = this.#timerLeft(n, vcpu, reason);
    const count = vmcs12.read32(F.EXIT_MSR_STORE_COUNT);
    if (count !== 0 && !areas.store(vcpu, vmcs12.address(F.EXIT_MSR_STORE_ADDRESS), count))
      return this.#abort(n, vcpu, ABORT_SAVE);
    const moved = this.#toOwn(n, vcpu, reason, made);
    n.inGuest = false;
    vcpu.exit.idtVectoringInfo = 0; // its event is vmcs12's now
    this.#saveGuestState(n, timer, made);
    if (made === undefined) copyStretches(regions.words, this.#information, vmcs12.page, vmcs02.page);
    else this.#tell(vmcs12, made);
    vmcs12.write32(F.EXIT_REASON, n.busLock ? (reason | BUS_LOCK_ASSERTED) >>> 0 : reason);
    n.busLock = false;
    vmcs12.write32(F.ENTRY_INTERRUPTION_INFO, vmcs12.read32(F.ENTRY_INTERRUPTION_INFO) & 0x7fff_ffff);
    // what the processor and this plugin write past the tables of the machine
    regions.noteWrite(vcpu, n.current);
    if ((vmcs12.read32(F.PRIMARY_CONTROLS) & Primary.TPR_SHADOW) !== 0)
      this.parts.memory.noteWrite(vcpu, vmcs12.address(F.VIRTUAL_APIC_ADDRESS));
    return this.#arrive(n, vcpu, reason, moved);
  }

  /** After a failed entry: the host state, without anything of the guest. A region of no use is current meanwhile. */
  #toHost(n: NestedVcpu, vcpu: Vcpu, reason: number): Outcome {
    return this.#arrive(n, vcpu, reason, this.#toOwn(n, vcpu, reason, {}));
  }

  /** The machine's own VMCS, with vmcs12's host state as its guest state, becomes current (28.5). True: translations are made with something else than before. */
  #toOwn(n: NestedVcpu, vcpu: Vcpu, reason: number, made: MadeExit | undefined): boolean {
    const { regions } = this.parts,
      { vmcs12, vmcs01 } = n,
      vmcs = vcpu.vmcs!,
      failed = reason >= ENTRY_FAILURE;
    const blocking = this.#blocking(n, vmcs, reason, made);
    const { paging, controls } = regions.loadHostState(vcpu, vmcs01.page, vmcs12.page, !failed);
    if (blocking !== 0) vmcs01.write32(F.GUEST_INTERRUPTIBILITY, blocking);
    vmcs01.write32(F.ENTRY_INTERRUPTION_INFO, 0);
    if ((secondaryOf(vmcs12) & Secondary.EPT) === 0 && !failed) vmcs01.write32(F.PML_INDEX, vmcs.read32(F.PML_INDEX));
    regions.load(vcpu, vmcs01.page, 0, controls ? 'any' : 'guest-state');
    return paging;
  }

  /** Blocking by NMI after the exit (28.5.5): an NMI that exits blocks others; a virtual one says nothing about those of the hypervisor. */
  #blocking({ vmcs12, vmcs01 }: NestedVcpu, vmcs: VmcsFields, reason: number, made: MadeExit | undefined): number {
    if (reason === ExitReason.EXCEPTION && made?.interruptionInfo === INFO_NMI) return Interruptibility.NMI;
    const virtual = reason >= ENTRY_FAILURE || (vmcs12.read32(F.PIN_CONTROLS) & Pin.VIRTUAL_NMIS) !== 0;
    return (virtual ? vmcs01 : vmcs).read32(F.GUEST_INTERRUPTIBILITY) & Interruptibility.NMI;
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
    const count = vmcs12.read32(F.EXIT_MSR_LOAD_COUNT);
    if (count !== 0 && areas.load(vcpu, vmcs12.address(F.EXIT_MSR_LOAD_ADDRESS), count) !== 0)
      return this.#abort(n, vcpu, ABORT_LOAD);
    if (hooks.vmcsSwitch.isUsed()) hooks.vmcsSwitch.call({ to: 'hypervisor', vmcs: n.current, reason }, vcpu);
    return RETRY;
  }

  // ------------------------------------------------------------------------------------------------ guest state
  #saveGuestState({ vmcs12, vmcs02 }: NestedVcpu, timer: number, made: MadeExit | undefined): void {
    this.parts.regions.copy(vmcs12.page, vmcs02.page, 'guest');
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
    return n.timerLeft(this.parts.regions.timerTicks(vcpu, true));
  }

  // ------------------------------------------------------------------------------------------------ host state
  /** PDPTEs of a hypervisor with PAE paging (28.5.4). */
  #hostPdptes({ vmcs12 }: NestedVcpu, vcpu: Vcpu): boolean {
    if ((vmcs12.read32(F.EXIT_CONTROLS) & Exit.HOST_64) !== 0) return true;
    if ((vmcs12.read32(F.HOST_CR4) & CR4.PAE) === 0) return true;
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
