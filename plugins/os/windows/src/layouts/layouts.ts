/** The built-in tables of structures as types, for a build whose PDB file is not at hand. */
import type { Member, Type, TypeTable } from '@visorkit/vmi';
import { X64 } from './x64.js';
import { X86 } from './x86.js';

/**
 * `from`: build and, where it makes a difference, its revision (service pack up to Server 2003). `layout`: bytes of the structure as it was in that build, then
 * `name@offset:type`, both numbers in hexadecimal. Types: `u1` to `u8` unsigned, `p` pointer, `*NAME` pointer to a structure, `NAME` a structure,
 * `[n]u1` array, `u4:3-8` the bits 3 to 7 of a number.
 */
export type LayoutRows = readonly (readonly [from: string, layout: string])[];

/** Which kernel it is. */
export interface WindowsBuild {
  /** As `19041`. */
  readonly number: number;
  /** Of the build, as 17514 in 7601.17514; up to Server 2003 the number of the service pack. 0 where it is not known. */
  readonly revision: number;
}

/** The same in all versions. */
const COMMON = {
  4: {
    _LIST_ENTRY: '8 Flink@0:*_LIST_ENTRY Blink@4:*_LIST_ENTRY',
    _UNICODE_STRING: '8 Length@0:u2 MaximumLength@2:u2 Buffer@4:p',
  },
  8: {
    _LIST_ENTRY: '10 Flink@0:*_LIST_ENTRY Blink@8:*_LIST_ENTRY',
    _UNICODE_STRING: '10 Length@0:u2 MaximumLength@2:u2 Buffer@8:p',
  },
} as const;

/** Types of a build; those of the nearest one before it that the tables have. Undefined for one that is older than all of them. */
export function builtInTypes(pointerSize: 4 | 8, build: WindowsBuild): TypeTable | undefined {
  const rows = pointerSize === 8 ? X64 : X86;
  const row = rowFor(rows._EPROCESS, build);
  if (row === undefined) return undefined;
  const layouts = new Map<string, string>(Object.entries(COMMON[pointerSize]));
  for (const [name, list] of Object.entries(rows)) {
    const found = rowFor(list, build);
    if (found !== undefined) layouts.set(name, found[1]);
  }
  const text = build.revision === 0 ? `${build.number}` : `${build.number}.${build.revision}`;
  return new LayoutTypes(
    `built-in offsets of ${8 * pointerSize}-bit Windows from build ${row[0]} on, for ${text}`,
    pointerSize,
    layouts,
  );
}

function rowFor(rows: LayoutRows, { number, revision }: WindowsBuild): LayoutRows[number] | undefined {
  return rows.findLast(([from]) => {
    const [least, part = 0] = from.split('.').map(Number);
    return number > least || (number === least && revision >= part);
  });
}

class LayoutTypes implements TypeTable {
  readonly #made = new Map<string, Type>();

  constructor(
    readonly source: string,
    readonly pointerSize: 4 | 8,
    private readonly layouts: ReadonlyMap<string, string>,
  ) {}

  type(name: string): Type | undefined {
    const made = this.#made.get(name);
    if (made !== undefined) return made;
    const layout = this.layouts.get(name);
    if (layout === undefined) return undefined;
    const [size, ...fields] = layout.split(' ');
    let members: readonly Member[] | undefined;
    const memberOf = (field: string): Member => this.#member(field);
    const type: Type = {
      kind: 'struct',
      name,
      size: Number.parseInt(size, 16),
      // Structures refer to one another in circles
      get members() {
        return (members ??= fields.map(memberOf));
      },
    };
    this.#made.set(name, type);
    return type;
  }

  #member(field: string): Member {
    const [, name, offset, text] = /^(\w+)@([0-9a-f]+):(.+)$/.exec(field)!;
    const bits = /^(u\d):(\d+)-(\d+)$/.exec(text);
    const start = 8 * Number.parseInt(offset, 16);
    if (bits === null) return { name, type: this.#typeOf(text), bitOffset: start, bitSize: 0 };
    const [from, to] = [Number(bits[2]), Number(bits[3])];
    return { name, type: this.#typeOf(bits[1]), bitOffset: start + from, bitSize: to - from };
  }

  #typeOf(text: string): Type {
    const number = /^u(\d)$/.exec(text);
    if (number !== null) return { kind: 'integer', name: text, size: Number(number[1]), signed: false };
    const array = /^\[(\d+)\](.+)$/.exec(text);
    if (array !== null) {
      const target = this.#typeOf(array[2]);
      return { kind: 'array', name: '', size: Number(array[1]) * target.size, count: Number(array[1]), target };
    }
    if (text === 'p') return { kind: 'pointer', name: '', size: this.pointerSize, target: VOID };
    if (!text.startsWith('*')) return this.type(text) ?? { ...VOID, kind: 'unknown', name: text };
    const targetOf = (): Type => this.type(text.slice(1)) ?? VOID;
    return {
      kind: 'pointer',
      name: '',
      size: this.pointerSize,
      get target() {
        return targetOf();
      },
    };
  }
}

const VOID: Type = { kind: 'void', name: 'void', size: 0 };
