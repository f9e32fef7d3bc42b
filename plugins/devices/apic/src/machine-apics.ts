/**
 * The local APICs of a machine together: what other parts of it may ask of them, the pages where the guest finds them, and
 * their MSRs.
 */
import { PluginHostToken, inject, injectable, isVisorkitError, token } from '@visorkit/core';
import type { PluginHost, Token } from '@visorkit/core';
import {
  ClockToken,
  ExternalInterruptSourceToken,
  MachineConfigToken,
  MmioBusToken,
  TimerQueueToken,
} from '@visorkit/machine';
import type {
  Clock,
  InterruptSource,
  LocalApics,
  MachineConfig,
  MmioBus,
  MmioDevice,
  MsrDevice,
  TimeStampCounter,
  TimerQueue,
} from '@visorkit/machine';
import { ApicBusToken } from './apic-bus.js';
import type { ApicBus } from './apic-bus.js';
import { LocalApic } from './local-apic.js';
import { DeliveryMode, MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_FIRST } from './registers.js';

const PAGE = 0x1000;

/** What the processors of a machine can do. */
export interface ApicSettings {
  /** Bits of a physical address. */
  readonly physicalAddressBits: number;
  /** Whether there is an x2APIC mode. */
  readonly x2apic: boolean;
  /** Leaves LINT0 and LINT1 as a firmware would. */
  readonly virtualWire: boolean;
  readonly tsc: TimeStampCounter;
}

export const ApicSettingsToken: Token<ApicSettings> = token('apic-settings');

/** One local APIC for each vCPU. As an interrupt source it is that of vCPU 0, which leads to those of the others. */
@injectable()
export class MachineApics implements LocalApics, InterruptSource, MsrDevice {
  /** The pages on the bus, by address: what takes each away. */
  readonly #pages = new Map<number, () => void>();

  constructor(
    @inject(ApicSettingsToken) settings: ApicSettings,
    @inject(ApicBusToken) readonly bus: ApicBus,
    @inject(MachineConfigToken) { cpus }: Pick<MachineConfig, 'cpus'>,
    @inject(ClockToken) clock: Clock,
    @inject(TimerQueueToken) timers: TimerQueue,
    @inject(MmioBusToken) private readonly mmio: MmioBus,
    @inject(PluginHostToken) private readonly host: Pick<PluginHost, 'name' | 'logger'>,
    @inject(ExternalInterruptSourceToken, { isOptional: true }) external?: InterruptSource,
  ) {
    const { tsc, ...options } = settings;
    for (let index = 0; index < cpus; index++) {
      new LocalApic(bus, { clock, timers, tsc, external }, { index, id: index, ...options });
    }
    bus.onRelocated = () => this.#map();
    this.#map();
  }

  forVcpu(index: number): LocalApic {
    return this.bus.apics[index];
  }

  pending(): boolean {
    return this.bus.apics[0].pending();
  }

  acknowledge(): number {
    return this.bus.apics[0].acknowledge();
  }

  sendMessage(address: number, data: number): void {
    this.bus.message(address, data);
  }

  timeStampCounterChanged(index: number): void {
    this.bus.apics[index].timeStampCounterChanged();
  }

  sendInit(index: number): void {
    this.bus.apics[index].accept(DeliveryMode.init, 0, false);
  }

  setNmi(level: boolean): void {
    this.bus.setLint1(level);
  }

  setExternal(level: boolean): void {
    this.bus.setLint0(level);
  }

  readMsr(index: number, vcpu: number): bigint | undefined {
    const apic = this.bus.apics[vcpu];
    if (index === MSR_APIC_BASE) return apic.readBaseMsr();
    if (index === MSR_TSC_DEADLINE) return apic.tscDeadline;
    return apic.readX2apic(index - MSR_X2APIC_FIRST);
  }

  writeMsr(index: number, value: bigint, vcpu: number): boolean {
    const apic = this.bus.apics[vcpu];
    if (index === MSR_APIC_BASE) return apic.writeBaseMsr(value);
    if (index !== MSR_TSC_DEADLINE) return apic.writeX2apic(index - MSR_X2APIC_FIRST, value);
    apic.tscDeadline = value;
    return true;
  }

  dispose(): void {
    this.bus.onRelocated = undefined;
    for (const unmap of this.#pages.values()) unmap();
    this.#pages.clear();
  }

  /** Keeps the pages on the bus as the guest moves them. */
  #map(): void {
    const { apics } = this.bus;
    const wanted = new Set(apics.filter((apic) => apic.answersAt(apic.base)).map((apic) => apic.base));
    for (const [base, unmap] of this.#pages) {
      if (wanted.has(base)) continue;
      unmap();
      this.#pages.delete(base);
    }
    for (const base of wanted) {
      if (this.#pages.has(base)) continue;
      try {
        this.#pages.set(base, this.mmio.register(base, PAGE, this.#page(base), this.host.name));
      } catch (error) {
        // The guest chose the address; one that is taken must not end the machine.
        if (!isVisorkitError(error)) throw error;
        this.host.logger.warn(
          `the guest moved a local APIC to 0x${base.toString(16)}, where it cannot be reached: ${error.message}`,
        );
      }
    }
  }

  /** What answers at a page: the registers of the APIC of the processor that asks. */
  #page(base: number): MmioDevice {
    const { bus } = this;
    return {
      readMmio: (offset, size, vcpu) => {
        const apic = bus.apics[vcpu];
        return apic.answersAt(base) ? apic.readMmio(offset, size) : 0xffff_ffff;
      },
      writeMmio: (offset, size, value, vcpu) => {
        const apic = bus.apics[vcpu];
        if (apic.answersAt(base)) apic.writeMmio(offset, size, value);
      },
    };
  }
}
