/**
 * The differentiated system description table: the devices of the machine in ACPI's namespace (specification 6.4, 5.2.11.1).
 */
import { pciPinGsi } from '@visorkit/machine';
import {
  device,
  eisaId,
  integer,
  ioPorts,
  isaInterrupt,
  busRange,
  join,
  memory,
  memoryRange,
  name,
  packageOf,
  portRange,
  resources,
  scope,
  string,
} from './aml.js';
import type { Aml } from './aml.js';
import { SleepType } from './pm-registers.js';
import { table } from './table-set.js';
import type { Table } from './table-set.js';

/** The parts of the machine that the namespace describes. */
export interface NamespaceContents {
  cpus: number;
  /** Serial ports by base and interrupt. */
  serial: readonly { base: number; irq: number }[];
  rtc: boolean;
  keyboard: boolean;
  pit: boolean;
  hpet: boolean;
  pci: boolean;
  /** A window of PCI memory above RAM and 4 GiB, for addresses of 64 bits. */
  pciMemory64?: { first: number; last: number };
  /** Named objects of plugins, placed in \_SB. */
  extra: readonly Aml[];
}

/** The window of PCI memory: from the end of low RAM to the I/O APIC. */
export const PCI_MEMORY = { first: 0xc000_0000, last: 0xfebf_ffff } as const;
const PCI_SLOTS = 32;
const PCI_PINS = 4;

export function dsdt(contents: NamespaceContents): Table {
  const bus: Aml[] = [];
  for (let cpu = 0; cpu < contents.cpus; cpu++) bus.push(processor(cpu));
  if (contents.pci) bus.push(pciRoot(contents));
  if (contents.rtc)
    bus.push(
      device('RTC', name('_HID', eisaId('PNP0B00')), name('_CRS', resources(ioPorts(0x70, 2), isaInterrupt(8)))),
    );
  if (contents.pit)
    bus.push(
      device(
        'TIMR',
        name('_HID', eisaId('PNP0100')),
        name('_CRS', resources(ioPorts(0x40, 4), ioPorts(0x61, 1), isaInterrupt(0))),
      ),
    );
  if (contents.keyboard) bus.push(...keyboardAndMouse());
  contents.serial.forEach((port, index) => bus.push(serialPort(port, index)));
  if (contents.hpet)
    bus.push(
      device(
        'HPET',
        name('_HID', eisaId('PNP0103')),
        name('_UID', integer(0)),
        name('_CRS', resources(memory(0xfed0_0000, 0x400, false))),
      ),
    );
  return table(
    'DSDT',
    2,
    join(
      scope('\\_SB', ...bus, ...contents.extra),
      sleepState('\\_S3', SleepType.s3),
      sleepState('\\_S5', SleepType.s5),
    ),
  );
}

/** SLP_TYP for the two PM1 control blocks, and two reserved elements (7.4.2). */
const sleepState = (path: string, type: number): Aml =>
  name(path, packageOf(integer(type), integer(type), integer(0), integer(0)));

const processor = (index: number): Aml =>
  device(
    `C${index.toString(16).toUpperCase().padStart(3, '0')}`,
    name('_HID', string('ACPI0007')),
    name('_UID', integer(index)),
  );

const serialPort = ({ base, irq }: { base: number; irq: number }, index: number): Aml =>
  device(
    `COM${index + 1}`,
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(index + 1)),
    name('_STA', integer(0x0f)),
    name('_CRS', resources(ioPorts(base, 8), isaInterrupt(irq))),
  );

const keyboardAndMouse = (): Aml[] => [
  device(
    'KBD',
    name('_HID', eisaId('PNP0303')),
    name('_STA', integer(0x0f)),
    name('_CRS', resources(ioPorts(0x60, 1), ioPorts(0x64, 1), isaInterrupt(1))),
  ),
  device(
    'MOU',
    name('_HID', eisaId('PNP0F13')),
    name('_STA', integer(0x0f)),
    name('_CRS', resources(isaInterrupt(12))),
  ),
];

/** A conventional PCI host bridge with what it passes on and where its interrupt pins go. */
function pciRoot({ pciMemory64 }: NamespaceContents): Aml {
  const routes: Aml[] = [];
  for (let slot = 1; slot < PCI_SLOTS; slot++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      routes.push(packageOf(integer(slot * 0x10000 + 0xffff), integer(pin), integer(0), integer(pciPinGsi(slot, pin))));
    }
  }
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(0)),
    name('_BBN', integer(0)),
    name(
      '_CRS',
      resources(
        busRange(0, 0),
        ioPorts(0xcf8, 8),
        portRange(0, 0xcf7),
        portRange(0xd00, 0xffff),
        memoryRange(0xa_0000, 0xb_ffff),
        memoryRange(PCI_MEMORY.first, PCI_MEMORY.last),
        ...(pciMemory64 === undefined ? [] : [memoryRange(pciMemory64.first, pciMemory64.last)]),
      ),
    ),
    name('_PRT', packageOf(...routes)),
  );
}
