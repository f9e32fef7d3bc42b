/**
 * The static tables: FADT, MADT, HPET and FACS (ACPI specification 6.4, 5.2.9, 5.2.12, 5.2.10; IA-PC HPET 1.0a, 3.2.4).
 */
import { PCI_PIN_GSIS } from '@visorkit/machine';
import { join } from './aml.js';
import { dsdt } from './dsdt.js';
import type { NamespaceContents } from './dsdt.js';
import { PM1_CONTROL, PM1_EVENT, PM_TIMER, SCI } from './pm-registers.js';
import { Fields, HEADER_SIZE, rootPointer, rootTable, table } from './table-set.js';
import type { Table } from './table-set.js';

const RESET_PORT = 0xcf9;
/** Processor and system reset, as the 82371SB data sheet has it. */
const RESET_VALUE = 0x06;
const RTC_CENTURY = 0x32;

/** Fixed feature flags of the FADT (table 5.10). */
const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
const FADT_SLEEP_BUTTON_ABSENT = 1 << 5;
const FADT_TIMER_32 = 1 << 8;
const FADT_RESET_REGISTER = 1 << 10;
/** IA-PC boot architecture flags (table 5.11). */
const BOOT_LEGACY_DEVICES = 1 << 0;
const BOOT_8042 = 1 << 1;
const BOOT_NO_VGA = 1 << 2;
const BOOT_NO_RTC = 1 << 5;

/** Interrupt source override flags: level triggered, active high. */
const LEVEL_ACTIVE_HIGH = 0x0d;
/** Interrupts that are level triggered: the SCI and PCI's pins; 5 is left for a device of one's own. */
const LEVEL_INTERRUPTS = [5, SCI, ...PCI_PIN_GSIS];

export interface AcpiContents extends NamespaceContents {
  /** Whether there is a VGA to look for. */
  vga: boolean;
  /** Guest-physical address of the I/O APIC, undefined for a machine without APICs. */
  ioApic: number | undefined;
  /** APIC IDs by processor. */
  apicIds: readonly number[];
  resetRegister: boolean;
  /** The first port of the power management registers. */
  pmBase: number;
}

/** All tables of a machine: the root pointer apart, the rest in the order they lie in memory. */
export interface AcpiTables {
  rootPointer: Table;
  tables: readonly Table[];
  facs: Table;
}

export function acpiTables(contents: AcpiContents): AcpiTables {
  const facs = firmwareControl();
  const namespace = dsdt(contents);
  const described = [fadt(contents, facs, namespace)];
  if (contents.ioApic !== undefined) described.push(madt(contents, contents.ioApic));
  if (contents.hpet) described.push(hpet());
  const rsdt = rootTable('RSDT', described);
  const xsdt = rootTable('XSDT', described);
  return { rootPointer: rootPointer(rsdt, xsdt), tables: [facs, namespace, ...described, rsdt, xsdt], facs };
}

/** The firmware ACPI control structure: has no header checksum, and the guest writes its waking vector. */
function firmwareControl(): Table {
  const fields = new Fields(64).text(0, 'FACS').u32(4, 64).u8(32, 2);
  return { signature: 'FACS', bytes: fields.bytes, alignment: 64, pointers: [], checksums: [] };
}

/** Offset of the waking vector in the FACS. */
export const FACS_WAKING_VECTOR = 12;

function fadt(contents: AcpiContents, facs: Table, namespace: Table): Table {
  const at = (offset: number): number => offset - HEADER_SIZE,
    { pmBase } = contents;
  const fields = new Fields(276 - HEADER_SIZE);
  /** A generic address of I/O ports (5.2.3.2). */
  const address = (offset: number, port: number, bits: number, access: number): Fields =>
    fields
      .u8(at(offset), 1)
      .u8(at(offset) + 1, bits)
      .u8(at(offset) + 2, 0)
      .u8(at(offset) + 3, access)
      .u64(at(offset) + 4, port);
  fields
    .u8(at(45), 0) // preferred profile: unspecified
    .u16(at(46), SCI)
    .u32(at(48), 0) // no SMI command port: ACPI mode is always on
    .u32(at(56), pmBase + PM1_EVENT)
    .u32(at(64), pmBase + PM1_CONTROL)
    .u32(at(76), pmBase + PM_TIMER)
    .u8(at(88), 4)
    .u8(at(89), 2)
    .u8(at(91), 4)
    .u16(at(96), 0xfff) // C2 and C3 latencies beyond what counts as supported
    .u16(at(98), 0xfff)
    .u8(at(108), RTC_CENTURY)
    .u16(
      at(109),
      BOOT_LEGACY_DEVICES |
        (contents.keyboard ? BOOT_8042 : 0) |
        (contents.vga ? 0 : BOOT_NO_VGA) |
        (contents.rtc ? 0 : BOOT_NO_RTC),
    )
    .u32(
      at(112),
      FADT_WBINVD |
        FADT_PROC_C1 |
        FADT_SLEEP_BUTTON_ABSENT |
        FADT_TIMER_32 |
        (contents.resetRegister ? FADT_RESET_REGISTER : 0),
    )
    .u8(at(131), 3); // minor version
  if (contents.resetRegister) {
    address(116, RESET_PORT, 8, 1);
    fields.u8(at(128), RESET_VALUE);
  }
  address(148, pmBase + PM1_EVENT, 32, 2);
  address(172, pmBase + PM1_CONTROL, 16, 2);
  address(208, pmBase + PM_TIMER, 32, 3);
  return table('FACP', 6, fields.bytes, [
    { offset: 36, size: 4, target: facs },
    { offset: 40, size: 4, target: namespace },
    { offset: 140, size: 8, target: namespace },
  ]);
}

function madt(contents: AcpiContents, ioApic: number): Table {
  const entries: Uint8Array[] = [new Fields(8).u32(0, 0xfee0_0000).u32(4, 1).bytes]; // flag: the PC also has 8259s
  contents.apicIds.forEach((id, uid) => {
    if (id < 0xff) entries.push(new Fields(8).u8(0, 0).u8(1, 8).u8(2, uid).u8(3, id).u32(4, 1).bytes);
    else entries.push(new Fields(16).u8(0, 9).u8(1, 16).u32(4, id).u32(8, 1).u32(12, uid).bytes);
  });
  entries.push(new Fields(12).u8(0, 1).u8(1, 12).u8(2, 0).u32(4, ioApic).u32(8, 0).bytes);
  // The timer's ISA interrupt 0 is wired to input 2.
  entries.push(interruptOverride(0, 2, 0));
  for (const irq of LEVEL_INTERRUPTS) entries.push(interruptOverride(irq, irq, LEVEL_ACTIVE_HIGH));
  // The NMI line reaches LINT1 of every processor.
  entries.push(new Fields(6).u8(0, 4).u8(1, 6).u8(2, 0xff).u16(3, 0).u8(5, 1).bytes);
  return table('APIC', 4, join(...entries));
}

const interruptOverride = (irq: number, gsi: number, flags: number): Uint8Array =>
  new Fields(10).u8(0, 2).u8(1, 10).u8(2, 0).u8(3, irq).u32(4, gsi).u16(8, flags).bytes;

/** The event timer block's ID is what its capability register says. */
function hpet(): Table {
  const fields = new Fields(20)
    .u32(0, 0x8086_a201)
    .u8(4, 0)
    .u8(5, 64)
    .u8(6, 0)
    .u8(7, 0)
    .u64(8, 0xfed0_0000)
    .u8(16, 0)
    .u16(17, 0x80)
    .u8(19, 0);
  return table('HPET', 1, fields.bytes);
}
