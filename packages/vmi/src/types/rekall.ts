/**
 * Rekall's profiles, version 1: one JSON object with `$METADATA`, `$CONSTANTS`, `$FUNCTIONS`, `$STRUCTS` and `$ENUMS`. `$STRUCTS.name` is `[size, { field: [offset, [type, arguments]] }]`.
 *
 * Rekall gives anonymous members of Linux and macOS the names u1, u2, …; here what is in them is found without these names, and with them. It does not tell
 * unions from structures.
 */
import { fail } from '@visorkit/core';
import { TableSymbols, amount, integer, isTable, own, parseProfileJson } from '../symbols/profile-file.js';
import type { ProfileFile, ProfileMetadata, Table } from '../symbols/profile-file.js';
import { LazyArray, LazyPointer, LazyStructure, NO_TYPE, VOID } from './lazy-types.js';
import type { Member, Type, TypeTable } from './type.js';

const DEEPEST = 32;

/** Whether a JSON object is one. */
export function isRekall(profile: Table): boolean {
  return isTable(own(profile, '$METADATA'));
}

/** `profile`: the bytes of the JSON text, or what it holds. Throws `VMI_SYMBOL_FILE`. */
export function readRekall(
  profile: Uint8Array | Table,
  { source = 'Rekall profile' }: { source?: string } = {},
): ProfileFile {
  const json = profile instanceof Uint8Array ? parseProfileJson(profile, source) : profile;
  if (!isRekall(json))
    return fail('VMI_SYMBOL_FILE', `${source} is no Rekall profile: "$METADATA" is in one.`, {
      keys: Object.keys(json).slice(0, 10),
    });
  const metadata = metadataOf(json['$METADATA']);
  const address = (value: unknown): unknown => value;
  return {
    metadata,
    symbols: new TableSymbols(source, [
      { table: tableOf(json, '$CONSTANTS'), type: '', address },
      { table: tableOf(json, '$FUNCTIONS'), type: 'T', address },
    ]),
    types: new RekallTypes(json, source, metadata.os === 'windows'),
  };
}

function metadataOf(metadata: unknown): ProfileMetadata {
  const text = (name: string): string => {
    const value = own(metadata, name);
    return typeof value === 'string' ? value : '';
  };
  const [, guid, age] = /^([0-9a-f]{32})([0-9a-f]{1,8})$/i.exec(text('GUID_AGE')) ?? [];
  const pdb =
    guid === undefined ? undefined : { guid: guid.toLowerCase(), age: Number.parseInt(age, 16), name: text('PDBFile') };
  const kind = text('ProfileClass').toLowerCase();
  const os = /linux/.test(kind)
    ? 'linux'
    : /darwin|osx|mac/.test(kind)
      ? 'mac'
      : /freebsd/.test(kind)
        ? 'freebsd'
        : pdb !== undefined || text('PDBFile') !== '' || /^(?:nt|win)/.test(kind)
          ? 'windows'
          : undefined;
  return { ...(os === undefined ? {} : { os }), ...(pdb === undefined ? {} : { pdb }) };
}

class RekallTypes implements TypeTable {
  readonly pointerSize: 4 | 8;
  readonly #structures: Table;
  readonly #enums: Table;
  readonly #made = new Map<string, Type | undefined>();

  constructor(
    json: Table,
    readonly source: string,
    private readonly isWindows: boolean,
  ) {
    this.#structures = tableOf(json, '$STRUCTS');
    this.#enums = tableOf(json, '$ENUMS');
    this.pointerSize = pointerSizeOf(json, this.#structures);
  }

  type(name: string): Type | undefined {
    if (!this.#made.has(name)) this.#made.set(name, this.#structure(name) ?? this.#enum(name, 4) ?? this.#number(name));
    return this.#made.get(name);
  }

  #structure(name: string): Type | undefined {
    const found = own(this.#structures, name);
    if (!Array.isArray(found)) return undefined;
    const [size, fields] = found as unknown[];
    const plain = isUnnamed(name) ? '' : name;
    return new LazyStructure('struct', plain, amount(size), () => this.#members(isTable(fields) ? fields : {}));
  }

  #members(fields: Table): Member[] {
    const members: Member[] = [];
    for (const [name, field] of Object.entries(fields)) {
      if (!Array.isArray(field)) continue;
      const [offset, described] = field as unknown[];
      const bits = bitsOf(described);
      const member = {
        name,
        type: this.#described(bits === undefined ? described : bits.target, 0),
        bitOffset: amount(offset) * 8 + (bits?.start ?? 0),
        bitSize: bits?.size ?? 0,
      };
      members.push(member);
      const typeName = Array.isArray(described) ? (described as unknown[])[0] : undefined;
      if (!this.isWindows && /^u\d+$/.test(name) && typeof typeName === 'string' && isUnnamed(typeName))
        members.push({ ...member, name: '' });
    }
    return members;
  }

  /** `[name, arguments]`, or the name alone. */
  #described(described: unknown, depth: number): Type {
    const [name, given] = Array.isArray(described) ? (described as unknown[]) : [described];
    if (typeof name !== 'string' || depth > DEEPEST) return NO_TYPE;
    const target = (): unknown => [own(given, 'target'), own(given, 'target_args')];
    switch (name) {
      case 'Pointer':
        return new LazyPointer(this.pointerSize, () => this.#described(target(), 0));
      case 'Pointer32':
        return new LazyPointer(4, () => this.#described(target(), 0));
      case 'Array': {
        const element = this.#described(target(), depth + 1);
        const count = amount(own(given, 'count'));
        return new LazyArray(element.size * count, () => element, count);
      }
      case 'String': {
        const letter = this.#number('char')!;
        const length = amount(own(given, 'length'));
        return new LazyArray(length, () => letter, length);
      }
      case 'Enumeration': {
        // Rekall names four bytes "long" here on every system
        const width = own(given, 'target') === 'long' ? 4 : this.#described(target(), depth + 1).size;
        return (
          this.#enum(String(own(given, 'enum_name')), width === 0 ? 4 : width) ?? {
            kind: 'enum',
            name: '',
            size: width,
          }
        );
      }
      case 'Function':
        return { kind: 'function', name: '', size: 0 };
      default:
        return this.type(name) ?? { kind: 'unknown', name, size: 0 };
    }
  }

  /** `$ENUMS` has names by their values. */
  #enum(name: string, size: number): Type | undefined {
    const found = own(this.#enums, name);
    if (!isTable(found)) return undefined;
    const values = new Map<string, bigint>();
    for (const [value, constant] of Object.entries(found)) {
      const number = integer(value);
      if (number !== undefined && typeof constant === 'string') values.set(constant, BigInt.asIntN(size * 8, number));
    }
    return { kind: 'enum', name: isUnnamed(name) ? '' : name, size, signed: true, values };
  }

  /** A basic type, by its name in C, the words in any order: `long unsigned int` is `unsigned long`. */
  #number(name: string): Type | undefined {
    if (/^void$/i.test(name)) return VOID;
    const float = FLOATS.get(name);
    if (float !== undefined) return { kind: 'float', name, size: float };
    const words = name.split(' ');
    const rest = words.filter((word) => word !== 'unsigned' && word !== 'signed' && word !== 'int').join(' ');
    const width = INTEGERS.get(rest === '' ? 'int' : rest);
    if (width === undefined || words.length > 4) return undefined;
    const size = width === 0 ? (this.isWindows ? 4 : this.pointerSize) : width;
    return { kind: 'integer', name, size, signed: !words.includes('unsigned') && !UNSIGNED.has(rest) };
  }
}

/** Bytes by what is left of a name; 0: those of a pointer, but on Windows 4. */
const INTEGERS: ReadonlyMap<string, number> = new Map([
  ['int', 4],
  ['char', 1],
  ['short', 2],
  ['long', 0],
  ['long long', 8],
  ['__int64', 8],
  ['__int128', 16],
  ['byte', 1],
  ['_Bool', 1],
  ['bool', 1],
  ['wchar', 2],
  ['WideChar', 2],
]);
const UNSIGNED: ReadonlySet<string> = new Set(['byte', '_Bool', 'bool', 'wchar', 'WideChar']);
const FLOATS: ReadonlyMap<string, number> = new Map([
  ['float', 4],
  ['double', 8],
  ['long double', 16],
]);

/** A bit field: `BitField`, or an `Enumeration` whose target is one. */
function bitsOf(described: unknown): { start: number; size: number; target: unknown } | undefined {
  if (!Array.isArray(described)) return undefined;
  const [name, given] = described as unknown[];
  const places =
    name === 'BitField' ? given : own(given, 'target') === 'BitField' ? own(given, 'target_args') : undefined;
  if (places === undefined) return undefined;
  const start = amount(own(places, 'start_bit'));
  const target =
    name === 'BitField'
      ? (own(given, 'target') ?? 'unsigned long')
      : [name, { enum_name: own(given, 'enum_name'), target: 'long' }];
  return { start, size: Math.min(Math.max(0, amount(own(places, 'end_bit')) - start), 64), target };
}

/** By what it says of the architecture, or else by the size of a list's head, which is two pointers. */
function pointerSizeOf(json: Table, structures: Table): 4 | 8 {
  const said = ['arch', 'Arch', 'architecture']
    .map((name) => own(json['$METADATA'], name))
    .find((value) => typeof value === 'string');
  if (typeof said === 'string') return /64/.test(said) ? 8 : 4;
  for (const name of ['list_head', '_LIST_ENTRY']) {
    const found = own(structures, name);
    if (Array.isArray(found)) return found[0] === 8 ? 4 : 8;
  }
  return 8;
}

const isUnnamed = (name: string): boolean => name.startsWith('__unnamed') || name.startsWith('<unnamed');

function tableOf(from: Table, name: string): Table {
  const found = own(from, name);
  return isTable(found) ? found : {};
}
