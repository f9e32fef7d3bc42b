/** Types of a guest's programs, wherever their description comes from: BTF, an ISF or Rekall profile, a PDB file. */

export type TypeKind =
  | 'void'
  | 'integer'
  | 'float'
  | 'pointer'
  | 'array'
  | 'struct'
  | 'union'
  | 'enum'
  | 'function'
  /** Its source names it, and says no more. */
  | 'unknown';

export interface Type {
  readonly kind: TypeKind;
  /** Empty for one without a name. */
  readonly name: string;
  /** Bytes; 0 where it has no size. */
  readonly size: number;
  /** Of an integer or enum: whether the highest bit is a sign. */
  readonly signed?: boolean;
  /** What a pointer points to, or what an array is made of. Made when it is asked for: types refer to one another in circles. */
  readonly target?: Type;
  /** Elements of an array. */
  readonly count?: number;
  /** Of a struct or union, in the order of their declaration. */
  readonly members?: readonly Member[];
  /** Of an enum. */
  readonly values?: ReadonlyMap<string, bigint>;
}

export interface Member {
  /** Empty for an anonymous struct or union, whose members are reached as if they were the outer one's. */
  readonly name: string;
  readonly type: Type;
  /** Bits from the start of the structure. */
  readonly bitOffset: number;
  /** Width of a bit field; 0 for what is none. */
  readonly bitSize: number;
}

/** Types by name: those of one kernel, or of one module. */
export interface TypeTable {
  /** Where they come from, for people: "BTF in the kernel's memory". */
  readonly source: string;
  /** Bytes of a pointer. */
  readonly pointerSize: 4 | 8;
  /** A struct, union, enum or basic type; undefined where there is none of that name. */
  type(name: string): Type | undefined;
}

/** A place in a structure, and what is there. */
export interface Field {
  /** Bytes from the start of the structure. */
  readonly offset: number;
  /** Bytes; of an array, all of it. 0 where the type has no size. */
  readonly size: number;
  readonly type: Type;
  /** Of a bit field: bits from the start of the structure, and how many. */
  readonly bits?: { readonly offset: number; readonly size: number };
}

/** Anonymous structures that are looked through for one name: no structure of a kernel has a tenth of that. */
const MOST_ANONYMOUS = 1000;

/**
 * A field by its path: `comm`, `signal.cred` through named members, `nodes[3].next` into arrays. Names that stand in anonymous members are
 * found as C finds them; those of a named member's structure are not. Undefined when there is none.
 */
export function fieldOf(type: Type, path: string): Field | undefined {
  let at: Field = { offset: 0, size: type.size, type };
  for (const part of path.split('.')) {
    const [, name = '', indexes = ''] = /^([^[\]]+)((?:\[\d{1,9}\])*)$/.exec(part) ?? [];
    const found = name === '' ? undefined : memberOf(at.type, name, at.offset * 8, new Set());
    if (found === undefined) return undefined;
    at = found;
    for (const [, index] of indexes.matchAll(/\[(\d+)\]/g)) {
      const { target } = at.type;
      if (at.type.kind !== 'array' || target === undefined) return undefined;
      at = { offset: at.offset + Number(index) * target.size, size: target.size, type: target };
    }
  }
  return at;
}

/** `seen`: types that have been looked through. In damaged ones a structure may have itself in it, and more than once. */
function memberOf(type: Type, name: string, base: number, seen: Set<Type>): Field | undefined {
  if (seen.has(type) || seen.size > MOST_ANONYMOUS) return undefined;
  seen.add(type);
  for (const member of type.members ?? []) {
    const bits = base + member.bitOffset;
    if (member.name === name) {
      const place = { offset: Math.floor(bits / 8), size: member.type.size, type: member.type };
      return member.bitSize === 0 ? place : { ...place, bits: { offset: bits, size: member.bitSize } };
    }
    if (member.name !== '') continue;
    const inner = memberOf(member.type, name, bits, seen);
    if (inner !== undefined) return inner;
  }
  return undefined;
}
