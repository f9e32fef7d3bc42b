/**
 * PE images, Windows' programs and drivers, in a file or where the guest has one loaded: headers, sections, the table of exports, and what tells which build it is (Microsoft,
 * PE Format; the CodeView record is that of LLVM's documentation, "The PDB File Format").
 *
 * In memory any page may be missing, and what stands in the headers may be anything: every table has a bound, and what cannot be read is left out.
 */
import { fail } from '@visorkit/core';
import type { AddressSpace } from '../address-space.js';
import type { ByteSource } from '../stored-memory.js';
import type { GuestSymbol } from './symbol-table.js';
import { SymbolList } from './symbol-table.js';

/** What the headers of an image say. */
export interface PeImage {
  /** IMAGE_FILE_MACHINE: 0x14c i386, 0x8664 x86-64. */
  readonly machine: number;
  /** 32 for PE32, 64 for PE32+. */
  readonly bits: 32 | 64;
  /** When it was linked, or a hash of what was; with `sizeOfImage` the key of a build. */
  readonly timeDateStamp: number;
  /** Bytes of the image in memory. */
  readonly sizeOfImage: number;
  /** Where it is loaded (an image in memory), or wants to be (a file). */
  readonly base: bigint;
  /** RVA where it begins to run; 0 where there is none. */
  readonly entry: number;
  /** IMAGE_SUBSYSTEM: 1 native, as kernels and drivers are. */
  readonly subsystem: number;
  /** Version of the system that it is for: `[6, 1]`. */
  readonly osVersion: readonly [major: number, minor: number];
  readonly imageVersion: readonly [major: number, minor: number];
  readonly sections: readonly PeSection[];
  /** TimeDateStamp and SizeOfImage in hexadecimal, as LibVMI's win-guid prints them as "PE GUID": `4ce78a09412000`. */
  readonly id: string;
  /** The table of exports; undefined where there is none that can be read. */
  exports(): PeExports | undefined;
  /** What the image says of its PDB file; undefined where it says nothing that can be read. */
  codeView(): CodeView | undefined;
}

export interface PeSection {
  readonly name: string;
  /** RVA. */
  readonly address: number;
  /** Bytes in memory. */
  readonly size: number;
  readonly fileOffset: number;
  readonly fileSize: number;
  /** IMAGE_SCN: 0x2000_0000 execute, 0x4000_0000 read, 0x8000_0000 write, … */
  readonly characteristics: number;
}

export interface PeExports {
  /** What the image calls itself: `ntoskrnl.exe`. Empty where that cannot be read. */
  readonly name: string;
  readonly entries: readonly PeExport[];
  /** False where a part of the table is in a page that is not there: `entries` are those that can be read. */
  readonly complete: boolean;
  /** The names as symbols, at `base`; forwarded ones are not among them. */
  readonly symbols: SymbolList;
}

export interface PeExport {
  /** Empty for one that has a number only. */
  readonly name: string;
  readonly ordinal: number;
  readonly rva: number;
  /** Where another image has it: `NTDLL.RtlAllocateHeap`, `MSVCRT.#12`. */
  readonly forwarder?: string;
}

/** Which PDB file belongs to an image. */
export interface CodeView {
  /** 32 lower-case hexadecimal digits. */
  readonly guid: string;
  readonly age: number;
  /** Path or name of the file, as the linker knew it. */
  readonly path: string;
}

const Directory = { EXPORT: 0, DEBUG: 6 } as const;
const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
const CODEVIEW = 2;
const RSDS = 0x5344_5352;
/** Windows loads no image with more (PE Format, COFF File Header). */
const MOST_SECTIONS = 96;
/** Ordinals have 16 bits. */
const MOST_EXPORTS = 0x1_0000;
const MOST_DEBUG_ENTRIES = 64;
/** Of an exported name: those of C++ are long. */
const LONGEST_NAME = 4096;
const LONGEST_PATH = 512;
/** Bytes of all names of a table: in a damaged one each may be the same long text. */
const NAME_ROOM = 8 << 20;
/** Where the headers may begin: in the first page, as Windows loads them, or a little behind a long DOS program. */
const FURTHEST_HEADER = 0x1000;

/** The image in a file. Throws `VMI_PE` for one that is none, or whose headers make no sense. */
export function readPe(file: ByteSource): PeImage {
  return new Image((at, length) => {
    if (at + length > file.length) return undefined;
    const bytes = new Uint8Array(length);
    file.read(at, bytes);
    return bytes;
  });
}

/** The image that is loaded at `base`. Throws `VMI_PE` where its headers are not there, or are none. */
export function readLoadedPe(space: AddressSpace, base: bigint): PeImage {
  return new Image((rva, length) => {
    const bytes = new Uint8Array(length);
    return space.read(base + BigInt(rva), bytes) === length ? bytes : undefined;
  }, base);
}

/** Bytes from somewhere on; undefined where not all of them are there. */
type Bytes = (at: number, length: number) => Uint8Array | undefined;

class Image implements PeImage {
  readonly machine: number;
  readonly bits: 32 | 64;
  readonly timeDateStamp: number;
  readonly sizeOfImage: number;
  readonly base: bigint;
  readonly entry: number;
  readonly subsystem: number;
  readonly osVersion: readonly [number, number];
  readonly imageVersion: readonly [number, number];
  readonly sections: readonly PeSection[];
  /** By RVA. */
  readonly #places: Bytes;
  /** By offset in the file; undefined for an image in memory. */
  readonly #inFile: Bytes | undefined;
  /** Bytes of names that may still be read of a table. */
  #room = 0;
  readonly #directories: readonly (readonly [rva: number, size: number])[];

  /** `bytes`: of a file by offset, or, with `base`, of an image in memory by RVA. */
  constructor(bytes: Bytes, base?: bigint) {
    const need = (at: number, length: number, what: string): DataView =>
      viewOf(bytes(at, length) ?? noImage(`${what} at ${hex(at)} is not there`));
    const dos = need(0, 64, 'its first header');
    if (dos.getUint16(0, true) !== 0x5a4d)
      noImage(`it begins with ${hex(dos.getUint16(0, true))}; MZ (0x5a4d) is right`);
    const start = dos.getUint32(0x3c, true);
    if (start > FURTHEST_HEADER)
      noImage(`its PE header would be at ${hex(start)}; up to ${hex(FURTHEST_HEADER)} is right`);
    const coff = need(start, 24, 'its PE header');
    if (coff.getUint32(0, true) !== 0x4550)
      noImage(`at ${hex(start)} there is ${hex(coff.getUint32(0, true))}; PE (0x4550) is right`);
    this.machine = coff.getUint16(4, true);
    this.timeDateStamp = coff.getUint32(8, true);
    const count = coff.getUint16(6, true),
      optionalSize = coff.getUint16(20, true);
    if (count > MOST_SECTIONS) noImage(`it has ${count} sections; up to ${MOST_SECTIONS} are right`);
    if (optionalSize < 96) noImage(`its optional header has ${optionalSize} bytes; 96 at least are right`);
    const optional = need(start + 24, optionalSize, 'its optional header');
    const magic = optional.getUint16(0, true);
    if (magic !== PE32 && magic !== PE32_PLUS)
      noImage(
        `its optional header begins with ${hex(magic)}; ${hex(PE32)} (PE32) or ${hex(PE32_PLUS)} (PE32+) is right`,
      );
    const wide = magic === PE32_PLUS;
    if (wide && optionalSize < 112) noImage(`its optional header has ${optionalSize} bytes; 112 at least are right`);
    this.bits = wide ? 64 : 32;
    this.entry = optional.getUint32(16, true);
    this.base = base ?? (wide ? optional.getBigUint64(24, true) : BigInt(optional.getUint32(28, true)));
    this.osVersion = [optional.getUint16(40, true), optional.getUint16(42, true)];
    this.imageVersion = [optional.getUint16(44, true), optional.getUint16(46, true)];
    this.sizeOfImage = optional.getUint32(56, true);
    this.subsystem = optional.getUint16(68, true);
    const directories = wide ? 112 : 96;
    const said = optional.getUint32(directories - 4, true);
    this.#directories = Array.from(
      { length: Math.min(said, 16, Math.floor((optionalSize - directories) / 8)) },
      (_unused, index) => [
        optional.getUint32(directories + 8 * index, true),
        optional.getUint32(directories + 8 * index + 4, true),
      ],
    );
    this.sections = readSections(need(start + 24 + optionalSize, 40 * count, 'its table of sections'), count);
    this.#inFile = base === undefined ? bytes : undefined;
    this.#places = base === undefined ? asLoaded(bytes, this.sections) : bytes;
  }

  get id(): string {
    return `${this.timeDateStamp.toString(16).padStart(8, '0')}${this.sizeOfImage.toString(16).padStart(5, '0')}`;
  }

  exports(): PeExports | undefined {
    const [start, size] = this.#directories[Directory.EXPORT] ?? [0, 0];
    const header = start === 0 ? undefined : this.#places(start, 40);
    if (header === undefined) return undefined;
    const view = viewOf(header);
    const [nameAt, first, functionCount, nameCount, functionsAt, namesAt, ordinalsAt] = [
      12, 16, 20, 24, 28, 32, 36,
    ].map((at) => view.getUint32(at, true));
    const functions = new Table(this.#places, functionsAt, functionCount, 4);
    const names = new Table(this.#places, namesAt, nameCount, 4);
    const ordinals = new Table(this.#places, ordinalsAt, nameCount, 2);
    let complete = functionCount <= MOST_EXPORTS && nameCount <= MOST_EXPORTS;

    /** Names by the index of what they name; one may have several. */
    const named = new Map<number, string[]>();
    this.#room = NAME_ROOM;
    for (let index = 0; index < names.length; index++) {
      const at = names.at(index),
        ordinal = ordinals.at(index);
      const name = at === undefined ? undefined : this.#text(at, LONGEST_NAME);
      if (name === undefined || ordinal === undefined || name === '') {
        complete = false;
        continue;
      }
      const known = named.get(ordinal);
      if (known === undefined) named.set(ordinal, [name]);
      else known.push(name);
    }
    const entries: PeExport[] = [];
    const symbols: GuestSymbol[] = [];
    for (let index = 0; index < functions.length; index++) {
      const rva = functions.at(index);
      if (rva === undefined) {
        complete = false;
        continue;
      }
      // A gap in the numbers
      if (rva === 0) continue;
      const forwarded = rva >= start && rva < start + size;
      const forwarder = forwarded ? this.#text(rva, LONGEST_NAME) : undefined;
      if (forwarded && forwarder === undefined) complete = false;
      for (const name of named.get(index) ?? ['']) {
        entries.push({ name, ordinal: first + index, rva, ...(forwarded ? { forwarder: forwarder ?? '' } : {}) });
        if (!forwarded && name !== '')
          symbols.push({ name, address: this.base + BigInt(rva), type: this.#letterAt(rva) });
      }
    }
    const name = nameAt === 0 ? '' : (this.#text(nameAt, LONGEST_PATH) ?? '');
    return {
      name,
      entries,
      complete,
      symbols: new SymbolList(`exports of ${name === '' ? 'a PE image' : name}`, symbols),
    };
  }

  codeView(): CodeView | undefined {
    const [start, size] = this.#directories[Directory.DEBUG] ?? [0, 0];
    for (let index = 0; index < Math.min(Math.floor(size / 28), MOST_DEBUG_ENTRIES); index++) {
      const entry = this.#places(start + 28 * index, 28);
      if (entry === undefined) continue;
      const [type, length, rva, offset] = [12, 16, 20, 24].map((at) => viewOf(entry).getUint32(at, true));
      if (type !== CODEVIEW) continue;
      const wanted = Math.min(length, 24 + LONGEST_PATH);
      const record = rva !== 0 ? this.#places(rva, wanted) : this.#inFile?.(offset, wanted);
      const found = record === undefined ? undefined : codeViewOf(record);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** As `nm` has it, by the section: code, data that may be written, data that may not. */
  #letterAt(rva: number): string {
    const section = this.sections.find(({ address, size }) => rva >= address && rva < address + size);
    if (section === undefined) return '';
    return section.characteristics & 0x2000_0000 ? 'T' : section.characteristics & 0x8000_0000 ? 'D' : 'R';
  }

  /** Text up to a NUL, a byte for a character; undefined where it is not there or has no end, or there is no room left. */
  #text(rva: number, limit: number): string | undefined {
    let text = '';
    for (let done = 0; done < limit && this.#room > 0; ) {
      // In steps that stay in a page: the next may be missing
      const step = Math.min(limit - done, 64 - ((rva + done) % 64));
      const bytes = this.#places(rva + done, step);
      if (bytes === undefined) return this.#lastText(rva + done, step, text);
      this.#room -= step;
      const end = bytes.indexOf(0);
      text += String.fromCharCode(...(end < 0 ? bytes : bytes.subarray(0, end)));
      if (end >= 0) return text;
      done += step;
    }
    return undefined;
  }

  /** The same byte by byte: a file may end right behind its last text. */
  #lastText(rva: number, limit: number, before: string): string | undefined {
    let text = before;
    for (let done = 0; done < limit; done++) {
      const byte = this.#places(rva + done, 1)?.[0];
      if (byte === undefined) return undefined;
      if (byte === 0) return text;
      text += String.fromCharCode(byte);
    }
    return undefined;
  }
}

/** A file as it is in memory: sections where they are loaded, before them the headers, behind what the file has of a section zeros. */
function asLoaded(file: Bytes, sections: readonly PeSection[]): Bytes {
  return (rva, length) => {
    const section = sections.find(({ address, size }) => rva >= address && rva < address + size);
    if (section === undefined) return file(rva, length);
    const within = rva - section.address;
    if (within + length > section.size) return undefined;
    const there = Math.max(0, Math.min(length, section.fileSize - within));
    const bytes = file(section.fileOffset + within, there);
    if (bytes === undefined || there === length) return bytes;
    const padded = new Uint8Array(length);
    padded.set(bytes);
    return padded;
  };
}

/** Numbers in a row, of which pages may be missing. They are read as many at once as a page has. */
class Table {
  readonly length: number;
  readonly #parts = new Map<number, DataView | undefined>();

  constructor(
    private readonly places: Bytes,
    private readonly start: number,
    count: number,
    private readonly width: 2 | 4,
  ) {
    this.length = Math.min(count, MOST_EXPORTS);
  }

  at(index: number): number | undefined {
    const at = this.start + index * this.width;
    const page = at - (at % 4096);
    if (!this.#parts.has(page)) {
      const from = Math.max(page, this.start),
        to = Math.min(page + 4096, this.start + this.length * this.width);
      const bytes = this.places(from, to - from);
      this.#parts.set(page, bytes === undefined ? undefined : viewOf(bytes));
    }
    const part = this.#parts.get(page);
    const within = at - Math.max(page, this.start);
    // A number that lies in two pages is asked for alone
    if (part === undefined || within + this.width > part.byteLength) {
      const bytes = this.places(at, this.width);
      if (bytes === undefined) return undefined;
      return this.width === 2 ? viewOf(bytes).getUint16(0, true) : viewOf(bytes).getUint32(0, true);
    }
    return this.width === 2 ? part.getUint16(within, true) : part.getUint32(within, true);
  }
}

function readSections(view: DataView, count: number): PeSection[] {
  return Array.from({ length: count }, (_unused, index) => {
    const at = 40 * index;
    const name = Array.from({ length: 8 }, (_nothing, letter) => String.fromCharCode(view.getUint8(at + letter))).join(
      '',
    );
    const [size, address, fileSize, fileOffset, characteristics] = [8, 12, 16, 20, 36].map((field) =>
      view.getUint32(at + field, true),
    );
    // Some linkers leave VirtualSize 0: the file's is meant
    return {
      name: name.replace(/\0.*$/s, ''),
      address,
      size: size === 0 ? fileSize : size,
      fileOffset,
      fileSize,
      characteristics,
    };
  });
}

/** A CodeView record: `RSDS`, GUID, age, path. */
export function codeViewOf(record: Uint8Array): CodeView | undefined {
  if (record.length < 25) return undefined;
  const view = viewOf(record);
  if (view.getUint32(0, true) !== RSDS) return undefined;
  const end = record.indexOf(0, 24);
  const path = new TextDecoder().decode(record.subarray(24, end < 0 ? record.length : end));
  return { guid: guidText(record.subarray(4, 20)), age: view.getUint32(20, true), path };
}

/** The 16 bytes of a GUID as 32 digits: its first three numbers are little endian. */
export function guidText(bytes: Uint8Array): string {
  return [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
    .map((at) => bytes[at].toString(16).padStart(2, '0'))
    .join('');
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const hex = (value: number): string => `0x${value.toString(16)}`;

function noImage(why: string): never {
  return fail('VMI_PE', `This is no PE image that can be read: ${why}.`);
}
