/**
 * PDB files, in which Microsoft's and LLVM's linkers keep symbols and types (LLVM's documentation, "The PDB File Format"; Microsoft's microsoft-pdb, cvinfo.h). Read by need:
 * a stream when something of it is asked for.
 */
import { fail } from '@visorkit/core';
import type { ByteSource } from '../stored-memory.js';
import { PdbTypes } from '../types/pdb-types.js';
import type { TypeTable } from '../types/type.js';
import { Msf } from './msf.js';
import { guidText } from './pe.js';
import type { GuestSymbol } from './symbol-table.js';
import { SymbolList } from './symbol-table.js';

const Stream = { INFO: 1, TYPES: 2, DEBUG: 3 } as const;
const DEBUG_HEADER = 64;
const NO_STREAM = 0xffff;
/** Numbers of streams in the optional debug header at the end of the DBI stream. */
const Optional = { OMAP_FROM_SOURCE: 4, SECTIONS: 5, SECTIONS_OF_SOURCE: 10 } as const;
const Kind = { LOCAL_DATA: 0x110c, GLOBAL_DATA: 0x110d, PUBLIC: 0x110e, TYPEDEF: 0x1108 } as const;
const MACHINE_I386 = 0x14c;
const WIDE_MACHINES: ReadonlySet<number> = new Set([0x8664, 0xaa64]);
/** Flags of S_PUB32: code, and a function. */
const PUBLIC_CODE = 3;
const SECTION = 40;

export class PdbFile {
  /** 32 lower-case hexadecimal digits, and a number: those in the image's CodeView record. */
  readonly guid: string;
  readonly age: number;
  /** IMAGE_FILE_MACHINE; 0 where it does not say. */
  readonly machine: number;
  readonly #msf: Msf;
  readonly #debug: DataView;
  readonly #source: string;
  #symbols: SymbolList | undefined;
  #types: TypeTable | undefined;
  #records: Uint8Array | undefined;

  /** Throws `VMI_PDB` for a file that is none, or damaged. */
  constructor(file: ByteSource, { source = 'PDB file' }: { source?: string } = {}) {
    this.#source = source;
    this.#msf = new Msf(file);
    const info = this.#msf.stream(Stream.INFO);
    if (info === undefined || info.length < 28) damaged('it has no GUID');
    this.guid = guidText(info.subarray(12, 28));
    const debug = this.#msf.stream(Stream.DEBUG) ?? new Uint8Array();
    if (debug.length > 0 && debug.length < DEBUG_HEADER)
      damaged(`its stream of debug information has ${debug.length} bytes`);
    this.#debug = viewOf(debug);
    // The age in the info stream counts changes of the file, this one those that the image knows of
    this.age = (debug.length > 0 ? this.#debug : viewOf(info)).getUint32(8, true);
    this.machine = debug.length > 0 ? this.#debug.getUint16(58, true) : 0;
  }

  /** Publics and global data by their RVA: `symbols.moved(base)` is where an image has them. Of those for 32-bit x86 the decoration is taken off. */
  get symbols(): SymbolList {
    return (this.#symbols ??= new SymbolList(this.#source, this.#readSymbols()));
  }

  /** The types in its TPI stream, and typedefs. */
  get types(): TypeTable {
    const pointerSize = this.machine === 0 || WIDE_MACHINES.has(this.machine) ? 8 : 4;
    return (this.#types ??= new PdbTypes(this.#msf.stream(Stream.TYPES) ?? damaged('it has no types'), {
      source: this.#source,
      pointerSize,
      typedefs: () => this.#readTypedefs(),
    }));
  }

  #readSymbols(): GuestSymbol[] {
    const places = new Places(
      this.#optional(Optional.SECTIONS),
      this.#optional(Optional.SECTIONS_OF_SOURCE),
      this.#optional(Optional.OMAP_FROM_SOURCE),
    );
    const symbols: GuestSymbol[] = [];
    /** Data with a type is there as public and as global. */
    const seen = new Set<string>();
    for (const { kind, at, end, view } of this.#symbolRecords()) {
      if ((kind !== Kind.PUBLIC && kind !== Kind.GLOBAL_DATA && kind !== Kind.LOCAL_DATA) || end - at < 11) continue;
      const rva = places.rva(view.getUint16(at + 8, true), view.getUint32(at + 4, true));
      if (rva === undefined) continue;
      const text = textIn(view, at + 10, end);
      const name = kind === Kind.PUBLIC && this.machine === MACHINE_I386 ? undecorated(text) : text;
      const key = `${rva} ${name}`;
      if (name === '' || seen.has(key)) continue;
      seen.add(key);
      const isCode = kind === Kind.PUBLIC && (view.getUint32(at, true) & PUBLIC_CODE) !== 0;
      symbols.push({ name, address: BigInt(rva), type: isCode ? 'T' : kind === Kind.LOCAL_DATA ? 'd' : 'D' });
    }
    return symbols;
  }

  #readTypedefs(): Map<string, number> {
    const typedefs = new Map<string, number>();
    for (const { kind, at, end, view } of this.#symbolRecords())
      if (kind === Kind.TYPEDEF && end - at >= 5) typedefs.set(textIn(view, at + 4, end), view.getUint32(at, true));
    return typedefs;
  }

  /** Every record of symbols: a length, a kind, and what belongs to the kind. */
  *#symbolRecords(): Generator<{ kind: number; at: number; end: number; view: DataView }, void, undefined> {
    this.#records ??= this.#debug.byteLength === 0 ? undefined : this.#msf.stream(this.#debug.getUint16(20, true));
    if (this.#records === undefined) return;
    const view = viewOf(this.#records);
    for (let at = 0; at + 4 <= view.byteLength; ) {
      const length = view.getUint16(at, true);
      const end = at + 2 + length;
      if (length < 2 || end > view.byteLength) damaged(`its symbol at ${at} would have ${length} bytes`);
      yield { kind: view.getUint16(at + 2, true), at: at + 4, end, view };
      at = end;
    }
  }

  /** A stream of the optional debug header, which comes behind the seven other parts of the DBI stream. */
  #optional(index: number): DataView | undefined {
    const debug = this.#debug;
    if (debug.byteLength === 0) return undefined;
    const start = [24, 28, 32, 36, 40, 52].reduce((at, size) => at + debug.getUint32(size, true), DEBUG_HEADER);
    const size = debug.getUint32(48, true);
    if (start + size > debug.byteLength) damaged('the parts of its debug information are longer than all of it');
    if (2 * index + 2 > size) return undefined;
    const stream = debug.getUint16(start + 2 * index, true);
    const bytes = stream === NO_STREAM ? undefined : this.#msf.stream(stream);
    return bytes === undefined ? undefined : viewOf(bytes);
  }
}

/** As the source has a name: `_cdecl`, `_stdcall@8` and `@fastcall@8` are C's on 32-bit x86; `?…` are C++'s, and stay. */
function undecorated(name: string): string {
  return /^[_@]([^@]+)(?:@\d+)?$/.exec(name)?.[1] ?? name;
}

/** RVAs of places in sections. An image whose parts were moved after linking (old kernels of Windows are) has a map from the old RVAs to the new ones. */
class Places {
  constructor(
    private readonly sections: DataView | undefined,
    private readonly sourceSections: DataView | undefined,
    private readonly omap: DataView | undefined,
  ) {}

  /** `section` counts from 1. Undefined for none, and for what the image has no more. */
  rva(section: number, offset: number): number | undefined {
    const moved = this.omap !== undefined && this.sourceSections !== undefined;
    const sections = moved ? this.sourceSections : this.sections;
    if (sections === undefined || section === 0 || section * SECTION > sections.byteLength) return undefined;
    const rva = sections.getUint32((section - 1) * SECTION + 12, true) + offset;
    return moved ? throughMap(this.omap!, rva) : rva;
  }
}

/** OMAP: pairs of RVAs in order, from and to; each holds up to the next. 0: it was left out. */
function throughMap(map: DataView, rva: number): number | undefined {
  let low = 0,
    high = Math.floor(map.byteLength / 8);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (map.getUint32(8 * middle, true) <= rva) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return undefined;
  const [from, to] = [map.getUint32(8 * (low - 1), true), map.getUint32(8 * (low - 1) + 4, true)];
  return to === 0 ? undefined : to + rva - from;
}

const decoder = new TextDecoder();

/** Text up to a NUL. */
function textIn(view: DataView, from: number, end: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + from, end - from);
  const length = bytes.indexOf(0);
  return decoder.decode(length < 0 ? bytes : bytes.subarray(0, length));
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

function damaged(why: string): never {
  return fail('VMI_PDB', `The PDB file cannot be read: ${why}.`);
}
