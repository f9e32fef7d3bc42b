/** Files that say something of a guest's kernel, for introspection, recognised by what is in them. */
import { dirname, resolve } from 'node:path';
import { fail, instead } from '@visorkit/core';
import { compressionOf, decompress, extractVmlinux, isBzImage } from '@visorkit/formats';
import {
  type Btf,
  PdbFile,
  isBtf,
  isElfFile,
  isIsf,
  isLibvmiConf,
  isMsf,
  isRekall,
  isSystemMap,
  openElf,
  parseLibvmiConf,
  parseProfileJson,
  readBtf,
  readIsf,
  readPe,
  readRekall,
  readSystemMap,
} from '@visorkit/vmi';
import type { ByteSource, KnownOfGuest, ProfileMetadata } from '@visorkit/vmi';
import { FileSource } from './file-source.js';

/** `elf`: a vmlinux, a module, or the kernel in a bzImage. */
export type SymbolFileKind = 'system-map' | 'isf' | 'rekall' | 'pdb' | 'pe' | 'elf' | 'btf' | 'libvmi-conf';

/** What a file says. Symbols and types are read when they are looked at first; reading them throws where the file is damaged. */
export interface SymbolFile extends Pick<KnownOfGuest, 'symbols' | 'types' | 'values'> {
  readonly path: string;
  readonly kind: SymbolFileKind;
  readonly metadata: ProfileMetadata;
}

export interface SymbolFileOptions {
  /** Which block of a libvmi.conf that has several. */
  readonly guest?: string;
  /** The kernel's types, where the file is one of its modules. */
  readonly base?: Btf;
}

/** Bytes of a compressed file after decompression: a vmlinux with its debug information is large. */
const MOST_UNPACKED = 1 << 30;
/** Bytes of a file that is read whole: text and JSON. */
const LONGEST = 256 << 20;
/** What it is recognised by. */
const START = 4096;

/**
 * Opens a System.map, nm's output or /proc/kallsyms; a Volatility ISF or a Rekall profile; a PDB file; a PE image; an ELF file (vmlinux, module) or a bzImage; raw BTF; a
 * libvmi.conf, whose files are opened too. Any may be compressed (gzip, xz, zstd, lz4). Symbols of Windows are RVAs: `movedSymbols(symbols, base)`.
 * @throws VisorkitError FILE_UNREADABLE; VMI_SYMBOL_FILE where it is of no known kind or lacks what it needs; VMI_SYMBOLS, VMI_TYPES, VMI_PDB, VMI_PE, VMI_CONF, BZIMAGE_MALFORMED, … where it is damaged
 */
export function openSymbolFile(path: string, options: SymbolFileOptions = {}): SymbolFile {
  const file = new FileSource(path);
  let source: ByteSource = file;
  if (compressionOf(startOf(file)) !== undefined) {
    try {
      source = inMemory(decompress(file.bytes(), { limit: MOST_UNPACKED }));
    } catch (error) {
      return fail('VMI_SYMBOL_FILE', `${path} cannot be decompressed: ${messageOf(error)}`, { path }, error);
    } finally {
      file[Symbol.dispose]();
    }
  }
  const start = startOf(source);
  const kind = READERS.find(({ is }) => is(source, start));
  if (kind !== undefined) {
    let isRead = false;
    try {
      const opened = kind.read({ path, source, start, options });
      isRead = true;
      return opened;
    } finally {
      if (!isRead || kind.later !== true) file[Symbol.dispose]();
    }
  }
  file[Symbol.dispose]();
  return fail(
    'VMI_SYMBOL_FILE',
    `${path} is of no known kind: it begins with "${Buffer.from(start.subarray(0, 16))
      .toString('latin1')
      .replace(/[^ -~]/g, '.')}". ` +
      'A System.map, an ISF or Rekall profile, a PDB file, a PE image, an ELF file with BTF or symbols, a bzImage, BTF and a libvmi.conf can be read.',
    { path },
  );
}

interface Found {
  readonly path: string;
  readonly source: ByteSource;
  readonly start: Uint8Array;
  readonly options: SymbolFileOptions;
}

interface Reader {
  is(source: ByteSource, start: Uint8Array): boolean;
  read(found: Found): SymbolFile;
  /** Parts of the file are read when they are asked for: it stays open for as long as what was opened is in use. */
  readonly later?: boolean;
}

const READERS: readonly Reader[] = [
  { is: isMsf, read: readPdbFile, later: true },
  { is: isElfFile, read: (found) => readElfFile(found, found.source) },
  { is: isBtf, read: readBtfFile },
  // It may begin as a PE image too
  {
    is: (_source, start) => isBzImage(start),
    read: (found) => readElfFile(found, inMemory(extractVmlinux(allOf(found)))),
  },
  { is: (_source, start) => start[0] === 0x4d && start[1] === 0x5a, read: readPeFile },
  { is: (_source, start) => isSystemMap(textOf(start)), read: readMap },
  { is: (_source, start) => isLibvmiConf(textOf(start)), read: readConf },
  { is: (_source, start) => /^\uFEFF?\s*[{[]/.test(textOf(start)), read: readJson },
];

function readMap(found: Found): SymbolFile {
  const text = textOf(allOf(found));
  const { path } = found;
  return { path, kind: 'system-map', metadata: {}, symbols: readSystemMap(text, { source: path }) };
}

function readJson(found: Found): SymbolFile {
  const { path } = found;
  const json = parseProfileJson(allOf(found), path);
  if (isIsf(json)) return { path, kind: 'isf', ...readIsf(json, { source: path }) };
  if (isRekall(json)) return { path, kind: 'rekall', ...readRekall(json, { source: path }) };
  return fail(
    'VMI_SYMBOL_FILE',
    `${path} is JSON, but no profile: an ISF has "metadata" with "symbols" or "user_types", a Rekall profile "$METADATA".`,
    { path },
  );
}

function readPdbFile({ path, source }: Found): SymbolFile {
  const pdb = new PdbFile(source, { source: path });
  return {
    path,
    kind: 'pdb',
    metadata: { os: 'windows', pdb: { guid: pdb.guid, age: pdb.age, name: path.replace(/^.*[\\/]/, '') } },
    get symbols() {
      return pdb.symbols;
    },
    get types() {
      return pdb.types;
    },
  };
}

function readPeFile({ path, source }: Found): SymbolFile {
  const image = readPe(source);
  const pdb = image.codeView();
  const symbols = image.exports()?.symbols.moved(-image.base);
  if (symbols === undefined)
    return fail(
      'VMI_SYMBOL_FILE',
      `${path} is a PE image without a table of exports: its symbols are in its PDB file.`,
      {
        path,
      },
    );
  return {
    path,
    kind: 'pe',
    metadata: {
      os: 'windows',
      ...(pdb === undefined ? {} : { pdb: { guid: pdb.guid, age: pdb.age, name: pdb.path.replace(/^.*[\\/]/, '') } }),
    },
    symbols,
  };
}

function readElfFile({ path, options }: Found, source: ByteSource): SymbolFile {
  const elf = openElf(source, { source: path });
  const types = elf.types(options.base),
    symbols = elf.symbols();
  if (types === undefined && symbols === undefined)
    return fail(
      'VMI_SYMBOL_FILE',
      `${path} has neither types (a section .BTF) nor symbols (.symtab); a kernel built with CONFIG_DEBUG_INFO_BTF, or one that is not stripped, has.`,
      { path },
    );
  return { path, kind: 'elf', metadata: { os: 'linux' }, types, symbols };
}

function readBtfFile({ path, source, options }: Found): SymbolFile {
  return { path, kind: 'btf', metadata: { os: 'linux' }, types: readBtf(source, { source: path, base: options.base }) };
}

/** The values of one guest, and what its files say; these lie beside the libvmi.conf where their paths are relative. */
function readConf(found: Found): SymbolFile {
  const { path, options } = found;
  const guests = parseLibvmiConf(textOf(allOf(found)), { source: path });
  const names = guests.map(({ name }) => name);
  const guest =
    options.guest === undefined && guests.length === 1 ? guests[0] : guests.find(({ name }) => name === options.guest);
  if (guest === undefined)
    return fail(
      'VMI_CONF',
      options.guest === undefined
        ? `${path} has ${guests.length} guests: ${names.join(', ')}; say which one is meant.`
        : `${path} has no guest "${options.guest}"${instead(options.guest, names).replace(/\?$/, '')}.`,
      { path, names },
    );
  const open = (file: string | undefined): SymbolFile | undefined =>
    file === undefined ? undefined : openSymbolFile(resolve(dirname(path), file));
  const profile = open(guest.files.volatility_ist ?? guest.files.rekall_profile);
  const map = open(guest.files.sysmap);
  return {
    path,
    kind: 'libvmi-conf',
    metadata: profile?.metadata ?? {},
    values: guest.values,
    symbols: map?.symbols ?? profile?.symbols,
    types: profile?.types,
  };
}

function startOf(source: ByteSource): Uint8Array {
  const start = new Uint8Array(Math.min(START, source.length));
  source.read(0, start);
  return start;
}

function allOf({ path, source }: Found): Uint8Array {
  if (source.length > LONGEST)
    fail('VMI_SYMBOL_FILE', `${path} has ${source.length} bytes; up to ${LONGEST} can be read of a file of its kind.`, {
      path,
    });
  const bytes = new Uint8Array(source.length);
  source.read(0, bytes);
  return bytes;
}

const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');

function inMemory(bytes: Uint8Array): ByteSource {
  return { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
