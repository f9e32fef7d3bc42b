/**
 * BTF, the description of its own types that a Linux kernel keeps in memory and in its file (Linux, Documentation/bpf/btf.rst). A module's is split: its types and
 * names go on where the kernel's end.
 *
 * Only the places of types are noted at first; a type is read when it is asked for.
 */
import { fail } from '@visorkit/core';
import { LazyArray, LazyPointer, LazyStructure, VOID } from './lazy-types.js';
import type { Member, Type, TypeKind, TypeTable } from './type.js';

const MAGIC = 0xeb9f;
const HEADER = 24;
const Kind = {
  VOID: 0,
  INT: 1,
  POINTER: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FORWARD: 7,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  FLOAT: 16,
  DECL_TAG: 17,
  TYPE_TAG: 18,
  ENUM64: 19,
} as const;
const HIGHEST_KIND = Kind.ENUM64;
/** Kinds that only name or qualify another type. */
const ALIASES: ReadonlySet<number> = new Set([Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG]);
/** Kinds that a name is looked for among: those that say what a type is first, names of other types last. */
const DEFINITIONS: ReadonlySet<number> = new Set([
  Kind.STRUCT,
  Kind.UNION,
  Kind.ENUM,
  Kind.ENUM64,
  Kind.INT,
  Kind.FLOAT,
]);
/** Bytes behind the common 12 of a type: a fixed part, and those of each of its parts. */
const EXTRA: readonly (readonly [number, number])[] = ((): [number, number][] => {
  const extra = Array.from({ length: HIGHEST_KIND + 1 }, (): [number, number] => [0, 0]);
  for (const kind of [Kind.INT, Kind.VAR, Kind.DECL_TAG]) extra[kind] = [4, 0];
  extra[Kind.ARRAY] = [12, 0];
  for (const kind of [Kind.STRUCT, Kind.UNION, Kind.DATASEC, Kind.ENUM64]) extra[kind] = [0, 12];
  for (const kind of [Kind.ENUM, Kind.FUNC_PROTO]) extra[kind] = [0, 8];
  return extra;
})();
const TYPE_KINDS: Readonly<Record<number, TypeKind>> = {
  [Kind.VOID]: 'void',
  [Kind.INT]: 'integer',
  [Kind.POINTER]: 'pointer',
  [Kind.ARRAY]: 'array',
  [Kind.STRUCT]: 'struct',
  [Kind.UNION]: 'union',
  [Kind.ENUM]: 'enum',
  [Kind.ENUM64]: 'enum',
  [Kind.FUNC]: 'function',
  [Kind.FUNC_PROTO]: 'function',
  [Kind.FLOAT]: 'float',
};
/** Aliases of aliases of …, arrays of arrays of …: damaged types may have no end. */
const DEEPEST = 32;
const LONGEST_NAME = 512;

export class Btf implements TypeTable {
  readonly pointerSize: 4 | 8;
  readonly #view: DataView;
  readonly #strings: Uint8Array;
  /** Where each type lies, by its number less the first one's. */
  readonly #places: Int32Array;
  /** Types and names that came before. */
  readonly #base: Btf | undefined;
  readonly #firstType: number;
  readonly #firstString: number;
  /**
   * Whether enums say that they are signed: pahole before 1.24 and clang before 16 do not, and their values are signed numbers (struct btf_enum). One enum that says so shows
   * that all do.
   */
  #saysSigns = false;
  readonly #made = new Map<number, Type>();
  readonly #named = new Map<string, Type | undefined>();

  /** `base`: of split BTF, the kernel's. Throws `VMI_TYPES` for bytes that are no BTF, or damaged. */
  constructor(
    bytes: Uint8Array,
    { source = 'BTF', pointerSize = 8, base }: { source?: string; pointerSize?: 4 | 8; base?: Btf } = {},
  ) {
    this.source = source;
    this.pointerSize = pointerSize;
    this.#base = base;
    this.#saysSigns = base === undefined ? false : base.#saysSigns;
    this.#firstType = base === undefined ? 1 : base.#end;
    this.#firstString = base === undefined ? 0 : base.#firstString + base.#strings.length;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < HEADER || this.#view.getUint16(0, true) !== MAGIC) damaged('it does not begin with eb9f');
    const [header, typeAt, typeLength, stringAt, stringLength] = [4, 8, 12, 16, 20].map((at) =>
      this.#view.getUint32(at, true),
    );
    const types = header + typeAt,
      strings = header + stringAt;
    if (types + typeLength > bytes.length || strings + stringLength > bytes.length)
      damaged(`its parts go beyond its ${bytes.length} bytes`);
    this.#strings = bytes.subarray(strings, strings + stringLength);
    this.#places = this.#findTypes(types, types + typeLength);
  }

  readonly source: string;

  /** How many types there are; those of `base` are not counted. */
  get size(): number {
    return this.#places.length;
  }

  /** A struct, union, enum, number or typedef; the first of that name. */
  type(name: string): Type | undefined {
    if (this.#named.has(name)) return this.#named.get(name);
    const id = this.#find(name);
    const found = id !== undefined ? this.#type(id) : this.#base?.type(name);
    this.#named.set(name, found);
    return found;
  }

  /** The names of all structs and unions, in order of their numbers. */
  *structures(): Generator<string, void, undefined> {
    for (const at of this.#places) {
      const kind = this.#kind(at);
      if (kind !== Kind.STRUCT && kind !== Kind.UNION) continue;
      const name = this.#nameAt(at);
      if (name !== '') yield name;
    }
  }

  get #end(): number {
    return this.#firstType + this.#places.length;
  }

  #findTypes(from: number, to: number): Int32Array {
    const view = this.#view;
    let places = new Int32Array(1024),
      count = 0;
    for (let at = from; at + 12 <= to; ) {
      const info = view.getUint32(at + 4, true);
      const kind = (info >>> 24) & 0x1f;
      if (kind === 0 || kind > HIGHEST_KIND) damaged(`type ${this.#firstType + count} has kind ${kind}`);
      this.#checkName(at, this.#firstType + count);
      if (kind === Kind.ENUM64 || (kind === Kind.ENUM && info >>> 31 !== 0)) this.#saysSigns = true;
      if (count === places.length) {
        const longer = new Int32Array(2 * count);
        longer.set(places);
        places = longer;
      }
      places[count++] = at;
      const [fixed, each] = EXTRA[kind];
      at += 12 + fixed + each * (info & 0xffff);
      if (at > to) damaged(`type ${this.#firstType + count - 1} goes beyond the end of the types`);
    }
    return places.slice(0, count);
  }

  #checkName(at: number, id: number): void {
    const name = this.#view.getUint32(at, true);
    if (name < this.#firstString + this.#strings.length || name === 0) return;
    const hint =
      this.#base === undefined ? "; if it is a module's, it goes on where the kernel's ends: give that as base" : '';
    damaged(`the name of type ${id} is at ${name}, beyond all names${hint}`);
  }

  #find(name: string): number | undefined {
    if (name === '') return undefined;
    const wanted = new TextEncoder().encode(`${name}\0`);
    let alias: number | undefined;
    for (let index = 0; index < this.#places.length; index++) {
      const at = this.#places[index];
      const kind = this.#kind(at);
      if (!DEFINITIONS.has(kind) && kind !== Kind.TYPEDEF) continue;
      if (!this.#isNamed(at, wanted)) continue;
      if (kind !== Kind.TYPEDEF) return this.#firstType + index;
      alias ??= this.#firstType + index;
    }
    return alias;
  }

  #isNamed(at: number, wanted: Uint8Array): boolean {
    const from = this.#view.getUint32(at, true) - this.#firstString;
    if (from < 0) return this.#nameAt(at).length === wanted.length - 1 && this.#nameAt(at) === textOf(wanted, 0);
    for (let index = 0; index < wanted.length; index++) if (this.#strings[from + index] !== wanted[index]) return false;
    return true;
  }

  /** A type by its number. Void where the number is of none: what is damaged has no size. */
  #type(id: number): Type {
    const plain = this.#withoutAliases(id);
    if (this.#base !== undefined && plain < this.#firstType) return this.#base.#type(plain);
    let type = this.#made.get(plain);
    if (type === undefined) this.#made.set(plain, (type = this.#make(plain)));
    return type;
  }

  #make(id: number): Type {
    const at = this.#place(id);
    if (at < 0) return VOID;
    const view = this.#view;
    const kind = this.#kind(at);
    const common = { kind: TYPE_KINDS[kind] ?? 'unknown', name: this.#nameAt(at) };
    switch (kind) {
      case Kind.INT:
        return {
          ...common,
          size: view.getUint32(at + 8, true),
          signed: (view.getUint32(at + 12, true) & 0x0100_0000) !== 0,
        };
      case Kind.FLOAT:
        return { ...common, size: view.getUint32(at + 8, true) };
      case Kind.POINTER:
        return new LazyPointer(this.pointerSize, () => this.#type(view.getUint32(at + 8, true)));
      case Kind.ARRAY: {
        const count = view.getUint32(at + 20, true);
        const size = this.#sizeOf(view.getUint32(at + 12, true), 0) * count;
        return new LazyArray(size, () => this.#type(view.getUint32(at + 12, true)), count);
      }
      case Kind.STRUCT:
      case Kind.UNION:
        return new LazyStructure(
          kind === Kind.UNION ? 'union' : 'struct',
          common.name,
          view.getUint32(at + 8, true),
          () => this.#members(at),
        );
      case Kind.ENUM:
      case Kind.ENUM64: {
        const signed = this.#flag(at) || (!this.#saysSigns && this.#hasNegative(at));
        return { ...common, size: view.getUint32(at + 8, true), signed, values: this.#values(at, kind, signed) };
      }
      default:
        return { ...common, size: 0 };
    }
  }

  #members(at: number): Member[] {
    const view = this.#view;
    const packed = this.#flag(at);
    return Array.from({ length: this.#count(at) }, (_unused, index) => {
      const member = at + 12 + index * 12;
      const place = view.getUint32(member + 8, true);
      return {
        name: this.#nameAt(member),
        type: this.#type(view.getUint32(member + 4, true)),
        bitOffset: packed ? place & 0xff_ffff : place,
        bitSize: packed ? place >>> 24 : 0,
      };
    });
  }

  #hasNegative(at: number): boolean {
    const view = this.#view;
    for (let index = 0; index < this.#count(at); index++) if (view.getInt32(at + 16 + 8 * index, true) < 0) return true;
    return false;
  }

  #values(at: number, kind: number, signed: boolean): Map<string, bigint> {
    const view = this.#view;
    const values = new Map<string, bigint>();
    for (let index = 0; index < this.#count(at); index++) {
      const value = at + 12 + index * (kind === Kind.ENUM ? 8 : 12);
      const low = view.getUint32(value + 4, true);
      const wide = kind === Kind.ENUM64 ? (BigInt(view.getUint32(value + 8, true)) << 32n) | BigInt(low) : BigInt(low);
      values.set(this.#nameAt(value), signed ? BigInt.asIntN(kind === Kind.ENUM64 ? 64 : 32, wide) : wide);
    }
    return values;
  }

  /** The number of the type that an alias stands for; 0, void, where there is no end. */
  #withoutAliases(id: number): number {
    let type = id;
    for (let depth = 0; depth < DEEPEST; depth++) {
      if (this.#base !== undefined && type < this.#firstType) return this.#base.#withoutAliases(type);
      const at = this.#place(type);
      if (at < 0) return 0;
      if (!ALIASES.has(this.#kind(at))) return type;
      type = this.#view.getUint32(at + 8, true);
    }
    return 0;
  }

  /** Bytes of a type, without making it: an array's own may be asked for while it is made. */
  #sizeOf(id: number, depth: number): number {
    const type = this.#withoutAliases(id);
    if (this.#base !== undefined && type < this.#firstType) return this.#base.#sizeOf(type, depth);
    const at = this.#place(type);
    if (at < 0 || depth > DEEPEST) return 0;
    switch (this.#kind(at)) {
      case Kind.POINTER:
        return this.pointerSize;
      case Kind.ARRAY:
        return this.#sizeOf(this.#view.getUint32(at + 12, true), depth + 1) * this.#view.getUint32(at + 20, true);
      case Kind.INT:
      case Kind.FLOAT:
      case Kind.STRUCT:
      case Kind.UNION:
      case Kind.ENUM:
      case Kind.ENUM64:
        return this.#view.getUint32(at + 8, true);
      default:
        return 0;
    }
  }

  #place(id: number): number {
    return this.#places[id - this.#firstType] ?? -1;
  }
  #kind(at: number): number {
    return (this.#view.getUint32(at + 4, true) >>> 24) & 0x1f;
  }
  #count(at: number): number {
    return this.#view.getUint32(at + 4, true) & 0xffff;
  }
  #flag(at: number): boolean {
    return (this.#view.getUint32(at + 4, true) & 0x8000_0000) !== 0;
  }
  /** The name whose place stands at `at`. */
  #nameAt(at: number): string {
    return this.#string(this.#view.getUint32(at, true));
  }
  #string(place: number): string {
    if (place === 0) return '';
    return place < this.#firstString ? this.#base!.#string(place) : textOf(this.#strings, place - this.#firstString);
  }
}

function textOf(bytes: Uint8Array, from: number): string {
  const part = bytes.subarray(from, from + LONGEST_NAME);
  const end = part.indexOf(0);
  return String.fromCharCode(...(end < 0 ? part : part.subarray(0, end)));
}

function damaged(why: string): never {
  return fail('VMI_TYPES', `The description of types (BTF) cannot be read: ${why}.`);
}
