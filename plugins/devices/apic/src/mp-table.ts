/**
 * The MP table (Intel MultiProcessor Specification 1.4, chapter 4): processors, buses, the I/O APIC and how interrupts reach it, for systems that do not
 * look for ACPI. Firmware makes one of its own.
 */
import { PCI_PIN_GSIS, pciPinGsi } from '@visorkit/machine';
import { IO_APIC_BASE, IO_APIC_VERSION } from './io-apic.js';
import { DEFAULT_BASE, VERSION } from './registers.js';

/** Where the floating pointer goes: software looks for it on 16-byte boundaries from 0xF0000 to 0xFFFFF, among other places. The table follows. */
export const MP_POINTER = 0xf_0000;
const POINTER_SIZE = 16;
const HEADER_SIZE = 44;
const REVISION_1_4 = 4;

export interface MpContents {
  /** By processor; the first is the one that boots. IDs from 255 on have no place in the table. */
  readonly apicIds: readonly number[];
  /** CPUID.1:EAX and EDX. */
  readonly signature: number;
  readonly features: number;
  /** Whether there is a PCI bus. */
  readonly pci: boolean;
}

const Entry = { PROCESSOR: 0, BUS: 1, IO_APIC: 2, IO_INTERRUPT: 3, LOCAL_INTERRUPT: 4 } as const;
const Interrupt = { INT: 0, NMI: 1, EXTINT: 3 } as const;
const ENABLED = 1;
const BOOT_PROCESSOR = 2;
/** Polarity and trigger mode (table 4-10): as the bus has them, or active high and level triggered, as in the MADT. */
const AS_THE_BUS = 0;
const LEVEL_ACTIVE_HIGH = 0b1101;
const ALL_APICS = 0xff;
const LAST_ID = 0xfe;
const PCI_SLOTS = 32;
const ISA_LINES = 16;
/** ISA interrupts that are level triggered, as the MADT says too; those of PCI besides. */
const LEVEL_INTERRUPTS = [5, 9];
/** What its register says after a reset. */
const IO_APIC_ID = 0;

/** The pointer and the table, for {@link MP_POINTER}. */
export function mpTable({ apicIds, signature, features, pci }: MpContents): Uint8Array {
  const entries: Uint8Array[] = [];
  const processors = apicIds.filter((id) => id <= LAST_ID);
  processors.forEach((id, index) => {
    const entry = new Uint8Array(20);
    entry.set([Entry.PROCESSOR, id, VERSION & 0xff, ENABLED | (index === 0 ? BOOT_PROCESSOR : 0)]);
    new DataView(entry.buffer).setUint32(4, signature, true);
    new DataView(entry.buffer).setUint32(8, features, true);
    entries.push(entry);
  });
  const buses = pci ? ['PCI', 'ISA'] : ['ISA'];
  const isa = buses.indexOf('ISA');
  buses.forEach((name, id) => entries.push(Uint8Array.of(Entry.BUS, id, ...ascii(name, 6))));
  const base = new Uint8Array(new Uint32Array([IO_APIC_BASE]).buffer);
  entries.push(Uint8Array.of(Entry.IO_APIC, IO_APIC_ID, IO_APIC_VERSION, ENABLED, ...base));
  if (pci)
    for (let slot = 0; slot < PCI_SLOTS; slot++)
      for (let pin = 0; pin < 4; pin++)
        entries.push(interrupt(Interrupt.INT, LEVEL_ACTIVE_HIGH, 0, (slot << 2) | pin, pciPinGsi(slot, pin)));
  for (let irq = 0; irq < ISA_LINES; irq++) {
    if (irq === 2 || (pci && PCI_PIN_GSIS.includes(irq))) continue; // input 2 is the timer's
    entries.push(
      interrupt(
        Interrupt.INT,
        LEVEL_INTERRUPTS.includes(irq) ? LEVEL_ACTIVE_HIGH : AS_THE_BUS,
        isa,
        irq,
        irq === 0 ? 2 : irq,
      ),
    );
  }
  entries.push(Uint8Array.of(Entry.LOCAL_INTERRUPT, Interrupt.EXTINT, 0, 0, isa, 0, ALL_APICS, 0));
  entries.push(Uint8Array.of(Entry.LOCAL_INTERRUPT, Interrupt.NMI, 0, 0, isa, 0, ALL_APICS, 1));
  return pointerAndTable(entries);
}

const interrupt = (type: number, flags: number, bus: number, source: number, pin: number): Uint8Array =>
  Uint8Array.of(Entry.IO_INTERRUPT, type, flags, 0, bus, source, IO_APIC_ID, pin);

function pointerAndTable(entries: readonly Uint8Array[]): Uint8Array {
  const length = entries.reduce((sum, entry) => sum + entry.length, HEADER_SIZE);
  const bytes = new Uint8Array(POINTER_SIZE + length);
  const view = new DataView(bytes.buffer);
  bytes.set(ascii('_MP_', 4));
  view.setUint32(4, MP_POINTER + POINTER_SIZE, true);
  bytes.set([POINTER_SIZE / 16, REVISION_1_4], 8);
  const table = bytes.subarray(POINTER_SIZE);
  table.set(ascii('PCMP', 4));
  view.setUint16(POINTER_SIZE + 4, length, true);
  table[6] = REVISION_1_4;
  table.set(ascii('VISORKIT', 8), 8);
  table.set(ascii('PC', 12), 16);
  view.setUint16(POINTER_SIZE + 34, entries.length, true);
  view.setUint32(POINTER_SIZE + 36, DEFAULT_BASE, true);
  let at = HEADER_SIZE;
  for (const entry of entries) {
    table.set(entry, at);
    at += entry.length;
  }
  bytes[10] = checksum(bytes.subarray(0, POINTER_SIZE));
  table[7] = checksum(table);
  return bytes;
}

/** Padded with blanks. */
const ascii = (text: string, length: number): number[] =>
  [...text.padEnd(length)].map((letter) => letter.charCodeAt(0));

/** What makes the sum of the bytes zero. */
const checksum = (bytes: Uint8Array): number => -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
