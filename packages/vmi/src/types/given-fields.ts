/** Types with fields where a configuration says that they are: LibVMI's believes that before its profiles, so this does too. */
import { fieldOf } from './type.js';
import type { Member, Type, TypeTable } from './type.js';

export interface GivenField {
  /** Name of the structure, and of one of its own fields; not a path. */
  readonly type: string;
  readonly field: string;
  /** Bytes from the start of the structure. */
  readonly offset: number;
  /** Its type where there is no such field. Called when it is asked for. */
  as(types: TypeTable): Type;
}

/** The same types but for these fields. A structure that is not there has these alone. Without fields it is `types` itself. */
export function withFields(types: TypeTable, fields: readonly GivenField[]): TypeTable {
  return fields.length === 0 ? types : new TypesWithFields(types, fields);
}

class TypesWithFields implements TypeTable {
  readonly source: string;
  readonly pointerSize: 4 | 8;
  readonly #fields = new Map<string, GivenField[]>();
  /** Structures of which nothing is known but what was given. */
  readonly #absent = new Map<string, Type>();
  readonly #made = new WeakMap<Type, Type>();

  constructor(
    private readonly types: TypeTable,
    fields: readonly GivenField[],
  ) {
    this.source = `${types.source}; as given: ${fields.map(({ type, field }) => `${type}.${field}`).join(', ')}`;
    this.pointerSize = types.pointerSize;
    for (const field of fields) this.#fields.set(field.type, [...(this.#fields.get(field.type) ?? []), field]);
  }

  type(name: string): Type | undefined {
    const found = this.types.type(name) ?? this.#absent.get(name);
    if (found !== undefined) return this.#changed(found);
    if (!this.#fields.has(name)) return undefined;
    const absent: Type = { kind: 'struct', name, size: 0, members: [] };
    this.#absent.set(name, absent);
    return this.#changed(absent);
  }

  /** A type whose structures are the changed ones, however they are reached. */
  #changed(type: Type): Type {
    let made = this.#made.get(type);
    if (made !== undefined) return made;
    const { kind, name, size, signed, count, values } = type;
    const given = kind === 'struct' ? this.#fields.get(name) : undefined;
    const target = (): Type | undefined => type.target && this.#changed(type.target);
    const membersOf = (): readonly Member[] | undefined =>
      given === undefined
        ? type.members?.map((member) => ({ ...member, type: this.#changed(member.type) }))
        : this.#moved(type, given);
    let members: readonly Member[] | undefined;
    made = {
      kind,
      name,
      size: given === undefined ? size : Math.max(size, ...given.map((field) => this.#end(type, field))),
      signed,
      count,
      values,
      get target() {
        return target();
      },
      get members() {
        return (members ??= membersOf());
      },
    };
    this.#made.set(type, made);
    return made;
  }

  #moved(type: Type, given: readonly GivenField[]): Member[] {
    const names = new Set(given.map(({ field }) => field));
    const moved = given.map((field): Member => {
      const own = fieldOf(type, field.field);
      return {
        name: field.field,
        type: own === undefined ? field.as(this) : this.#changed(own.type),
        bitOffset: 8 * field.offset,
        bitSize: 0,
      };
    });
    const others = (type.members ?? []).filter(({ name }) => !names.has(name));
    // Those in anonymous members come behind: the first of a name is the one that is found
    return [...moved, ...others.map((member) => ({ ...member, type: this.#changed(member.type) }))];
  }

  #end(type: Type, { field, offset, as }: GivenField): number {
    return offset + (fieldOf(type, field)?.type ?? as(this)).size;
  }
}
