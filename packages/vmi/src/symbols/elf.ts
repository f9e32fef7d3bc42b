/** What an ELF file of a kernel or a module has for introspection: its description of types (BTF) and its symbols. Read by need, by its section headers (gABI chapter 4). */
import { fail } from '@visorkit/core';
import type { ByteSource } from '../stored-memory.js';
import { Btf } from '../types/btf.js';
import type { GuestSymbol } from './symbol-table.js';
import { SymbolList } from './symbol-table.js';

const MAGIC = 0x464c_457f;
const BTF_MAGIC = 0xeb9f;
const SYMTAB = 2;
const NOBITS = 8;
/** A count of sections, or a number of one, that does not fit: section header 0 has it. */
const MANY = 0xff00;
const ELSEWHERE = 0xffff;
const MOST_SECTIONS = 1 << 20;
const LONGEST_NAME = 512;

export interface ElfSymbolsAndTypes {
  readonly bits: 32 | 64;
  /** The section `.BTF`; undefined where there is none. Throws `VMI_TYPES` for a damaged one, and for a module's without the kernel's. */
  types(base?: Btf): Btf | undefined;
  /** Code and data of the symbol table; undefined for a stripped file. Addresses are those that the kernel is linked for; a module's count from its sections. */
  symbols(): SymbolList | undefined;
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

/** Whether a file begins as ELF. */
export function isElfFile(file: ByteSource): boolean {
  return file.length >= 64 && new Reader(file).u32(0) === MAGIC;
}

/** Throws `VMI_SYMBOL_FILE` for a file that is no ELF file, or whose headers make no sense. */
export function openElf(file: ByteSource, { source = 'ELF file' }: { source?: string } = {}): ElfSymbolsAndTypes {
  const reader = new Reader(file);
  if (!isElfFile(file)) reader.damaged('it does not begin with 7f 45 4c 46');
  const wide = reader.u8(4) === 2;
  if (reader.u8(5) !== 1) reader.damaged(`its data encoding is ${reader.u8(5)}; 1 (little endian) is right`);
  const sections = readSections(reader, wide);
  const named = (name: string): Uint8Array | undefined => {
    const section = sections.find((one) => one.name === name);
    return section === undefined || section.type === NOBITS ? undefined : reader.bytes(section.offset, section.size);
  };
  return {
    bits: wide ? 64 : 32,
    types: (base) => {
      const bytes = named('.BTF');
      if (bytes === undefined) return undefined;
      const pointerSize = wide ? 8 : 4;
      // A module that was built outside the kernel's tree brings what it needs of the kernel's types
      const own = named('.BTF.base');
      const under = own === undefined ? base : new Btf(own, { source, pointerSize });
      return new Btf(bytes, { source, pointerSize, base: under });
    },
    symbols: () => readSymbols(reader, wide, sections, source),
  };
}

/** BTF in a file: raw, as /sys/kernel/btf/vmlinux is, or in an ELF file. Throws `VMI_TYPES` where there is none, or a damaged one. */
export function readBtf(file: ByteSource, { source = 'BTF', base }: { source?: string; base?: Btf } = {}): Btf {
  if (isElfFile(file))
    return (
      openElf(file, { source }).types(base) ??
      fail(
        'VMI_TYPES',
        `${source} is an ELF file without a section .BTF; a kernel built with CONFIG_DEBUG_INFO_BTF has one.`,
      )
    );
  return new Btf(new Reader(file).bytes(0, file.length), { source, base, pointerSize: base?.pointerSize });
}

/** Whether a file begins as raw BTF. */
export function isBtf(file: ByteSource): boolean {
  return file.length >= 24 && new Reader(file).u16(0) === BTF_MAGIC;
}

function readSections(reader: Reader, wide: boolean): Section[] {
  const table = wide ? reader.u64(40) : reader.u32(32);
  if (table === 0) return [];
  const [entry, some, nameIndex] = [58, 60, 62].map((at) => reader.u16(wide ? at : at - 12));
  const least = wide ? 64 : 40;
  if (entry < least) reader.damaged(`its section headers have ${entry} bytes each; ${least} at least are right`);
  const header = (index: number): Omit<Section, 'name'> & { nameAt: number } => {
    const at = table + index * entry;
    return wide
      ? {
          nameAt: reader.u32(at),
          type: reader.u32(at + 4),
          flags: reader.u32(at + 8),
          offset: reader.u64(at + 24),
          size: reader.u64(at + 32),
          link: reader.u32(at + 40),
        }
      : {
          nameAt: reader.u32(at),
          type: reader.u32(at + 4),
          flags: reader.u32(at + 8),
          offset: reader.u32(at + 16),
          size: reader.u32(at + 20),
          link: reader.u32(at + 24),
        };
  };
  const count = some === 0 ? header(0).size : some;
  if (count === 0) return [];
  if (count > MOST_SECTIONS || table + count * entry > reader.length)
    reader.damaged(`it would have ${count} sections at ${table}`);
  const names = header(nameIndex === ELSEWHERE ? header(0).link : nameIndex);
  const texts = names.type === NOBITS ? new Uint8Array() : reader.bytes(names.offset, names.size);
  return Array.from({ length: count }, (_unused, index) => {
    const { nameAt, ...section } = header(index);
    return { name: textAt(texts, nameAt), ...section };
  });
}

function readSymbols(
  reader: Reader,
  wide: boolean,
  sections: readonly Section[],
  source: string,
): SymbolList | undefined {
  const table = sections.find(({ type }) => type === SYMTAB);
  const texts = table === undefined ? undefined : sections[table.link];
  if (table === undefined || texts === undefined) return undefined;
  const strings = reader.bytes(texts.offset, texts.size);
  const bytes = reader.bytes(table.offset, table.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = wide ? 24 : 16;
  const symbols: GuestSymbol[] = [];
  for (let at = 0; at + size <= bytes.length; at += size) {
    const info = view.getUint8(at + (wide ? 4 : 12)),
      section = view.getUint16(at + (wide ? 6 : 14), true);
    const name = textAt(strings, view.getUint32(at, true));
    // Not the files' and the sections' own, and none that is defined elsewhere
    if (name === '' || section === 0 || (info & 15) > 2) continue;
    const address = wide ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true));
    symbols.push({ name, address, type: letterOf(sections[section], section, info >> 4) });
  }
  return symbols.length === 0 ? undefined : new SymbolList(source, symbols);
}

/** As `nm` has it: by the section, upper case for what other files see. */
function letterOf(section: Section | undefined, index: number, binding: number): string {
  const letter =
    index >= MANY || section === undefined
      ? 'a'
      : section.flags & 4
        ? 't'
        : section.type === NOBITS
          ? 'b'
          : section.flags & 1
            ? 'd'
            : 'r';
  return binding === 0 ? letter : binding === 2 ? 'W' : letter.toUpperCase();
}

function textAt(bytes: Uint8Array, at: number): string {
  const part = bytes.subarray(at, at + LONGEST_NAME);
  const end = part.indexOf(0);
  return String.fromCharCode(...part.subarray(0, end < 0 ? part.length : end));
}

class Reader {
  constructor(private readonly file: ByteSource) {}

  get length(): number {
    return this.file.length;
  }
  u8(at: number): number {
    return this.bytes(at, 1)[0];
  }
  u16(at: number): number {
    return this.#view(at, 2).getUint16(0, true);
  }
  u32(at: number): number {
    return this.#view(at, 4).getUint32(0, true);
  }
  /** Exact below 2^53. */
  u64(at: number): number {
    return Number(this.#view(at, 8).getBigUint64(0, true));
  }

  bytes(at: number, length: number): Uint8Array {
    if (at + length > this.file.length)
      this.damaged(`${length} bytes at ${at} would be beyond its end at ${this.file.length}`);
    const bytes = new Uint8Array(length);
    this.file.read(at, bytes);
    return bytes;
  }

  damaged(why: string): never {
    return fail('VMI_SYMBOL_FILE', `The ELF file cannot be read: ${why}.`);
  }

  #view(at: number, length: number): DataView {
    return new DataView(this.bytes(at, length).buffer);
  }
}
