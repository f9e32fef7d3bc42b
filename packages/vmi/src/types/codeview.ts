/** What records of CodeView are made of: numbers of several lengths, text, and the simple types that have fixed numbers (cvinfo.h). */
import { fail } from '@visorkit/core';
import { LazyPointer, NO_TYPE, VOID } from './lazy-types.js';
import type { Type, TypeKind } from './type.js';

export class CodeViewReader {
  readonly #view: DataView;
  readonly #text = new TextDecoder();

  constructor(private readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u8(at: number): number {
    return this.#at(at, 1).getUint8(at);
  }
  u16(at: number): number {
    return this.#at(at, 2).getUint16(at, true);
  }
  u32(at: number): number {
    return this.#at(at, 4).getUint32(at, true);
  }

  /** A number below 0x8000, or a leaf that says how long the number behind it is. */
  number(at: number, end: number): { value: bigint; next: number } {
    const leaf = at + 2 <= end ? this.u16(at) : damaged('a number is cut off');
    if (leaf < 0x8000) return { value: BigInt(leaf), next: at + 2 };
    const number = NUMBERS[leaf];
    if (number === undefined || at + 2 + number.length > end)
      return damaged(`a number begins with 0x${leaf.toString(16)}`);
    return { value: number.read(this.#at(at + 2, number.length), at + 2), next: at + 2 + number.length };
  }

  /** Text up to a NUL, or to the end of the record. */
  text(at: number, end: number): { text: string; next: number } {
    if (at > end) damaged('a name is cut off');
    const bytes = this.bytes.subarray(at, end);
    const nul = bytes.indexOf(0);
    const length = nul < 0 ? bytes.length : nul;
    return { text: this.#text.decode(bytes.subarray(0, length)), next: at + length + 1 };
  }

  #at(at: number, length: number): DataView {
    if (at + length > this.bytes.length) damaged('a record is cut off');
    return this.#view;
  }
}

/** LF_CHAR and the others. */
const NUMBERS: Readonly<Record<number, { length: number; read(view: DataView, at: number): bigint }>> = {
  0x8000: { length: 1, read: (view, at) => BigInt(view.getInt8(at)) },
  0x8001: { length: 2, read: (view, at) => BigInt(view.getInt16(at, true)) },
  0x8002: { length: 2, read: (view, at) => BigInt(view.getUint16(at, true)) },
  0x8003: { length: 4, read: (view, at) => BigInt(view.getInt32(at, true)) },
  0x8004: { length: 4, read: (view, at) => BigInt(view.getUint32(at, true)) },
  0x8009: { length: 8, read: (view, at) => view.getBigInt64(at, true) },
  0x800a: { length: 8, read: (view, at) => view.getBigUint64(at, true) },
};

/** A simple type by its number (TYPE_ENUM_e: kind in bits 7:0, what kind of pointer to it in bits 11:8), or by its name in C. */
export function simpleType(which: number | string): Type | undefined {
  if (typeof which === 'string') {
    const kind = BY_NAME.get(which);
    return kind === undefined ? undefined : simpleType(kind);
  }
  let type = made.get(which);
  if (type === undefined) {
    type = makeSimple(which);
    if (type !== undefined) made.set(which, type);
  }
  return type;
}

const made = new Map<number, Type>();

function makeSimple(number: number): Type | undefined {
  const mode = (number >>> 8) & 0xf;
  if (mode !== 0) {
    const size = POINTERS[mode];
    return size === undefined ? undefined : new LazyPointer(size, () => simpleType(number & 0xff) ?? NO_TYPE);
  }
  if (number === 3) return VOID;
  const simple = SIMPLE[number];
  if (simple === undefined) return undefined;
  const [name, kind, size, signed] = simple;
  return kind === 'integer' ? { kind, name, size, signed } : { kind, name, size };
}

/** Bytes of a pointer, by the mode. */
const POINTERS: Readonly<Record<number, number>> = { 1: 2, 2: 4, 3: 4, 4: 4, 5: 6, 6: 8, 7: 16 };
const SIMPLE: Readonly<Record<number, readonly [name: string, kind: TypeKind, size: number, signed: boolean]>> = {
  0x08: ['HRESULT', 'integer', 4, true],
  0x10: ['signed char', 'integer', 1, true],
  0x11: ['short', 'integer', 2, true],
  0x12: ['long', 'integer', 4, true],
  0x13: ['long long', 'integer', 8, true],
  0x14: ['__int128', 'integer', 16, true],
  0x20: ['unsigned char', 'integer', 1, false],
  0x21: ['unsigned short', 'integer', 2, false],
  0x22: ['unsigned long', 'integer', 4, false],
  0x23: ['unsigned long long', 'integer', 8, false],
  0x24: ['unsigned __int128', 'integer', 16, false],
  0x30: ['bool', 'integer', 1, false],
  0x31: ['__bool16', 'integer', 2, false],
  0x32: ['__bool32', 'integer', 4, false],
  0x33: ['__bool64', 'integer', 8, false],
  0x40: ['float', 'float', 4, true],
  0x41: ['double', 'float', 8, true],
  0x42: ['long double', 'float', 10, true],
  0x43: ['__float128', 'float', 16, true],
  0x46: ['__half', 'float', 2, true],
  0x68: ['__int8', 'integer', 1, true],
  0x69: ['unsigned __int8', 'integer', 1, false],
  0x70: ['char', 'integer', 1, true],
  0x71: ['wchar_t', 'integer', 2, false],
  0x72: ['__int16', 'integer', 2, true],
  0x73: ['unsigned __int16', 'integer', 2, false],
  0x74: ['int', 'integer', 4, true],
  0x75: ['unsigned int', 'integer', 4, false],
  0x76: ['__int64', 'integer', 8, true],
  0x77: ['unsigned __int64', 'integer', 8, false],
  0x7a: ['char16_t', 'integer', 2, false],
  0x7b: ['char32_t', 'integer', 4, false],
  0x7c: ['char8_t', 'integer', 1, false],
};
const BY_NAME: ReadonlyMap<string, number> = new Map(
  Object.entries(SIMPLE).map(([number, [name]]) => [name, Number(number)]),
);

function damaged(why: string): never {
  return fail('VMI_TYPES', `The types of the PDB file cannot be read: ${why}.`);
}
