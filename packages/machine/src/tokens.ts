/** The services of a machine. */
import { token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { BootLoaders, FirmwareTables } from './boot.js';
import type { Console } from './console.js';
import type { DeviceList } from './device-list.js';
import type { InterruptLines } from './interrupts.js';
import type { MemoryMap } from './memory-map.js';
import type { MmioBus } from './mmio-bus.js';
import type { PortBus } from './port-bus.js';
import type { TimerQueue } from './timers.js';
import type { AcpiNamespace, FirmwareConfig, PowerControl, RealTimeClock } from './firmware.js';
import type { LocalApics, TimeStampCounter } from './local-apic.js';
import type { CpuidTable } from './cpuid-table.js';
import type { MsrBus } from './msr-bus.js';
import type { PciBus } from './pci.js';
import type { ProcessorPins } from './processor-pins.js';

export {
  ClockToken,
  DisassemblerToken,
  ExternalInterruptSourceToken,
  GuestMemoryToken,
  InterruptSourceToken,
  MachineConfigToken,
  SystemControlToken,
  WakeupToken,
} from '@visorkit/core';

export const PortBusToken: Token<PortBus> = token('port-bus', '@visorkit/machine');
export const MmioBusToken: Token<MmioBus> = token('mmio-bus', '@visorkit/machine');
export const InterruptLinesToken: Token<InterruptLines> = token('interrupt-lines', '@visorkit/machine');
export const TimerQueueToken: Token<TimerQueue> = token('timer-queue', '@visorkit/machine');
export const ConsoleToken: Token<Console> = token('console', '@visorkit/machine');
/** Devices add themselves, so that a reset of the machine and snapshots reach them. */
export const DeviceListToken: Token<DeviceList> = token('device-list', '@visorkit/machine');
export const BootLoadersToken: Token<BootLoaders> = token('boot-loaders', '@visorkit/machine');
/** RAM and reserved ranges as firmware reports them; reserve before stage Machine of the `load` hook. */
export const MemoryMapToken: Token<MemoryMap> = token('memory-map', '@visorkit/machine');
/** Provided by whoever makes the ACPI tables. */
export const FirmwareTablesToken: Token<FirmwareTables> = token('firmware-tables', '@visorkit/acpi');
/** MSRs that devices answer for; whoever handles RDMSR and WRMSR asks it before refusing a register. */
export const MsrBusToken: Token<MsrBus> = token('msr-bus', '@visorkit/machine');
/** What CPUID tells the guest; plugins change it when they are applied. */
export const CpuidTableToken: Token<CpuidTable> = token('cpuid-table', '@visorkit/machine');
/** CR8, CPUID's APIC bit and message-signalled interrupts. */
export const LocalApicsToken: Token<LocalApics> = token('local-apics', '@visorkit/apic');
export const TimeStampCounterToken: Token<TimeStampCounter> = token('time-stamp-counter', '@visorkit/backend-vmx');
/** The A20 gate and the wiring of x87 errors; a backend that cannot reach these pins leaves it out. */
export const ProcessorPinsToken: Token<ProcessorPins> = token('processor-pins', '@visorkit/backend-vmx');
export const PciBusToken: Token<PciBus> = token('pci-bus', '@visorkit/devices-pc');
export const FirmwareConfigToken: Token<FirmwareConfig> = token('firmware-config', '@visorkit/fw-cfg');
export const PowerControlToken: Token<PowerControl> = token('power-control', '@visorkit/acpi');
export const AcpiNamespaceToken: Token<AcpiNamespace> = token('acpi-namespace', '@visorkit/acpi');
export const RealTimeClockToken: Token<RealTimeClock> = token('real-time-clock', '@visorkit/devices-pc');
