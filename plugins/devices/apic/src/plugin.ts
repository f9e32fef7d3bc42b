/** Puts the APICs into a machine: MMIO pages, MSRs, interrupt lines, and the processors' interrupt sources. */
import { BackendToken, Stage, definePlugin, optional } from '@visorkit/core';
import type { CpuidEntry, Plugin } from '@visorkit/core';
import {
  AddDeviceToken,
  ClockToken,
  GuestMemoryToken,
  InterruptLinesToken,
  InterruptSourceToken,
  LocalApicsToken,
  MsrBusToken,
  PciBusToken,
  TimeStampCounterToken,
  WakeupToken,
  checkPluginOptions,
  wholeNumber,
} from '@visorkit/machine';
import type { InterruptLines } from '@visorkit/machine';
import * as v from 'valibot';
import { ApicBus, ApicBusToken } from './apic-bus.js';
import { IO_APIC_BASE, IO_APIC_SIZE, IoApic } from './io-apic.js';
import { ApicSettingsToken, MachineApics } from './machine-apics.js';
import { MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_COUNT, MSR_X2APIC_FIRST } from './registers.js';
import { MP_POINTER, mpTable } from './mp-table.js';
import { counterMsrs, counterOf } from './time-stamp-counter.js';

export interface ApicOptions {
  /** Bits of a physical address, 32 to 52; taken from CPUID leaf 80000008H of the backend unless given. */
  readonly physicalAddressBits?: number;
  /** Whether there is an x2APIC mode; taken from CPUID leaf 1 of the backend unless given. */
  readonly x2apic?: boolean;
  /** Leaves LINT0 and LINT1 as a firmware would; true unless given. */
  readonly virtualWire?: boolean;
}

/** CPUID.1:ECX. */
const X2APIC = 1 << 21;
const TSC_DEADLINE = 1 << 24;

/** One local APIC for each vCPU and one I/O APIC. */
export function apic(options: ApicOptions = {}): Plugin {
  checkPluginOptions('apic', options, {
    physicalAddressBits: [wholeNumber(32, 52), 'a number of bits from 32 to 52'],
    x2apic: [v.boolean(), 'true or false'],
    virtualWire: [v.boolean(), 'true or false'],
  });
  return definePlugin({
    name: 'apic',
    uses: {
      addDevice: AddDeviceToken,
      apics: LocalApicsToken,
      bus: ApicBusToken,
      backend: BackendToken,
      clock: ClockToken,
      lines: InterruptLinesToken,
      memory: GuestMemoryToken,
      msrs: MsrBusToken,
      pci: optional(PciBusToken),
      tsc: optional(TimeStampCounterToken),
      wakeup: WakeupToken,
    },
    provides: [
      { token: ApicBusToken, scope: 'private', type: ApicBus },
      {
        token: ApicSettingsToken,
        scope: 'private',
        make: ({ backend, clock, tsc }, { vcpus }) => ({
          physicalAddressBits: options.physicalAddressBits ?? addressBits(backend.cpuid),
          x2apic: options.x2apic ?? hasFeature(backend.cpuid, X2APIC),
          virtualWire: options.virtualWire ?? true,
          tsc: tsc ?? counterOf(vcpus, backend.cpuid, clock),
        }),
      },
      { token: LocalApicsToken, type: MachineApics },
      { token: InterruptSourceToken, make: ({ apics }) => apics as MachineApics },
    ],
    apply(host, used) {
      const { addDevice, bus, backend, lines, msrs, wakeup } = used;
      const apics = used.apics as MachineApics;
      addDevice(bus);
      for (const device of bus.apics) addDevice(device);
      const ioApic = host.make(IoApic);
      addDevice(ioApic, { mmio: [[IO_APIC_BASE, IO_APIC_SIZE]] });
      host.onDispose(lines.connect(pinsOf(ioApic, lines)));

      const claim = (first: number, count: number): void =>
        host.onDispose(msrs.register(first, count, apics, host.name));
      claim(MSR_APIC_BASE, 1);
      if (hasFeature(backend.cpuid, TSC_DEADLINE)) claim(MSR_TSC_DEADLINE, 1);
      claim(MSR_X2APIC_FIRST, MSR_X2APIC_COUNT);
      // The deadline timers look again when software writes the counter or its adjustment
      for (const [index, device] of counterMsrs(host.vcpus, apics)) {
        host.onDispose(msrs.register(index, 1, device, host.name));
      }

      bus.onWake = () => wakeup.notify();

      // Where a firmware's image may cover it: that makes a table of its own
      host.hooks.load.tap({ stage: Stage.Architecture }, () => {
        const { eax = 0, edx = 0 } = backend.cpuid.find(({ leaf }) => leaf === 1) ?? {};
        const table = mpTable({
          apicIds: bus.apics.map(({ id }) => id),
          signature: eax >>> 0,
          features: edx >>> 0,
          pci: used.pci !== undefined,
        });
        if (used.memory.contains(MP_POINTER, table.length)) used.memory.write(MP_POINTER, table);
      });
    },
  });
}

/** The lines as they are wired to the I/O APIC: ISA interrupt 0 goes to input 2; the MADT says so to software. */
function pinsOf(ioApic: IoApic, lines: InterruptLines): (gsi: number, level: boolean) => void {
  return (gsi, level) => {
    if (gsi === 0 || gsi === 2) ioApic.setPin(2, lines.level(0) || lines.level(2));
    else ioApic.setPin(gsi, level);
  };
}

/** A bit of CPUID.1:ECX; a backend without a CPUID table has them all. */
function hasFeature(cpuid: readonly CpuidEntry[], bit: number): boolean {
  const leaf = cpuid.find((entry) => entry.leaf === 1);
  return leaf === undefined || (leaf.ecx & bit) !== 0;
}

function addressBits(cpuid: readonly CpuidEntry[]): number {
  const leaf = cpuid.find((entry) => entry.leaf >>> 0 === 0x8000_0008);
  return leaf === undefined ? 39 : leaf.eax & 0xff;
}
