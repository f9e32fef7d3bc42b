/**
 * The types of a PDB file: its TPI stream, a row of CodeView records that refer to one another by number (LLVM's documentation, "CodeView Type Records"). Only their places
 * are noted at first.
 *
 * Members of anonymous structures stand in the outer one's list already: compilers put them there. Those of base classes are reached as an anonymous member's are.
 */
import { fail } from '@visorkit/core';
import { CodeViewReader, simpleType } from './codeview.js';
import type { Member, Type, TypeTable } from './type.js';
import { NO_TYPE, LazyArray, LazyPointer, LazyStructure } from './lazy-types.js';

const Leaf = {
  MODIFIER: 0x1001,
  POINTER: 0x1002,
  PROCEDURE: 0x1008,
  MEMBER_FUNCTION: 0x1009,
  FIELD_LIST: 0x1203,
  BIT_FIELD: 0x1205,
  BASE_CLASS: 0x1400,
  VIRTUAL_BASE: 0x1401,
  INDIRECT_VIRTUAL_BASE: 0x1402,
  INDEX: 0x1404,
  VFUNCTION_TABLE: 0x1409,
  FRIEND_CLASS: 0x140a,
  VFUNCTION_OFFSET: 0x140c,
  ENUMERATE: 0x1502,
  ARRAY: 0x1503,
  CLASS: 0x1504,
  STRUCTURE: 0x1505,
  UNION: 0x1506,
  ENUM: 0x1507,
  FRIEND_FUNCTION: 0x150c,
  MEMBER: 0x150d,
  STATIC_MEMBER: 0x150e,
  METHOD: 0x150f,
  NESTED_TYPE: 0x1510,
  ONE_METHOD: 0x1511,
  NESTED_TYPE_EX: 0x1512,
  MEMBER_MODIFY: 0x1513,
  INTERFACE: 0x1519,
  BASE_INTERFACE: 0x151a,
} as const;
const DEFINITIONS: ReadonlySet<number> = new Set([Leaf.CLASS, Leaf.STRUCTURE, Leaf.UNION, Leaf.ENUM, Leaf.INTERFACE]);
const HEADER = 56;
/** Bits of a definition's properties. */
const FORWARD = 0x80;
const HAS_UNIQUE_NAME = 0x200;
/** Modifiers of modifiers of …: damaged types may have no end. */
const DEEPEST = 32;

/** A class, structure, union or enum, without its members. */
interface Definition {
  readonly leaf: number;
  readonly forward: boolean;
  readonly fields: number;
  /** Of an enum: the type of its values. */
  readonly underlying: number;
  readonly size: number;
  readonly name: string;
  /** What tells it from others of the same name. */
  readonly key: string;
}

export class PdbTypes implements TypeTable {
  readonly source: string;
  readonly pointerSize: 4 | 8;
  readonly #reader: CodeViewReader;
  readonly #first: number;
  /** Where the record of each type begins, behind its length. */
  readonly #places: Uint32Array;
  readonly #made = new Map<number, Type>();
  readonly #findTypedefs: () => ReadonlyMap<string, number>;
  #typedefs: ReadonlyMap<string, number> | undefined;
  #names: Map<string, number> | undefined;

  /** `stream`: the TPI stream. `typedefs`: numbers of types by the names of typedefs. Throws `VMI_TYPES` for a damaged one. */
  constructor(
    stream: Uint8Array,
    {
      source = 'PDB file',
      pointerSize = 8,
      typedefs = () => new Map<string, number>(),
    }: { source?: string; pointerSize?: 4 | 8; typedefs?: () => ReadonlyMap<string, number> } = {},
  ) {
    this.source = source;
    this.pointerSize = pointerSize;
    this.#findTypedefs = typedefs;
    this.#reader = new CodeViewReader(stream);
    if (stream.length < HEADER) damaged(`their stream has ${stream.length} bytes`);
    const [headerSize, first, end, size] = [4, 8, 12, 16].map((at) => this.#reader.u32(at));
    if (headerSize < HEADER || headerSize + size > stream.length)
      damaged(`their stream of ${stream.length} bytes would have ${size} behind a header of ${headerSize}`);
    // A record has four bytes at least
    if (end < first || end - first > size / 4) damaged(`there would be ${end - first} types in ${size} bytes`);
    this.#first = first;
    this.#places = this.#findRecords(headerSize, headerSize + size, end - first);
  }

  /** How many records there are. */
  get size(): number {
    return this.#places.length;
  }

  /** A class, struct, union, enum, typedef or basic type (`unsigned int`). */
  type(name: string): Type | undefined {
    const defined = this.#definitions.get(name);
    if (defined !== undefined) return this.#type(defined);
    this.#typedefs ??= this.#findTypedefs();
    const typedef = this.#typedefs.get(name);
    if (typedef !== undefined) return this.#type(typedef);
    return simpleType(name);
  }

  /** By name, and by the unique name where there is one; those that are only named, and not described, are not there. */
  get #definitions(): Map<string, number> {
    if (this.#names !== undefined) return this.#names;
    const names = new Map<string, number>();
    for (let index = 0; index < this.#places.length; index++) {
      if (!DEFINITIONS.has(this.#reader.u16(this.#places[index]))) continue;
      const { forward, name, key } = this.#definition(this.#places[index]);
      if (forward) continue;
      for (const one of new Set([name, key])) if (one !== '' && !names.has(one)) names.set(one, this.#first + index);
    }
    return (this.#names = names);
  }

  #findRecords(from: number, to: number, count: number): Uint32Array {
    const places = new Uint32Array(count);
    let at = from;
    for (let index = 0; index < count; index++) {
      const length = at + 4 <= to ? this.#reader.u16(at) : 0;
      if (length < 2 || at + 2 + length > to) damaged(`type ${this.#first + index} goes beyond the end of the types`);
      places[index] = at + 2;
      at += 2 + length;
    }
    return places;
  }

  /** Bytes of a record end here. */
  #endOf(place: number): number {
    return place + this.#reader.u16(place - 2);
  }

  /** A type by its number; without name and size where the number is of none. */
  #type(id: number): Type {
    if (id < this.#first) return simpleType(id) ?? NO_TYPE;
    let type = this.#made.get(id);
    if (type === undefined) this.#made.set(id, (type = this.#make(id)));
    return type;
  }

  #make(id: number): Type {
    const at = this.#plain(id);
    if (at === undefined) return NO_TYPE;
    if (typeof at === 'object') return at;
    const reader = this.#reader;
    const leaf = reader.u16(at);
    switch (leaf) {
      case Leaf.POINTER: {
        const size = (reader.u32(at + 6) >>> 13) & 0x3f;
        return new LazyPointer(size === 0 ? this.pointerSize : size, () => this.#type(reader.u32(at + 2)));
      }
      case Leaf.ARRAY: {
        const size = reader.number(at + 10, this.#endOf(at)).value;
        return new LazyArray(Number(size), () => this.#type(reader.u32(at + 2)));
      }
      case Leaf.PROCEDURE:
      case Leaf.MEMBER_FUNCTION:
        return { kind: 'function', name: '', size: 0 };
      case Leaf.CLASS:
      case Leaf.STRUCTURE:
      case Leaf.INTERFACE:
      case Leaf.UNION:
      case Leaf.ENUM:
        return this.#define(this.#definition(at), id);
      default:
        return NO_TYPE;
    }
  }

  #define(definition: Definition, id: number): Type {
    const { leaf, name, forward, fields, size } = definition;
    if (forward) {
      const found = this.#definitions.get(definition.key);
      // Named only: a pointer to it may be followed, but nothing of it be read
      if (found === undefined || found === id)
        return { kind: leaf === Leaf.UNION ? 'union' : leaf === Leaf.ENUM ? 'enum' : 'struct', name, size: 0 };
      return this.#type(found);
    }
    if (leaf === Leaf.ENUM) {
      const base = this.#plain(definition.underlying);
      // Always a simple type
      const { size: width, signed = false } = typeof base === 'object' ? base : NO_TYPE;
      return { kind: 'enum', name, size: width, signed, values: this.#values(fields, width * 8, signed) };
    }
    return new LazyStructure(leaf === Leaf.UNION ? 'union' : 'struct', name, size, () => this.#members(fields));
  }

  /** Where a type stands that is no modifier; or a simple type, or undefined where there is no end. */
  #plain(id: number): number | Type | undefined {
    let type = id;
    for (let depth = 0; depth < DEEPEST; depth++) {
      if (type < this.#first) return simpleType(type);
      const at = this.#places[type - this.#first];
      if (at === undefined) return undefined;
      if (this.#reader.u16(at) !== Leaf.MODIFIER) return at;
      type = this.#reader.u32(at + 2);
    }
    return undefined;
  }

  #definition(at: number): Definition {
    const reader = this.#reader;
    const end = this.#endOf(at);
    const leaf = reader.u16(at);
    const properties = reader.u16(at + 4);
    let size = 0,
      next: number;
    if (leaf === Leaf.ENUM) next = at + 14;
    else {
      const number = reader.number(at + (leaf === Leaf.UNION ? 10 : 18), end);
      size = Number(number.value);
      next = number.next;
    }
    const full = reader.text(next, end);
    const unique = (properties & HAS_UNIQUE_NAME) === 0 ? undefined : reader.text(full.next, end).text;
    const name = /(?:^|::)(?:<unnamed|<anonymous|__unnamed$)[^:]*$/.test(full.text) ? '' : full.text;
    return {
      leaf,
      forward: (properties & FORWARD) !== 0,
      fields: reader.u32(leaf === Leaf.ENUM ? at + 10 : at + 6),
      underlying: leaf === Leaf.ENUM ? reader.u32(at + 6) : 0,
      size,
      name,
      key: unique ?? name,
    };
  }

  #members(list: number): Member[] {
    const own: Member[] = [],
      bases: Member[] = [];
    for (const { leaf, name, type, value } of this.#fields(list)) {
      const offset = Number(value);
      if (leaf === Leaf.BASE_CLASS || leaf === Leaf.BASE_INTERFACE)
        bases.push({ name: '', type: this.#type(type), bitOffset: offset * 8, bitSize: 0 });
      if (leaf !== Leaf.MEMBER) continue;
      const place = this.#places[type - this.#first];
      const isBits = place !== undefined && this.#reader.u16(place) === Leaf.BIT_FIELD;
      own.push({
        name,
        type: this.#type(isBits ? this.#reader.u32(place + 2) : type),
        bitOffset: offset * 8 + (isBits ? this.#reader.u8(place + 7) : 0),
        bitSize: isBits ? this.#reader.u8(place + 6) : 0,
      });
    }
    // A class's own names hide those of its bases
    return [...own, ...bases];
  }

  #values(list: number, bits: number, signed: boolean): Map<string, bigint> {
    const values = new Map<string, bigint>();
    for (const { leaf, name, value } of this.#fields(list))
      if (leaf === Leaf.ENUMERATE) values.set(name, signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value));
    return values;
  }

  /** What stands in a list of fields, and in those that it goes on in. */
  *#fields(list: number): Generator<FieldRecord, void, undefined> {
    const seen = new Set<number>();
    for (let next: number | undefined = list; next !== undefined && !seen.has(next); ) {
      seen.add(next);
      next = yield* this.#fieldsOf(next);
    }
  }

  /** Those of one list; returns the number of the one that it goes on in. Ends at a kind that is not known: its length is not known either. */
  *#fieldsOf(list: number): Generator<FieldRecord, number | undefined, undefined> {
    const reader = this.#reader;
    const place = this.#places[list - this.#first];
    if (place === undefined || reader.u16(place) !== Leaf.FIELD_LIST) return undefined;
    const end = this.#endOf(place);
    for (let at = place + 2; at + 4 <= end; ) {
      // Bytes that fill up to four
      if (reader.u8(at) >= 0xf0) {
        at++;
        continue;
      }
      const leaf = reader.u16(at);
      const shape = FIELDS[leaf];
      if (shape === undefined) return undefined;
      const type = shape.type < 0 || at + shape.type + 4 > end ? 0 : reader.u32(at + shape.type);
      if (leaf === Leaf.INDEX) return type;
      let behind = at + shape.fixed + (leaf === Leaf.ONE_METHOD && isIntroduced(reader.u16(at + 2)) ? 4 : 0);
      let value = 0n;
      for (let numbers = shape.numbers; numbers > 0; numbers--) {
        const number = reader.number(behind, end);
        if (numbers === shape.numbers) value = number.value;
        behind = number.next;
      }
      let name = '';
      if (shape.named) ({ text: name, next: behind } = reader.text(behind, end));
      at = behind;
      yield { leaf, name, type, value };
    }
    return undefined;
  }
}

interface FieldRecord {
  readonly leaf: number;
  readonly name: string;
  /** Number of its type; 0 where it has none. */
  readonly type: number;
  /** Offset of a member, value of an enumerator. */
  readonly value: bigint;
}

/** Of each kind of field: where the number of its type stands (-1: nowhere), where the variable part begins, how many numbers are there, and whether a name is. */
const FIELDS: Readonly<Record<number, { type: number; fixed: number; numbers: number; named: boolean }>> = {
  [Leaf.BASE_CLASS]: { type: 4, fixed: 8, numbers: 1, named: false },
  [Leaf.BASE_INTERFACE]: { type: 4, fixed: 8, numbers: 1, named: false },
  [Leaf.VIRTUAL_BASE]: { type: 4, fixed: 12, numbers: 2, named: false },
  [Leaf.INDIRECT_VIRTUAL_BASE]: { type: 4, fixed: 12, numbers: 2, named: false },
  [Leaf.INDEX]: { type: 4, fixed: 8, numbers: 0, named: false },
  [Leaf.VFUNCTION_TABLE]: { type: 4, fixed: 8, numbers: 0, named: false },
  [Leaf.FRIEND_CLASS]: { type: 4, fixed: 8, numbers: 0, named: false },
  [Leaf.VFUNCTION_OFFSET]: { type: 4, fixed: 12, numbers: 0, named: false },
  [Leaf.ENUMERATE]: { type: -1, fixed: 4, numbers: 1, named: true },
  [Leaf.FRIEND_FUNCTION]: { type: 4, fixed: 8, numbers: 0, named: true },
  [Leaf.MEMBER]: { type: 4, fixed: 8, numbers: 1, named: true },
  [Leaf.STATIC_MEMBER]: { type: 4, fixed: 8, numbers: 0, named: true },
  [Leaf.METHOD]: { type: 4, fixed: 8, numbers: 0, named: true },
  [Leaf.NESTED_TYPE]: { type: 4, fixed: 8, numbers: 0, named: true },
  [Leaf.NESTED_TYPE_EX]: { type: 4, fixed: 8, numbers: 0, named: true },
  [Leaf.ONE_METHOD]: { type: 4, fixed: 8, numbers: 0, named: true },
  [Leaf.MEMBER_MODIFY]: { type: 4, fixed: 8, numbers: 0, named: true },
};

/** Of a method's attributes: it is the first virtual one of its name, and has the offset of its slot behind it. */
const isIntroduced = (attributes: number): boolean => [4, 6].includes((attributes >>> 2) & 7);

function damaged(why: string): never {
  return fail('VMI_TYPES', `The types of the PDB file cannot be read: ${why}.`);
}
