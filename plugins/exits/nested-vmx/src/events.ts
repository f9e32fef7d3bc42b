/** Events of a vCPU whose guest is a hypervisor: interrupts, NMIs, INIT and start-up IPIs are given to it or to its guest (SDM 3C 26.2, 30.6). */
import type { EventGate, GateAnswer, InterruptSource, Vcpu } from '@visorkit/core';
import { ExitReason, Interruptibility, VmcsField as F, interruptionInfo } from '@visorkit/x86';
import { Exit, INFO_NMI, Pin } from './bits.js';
import type { GuestExits } from './guest-exits.js';
import type { Leaving } from './leaving.js';
import type { Parts } from './parts.js';
import type { NestedVcpu } from './vcpu.js';

const WAIT_FOR_SIPI = 3;
const EOI_PAGE = 0xfee0_00b0;
const EOI_MSR = 0x80b;
/** Registers of the virtual-APIC page. */
const VIRR = 0x200;
/** Bit of outstanding notification in the posted-interrupt descriptor, at byte 32. */
const NOTIFICATION = 32;

export class NestedEvents implements EventGate {
  constructor(
    private readonly parts: Parts,
    private readonly leaving: Leaving,
    private readonly exits: GuestExits,
  ) {}

  interrupt(vcpu: Vcpu, source: InterruptSource, halted: boolean): GateAnswer {
    const n = this.parts.nested[vcpu.index];
    if (!n.inGuest) return 'guest';
    const pin = n.vmcs12.read32(F.PIN_CONTROLS);
    if ((pin & Pin.EXTERNAL_INTERRUPT) === 0) return 'guest';
    if (this.#waitsForSipi(vcpu)) return 'later';
    if (this.#busy(vcpu)) return 'later';
    if ((n.vmcs12.read32(F.EXIT_CONTROLS) & Exit.ACKNOWLEDGE) === 0) {
      this.leaving.make(n, vcpu, ExitReason.EXTERNAL_INTERRUPT, { halted });
      return 'taken';
    }
    const vector = source.acknowledge();
    if ((pin & Pin.POSTED_INTERRUPTS) !== 0 && vector === n.vmcs12.read32(F.POSTED_INTERRUPT_NOTIFICATION_VECTOR)) {
      this.#posted(n, vcpu);
      return 'taken';
    }
    this.leaving.make(n, vcpu, ExitReason.EXTERNAL_INTERRUPT, {
      halted,
      interruptionInfo: interruptionInfo(vector, 0),
    });
    return 'taken';
  }

  nmi(vcpu: Vcpu, halted: boolean): GateAnswer {
    const n = this.parts.nested[vcpu.index];
    if (!n.inGuest) return 'guest';
    const pin = n.vmcs12.read32(F.PIN_CONTROLS);
    if ((pin & Pin.NMI) === 0) return 'guest';
    if (this.#waitsForSipi(vcpu)) return 'later';
    const blocking = vcpu.vmcs!.read32(F.GUEST_INTERRUPTIBILITY);
    // Virtual NMIs are what is blocked, and not those of the machine
    if ((pin & Pin.VIRTUAL_NMIS) === 0 && (blocking & Interruptibility.NMI) !== 0) return 'later';
    if (this.#busy(vcpu) || (blocking & Interruptibility.MOV_SS) !== 0) return 'later';
    this.leaving.make(n, vcpu, ExitReason.EXCEPTION, { halted, interruptionInfo: INFO_NMI });
    return 'taken';
  }

  init(vcpu: Vcpu, halted: boolean): GateAnswer {
    const n = this.parts.nested[vcpu.index];
    if (n.vmxon < 0) return 'guest';
    // Blocked in VMX root operation (24.8)
    if (!n.inGuest || this.#waitsForSipi(vcpu)) return 'later';
    if (this.#busy(vcpu)) return 'later';
    this.leaving.make(n, vcpu, ExitReason.INIT, { halted });
    return 'taken';
  }

  startup(vcpu: Vcpu, vector: number): boolean {
    const n = this.parts.nested[vcpu.index];
    if (!n.inGuest || !this.#waitsForSipi(vcpu)) return false;
    this.leaving.make(n, vcpu, ExitReason.SIPI, { halted: true, qualification: BigInt(vector) });
    return true;
  }

  /** The preemption timer runs in the HLT state, and not while the guest waits for a start-up IPI (26.5.1). */
  wakes(vcpu: Vcpu): boolean {
    const n = this.parts.nested[vcpu.index];
    if (!n.inGuest || this.#waitsForSipi(vcpu)) return false;
    if (!this.exits.timerExpired(n, vcpu)) {
      // In real time the counter can be ahead of the clock: the alarm was too early then
      if (n.alarm === undefined) this.exits.setAlarm(n, vcpu);
      return false;
    }
    this.leaving.make(n, vcpu, ExitReason.PREEMPTION_TIMER, { halted: true });
    return true;
  }

  listens(vcpu: Vcpu): boolean {
    return this.parts.nested[vcpu.index].inGuest;
  }

  #waitsForSipi(vcpu: Vcpu): boolean {
    return vcpu.vmcs!.read32(F.GUEST_ACTIVITY) === WAIT_FOR_SIPI;
  }

  /** An event of the hypervisor's, or one whose delivery was cut short, is still to be delivered, or an instruction to be finished: the entry comes first. */
  #busy(vcpu: Vcpu): boolean {
    if (this.parts.regions.betweenInstructions(vcpu)) return false;
    this.parts.regions.exitSoon(vcpu);
    return true;
  }

  /** Posted-interrupt processing (30.6): the requests of the descriptor become virtual interrupts. */
  #posted({ vmcs12 }: NestedVcpu, vcpu: Vcpu): void {
    const { memory } = this.parts;
    const descriptor = vmcs12.address(F.POSTED_INTERRUPT_DESCRIPTOR),
      page = vmcs12.address(F.VIRTUAL_APIC_ADDRESS);
    memory.write32(vcpu, descriptor + NOTIFICATION, memory.read32(vcpu, descriptor + NOTIFICATION) & ~1);
    this.#endOfInterrupt(vcpu);
    let highest = -1;
    for (let word = 0; word < 8; word++) {
      const requests = memory.word(vcpu, descriptor + word * 4) < 0 ? 0 : memory.read32(vcpu, descriptor + word * 4);
      if (requests === 0) continue;
      const at = page + VIRR + word * 16;
      memory.write32(vcpu, at, (memory.read32(vcpu, at) | requests) >>> 0);
      memory.write32(vcpu, descriptor + word * 4, 0);
      highest = word * 32 + (31 - Math.clz32(requests));
    }
    if (highest < 0) return;
    const vmcs = vcpu.vmcs!,
      status = vmcs.read32(F.GUEST_INTERRUPT_STATUS);
    if (highest > (status & 0xff)) vmcs.write32(F.GUEST_INTERRUPT_STATUS, (status & 0xff00) | highest);
  }

  /** The notification is over for the hypervisor's local APIC. */
  #endOfInterrupt(vcpu: Vcpu): void {
    const { apics, mmio, msrBus } = this.parts;
    if (apics?.forVcpu(vcpu.index).x2apic === true) msrBus.find(EOI_MSR)?.writeMsr(EOI_MSR, 0n, vcpu.index);
    else mmio.write(EOI_PAGE, 4, 0, vcpu.index);
  }
}
