/** Types whose fields were found by looking at what is in memory: no more than was found, so that whoever asks for another field is told that it is not known. */
import type { Member, Type, TypeTable } from '@visorkit/vmi';

/** A field's name, its place in bytes and its type. */
export type InferredField = readonly [name: string, offset: number, type: Type];

const INFERRED = 'inferred from the running structures: a field that could not be told with certainty is missing';

export class InferredTypes implements TypeTable {
  readonly #types = new Map<string, Type>();
  /** Basic types, and the lists that many structures have. */
  readonly u8 = integer('unsigned char', 1);
  readonly u16 = integer('unsigned short', 2);
  readonly u32 = integer('unsigned int', 4);
  readonly i32 = integer('int', 4, true);
  readonly u64 = integer('unsigned long long', 8);
  readonly i64 = integer('long long', 8, true);
  readonly word: Type;

  constructor(
    readonly pointerSize: 4 | 8,
    readonly source = INFERRED,
  ) {
    this.word = integer('unsigned long', pointerSize);
    const pointer = this.pointer();
    for (const [name, ...fields] of [
      ['list_head', 'next', 'prev'],
      ['hlist_head', 'first'],
      ['hlist_node', 'next', 'pprev'],
      ['hlist_bl_node', 'next', 'pprev'],
      ['rb_node', '__rb_parent_color', 'rb_right', 'rb_left'],
    ])
      this.add(
        name,
        fields.map((field, index) => [field, index * pointerSize, pointer]),
      );
  }

  type(name: string): Type | undefined {
    return this.#types.get(name);
  }

  /** Every structure of which something was found. */
  get all(): Iterable<Type> {
    return this.#types.values();
  }

  /** A pointer, to a structure of that name if one is given; it may be added later. */
  pointer(to?: string): Type {
    const find = (): Type | undefined => (to === undefined ? undefined : this.type(to));
    return {
      kind: 'pointer',
      name: '',
      size: this.pointerSize,
      get target() {
        return find();
      },
    };
  }

  array(target: Type, count: number): Type {
    return { kind: 'array', name: '', size: target.size * count, target, count };
  }

  /** A structure that was added before. */
  named(name: string): Type {
    return this.#types.get(name)!;
  }

  /** Adds a structure. Its size, unless it is known, is where its last known field ends, so that it is at least that. */
  add(name: string, fields: readonly InferredField[], known?: number): Type {
    const members = fields.map(
      ([field, offset, type]): Member => ({ name: field, type, bitOffset: offset * 8, bitSize: 0 }),
    );
    members.sort((a, b) => a.bitOffset - b.bitOffset);
    const size = Math.max(0, ...members.map(({ bitOffset, type }) => bitOffset / 8 + type.size));
    const type: Type = { kind: 'struct', name, size: known ?? Math.ceil(size / 8) * 8, members };
    this.#types.set(name, type);
    return type;
  }
}

const integer = (name: string, size: number, signed = false): Type => ({ kind: 'integer', name, size, signed });
