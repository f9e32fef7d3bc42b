/** The services of a machine. */
import { token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { BootLoaders, FirmwareTables } from './boot.js';
import type { Console } from './console.js';
import type { DeviceList } from './device.js';
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

export const PortBusToken: Token<PortBus> = token('port-bus');
export const MmioBusToken: Token<MmioBus> = token('mmio-bus');
export const InterruptLinesToken: Token<InterruptLines> = token('interrupt-lines');
export const TimerQueueToken: Token<TimerQueue> = token('timer-queue');
export const ConsoleToken: Token<Console> = token('console');
/** The machine's devices. A device has to be on this list to take part in resets and snapshots. */
export const DeviceListToken: Token<DeviceList> = token('device-list');
export const BootLoadersToken: Token<BootLoaders> = token('boot-loaders');
/** RAM and reserved ranges as firmware reports them; reserve before stage Machine of the `load` hook. */
export const MemoryMapToken: Token<MemoryMap> = token('memory-map');
/** Provided by the plugin that makes the ACPI tables. */
export const FirmwareTablesToken: Token<FirmwareTables> = token('firmware-tables');
/** MSRs that belong to devices. The handlers of RDMSR and WRMSR look here before they refuse a register. */
export const MsrBusToken: Token<MsrBus> = token('msr-bus');
/** What CPUID tells the guest; plugins change it when they are applied. */
export const CpuidTableToken: Token<CpuidTable> = token('cpuid-table');
/** CR8, CPUID's APIC bit and message-signalled interrupts. */
export const LocalApicsToken: Token<LocalApics> = token('local-apics');
export const TimeStampCounterToken: Token<TimeStampCounter> = token('time-stamp-counter');
export const PciBusToken: Token<PciBus> = token('pci-bus');
export const FirmwareConfigToken: Token<FirmwareConfig> = token('firmware-config');
export const PowerControlToken: Token<PowerControl> = token('power-control');
export const AcpiNamespaceToken: Token<AcpiNamespace> = token('acpi-namespace');
export const RealTimeClockToken: Token<RealTimeClock> = token('real-time-clock');
