/**
 * ACPI for a machine: the power management registers, and tables that describe whatever the other plugins put on its
 * buses. Without firmware the tables are placed in the BIOS area; firmware finds them in fw_cfg and places them itself.
 */
import { Stage, isVisorkitError } from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import {
  AcpiNamespaceToken,
  ClockToken,
  DeviceListToken,
  FirmwareConfigToken,
  FirmwareTablesToken,
  GuestMemoryToken,
  InterruptLinesToken,
  LocalApicsToken,
  MachineConfigToken,
  MemoryMapToken,
  MmioBusToken,
  PciBusToken,
  PortBusToken,
  PowerControlToken,
  RealTimeClockToken,
  SystemControlToken,
  TimerQueueToken,
} from '@visorkit/machine';
import type { Aml } from './aml.js';
import { PM_FUNCTION, PM_SLOT, PmFunction } from './pm-function.js';
import { PM1_CONTROL, PM_PORTS, PmRegisters, SleepType } from './pm-registers.js';
import { SuspendToRam } from './suspend.js';
import { layOut, place } from './table-set.js';
import { loaderFiles } from './table-loader.js';
import { SCI, acpiTables } from './tables.js';
import type { AcpiTables } from './tables.js';

/** Where the root pointer goes: software looks for it on 16-byte boundaries from 0xE0000 to 0xFFFFF (5.2.5.1). */
export const ACPI_BASE = 0xe_0000;
/** Room for tables below the BIOS. */
const ACPI_SIZE = 0x1_0000;
const IO_APIC = 0xfec0_0000;
const HPET = 0xfed0_0000;
const SERIAL = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
] as const;

export class AcpiPlugin implements Plugin {
  readonly name = 'acpi';
  readonly requires = {
    services: [
      PortBusToken,
      MmioBusToken,
      DeviceListToken,
      InterruptLinesToken,
      ClockToken,
      TimerQueueToken,
      SystemControlToken,
      GuestMemoryToken,
      MachineConfigToken,
      MemoryMapToken,
    ],
    optionalServices: [FirmwareConfigToken, LocalApicsToken, PciBusToken, RealTimeClockToken],
  };
  readonly provides = [FirmwareTablesToken, PowerControlToken, AcpiNamespaceToken];

  apply(host: PluginHost): void {
    const { services } = host;
    const extra: Aml[] = [];
    let facs = 0;
    const suspend = new SuspendToRam(
      host,
      () => facs,
      () => pm.base + PM1_CONTROL,
    );
    const system = services.get(SystemControlToken);
    const pm = new PmRegisters({
      sci: services.get(InterruptLinesToken).line(SCI),
      clock: services.get(ClockToken),
      timers: services.get(TimerQueueToken),
      sleep: (type) => {
        if (type === SleepType.s5) system.powerOff('the guest switched itself off (ACPI S5)');
        else if (type === SleepType.s3) suspend.sleep();
        else host.logger.warn(`the guest asked for sleep type ${type}, which the machine does not have; it goes on`);
      },
    });
    host.onDispose(services.get(DeviceListToken).add(pm));
    const pci = services.find(PciBusToken),
      firmware = services.find(FirmwareConfigToken);
    /** The tables are made when all plugins are there, and for firmware again when it has moved the registers. */
    let loaded = false;
    const makeTables = (): AcpiTables => {
      const tables = describe(host, extra, pm.base);
      if (firmware !== undefined) for (const [name, data] of loaderFiles(tables)) firmware.addFile(name, data);
      return tables;
    };
    const placePm = pmPlacement(host, pm);
    if (pci === undefined) placePm(pm.base);
    else {
      const config = new PmFunction((base) => {
        placePm(base);
        if (loaded && base !== undefined) makeTables();
      });
      host.onDispose(pci.attach(config, PM_SLOT, PM_FUNCTION).detach);
      host.onDispose(services.get(DeviceListToken).add(config));
    }

    const rtc = services.find(RealTimeClockToken);
    if (rtc !== undefined) {
      rtc.onAlarm = () => {
        pm.rtcAlarm();
        if (pm.rtcWakes && suspend.wake()) pm.wake();
      };
    }

    services.get(MemoryMapToken).reserve(ACPI_BASE, ACPI_SIZE);
    services.provide(FirmwareTablesToken, { rsdp: ACPI_BASE });
    services.provide(AcpiNamespaceToken, { addToSystemBus: (aml) => void extra.push(aml) });
    services.provide(PowerControlToken, {
      pressPowerButton: () => {
        pm.pressPowerButton();
        if (suspend.wake()) pm.wake();
      },
    });
    host.hooks.load.tap({ name: this.name, stage: Stage.Architecture }, () => {
      facs = placeTables(host, makeTables());
      loaded = true;
    });
  }
}

/** Puts the registers on the port bus at a place, or takes them away. */
function pmPlacement(host: PluginHost, pm: PmRegisters): (base: number | undefined) => void {
  let remove = (): void => {};
  host.onDispose(() => remove());
  return (base) => {
    remove();
    remove = () => {};
    if (base === undefined) return;
    pm.base = base;
    try {
      remove = host.services.get(PortBusToken).register(base, PM_PORTS, pm, 'acpi');
    } catch (error) {
      // The guest chose this address. If another device has it, the machine must go on
      if (!isVisorkitError(error)) throw error;
      host.logger.warn(
        `the guest placed the power management registers where they cannot be reached: ${error.message}`,
      );
    }
  };
}

/** Finds out which devices are on the machine's buses, and makes the tables that describe them. */
function describe(host: PluginHost, extra: readonly Aml[], pmBase: number): AcpiTables {
  const { services } = host;
  const ports = services.get(PortBusToken);
  const mmio = services.get(MmioBusToken);
  const { cpus } = services.get(MachineConfigToken);
  const apics = services.find(LocalApicsToken);
  const has = (port: number): boolean => ports.ownerOf(port) !== undefined;
  return acpiTables({
    cpus,
    serial: SERIAL.filter(({ base }) => has(base)),
    rtc: has(0x70),
    keyboard: has(0x60),
    pit: has(0x40),
    hpet: mmio.covers(HPET),
    pci: has(0xcf8),
    extra,
    ioApic: apics !== undefined && mmio.covers(IO_APIC) ? IO_APIC : undefined,
    apicIds: Array.from({ length: cpus }, (_, index) => apics?.forVcpu(index).id ?? index),
    resetRegister: has(0xcf9),
    pmBase,
  });
}

/** Puts the tables at {@link ACPI_BASE}. Gives the address of the FACS, 0 when the machine has too little memory. */
function placeTables(host: PluginHost, acpi: AcpiTables): number {
  const all = [acpi.rootPointer, ...acpi.tables];
  const { offsets, length } = layOut(all);
  const memory = host.services.get(GuestMemoryToken);
  if (length > ACPI_SIZE || !memory.contains(ACPI_BASE, length)) {
    host.logger.warn(`ACPI tables of ${length} bytes do not fit at 0x${ACPI_BASE.toString(16)}; the guest gets none`);
    return 0;
  }
  memory.write(ACPI_BASE, place(all, ACPI_BASE));
  return ACPI_BASE + (offsets.get(acpi.facs) as number);
}
