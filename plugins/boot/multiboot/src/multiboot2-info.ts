/** The boot information of Multiboot 2 (Multiboot2 Specification 2.0, section 3.6), and what it points at. */
import { ElfSectionType, isElf, parseElf } from '@visorkit/formats';
import { e820Entries } from '@visorkit/machine';
import type { BootContext, BootLayout, MemoryMapEntry } from '@visorkit/machine';
import { ADDRESS_END, HIGH_START, LOW_START } from './addresses.js';
import {
  commandLineOf,
  kibibytesFrom,
  LOADER_NAME,
  LOW_MEMORY_LIMIT,
  placeModules,
  textFramebuffer,
} from './boot-information.js';

/** Types of the tags that are written. */
export const Multiboot2InfoTag = {
  END: 0,
  COMMAND_LINE: 1,
  LOADER_NAME: 2,
  MODULE: 3,
  BASIC_MEMORY: 4,
  MEMORY_MAP: 6,
  FRAMEBUFFER: 8,
  ELF_SECTIONS: 9,
  ACPI_OLD_RSDP: 14,
  ACPI_NEW_RSDP: 15,
  LOAD_BASE: 21,
} as const;

/** The highest type that the specification knows; those that are not written are of EFI, APM, VBE, SMBIOS, the network. */
export const LAST_INFORMATION = Multiboot2InfoTag.LOAD_BASE;

/** Bytes of an entry of the memory map, with a reserved word at its end (3.6.8). */
const MEMORY_MAP_ENTRY_SIZE = 24;
/** Bytes of the RSDP of ACPI 1.0, and of later ones (ACPI specification 5.2.5.3). */
const RSDP_SIZES = { old: 20, new: 36 } as const;

export interface LoadedKernel {
  /** Modules and sections are put above it. */
  readonly kernelEnd: number;
  /** Where a kernel that may be moved begins. */
  readonly loadBase?: number;
}

/**
 * Puts the information, modules and the ELF file's sections in memory.
 * @returns the guest-physical address for EBX
 * @throws VisorkitError BOOT_NO_SPACE
 */
export function writeMultiboot2Info(
  context: BootContext,
  layout: BootLayout,
  memoryMap: readonly MemoryMapEntry[],
  { kernelEnd, loadBase }: LoadedKernel,
): number {
  const { memory } = context;
  const info = new TagWriter();
  info.add(Multiboot2InfoTag.COMMAND_LINE, text(commandLineOf(context)));
  info.add(Multiboot2InfoTag.LOADER_NAME, text(LOADER_NAME));
  if (loadBase !== undefined) info.add(Multiboot2InfoTag.LOAD_BASE, words(loadBase));
  for (const { start, end, name } of placeModules(context, layout, kernelEnd))
    info.add(Multiboot2InfoTag.MODULE, words(start, end), text(name));
  info.add(
    Multiboot2InfoTag.BASIC_MEMORY,
    words(kibibytesFrom(memoryMap, 0, LOW_MEMORY_LIMIT), kibibytesFrom(memoryMap, HIGH_START, ADDRESS_END)),
  );
  info.add(
    Multiboot2InfoTag.MEMORY_MAP,
    words(MEMORY_MAP_ENTRY_SIZE, 0),
    e820Entries(memoryMap, MEMORY_MAP_ENTRY_SIZE),
  );
  if (context.textScreen === true) info.add(Multiboot2InfoTag.FRAMEBUFFER, textFramebuffer(), new Uint8Array(2));
  const sections = placeSections(context, layout, kernelEnd);
  if (sections !== undefined) info.add(Multiboot2InfoTag.ELF_SECTIONS, ...sections);
  const rsdp = context.firmwareTables?.rsdp;
  if (rsdp !== undefined) {
    info.add(Multiboot2InfoTag.ACPI_OLD_RSDP, memory.read(rsdp, RSDP_SIZES.old));
    info.add(Multiboot2InfoTag.ACPI_NEW_RSDP, memory.read(rsdp, RSDP_SIZES.new));
  }
  const bytes = info.finish();
  const gpa = layout.takeLow(bytes.length, 8, 'the multiboot 2 information', LOW_START, ADDRESS_END);
  memory.write(gpa, bytes);
  return gpa;
}

/** Collects tags, each on a multiple of eight, behind the two words with which the information begins. */
class TagWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 8;

  add(type: number, ...content: readonly Uint8Array[]): void {
    const size = content.reduce((sum, { length }) => sum + length, 8);
    const tag = new Uint8Array(Math.ceil(size / 8) * 8);
    tag.set(words(type, size));
    let at = 8;
    for (const part of content) {
      tag.set(part, at);
      at += part.length;
    }
    this.#parts.push(tag);
    this.#length += tag.length;
  }

  finish(): Uint8Array {
    this.add(Multiboot2InfoTag.END);
    const bytes = new Uint8Array(this.#length);
    bytes.set(words(this.#length, 0));
    let at = 8;
    for (const tag of this.#parts) {
      bytes.set(tag, at);
      at += tag.length;
    }
    return bytes;
  }
}

/** Where the section headers are described in an ELF header, and the address in one of them. */
const ELF_FIELDS = {
  32: { table: 32, counts: 46, address: 12 },
  64: { table: 40, counts: 58, address: 16 },
} as const;

/**
 * The content of the tag with an ELF kernel's section headers (3.6.7), undefined when there are none. Sections that belong to no segment, such
 * as symbols, are put in memory too, and their headers say where.
 */
function placeSections({ image, memory }: BootContext, layout: BootLayout, above: number): Uint8Array[] | undefined {
  if (!isElf(image)) return undefined;
  const { bits, sections } = parseElf(image);
  if (sections.length === 0) return undefined;
  const fields = ELF_FIELDS[bits];
  const file = new DataView(image.buffer, image.byteOffset, image.length);
  const table = bits === 64 ? Number(file.getBigUint64(fields.table, true)) : file.getUint32(fields.table, true);
  const entrySize = file.getUint16(fields.counts, true);
  const headers = new Uint8Array(image.subarray(table, table + entrySize * sections.length)); // not slice: that of a Buffer is no copy
  const view = new DataView(headers.buffer);
  sections.forEach(({ name, address, size, offset, type }, index) => {
    if (address !== 0n || size === 0 || NOT_IN_FILE.has(type) || offset + size > image.length) return;
    const gpa = layout.takeLow(size, 16, `the section "${name}" of ${size} bytes`, Math.max(above, HIGH_START));
    memory.write(gpa, image.subarray(offset, offset + size));
    const at = index * entrySize + fields.address;
    if (bits === 64) view.setBigUint64(at, BigInt(gpa), true);
    else view.setUint32(at, gpa, true);
  });
  return [words(sections.length, entrySize, file.getUint16(fields.counts + 4, true)), headers];
}

const NOT_IN_FILE = new Set<number>([ElfSectionType.NULL, ElfSectionType.NOBITS]);

const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setUint32(index * 4, value, true));
  return bytes;
}
