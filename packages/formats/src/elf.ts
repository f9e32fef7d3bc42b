/** Reader of ELF executables (System V gABI chapters 4 and 5), 32- and 64-bit, little endian. */
import { hex, ImageReader } from './image-reader.js';

/** The values of e_machine that error messages name. */
export const ElfMachine = {
  I386: 3,
  IAMCU: 6,
  X86_64: 62,
  ARM: 40,
  AARCH64: 183,
  RISCV: 243,
  PPC64: 21,
  S390: 22,
} as const;

/** p_type values. */
export const ElfSegmentType = {
  NULL: 0,
  LOAD: 1,
  DYNAMIC: 2,
  INTERP: 3,
  NOTE: 4,
  PHDR: 6,
  TLS: 7,
  GNU_STACK: 0x6474e551,
} as const;

/** sh_type values. */
export const ElfSectionType = {
  NULL: 0,
  PROGBITS: 1,
  SYMTAB: 2,
  STRTAB: 3,
  RELA: 4,
  NOTE: 7,
  NOBITS: 8,
  REL: 9,
  DYNSYM: 11,
} as const;

/** One program header. Addresses are bigint since a kernel's are in the upper half. */
export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly virtualAddress: bigint;
  readonly physicalAddress: bigint;
  readonly fileSize: number;
  /** Size in memory; what lies past `fileSize` is zero. Never less than `fileSize` in a PT_LOAD that this reader returns. */
  readonly memorySize: bigint;
  readonly align: bigint;
}

/** One section header. */
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly entrySize: number;
}

/** One symbol of SHT_SYMTAB or SHT_DYNSYM. */
export interface ElfSymbol {
  readonly name: string;
  readonly value: bigint;
  readonly size: bigint;
  /** STT_NOTYPE 0, STT_OBJECT 1, STT_FUNC 2, STT_SECTION 3, STT_FILE 4 … */
  readonly type: number;
  /** STB_LOCAL 0, STB_GLOBAL 1, STB_WEAK 2. */
  readonly binding: number;
  readonly section: number;
}

/** One note of a PT_NOTE segment or SHT_NOTE section. */
export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly description: Uint8Array;
}

/** A parsed ELF file; sections, symbols and notes are read when asked for. */
export interface ElfFile {
  readonly bits: 32 | 64;
  readonly type: number;
  readonly machine: number;
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
  /** All symbols of all symbol tables. */
  symbols(): ElfSymbol[];
  /** All notes, those of the segments first. */
  notes(): ElfNote[];
  /** The bytes of a segment that are in the file (a view). */
  segmentBytes(segment: ElfSegment): Uint8Array;
}

/** Whether the bytes begin as an ELF file. */
export function isElf(image: Uint8Array): boolean {
  return image.length >= 4 && image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46;
}

/** The name of an e_machine value, for error sentences. */
export function elfMachineName(machine: number): string {
  return machineNames[machine] ?? `machine number ${machine}`;
}

export interface ElfOptions {
  /** Reads the section table (default). What only runs a program does not need it, as Linux does not, and a damaged one is no error then. */
  readonly sections?: boolean;
}

/**
 * Parses an ELF file. The header and the program headers must be complete. A damaged section table is an error; a
 * missing one is not.
 * @throws VisorkitError ELF_MALFORMED
 */
export function parseElf(image: Uint8Array, { sections: withSections = true }: ElfOptions = {}): ElfFile {
  const file = new ImageReader(image, 'the ELF file', 'ELF_MALFORMED');
  if (!isElf(image)) file.malformed('it does not begin with 7f 45 4c 46, so it is not an ELF file');
  const fileClass = file.u8(4, 'EI_CLASS');
  if (fileClass !== 1 && fileClass !== 2) file.malformed(`EI_CLASS is ${fileClass}; 1 (32-bit) or 2 (64-bit) is right`);
  const encoding = file.u8(5, 'EI_DATA');
  if (encoding === 2) file.malformed('it is big endian (EI_DATA 2); an x86 machine runs little-endian files only');
  if (encoding !== 1) file.malformed(`EI_DATA is ${encoding}; 1 (little endian) is right`);
  const wide = fileClass === 2;
  file.check(0, wide ? 64 : 52, 'the ELF header');

  const entry = wide ? file.u64(24) : BigInt(file.u32(24));
  const programHeaders = wide ? file.size64(32, 'e_phoff') : file.u32(28);
  const sectionHeaders = wide ? file.size64(40, 'e_shoff') : file.u32(32);
  const counts = wide ? 54 : 42;
  const segments = readSegments(file, wide, programHeaders, file.u16(counts), file.u16(counts + 2));
  const sections = withSections
    ? readSections(file, wide, sectionHeaders, file.u16(counts + 4), file.u16(counts + 6), file.u16(counts + 8))
    : [];

  return {
    bits: wide ? 64 : 32,
    type: file.u16(16),
    machine: file.u16(18),
    entry,
    segments,
    sections,
    symbols: () => readSymbols(file, wide, sections),
    notes: () => readAllNotes(file, segments, sections),
    segmentBytes: (segment) => file.slice(segment.offset, segment.fileSize, 'a segment'),
  };
}

function readSegments(file: ImageReader, wide: boolean, table: number, entrySize: number, count: number): ElfSegment[] {
  if (count === 0) return [];
  const least = wide ? 56 : 32;
  if (entrySize < least) file.malformed(`e_phentsize is ${entrySize}; at least ${least} is right`);
  file.check(table, entrySize * count, 'the program header table');
  const segments: ElfSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * entrySize;
    const segment: ElfSegment = wide
      ? {
          type: file.u32(at),
          flags: file.u32(at + 4),
          offset: file.size64(at + 8, `p_offset of segment ${index}`),
          virtualAddress: file.u64(at + 16),
          physicalAddress: file.u64(at + 24),
          fileSize: file.size64(at + 32, `p_filesz of segment ${index}`),
          memorySize: file.u64(at + 40),
          align: file.u64(at + 48),
        }
      : {
          type: file.u32(at),
          offset: file.u32(at + 4),
          virtualAddress: BigInt(file.u32(at + 8)),
          physicalAddress: BigInt(file.u32(at + 12)),
          fileSize: file.u32(at + 16),
          memorySize: BigInt(file.u32(at + 20)),
          flags: file.u32(at + 24),
          align: BigInt(file.u32(at + 28)),
        };
    if (segment.type === ElfSegmentType.LOAD) {
      file.check(segment.offset, segment.fileSize, `segment ${index} (PT_LOAD)`);
      if (BigInt(segment.fileSize) > segment.memorySize) {
        file.malformed(
          `segment ${index} has p_filesz ${hex(segment.fileSize)} above p_memsz ${hex(segment.memorySize)}`,
        );
      }
    }
    segments.push(segment);
  }
  return segments;
}

function readSections(
  file: ImageReader,
  wide: boolean,
  table: number,
  entrySize: number,
  count: number,
  nameTableIndex: number,
): ElfSection[] {
  if (table === 0 || count === 0) return [];
  const least = wide ? 64 : 40;
  if (entrySize < least) file.malformed(`e_shentsize is ${entrySize}; at least ${least} is right`);
  file.check(table, entrySize * count, 'the section header table');
  const raw = Array.from({ length: count }, (_, index) => {
    const at = table + index * entrySize;
    return wide
      ? {
          nameOffset: file.u32(at),
          type: file.u32(at + 4),
          flags: file.u64(at + 8),
          address: file.u64(at + 16),
          offset: file.size64(at + 24, `sh_offset of section ${index}`),
          size: file.size64(at + 32, `sh_size of section ${index}`),
          link: file.u32(at + 40),
          entrySize: file.size64(at + 56, `sh_entsize of section ${index}`),
        }
      : {
          nameOffset: file.u32(at),
          type: file.u32(at + 4),
          flags: BigInt(file.u32(at + 8)),
          address: BigInt(file.u32(at + 12)),
          offset: file.u32(at + 16),
          size: file.u32(at + 20),
          link: file.u32(at + 24),
          entrySize: file.u32(at + 36),
        };
  });
  const names = raw[nameTableIndex];
  return raw.map(({ nameOffset, ...section }) => ({
    name: names && nameOffset < names.size ? file.string(names.offset + nameOffset, 256, 'a section name') : '',
    ...section,
  }));
}

function readSymbols(file: ImageReader, wide: boolean, sections: readonly ElfSection[]): ElfSymbol[] {
  const symbols: ElfSymbol[] = [];
  const size = wide ? 24 : 16;
  const most = file.length / size; // more than fit in the file means that tables overlap, which would make this quadratic
  for (const table of sections) {
    if (table.type !== ElfSectionType.SYMTAB && table.type !== ElfSectionType.DYNSYM) continue;
    const strings = sections[table.link];
    if (!strings)
      file.malformed(`symbol table "${table.name}" names section ${table.link} for its strings, which is not there`);
    file.check(table.offset, table.size, `symbol table "${table.name}"`);
    file.check(strings.offset, strings.size, `string table "${strings.name}"`);
    for (let at = table.offset; at + size <= table.offset + table.size; at += size) {
      if (symbols.length >= most) file.malformed('its symbol tables lie over one another');
      const nameOffset = file.u32(at);
      const info = file.u8(wide ? at + 4 : at + 12);
      symbols.push({
        name:
          nameOffset < strings.size
            ? file.string(strings.offset + nameOffset, Math.min(strings.size - nameOffset, 4096))
            : '',
        value: wide ? file.u64(at + 8) : BigInt(file.u32(at + 4)),
        size: wide ? file.u64(at + 16) : BigInt(file.u32(at + 8)),
        type: info & 15,
        binding: info >> 4,
        section: file.u16(wide ? at + 6 : at + 14),
      });
    }
  }
  return symbols;
}

function readAllNotes(file: ImageReader, segments: readonly ElfSegment[], sections: readonly ElfSection[]): ElfNote[] {
  const notes: ElfNote[] = [];
  const seen = new Set<number>();
  for (const segment of segments) {
    if (segment.type !== ElfSegmentType.NOTE) continue;
    seen.add(segment.offset);
    readNotes(file, segment.offset, segment.fileSize, segment.align === 8n ? 8 : 4, notes);
  }
  for (const section of sections) {
    if (section.type !== ElfSectionType.NOTE || seen.has(section.offset)) continue;
    readNotes(file, section.offset, section.size, 4, notes);
  }
  return notes;
}

const mostNotes = 65536;

/** Notes of one segment: namesz, descsz, type, name and description, each padded to the alignment. */
function readNotes(file: ImageReader, offset: number, size: number, align: number, notes: ElfNote[]): void {
  file.check(offset, size, 'a note segment');
  const end = offset + size;
  const padded = (value: number): number => Math.ceil(value / align) * align;
  for (let at = offset; at + 12 <= end; ) {
    const nameSize = file.u32(at);
    const descriptionSize = file.u32(at + 4);
    const name = at + 12;
    const description = offset + padded(name - offset + nameSize);
    if (description + descriptionSize > end) {
      file.malformed(
        `a note at offset ${hex(at)} (name ${nameSize} bytes, description ${descriptionSize} bytes) runs past its segment, which ends at ${hex(end)}`,
      );
    }
    if (notes.length >= mostNotes)
      file.malformed(`it has more than ${mostNotes} notes; its note segments lie over one another`);
    notes.push({
      name: file.string(name, Math.min(nameSize, 256)),
      type: file.u32(at + 8),
      description: file.slice(description, descriptionSize, 'a note description'),
    });
    at = offset + padded(description - offset + descriptionSize);
  }
}

const machineNames: Record<number, string> = {
  2: 'SPARC',
  3: 'i386',
  4: 'm68k',
  6: 'Intel MCU',
  8: 'MIPS',
  15: 'PA-RISC',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 'S/390',
  40: 'ARM',
  42: 'SuperH',
  43: 'SPARC V9',
  50: 'IA-64',
  62: 'x86-64',
  183: 'AArch64 (ARM64)',
  243: 'RISC-V',
  247: 'eBPF',
  258: 'LoongArch',
};
