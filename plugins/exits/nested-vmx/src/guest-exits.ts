/** Every exit of the hypervisor's guest: who handles it, and what is to be done before the guest goes on. */
import { PROCESSOR_HALTED, RESUME, RETRY } from '@visorkit/core';
import type { Outcome, Vcpu, VmExit } from '@visorkit/core';
import { CrAccess, ExitReason, VmcsField as F, Vector, crAccess, crNumber } from '@visorkit/x86';
import { BUS_LOCK_ASSERTED, INFO_ERROR, INFO_MTF, INFO_VALID, Pin, Primary, Secondary } from './bits.js';
import { wantsException, wantsExit } from './decision.js';
import { secondaryOf } from './entry-checks.js';
import { RegionFields } from '@visorkit/machine';
import type { GuestGuestExit } from './hooks.js';
import type { VmxInstructions } from './instructions.js';
import type { Leaving } from './leaving.js';
import type { Parts } from './parts.js';
import type { NestedVcpu } from './vcpu.js';
import type { Violations } from './violations.js';

const HARDWARE_EXCEPTION = 3;
const BREAKPOINTS = 0x600fn;
/** Bits of an exit's interruption information that say the same in an entry's. */
const EVENT = 0xffff_efff;
/** Reasons after which RESUME means that the processor has been helped over an instruction. */
const NOT_INSTRUCTIONS = new Set<number>([
  ExitReason.EPT_VIOLATION,
  ExitReason.EPT_MISCONFIGURATION,
  ExitReason.PREEMPTION_TIMER,
  ExitReason.INTERRUPT_WINDOW,
  ExitReason.NMI_WINDOW,
  ExitReason.EXTERNAL_INTERRUPT,
  ExitReason.BUS_LOCK,
  ExitReason.INSTRUCTION_TIMEOUT,
]);

export class GuestExits {
  readonly #shadow: RegionFields;

  constructor(
    private readonly parts: Parts,
    private readonly leaving: Leaving,
    private readonly violations: Violations,
    private readonly instructions: VmxInstructions,
  ) {
    this.#shadow = new RegionFields(parts.regions);
  }

  /** undefined: the machine's handlers carry the exit out for the guest, as for any. */
  handle(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    // A further piece of an access to a device, which has been the machine's before
    if (exit.mmio.valid) return undefined;
    n.byMachine = false;
    if (asksForBusLocks(n) && (vcpu.vmcs!.read32(F.EXIT_REASON) & BUS_LOCK_ASSERTED) !== 0) n.busLock = true;
    const outcome = this.#decide(n, exit, vcpu);
    if (outcome === undefined) {
      n.byMachine = true;
      n.injected = exit.idtVectoringInfo;
    } else if (n.inGuest) n.injected = exit.idtVectoringInfo;
    return outcome;
  }

  #decide(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const { reason } = exit;
    if (this.parts.hooks.exit.isUsed()) {
      const answer = this.#ask(n, exit, vcpu);
      if (answer === 'hypervisor') return this.leaving.reflect(n, vcpu);
      if (answer === 'machine') return this.#byMachine(n, exit, vcpu);
    }
    switch (reason) {
      case ExitReason.EPT_VIOLATION:
      case ExitReason.EPT_MISCONFIGURATION:
        return this.violations.handle(n, exit, vcpu);
      case ExitReason.PREEMPTION_TIMER:
        if (this.timerExpired(n, vcpu)) return this.leaving.make(n, vcpu, reason);
        if (exit.qualification === PROCESSOR_HALTED) this.setAlarm(n, vcpu);
        return undefined;
      case ExitReason.MONITOR_TRAP_FLAG:
        // By the control, or injected as pending; unless it is a plugin's of the machine
        if ((this.parts.regions.own(vcpu).read32(F.PRIMARY_CONTROLS) & Primary.MONITOR_TRAP) === 0)
          return this.leaving.reflect(n, vcpu);
        break;
      case ExitReason.VMFUNC:
        return this.violations.vmFunction(n, vcpu);
      case ExitReason.PAGE_MODIFICATION_LOG_FULL:
        return undefined; // the machine's own log, under its own tables
      default:
    }
    if (wantsExit(n, exit, vcpu, this.parts.memory)) return this.leaving.reflect(n, vcpu);
    return this.#byMachine(n, exit, vcpu);
  }

  /** Exits that the machine handles in another way than for any guest. */
  #byMachine(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    switch (exit.reason) {
      case ExitReason.VMREAD:
      case ExitReason.VMWRITE:
        return this.instructions.shadowed(n, exit, vcpu, this.#shadow);
      case ExitReason.CONTROL_REGISTER:
        return this.#fixedBits(exit, vcpu);
      case ExitReason.PAUSE:
        return RESUME;
      default:
        return undefined;
    }
  }

  /** Bits of CR0 and CR4 that are fixed in VMX operation: writes that would change them are #GP(0) (SDM 3C 24.8). */
  #fixedBits(exit: VmExit, vcpu: Vcpu): Outcome | undefined {
    const { qualification } = exit;
    const number = crNumber(qualification);
    if (crAccess(qualification) !== CrAccess.MOV_TO || (number !== 0 && number !== 4)) return undefined;
    vcpu.injectException(Vector.GP, 0);
    return RETRY;
  }

  /** What a third party makes of the exit; undefined when it agrees. */
  #ask(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): GuestGuestExit['by'] | undefined {
    const by = this.#forecast(n, exit, vcpu) ? 'hypervisor' : 'machine';
    const event: GuestGuestExit = { exit, by, vmcs: n.current };
    this.parts.hooks.exit.call(event, vcpu);
    return event.by === by ? undefined : event.by;
  }

  #forecast(n: NestedVcpu, exit: VmExit, vcpu: Vcpu): boolean {
    switch (exit.reason) {
      case ExitReason.EPT_VIOLATION:
      case ExitReason.EPT_MISCONFIGURATION:
        return this.violations.isForHypervisor(n, exit, vcpu);
      case ExitReason.PREEMPTION_TIMER:
        return this.timerExpired(n, vcpu);
      case ExitReason.VMFUNC:
      case ExitReason.PAGE_MODIFICATION_LOG_FULL:
        return false;
      default:
        return wantsExit(n, exit, vcpu, this.parts.memory);
    }
  }

  // ------------------------------------------------------------------------------------------------ before an entry
  /** Before every entry of the guest: what was injected for the machine's sake, the preemption timer, tables that have changed. */
  beforeEntry(n: NestedVcpu, vcpu: Vcpu): void {
    if (n.byMachine) {
      n.byMachine = false;
      if (this.#intercepted(n, vcpu)) return;
    }
    const pin = n.vmcs12.read32(F.PIN_CONTROLS);
    if ((pin & Pin.PREEMPTION_TIMER) !== 0) {
      const left = n.timerFresh ? n.vmcs12.read32(F.GUEST_PREEMPTION_TIMER) : this.#timerLeft(n, vcpu);
      n.timerFresh = false;
      vcpu.vmcs!.write32(F.GUEST_PREEMPTION_TIMER, left);
    }
    this.#renewTables(n, vcpu);
  }

  /** An exception that the machine's handlers gave the guest is the hypervisor's if it has asked for it. */
  #intercepted(n: NestedVcpu, vcpu: Vcpu): boolean {
    const vmcs = vcpu.vmcs!,
      info = vmcs.read32(F.ENTRY_INTERRUPTION_INFO);
    if (info < INFO_VALID || ((info >>> 8) & 7) !== HARDWARE_EXCEPTION) return false;
    if (info === (n.injected & EVENT) >>> 0) return false;
    const vector = info & 0xff,
      error = vmcs.read32(F.ENTRY_EXCEPTION_ERROR_CODE);
    if (!wantsException(n.vmcs12, vector, error)) return false;
    const qualification =
      vector === Vector.PF
        ? vcpu.getControlRegister(2)
        : vector === Vector.DB
          ? vcpu.getDebugRegister(6) & BREAKPOINTS
          : 0n;
    vmcs.write32(F.ENTRY_INTERRUPTION_INFO, 0);
    this.leaving.make(n, vcpu, ExitReason.EXCEPTION, {
      qualification,
      interruptionInfo: info,
      interruptionErrorCode: (info & INFO_ERROR) !== 0 ? error : 0,
    });
    return true;
  }

  /** EPT02 that has been emptied since this vCPU used it. */
  #renewTables(n: NestedVcpu, vcpu: Vcpu): void {
    const { vmcs12 } = n,
      { ept02, regions } = this.parts;
    const second = secondaryOf(vmcs12);
    if ((second & Secondary.EPT) === 0) return;
    const ept = ept02.for(vmcs12.address(F.EPT_POINTER), (second & Secondary.MODE_BASED_EXECUTE) !== 0);
    if ((second & Secondary.SUB_PAGES) !== 0) {
      const table = ept02.subPages(ept, vmcs12.address(F.SUB_PAGE_PERMISSION_TABLE_POINTER));
      vcpu.vmcs!.write32(F.SUB_PAGE_PERMISSION_TABLE_POINTER, table);
    }
    if (n.roots.get(ept.root) === ept.generation) return;
    n.roots.set(ept.root, ept.generation);
    regions.invept(vcpu, ept.root);
    const pointer = ept02.pointerOf(ept);
    if (vcpu.vmcs!.read32(F.EPT_POINTER) !== pointer) vcpu.vmcs!.write64(F.EPT_POINTER, BigInt(pointer));
  }

  /** After the machine has carried out an instruction: the monitor trap flag counts it (26.5.2). */
  afterExit(n: NestedVcpu, exit: VmExit, vcpu: Vcpu, outcome: Outcome | undefined): void {
    if (outcome !== RESUME || NOT_INSTRUCTIONS.has(exit.reason)) return;
    if ((n.vmcs12.read32(F.PRIMARY_CONTROLS) & Primary.MONITOR_TRAP) === 0) return;
    const vmcs = vcpu.vmcs!;
    if (vmcs.read32(F.ENTRY_INTERRUPTION_INFO) < INFO_VALID) vmcs.write32(F.ENTRY_INTERRUPTION_INFO, INFO_MTF);
  }

  /** The hypervisor's preemption timer has run out. */
  timerExpired(n: NestedVcpu, vcpu: Vcpu): boolean {
    return (n.vmcs12.read32(F.PIN_CONTROLS) & Pin.PREEMPTION_TIMER) !== 0 && this.#timerLeft(n, vcpu) === 0;
  }

  #timerLeft(n: NestedVcpu, vcpu: Vcpu): number {
    return n.timerLeft(this.parts.regions.timerTicks(vcpu));
  }

  /** The timer counts in the HLT state too (26.5.1), and wakes the run loop. */
  setAlarm(n: NestedVcpu, vcpu: Vcpu): void {
    if ((n.vmcs12.read32(F.PIN_CONTROLS) & Pin.PREEMPTION_TIMER) === 0) return;
    const { capabilities, clock, regions, timers } = this.parts;
    const tick = 2 ** capabilities.timerShift,
      begun = Number(BigInt.asUintN(capabilities.timerShift, regions.timeStamp(vcpu)));
    const left = Math.max(n.timerLeft(regions.timerTicks(vcpu)) * tick - begun, 0);
    n.alarm?.cancel();
    n.alarm = timers.schedule(clock.now() + left * this.parts.nanoseconds, () => {
      n.alarm = undefined;
    });
  }
}

const asksForBusLocks = ({ vmcs12 }: NestedVcpu): boolean => (secondaryOf(vmcs12) & Secondary.BUS_LOCK) !== 0;
