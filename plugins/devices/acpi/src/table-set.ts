/**
 * Builds ACPI tables (ACPI specification 6.4, 5.2): headers, checksums, and the pointers between tables, which are
 * filled in when the addresses of the tables are known.
 */
import { fail } from '@visorkit/core';

/** Bytes of the header that every table but RSDP and FACS begins with (5.2.6). */
export const HEADER_SIZE = 36;
const CHECKSUM_OFFSET = 9;
const OEM_ID = 'VISOR ';
const CREATOR_ID = 'VSRK';

/** A pointer in one table to another: filled with its address, 4 or 8 bytes. */
export interface TablePointer {
  readonly offset: number;
  readonly size: 4 | 8;
  readonly target: Table;
}

export interface Table {
  readonly signature: string;
  readonly bytes: Uint8Array;
  readonly alignment: number;
  readonly pointers: readonly TablePointer[];
  /** Sums of bytes that must come to zero: where the sum is kept and what it covers. */
  readonly checksums: readonly { readonly at: number; readonly start: number; readonly length: number }[];
}

/** Little-endian writer for the fixed fields of tables. */
export class Fields {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  constructor(readonly length: number) {
    this.#bytes = new Uint8Array(length);
    this.#view = new DataView(this.#bytes.buffer);
  }
  get bytes(): Uint8Array {
    return this.#bytes;
  }
  u8(offset: number, value: number): this {
    this.#view.setUint8(offset, value);
    return this;
  }
  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true);
    return this;
  }
  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }
  u64(offset: number, value: number): this {
    this.#view.setUint32(offset, value >>> 0, true);
    this.#view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
    return this;
  }
  text(offset: number, text: string): this {
    for (let index = 0; index < text.length; index++) this.u8(offset + index, text.charCodeAt(index));
    return this;
  }
  raw(offset: number, bytes: Uint8Array): this {
    this.#bytes.set(bytes, offset);
    return this;
  }
}

/** A table with the common header around `body`. */
export function table(
  signature: string,
  revision: number,
  body: Uint8Array,
  pointers: readonly TablePointer[] = [],
): Table {
  const length = HEADER_SIZE + body.length;
  const fields = new Fields(length)
    .text(0, signature)
    .u32(4, length)
    .u8(8, revision)
    .text(10, OEM_ID)
    .text(16, `VISOR${signature.slice(0, 3)}`.padEnd(8))
    .u32(24, 1)
    .text(28, CREATOR_ID)
    .u32(32, 1)
    .raw(HEADER_SIZE, body);
  return {
    signature,
    bytes: fields.bytes,
    alignment: 16,
    pointers,
    checksums: [{ at: CHECKSUM_OFFSET, start: 0, length }],
  };
}

/** A root table: RSDT with 4-byte pointers or XSDT with 8-byte ones (5.2.7, 5.2.8). */
export function rootTable(signature: 'RSDT' | 'XSDT', targets: readonly Table[]): Table {
  const size = signature === 'RSDT' ? 4 : 8;
  return table(
    signature,
    1,
    new Uint8Array(targets.length * size),
    targets.map((target, index) => ({ offset: HEADER_SIZE + index * size, size, target })),
  );
}

/** The root pointer (5.2.5.3), which points to both root tables. */
export function rootPointer(rsdt: Table, xsdt: Table): Table {
  const fields = new Fields(36).text(0, 'RSD PTR ').text(9, OEM_ID).u8(15, 2).u32(20, 36);
  return {
    signature: 'RSD PTR ',
    bytes: fields.bytes,
    alignment: 16,
    pointers: [
      { offset: 16, size: 4, target: rsdt },
      { offset: 24, size: 8, target: xsdt },
    ],
    checksums: [
      { at: 8, start: 0, length: 20 },
      { at: 32, start: 0, length: 36 },
    ],
  };
}

/** Offsets of tables laid one after the other, each at its alignment. */
export function layOut(tables: readonly Table[]): { offsets: Map<Table, number>; length: number } {
  const offsets = new Map<Table, number>();
  let length = 0;
  for (const entry of tables) {
    length = Math.ceil(length / entry.alignment) * entry.alignment;
    offsets.set(entry, length);
    length += entry.bytes.length;
  }
  return { offsets, length };
}

/** The tables as bytes for guest-physical address `base`, with pointers and checksums filled in. */
export function place(tables: readonly Table[], base: number): Uint8Array {
  const { offsets, length } = layOut(tables);
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  for (const [entry, offset] of offsets) {
    out.set(entry.bytes, offset);
    for (const pointer of entry.pointers) {
      const target = offsets.get(pointer.target);
      if (target === undefined)
        fail(
          'ACPI_TABLE_MISSING',
          `The ACPI table ${entry.signature} points to ${pointer.target.signature}, which is not among the tables.`,
        );
      view.setUint32(offset + pointer.offset, base + target, true);
    }
    for (const { at, start, length: covered } of entry.checksums) {
      out[offset + at] = 0;
      out[offset + at] = -sum(out.subarray(offset + start, offset + start + covered)) & 0xff;
    }
  }
  return out;
}

/** The sum of all bytes, modulo 256: 0 for what carries a right checksum. */
export function sum(bytes: Uint8Array): number {
  let total = 0;
  for (const byte of bytes) total += byte;
  return total & 0xff;
}
