/** The kernel's own description of its types, BTF (Linux, Documentation/bpf/btf.rst): offsets of fields without any file. */
import { fail } from '@visorkit/core';

const MAGIC = 0xeb9f;
const Kind = {
  INT: 1,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  DECL_TAG: 17,
  ENUM64: 19,
} as const;
/** Kinds that only name or qualify another type: TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG. */
const ALIASES = new Set([8, 9, 10, 11, 18]);
const POINTER = 2;
/** Bytes behind the common 12 of a type. */
const EXTRA: Readonly<Record<number, (count: number) => number>> = {
  [Kind.INT]: () => 4,
  [Kind.ARRAY]: () => 12,
  [Kind.STRUCT]: (count) => 12 * count,
  [Kind.UNION]: (count) => 12 * count,
  [Kind.ENUM]: (count) => 8 * count,
  [Kind.FUNC_PROTO]: (count) => 8 * count,
  [Kind.VAR]: () => 4,
  [Kind.DATASEC]: (count) => 12 * count,
  [Kind.DECL_TAG]: () => 4,
  [Kind.ENUM64]: (count) => 12 * count,
};
/** Structures in structures in …: damaged types may have no end. */
const DEEPEST = 32;

export interface Field {
  /** Bytes from the start of the structure. */
  readonly offset: number;
  /** Bytes; of an array, all of it. 0 where the type has no size. */
  readonly size: number;
  /** Of a bit field: bits from the start of the structure, and how many. */
  readonly bits?: { readonly offset: number; readonly size: number };
}

export class Btf {
  readonly #view: DataView;
  readonly #strings: Uint8Array;
  /** Where each type lies; type 0 is void. */
  readonly #places: number[] = [0];
  /** Structures and unions with a name, the first of each. */
  readonly #named = new Map<string, number>();

  /** Throws `LINUX_TYPES` for bytes that are no BTF, or damaged. */
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < 24 || this.#view.getUint16(0, true) !== MAGIC) damaged('it does not begin with eb9f');
    const [header, typeAt, typeLength, stringAt, stringLength] = [4, 8, 12, 16, 20].map((at) =>
      this.#view.getUint32(at, true),
    );
    const types = header + typeAt,
      strings = header + stringAt;
    if (types + typeLength > bytes.length || strings + stringLength > bytes.length)
      damaged(`its parts go beyond its ${bytes.length} bytes`);
    this.#strings = bytes.subarray(strings, strings + stringLength);
    for (let at = types; at + 12 <= types + typeLength; ) {
      const kind = this.#kind(at);
      if (kind === 0 || kind > 19) damaged(`type ${this.#places.length} has kind ${kind}`);
      const id = this.#places.push(at) - 1;
      if (kind === Kind.STRUCT || kind === Kind.UNION) {
        const name = this.#name(at);
        if (name !== '' && !this.#named.has(name)) this.#named.set(name, id);
      }
      at += 12 + (EXTRA[kind]?.(this.#count(at)) ?? 0);
      if (at > types + typeLength) damaged(`type ${id} goes beyond the end of the types`);
    }
  }

  /** How many types there are. */
  get size(): number {
    return this.#places.length - 1;
  }

  /** Size in bytes of a structure or union, undefined when there is none of that name. */
  sizeOf(structure: string): number | undefined {
    const id = this.#named.get(structure);
    return id === undefined ? undefined : this.#view.getUint32(this.#places[id] + 8, true);
  }

  /**
   * A field by its path, as `signal.cred.uid` has it through named structures. Names that stand in anonymous members are found as C finds them; those of a
   * named member's structure are not. Undefined when there is none.
   */
  field(structure: string, path: string): Field | undefined {
    let id = this.#named.get(structure);
    let found: Field | undefined;
    let base = 0;
    for (const name of path.split('.')) {
      if (id === undefined) return undefined;
      const member = this.#member(id, name, 0);
      if (member === undefined) return undefined;
      const bits = base * 8 + member.bits;
      const size = this.#sizeOf(member.type, 0);
      base = Math.floor(bits / 8);
      found = { offset: base, size, ...(member.width > 0 ? { bits: { offset: bits, size: member.width } } : {}) };
      id = this.#withoutAliases(member.type);
    }
    return found;
  }

  /** Bits from the start, width of a bit field or 0, and type of a member. */
  #member(id: number, name: string, depth: number): { bits: number; width: number; type: number } | undefined {
    const at = this.#places[id];
    const kind = at > 0 ? this.#kind(at) : 0;
    if ((kind !== Kind.STRUCT && kind !== Kind.UNION) || depth > DEEPEST) return undefined;
    const packed = (this.#view.getUint32(at + 4, true) & 0x8000_0000) !== 0;
    for (let index = 0; index < this.#count(at); index++) {
      const member = at + 12 + index * 12;
      const place = this.#view.getUint32(member + 8, true);
      const bits = packed ? place & 0xff_ffff : place,
        width = packed ? place >>> 24 : 0;
      const type = this.#view.getUint32(member + 4, true);
      const own = this.#name(member);
      if (own === name) return { bits, width, type };
      if (own !== '') continue;
      const inner = this.#member(this.#withoutAliases(type) ?? 0, name, depth + 1);
      if (inner !== undefined) return { ...inner, bits: bits + inner.bits };
    }
    return undefined;
  }

  #withoutAliases(id: number): number | undefined {
    let type = id;
    for (let depth = 0; depth < DEEPEST; depth++) {
      const at = this.#places[type];
      if (at === undefined) return undefined;
      if (at === 0 || !ALIASES.has(this.#kind(at))) return type;
      type = this.#view.getUint32(at + 8, true);
    }
    return undefined;
  }

  #sizeOf(id: number, depth: number): number {
    const type = this.#withoutAliases(id);
    const at = type === undefined ? 0 : (this.#places[type] ?? 0);
    if (at === 0 || depth > DEEPEST) return 0;
    const kind = this.#kind(at);
    if (kind === POINTER) return 8;
    if (kind !== Kind.ARRAY) return this.#view.getUint32(at + 8, true);
    return this.#sizeOf(this.#view.getUint32(at + 12, true), depth + 1) * this.#view.getUint32(at + 20, true);
  }

  #kind(at: number): number {
    return (this.#view.getUint32(at + 4, true) >>> 24) & 0x1f;
  }
  #count(at: number): number {
    return this.#view.getUint32(at + 4, true) & 0xffff;
  }
  /** The name whose offset stands at `at`. */
  #name(at: number): string {
    const from = this.#view.getUint32(at, true);
    const end = this.#strings.indexOf(0, from);
    return from === 0 || end < 0 ? '' : String.fromCharCode(...this.#strings.subarray(from, Math.min(end, from + 512)));
  }
}

function damaged(why: string): never {
  return fail('LINUX_TYPES', `The kernel's description of its types cannot be read: ${why}.`);
}
