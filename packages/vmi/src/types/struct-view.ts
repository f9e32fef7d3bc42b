/** A structure in memory, whose fields are read by name with the widths that its type says. */
import { fail, instead } from '@visorkit/core';
import type { AddressSpace } from '../address-space.js';
import { fieldOf } from './type.js';
import type { Field, Type } from './type.js';

/** Fields that were looked for, by the type and the path. */
const known = new WeakMap<Type, Map<string, Field>>();

export class StructView {
  /** `address`: where the structure begins, linear in `space`. */
  constructor(
    readonly space: AddressSpace,
    readonly type: Type,
    readonly address: bigint,
  ) {}

  /** A field by its path (see `fieldOf`); throws `VMI_FIELD` when there is none. */
  field(path: string): Field {
    let fields = known.get(this.type);
    if (fields === undefined) known.set(this.type, (fields = new Map()));
    let field = fields.get(path);
    if (field === undefined) fields.set(path, (field = requireField(this.type, path)));
    return field;
  }

  /** Whether there is such a field: structures change from version to version. */
  has(path: string): boolean {
    return fieldOf(this.type, path) !== undefined;
  }

  /** Linear address of a field. */
  at(path: string): bigint {
    return BigInt.asUintN(64, this.address + BigInt(this.field(path).offset));
  }

  /** An integer, an enum, a pointer or a bit field as a bigint, with its sign. Throws `VMI_UNMAPPED`, and `VMI_FIELD` for anything else. */
  big(path: string): bigint {
    const { offset, size, bits, type } = this.field(path);
    if (bits !== undefined) return this.#bits(bits.offset, bits.size, type.signed === true);
    const at = BigInt.asUintN(64, this.address + BigInt(offset));
    const signed = type.signed === true;
    switch (size) {
      case 1:
      case 2:
      case 4: {
        const value = size === 1 ? this.space.u8(at) : size === 2 ? this.space.u16(at) : this.space.u32(at);
        return signed ? BigInt.asIntN(8 * size, BigInt(value)) : BigInt(value);
      }
      case 8: {
        const value = this.space.u64(at);
        return signed ? BigInt.asIntN(64, value) : value;
      }
      default:
        return fail(
          'VMI_FIELD',
          `The field "${path}" of ${nameOf(this.type)} has ${size} bytes and is no number; a number has 1, 2, 4 or 8.`,
          { path },
        );
    }
  }

  /** The same as a number; exact below 2^53. */
  number(path: string): number {
    return Number(this.big(path));
  }

  /** Text in an array of characters: up to a NUL or the end of the array. */
  text(path: string): string {
    const { size } = this.field(path);
    return this.space.text(this.at(path), size);
  }

  /** A structure that is a part of this one. */
  inner(path: string): StructView {
    return new StructView(this.space, this.field(path).type, this.at(path));
  }

  /** The structure that a pointer points to; undefined for a null pointer. Its type is the pointer's unless given. */
  follow(path: string, as?: Type): StructView | undefined {
    const { type } = this.field(path);
    const address = this.big(path);
    if (address === 0n) return undefined;
    const target = as ?? type.target;
    if (target === undefined)
      return fail(
        'VMI_FIELD',
        `The field "${path}" of ${nameOf(this.type)} is no pointer to a known type; give the type that it is to be read as.`,
        { path },
      );
    return new StructView(this.space, target, address);
  }

  #bits(offset: number, size: number, signed: boolean): bigint {
    const first = Math.floor(offset / 8),
      last = Math.floor((offset + size - 1) / 8);
    let value = 0n;
    const bytes = this.space.bytes(this.address + BigInt(first), last - first + 1);
    for (let index = bytes.length - 1; index >= 0; index--) value = (value << 8n) | BigInt(bytes[index]);
    value = BigInt.asUintN(size, value >> BigInt(offset % 8));
    return signed ? BigInt.asIntN(size, value) : value;
  }
}

/** A field by its path; throws `VMI_FIELD` with the field that may be meant. */
export function requireField(type: Type, path: string): Field {
  const found = fieldOf(type, path);
  if (found !== undefined) return found;
  const hint = instead(
    path,
    (type.members ?? []).map(({ name }) => name).filter((name) => name !== ''),
  );
  return fail('VMI_FIELD', `${nameOf(type)} has no field "${path}"${hint}${hint.endsWith('?') ? '' : '.'}`, {
    type: type.name,
    path,
  });
}

const nameOf = ({ kind, name }: Type): string => (name === '' ? `a ${kind} without a name` : `${kind} ${name}`);
