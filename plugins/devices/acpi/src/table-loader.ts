/**
 * The script by which firmware that reads fw_cfg places ACPI tables itself: QEMU's bios-linker-loader protocol, spoken by
 * SeaBIOS, OVMF and coreboot. Every command is 128 bytes.
 */
import { layOut } from './table-set.js';
import type { AcpiTables } from './tables.js';

export const RSDP_FILE = 'etc/acpi/rsdp';
export const TABLES_FILE = 'etc/acpi/tables';
export const LOADER_FILE = 'etc/table-loader';

const COMMAND_SIZE = 128;
const FILE_SIZE = 56;
const Command = { allocate: 1, addPointer: 2, addChecksum: 3 } as const;
const Zone = { high: 1, fSegment: 2 } as const;

/** The three files of fw_cfg. */
export function loaderFiles(acpi: AcpiTables): Map<string, Uint8Array> {
  const { offsets, length } = layOut(acpi.tables);
  const blob = new Uint8Array(length);
  const view = new DataView(blob.buffer);
  for (const [entry, offset] of offsets) {
    blob.set(entry.bytes, offset);
    // A pointer holds the offset in the file it points into; the firmware adds where it put that file.
    for (const pointer of entry.pointers)
      view.setUint32(offset + pointer.offset, offsets.get(pointer.target) as number, true);
  }
  const rsdp = acpi.rootPointer.bytes.slice();
  const rsdpView = new DataView(rsdp.buffer);
  for (const pointer of acpi.rootPointer.pointers)
    rsdpView.setUint32(pointer.offset, offsets.get(pointer.target) as number, true);

  const commands = [allocate(TABLES_FILE, 64, Zone.high), allocate(RSDP_FILE, 16, Zone.fSegment)];
  for (const [entry, offset] of offsets)
    for (const { offset: at, size } of entry.pointers)
      commands.push(addPointer(TABLES_FILE, TABLES_FILE, offset + at, size));
  for (const { offset, size } of acpi.rootPointer.pointers)
    commands.push(addPointer(RSDP_FILE, TABLES_FILE, offset, size));
  for (const [entry, offset] of offsets)
    for (const sum of entry.checksums)
      commands.push(addChecksum(TABLES_FILE, offset + sum.at, offset + sum.start, sum.length));
  for (const sum of acpi.rootPointer.checksums) commands.push(addChecksum(RSDP_FILE, sum.at, sum.start, sum.length));

  const script = new Uint8Array(commands.length * COMMAND_SIZE);
  commands.forEach((command, index) => script.set(command, index * COMMAND_SIZE));
  return new Map([
    [RSDP_FILE, rsdp],
    [TABLES_FILE, blob],
    [LOADER_FILE, script],
  ]);
}

class CommandWriter {
  readonly bytes = new Uint8Array(COMMAND_SIZE);
  readonly #view = new DataView(this.bytes.buffer);
  #at = 0;
  u32(value: number): this {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }
  u8(value: number): this {
    this.bytes[this.#at++] = value;
    return this;
  }
  file(name: string): this {
    for (let index = 0; index < name.length; index++) this.bytes[this.#at + index] = name.charCodeAt(index);
    this.#at += FILE_SIZE;
    return this;
  }
}

const allocate = (file: string, alignment: number, zone: number): Uint8Array =>
  new CommandWriter().u32(Command.allocate).file(file).u32(alignment).u8(zone).bytes;
const addPointer = (inFile: string, to: string, offset: number, size: number): Uint8Array =>
  new CommandWriter().u32(Command.addPointer).file(inFile).file(to).u32(offset).u8(size).bytes;
const addChecksum = (file: string, at: number, start: number, length: number): Uint8Array =>
  new CommandWriter().u32(Command.addChecksum).file(file).u32(at).u32(start).u32(length).bytes;
