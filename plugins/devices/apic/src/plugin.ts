/** Puts the APICs into a machine: MMIO pages, MSRs, interrupt lines, and the processors' interrupt sources. */
import { BackendToken, isVisorkitError } from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import {
  ClockToken,
  DeviceListToken,
  ExternalInterruptSourceToken,
  InterruptLinesToken,
  InterruptSourceToken,
  LocalApicsToken,
  MachineConfigToken,
  MmioBusToken,
  MsrBusToken,
  TimeStampCounterToken,
  TimerQueueToken,
  WakeupToken,
} from '@visorkit/machine';
import type { LocalApics, MmioBus, MsrDevice } from '@visorkit/machine';
import { ApicBus } from './apic-bus.js';
import { IO_APIC_BASE, IO_APIC_SIZE, IoApic } from './io-apic.js';
import { LocalApic } from './local-apic.js';
import { DeliveryMode, MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_COUNT, MSR_X2APIC_FIRST } from './registers.js';
import { counterOf, followCounter } from './time-stamp-counter.js';

export interface ApicPluginOptions {
  /** Bits of a physical address; taken from CPUID leaf 80000008H of the backend unless given. */
  physicalAddressBits?: number;
  /** Whether there is an x2APIC mode; taken from CPUID leaf 1 of the backend unless given. */
  x2apic?: boolean;
  /** Leaves LINT0 and LINT1 as a firmware would; true unless given. */
  virtualWire?: boolean;
}

const PAGE = 0x1000;
/** CPUID.1:ECX. */
const X2APIC = 1 << 21;
const TSC_DEADLINE = 1 << 24;

/** One local APIC for each vCPU and one I/O APIC. */
export class ApicPlugin implements Plugin {
  readonly name = 'apic';
  readonly requires = {
    services: [
      MmioBusToken,
      MsrBusToken,
      DeviceListToken,
      InterruptLinesToken,
      ClockToken,
      TimerQueueToken,
      MachineConfigToken,
    ],
    optionalServices: [ExternalInterruptSourceToken, TimeStampCounterToken],
  };
  readonly provides = [InterruptSourceToken, LocalApicsToken];

  constructor(private readonly options: ApicPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const { services } = host;
    const clock = services.get(ClockToken);
    const external = services.find(ExternalInterruptSourceToken);
    const bus = new ApicBus();
    const cpus = services.get(MachineConfigToken).cpus;
    const ports = {
      clock,
      timers: services.get(TimerQueueToken),
      tsc: services.find(TimeStampCounterToken) ?? counterOf(host, clock),
      external,
    };
    for (let index = 0; index < cpus; index++) {
      new LocalApic(bus, ports, {
        index,
        id: index,
        physicalAddressBits: this.options.physicalAddressBits ?? addressBits(host),
        x2apic: this.options.x2apic ?? hasFeature(host, X2APIC),
        virtualWire: this.options.virtualWire ?? true,
      });
    }
    const ioApic = new IoApic(bus);

    const devices = services.get(DeviceListToken);
    for (const device of [...bus.apics, ioApic]) host.onDispose(devices.add(device));

    const mmio = services.get(MmioBusToken);
    host.onDispose(mmio.register(IO_APIC_BASE, IO_APIC_SIZE, ioApic, this.name));
    host.onDispose(mapApicPages(bus, mmio, this.name, (message) => host.logger.warn(message)));

    // ISA interrupt 0 is wired to input 2; the MADT says so to software.
    const held = [false, false];
    host.onDispose(
      services.get(InterruptLinesToken).connect((gsi, level) => {
        if (gsi !== 0 && gsi !== 2) return ioApic.setPin(gsi, level);
        held[gsi >> 1] = level;
        ioApic.setPin(2, held[0] || held[1]);
      }),
    );

    registerMsrs(host, bus, this.name);
    followCounter(host, bus, this.name);

    const wakeup = services.find(WakeupToken);
    if (wakeup !== undefined) bus.onWake = () => wakeup.notify();
    if (cpus > 1) host.hooks.beforeEntry.tap(this.name, (vcpu) => void (bus.current = vcpu.index));

    services.provide(InterruptSourceToken, sourcesOf(bus));
    services.provide(LocalApicsToken, apicsOf(bus));
  }
}

/** Moves the pages of the APICs on the bus when the guest moves them. Returns a function that removes them. */
function mapApicPages(bus: ApicBus, mmio: MmioBus, owner: string, warn: (message: string) => void): () => void {
  const mapped = new Map<number, () => void>();
  const map = (): void => {
    const wanted = new Set(bus.apics.filter((apic) => apic.answersAt(apic.base)).map((apic) => apic.base));
    for (const [base, unmap] of mapped) {
      if (wanted.has(base)) continue;
      unmap();
      mapped.delete(base);
    }
    for (const base of wanted) {
      if (mapped.has(base)) continue;
      const page = {
        readMmio: (offset: number, size: 1 | 2 | 4): number => {
          const apic = bus.apics[bus.current];
          return apic.answersAt(base) ? apic.readMmio(offset, size) : 0xffff_ffff;
        },
        writeMmio: (offset: number, size: 1 | 2 | 4, value: number): void => {
          const apic = bus.apics[bus.current];
          if (apic.answersAt(base)) apic.writeMmio(offset, size, value);
        },
      };
      try {
        mapped.set(base, mmio.register(base, PAGE, page, owner));
      } catch (error) {
        // The guest chose this address. If another device has it, the machine must go on.
        if (!isVisorkitError(error)) throw error;
        warn(`the guest moved a local APIC to 0x${base.toString(16)}, where it cannot be reached: ${error.message}`);
      }
    }
  };
  bus.onRelocated = map;
  map();
  return () => {
    bus.onRelocated = undefined;
    for (const unmap of mapped.values()) unmap();
    mapped.clear();
  };
}

function registerMsrs(host: PluginHost, bus: ApicBus, owner: string): void {
  const msrs = host.services.get(MsrBusToken);
  const device: MsrDevice = {
    readMsr(index, vcpu) {
      const apic = bus.apics[vcpu];
      if (index === MSR_APIC_BASE) return apic.readBaseMsr();
      if (index === MSR_TSC_DEADLINE) return apic.tscDeadline;
      return apic.readX2apic(index - MSR_X2APIC_FIRST);
    },
    writeMsr(index, value, vcpu) {
      const apic = bus.apics[vcpu];
      if (index === MSR_APIC_BASE) return apic.writeBaseMsr(value);
      if (index === MSR_TSC_DEADLINE) {
        apic.tscDeadline = value;
        return true;
      }
      return apic.writeX2apic(index - MSR_X2APIC_FIRST, value);
    },
  };
  host.onDispose(msrs.register(MSR_APIC_BASE, 1, device, owner));
  if (hasFeature(host, TSC_DEADLINE)) host.onDispose(msrs.register(MSR_TSC_DEADLINE, 1, device, owner));
  host.onDispose(msrs.register(MSR_X2APIC_FIRST, MSR_X2APIC_COUNT, device, owner));
}

/** The bootstrap processor's source, which leads to those of the others. */
function sourcesOf(bus: ApicBus): LocalApic & { forVcpu(index: number): LocalApic } {
  return Object.assign(bus.apics[0], { forVcpu: (index: number) => bus.apics[index] });
}

function apicsOf(bus: ApicBus): LocalApics {
  return {
    forVcpu: (index) => bus.apics[index],
    sendMessage: (address, data) => void bus.message(address, data),
    timeStampCounterChanged: (index) => bus.apics[index].timeStampCounterChanged(),
    sendInit: (index) => void bus.apics[index].accept(DeliveryMode.init, 0, false),
    setNmi: (level) => bus.setLint1(level),
    setExternal: (level) => bus.setLint0(level),
  };
}

/** A bit of CPUID.1:ECX; a backend without a CPUID table has them all. */
function hasFeature(host: PluginHost, bit: number): boolean {
  const leaf = host.services.find(BackendToken)?.cpuid.find((entry) => entry.leaf === 1);
  return leaf === undefined || (leaf.ecx & bit) !== 0;
}

function addressBits(host: PluginHost): number {
  const leaf = host.services.find(BackendToken)?.cpuid.find((entry) => entry.leaf >>> 0 === 0x8000_0008);
  return leaf === undefined ? 39 : leaf.eax & 0xff;
}
