/**
 * Volatility 3's intermediate symbol format (its documentation, "Creating New Symbol Tables"; schema 4 to 6): one JSON object with `symbols`, `user_types`, `enums`, `base_types` and
 * `metadata`. A type is looked at when it is asked for.
 */
import { fail } from '@visorkit/core';
import { TableSymbols, amount, integer, isTable, own, parseProfileJson } from '../symbols/profile-file.js';
import type { ProfileFile, ProfileMetadata, Table } from '../symbols/profile-file.js';
import { LazyArray, LazyPointer, LazyStructure, NO_TYPE, VOID } from './lazy-types.js';
import type { Member, Type, TypeKind, TypeTable } from './type.js';

/** Arrays of arrays of …: a text may nest as deep as it likes. */
const DEEPEST = 32;
const BASE_KINDS: ReadonlyMap<string, TypeKind> = new Map([
  ['void', 'void'],
  ['int', 'integer'],
  ['char', 'integer'],
  ['bool', 'integer'],
  ['float', 'float'],
]);

/** Whether a JSON object is one. */
export function isIsf(profile: Table): boolean {
  return isTable(own(profile, 'metadata')) && (isTable(own(profile, 'symbols')) || isTable(own(profile, 'user_types')));
}

/** `profile`: the bytes of the JSON text, or what it holds. Throws `VMI_SYMBOL_FILE`. */
export function readIsf(profile: Uint8Array | Table, { source = 'ISF' }: { source?: string } = {}): ProfileFile {
  const json = profile instanceof Uint8Array ? parseProfileJson(profile, source) : profile;
  if (!isIsf(json))
    return fail('VMI_SYMBOL_FILE', `${source} is no ISF: "metadata" and "symbols" or "user_types" are in one.`, {
      keys: Object.keys(json).slice(0, 10),
    });
  const symbols = tableOf(json, 'symbols');
  return {
    metadata: metadataOf(json, symbols),
    symbols: new TableSymbols(source, [{ table: symbols, type: '', address: (value) => own(value, 'address') }]),
    types: new IsfTypes(json, source),
  };
}

function metadataOf(json: Table, symbols: Table): ProfileMetadata {
  const metadata = json['metadata'];
  const os = (['windows', 'mac', 'linux', 'freebsd'] as const).find((name) => isTable(own(metadata, name)));
  const banner = own(own(symbols, 'linux_banner'), 'constant_data');
  const pdb = own(own(metadata, 'windows'), 'pdb');
  const guid = own(pdb, 'GUID');
  return {
    ...(os === undefined ? {} : { os }),
    ...(typeof banner === 'string' ? { banner: fromBase64(banner) } : {}),
    ...(typeof guid === 'string'
      ? { pdb: { guid: guid.toLowerCase(), age: amount(own(pdb, 'age')), name: String(own(pdb, 'database') ?? '') } }
      : {}),
  };
}

class IsfTypes implements TypeTable {
  readonly pointerSize: 4 | 8;
  readonly #structures: Table;
  readonly #enums: Table;
  readonly #bases: Table;
  readonly #made = new Map<string, Type | undefined>();

  constructor(
    json: Table,
    readonly source: string,
  ) {
    this.#structures = tableOf(json, 'user_types');
    this.#enums = tableOf(json, 'enums');
    this.#bases = tableOf(json, 'base_types');
    this.pointerSize = own(own(this.#bases, 'pointer'), 'size') === 4 ? 4 : 8;
  }

  type(name: string): Type | undefined {
    if (!this.#made.has(name)) this.#made.set(name, this.#structure(name) ?? this.#enum(name) ?? this.#base(name));
    return this.#made.get(name);
  }

  #structure(name: string): Type | undefined {
    const found = own(this.#structures, name);
    if (!isTable(found)) return undefined;
    const kind = own(found, 'kind') === 'union' ? 'union' : 'struct';
    return new LazyStructure(kind, plainName(name), amount(own(found, 'size')), () =>
      this.#members(tableOf(found, 'fields')),
    );
  }

  #enum(name: string): Type | undefined {
    const found = own(this.#enums, name);
    if (!isTable(found)) return undefined;
    const base = own(this.#bases, String(own(found, 'base')));
    const size = amount(own(found, 'size'), amount(own(base, 'size')));
    const signed = own(base, 'signed') === true;
    const values = new Map<string, bigint>();
    for (const [constant, value] of Object.entries(tableOf(found, 'constants'))) {
      const number = integer(value);
      if (number !== undefined)
        values.set(constant, signed ? BigInt.asIntN(size * 8, number) : BigInt.asUintN(size * 8, number));
    }
    return { kind: 'enum', name: plainName(name), size, signed, values };
  }

  #base(name: string): Type | undefined {
    const found = own(this.#bases, name);
    if (!isTable(found)) return undefined;
    const kind = BASE_KINDS.get(String(own(found, 'kind'))) ?? 'unknown';
    if (kind === 'void') return VOID;
    const size = amount(own(found, 'size'));
    return kind === 'integer' ? { kind, name, size, signed: own(found, 'signed') === true } : { kind, name, size };
  }

  #members(fields: Table): Member[] {
    return Object.entries(fields).map(([name, field]) => {
      const described = own(field, 'type');
      const isBits = own(described, 'kind') === 'bitfield';
      return {
        name: own(field, 'anonymous') === true ? '' : name,
        type: this.#described(isBits ? own(described, 'type') : described, 0),
        bitOffset: amount(own(field, 'offset')) * 8 + (isBits ? amount(own(described, 'bit_position')) : 0),
        bitSize: isBits ? Math.min(amount(own(described, 'bit_length')), 64) : 0,
      };
    });
  }

  /** A type as a field, a pointer or an array has it: a kind, and a name or another type. */
  #described(described: unknown, depth: number): Type {
    const named = own(described, 'name');
    const name = typeof named === 'string' ? named : '';
    switch (depth > DEEPEST ? undefined : own(described, 'kind')) {
      case 'struct':
      case 'class':
      case 'union':
      case 'enum':
      case 'base':
        // What is named and not described has no size
        return this.type(name) ?? { kind: 'unknown', name, size: 0 };
      case 'pointer':
        return new LazyPointer(this.pointerSize, () => this.#described(own(described, 'subtype'), 0));
      case 'array': {
        const element = this.#described(own(described, 'subtype'), depth + 1);
        const count = amount(own(described, 'count'));
        return new LazyArray(element.size * count, () => element, count);
      }
      case 'function':
        return { kind: 'function', name, size: 0 };
      default:
        return NO_TYPE;
    }
  }
}

/** Types that the source does not name have names made up by the tools that write ISF files. */
const plainName = (name: string): string => (/^(?:unnamed_|__unnamed|<unnamed|<anonymous)/.test(name) ? '' : name);

function tableOf(from: Table, name: string): Table {
  const found = own(from, name);
  return isTable(found) ? found : {};
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Text in base64, up to a NUL or the end of a line. */
function fromBase64(text: string): string {
  let bits = 0,
    count = 0,
    found = '';
  for (const letter of text.slice(0, 4096)) {
    const value = BASE64.indexOf(letter);
    if (value < 0) break;
    bits = ((bits << 6) | value) & 0xffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    found += String.fromCharCode((bits >>> count) & 0xff);
  }
  return found.replace(/[\0\n].*$/s, '');
}
