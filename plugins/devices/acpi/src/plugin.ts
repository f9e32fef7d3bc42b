/**
 * ACPI for a machine: the power management registers, and tables that describe whatever the other plugins put on its
 * buses. Without firmware the tables are placed in the BIOS area; firmware finds them in fw_cfg and places them itself.
 */
import { Stage, definePlugin, optional } from '@visorkit/core';
import type { Logger, MemoryRegion, Plugin, PluginHost, Used } from '@visorkit/core';
import {
  AcpiNamespaceToken,
  AddDeviceToken,
  CpuidTableToken,
  FirmwareConfigToken,
  FirmwareTablesToken,
  GuestMemoryToken,
  LocalApicsToken,
  MachineConfigToken,
  MemoryMapToken,
  MmioBusToken,
  PciBusToken,
  PortBusToken,
  PowerControlToken,
  RealTimeClockToken,
  SystemControlToken,
} from '@visorkit/machine';
import { AmlNamespace } from './namespace.js';
import { PM_FUNCTION, PM_SLOT, PmFunction } from './pm-function.js';
import { PM_BASE, PM_PORTS, PmRegisters, PmRegistersToken, SleepType } from './pm-registers.js';
import { SuspendToRam, SuspendToRamToken } from './suspend.js';
import { layOut, place } from './table-set.js';
import { LOADER_FILE, RSDP_FILE, TABLES_FILE, loaderFiles } from './table-loader.js';
import { acpiTables } from './tables.js';
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

const USES = {
  addDevice: AddDeviceToken,
  pm: PmRegistersToken,
  suspend: SuspendToRamToken,
  namespace: AcpiNamespaceToken,
  ports: PortBusToken,
  mmio: MmioBusToken,
  memory: GuestMemoryToken,
  memoryMap: MemoryMapToken,
  config: MachineConfigToken,
  cpuid: CpuidTableToken,
  system: SystemControlToken,
  firmware: optional(FirmwareConfigToken),
  apics: optional(LocalApicsToken),
  pci: optional(PciBusToken),
  rtc: optional(RealTimeClockToken),
};
type Uses = Used<typeof USES>;

export function acpi(): Plugin {
  return definePlugin({
    name: 'acpi',
    uses: USES,
    provides: [
      { token: PmRegistersToken, scope: 'private', type: PmRegisters },
      { token: SuspendToRamToken, scope: 'private', type: SuspendToRam },
      { token: FirmwareTablesToken, make: () => ({ rsdp: ACPI_BASE }) },
      { token: AcpiNamespaceToken, type: AmlNamespace },
      {
        token: PowerControlToken,
        make: ({ pm, suspend }) => ({
          pressPowerButton: () => {
            pm.pressPowerButton();
            if (suspend.wake()) pm.wake();
          },
        }),
      },
    ],
    apply(host, used) {
      const { addDevice, pm, suspend, memoryMap, pci } = used;
      connectSleep(host, used);
      addDevice(pm);
      addDevice(suspend);
      const place = used.ports.movable(PM_PORTS, pm, pm.name, (why) =>
        host.logger.warn(`the guest placed the power management registers where they cannot be reached: ${why}`),
      );
      host.onDispose(() => place.move(undefined));
      if (pci === undefined) place.move(PM_BASE);
      else {
        const config = host.make(PmFunction);
        config.onPlaced = (base) => {
          place.move(base);
          if (base === undefined) return;
          pm.base = base;
          tellFirmware(used);
        };
        host.onDispose(pci.attach(config, PM_SLOT, PM_FUNCTION).detach);
        addDevice(config);
      }
      memoryMap.reserve(ACPI_BASE, ACPI_SIZE);
      tellFirmware(used);
      host.hooks.load.tap({ stage: Stage.Architecture }, () => {
        suspend.facs = placeTables(describe(used), used, host.logger);
      });
    },
  });
}

/** The ways into sleep and out of it. */
function connectSleep(host: PluginHost, { pm, suspend, system, rtc }: Uses): void {
  pm.onSleep = (type) => {
    if (type === SleepType.s5) system.powerOff('the guest switched itself off (ACPI S5)');
    else if (type === SleepType.s3) suspend.sleep();
    else host.logger.warn(`the guest asked for sleep type ${type}, which the machine does not have; it goes on`);
  };
  if (rtc === undefined) return;
  rtc.onAlarm = () => {
    pm.rtcAlarm();
    if (pm.rtcWakes && suspend.wake()) pm.wake();
  };
}

/** Gives firmware the tables, made when it asks for them: then all plugins are there, and it may have moved the registers. */
function tellFirmware(used: Uses): void {
  let files: Map<string, Uint8Array> | undefined;
  for (const name of [RSDP_FILE, TABLES_FILE, LOADER_FILE]) {
    used.firmware?.addFile(name, () => (files ??= loaderFiles(describe(used))).get(name)!);
  }
}

/** Looks at what the machine's buses answer for, and makes the tables that say so. */
function describe({ pm, namespace, ports, mmio, config: { cpus }, apics, cpuid, memory }: Uses): AcpiTables {
  const has = (port: number): boolean => ports.ownerOf(port) !== undefined;
  return acpiTables({
    cpus,
    serial: SERIAL.filter(({ base }) => has(base)),
    rtc: has(0x70),
    vga: has(0x3d4),
    keyboard: has(0x60),
    pit: has(0x40),
    hpet: mmio.covers(HPET),
    pci: has(0xcf8),
    pciMemory64: highWindow((cpuid.get(ADDRESS_SIZES)?.eax ?? 36) & 0xff, memory.regions),
    extra: (namespace as AmlNamespace).objects,
    ioApic: apics !== undefined && mmio.covers(IO_APIC) ? IO_APIC : undefined,
    apicIds: Array.from({ length: cpus }, (_, index) => apics?.forVcpu(index).id ?? index),
    resetRegister: has(0xcf9),
    pmBase: pm.base,
  });
}

/** CPUID leaf of the sizes of addresses. */
const ADDRESS_SIZES = 0x8000_0008;
/** What four levels of EPT reach is more than anybody needs. */
const MOST_BITS = 46;

/** The upper half of the physical addresses, where RAM ends below. */
function highWindow(bits: number, regions: readonly MemoryRegion[]): { first: number; last: number } | undefined {
  const end = 2 ** Math.min(bits, MOST_BITS);
  const first = end / 2;
  const free = first >= 2 ** 32 && regions.every(({ gpa, size }) => gpa + size <= first);
  return free ? { first, last: end - 1 } : undefined;
}

/** Puts the tables at {@link ACPI_BASE}. Gives the address of the FACS, 0 when the machine has too little memory. */
function placeTables(acpi: AcpiTables, { memory }: Uses, logger: Logger): number {
  const all = [acpi.rootPointer, ...acpi.tables];
  const { offsets, length } = layOut(all);
  if (length > ACPI_SIZE || !memory.contains(ACPI_BASE, length)) {
    logger.warn(`ACPI tables of ${length} bytes do not fit at 0x${ACPI_BASE.toString(16)}; the guest gets none`);
    return 0;
  }
  memory.write(ACPI_BASE, place(all, ACPI_BASE));
  return ACPI_BASE + (offsets.get(acpi.facs) as number);
}
