/**
 * Reads WebAssembly's binary format (core specification 2.0, chapter 5, and threads): one instruction after the other, whoever wrote them. For what
 * changes or prints code; the translator itself only writes.
 */
import { fail } from '@visorkit/core';

export const PREFIX_BULK = 0xfc;
export const PREFIX_VECTOR = 0xfd;
export const PREFIX_ATOMIC = 0xfe;

/** Goes through bytes. */
export class Reader {
  constructor(
    readonly bytes: Uint8Array,
    public at = 0,
    readonly end: number = bytes.length,
  ) {}

  get more(): boolean {
    return this.at < this.end;
  }
  byte(): number {
    return this.bytes[this.at++]!;
  }
  take(count: number): Uint8Array {
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  /** Unsigned LEB128 of up to 32 bits. */
  unsigned(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }
  /** Signed LEB128 of up to 64 bits. */
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; ) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      if (byte < 0x80) return BigInt.asIntN(64, (byte & 0x40) === 0 ? value : value | (-1n << shift));
    }
  }
  skipNumber(): void {
    while (this.byte() >= 0x80);
  }
  /** All that has not been read. */
  rest(): Uint8Array {
    return this.take(this.end - this.at);
  }
  /** Bytes of a vector or name, behind their count. */
  counted(): Uint8Array {
    return this.take(this.unsigned());
  }
}

/** An instruction: where it begins, and where its operands do and end. */
export interface Place {
  from: number;
  opcode: number;
  /** Behind a prefix; else -1. */
  sub: number;
  operands: number;
  to: number;
}

type Operands = readonly (readonly [first: number, last: number, operands: string])[];
/**
 * Opcodes with operands: LEB128 numbers (n), bytes (b), a count with as many numbers (v), sixteen bytes (s), eight (8), four (4). All others have
 * none.
 */
const OPERANDS: Operands = [
  [0x02, 0x04, 'n'], // block, loop, if
  [0x0c, 0x0d, 'n'], // br, br_if
  [0x0e, 0x0e, 'vn'], // br_table
  [0x10, 0x10, 'n'], // call
  [0x11, 0x11, 'nn'], // call_indirect
  [0x12, 0x12, 'n'], // return_call
  [0x13, 0x13, 'nn'], // return_call_indirect
  [0x1c, 0x1c, 'v'], // select with types
  [0x20, 0x26, 'n'], // locals, globals, tables
  [0x28, 0x3e, 'nn'], // loads, stores
  [0x3f, 0x40, 'b'], // memory.size, memory.grow
  [0x41, 0x42, 'n'], // i32.const, i64.const
  [0x43, 0x43, '4'],
  [0x44, 0x44, '8'],
  [0xd0, 0xd0, 'n'], // ref.null
  [0xd2, 0xd2, 'n'], // ref.func
];
/** The same by what follows a prefix. */
const PREFIXED: Readonly<Record<number, Operands>> = {
  [PREFIX_BULK]: [
    [8, 8, 'nb'], // memory.init
    [9, 9, 'n'], // data.drop
    [10, 10, 'bb'], // memory.copy
    [11, 11, 'b'], // memory.fill
    [12, 12, 'nn'], // table.init
    [13, 13, 'n'], // elem.drop
    [14, 14, 'nn'], // table.copy
    [15, 17, 'n'], // table.grow, table.size, table.fill
  ],
  [PREFIX_VECTOR]: [
    [0, 11, 'nn'], // loads, store
    [12, 13, 's'], // constant, shuffle
    [21, 34, 'b'], // lanes
    [84, 91, 'nnb'], // loads and stores of lanes
    [92, 93, 'nn'],
  ],
  [PREFIX_ATOMIC]: [
    [0, 2, 'nn'],
    [3, 3, 'b'], // fence
    [16, 255, 'nn'],
  ],
};

/** Reads the instruction that comes next. */
export function readInstruction(reader: Reader): Place {
  const from = reader.at,
    opcode = reader.byte(),
    prefixed = PREFIXED[opcode],
    sub = prefixed === undefined ? -1 : reader.unsigned();
  const operands = reader.at,
    number = prefixed === undefined ? opcode : sub;
  const row = (prefixed ?? OPERANDS).find(([first, last]) => number >= first && number <= last);
  for (const kind of row?.[2] ?? '') {
    if (kind === 'n') reader.skipNumber();
    else if (kind === 'v') for (let count = reader.unsigned(); count > 0; count--) reader.skipNumber();
    else reader.at += { b: 1, s: 16, '8': 8, '4': 4 }[kind]!;
  }
  return { from, opcode, sub, operands, to: reader.at };
}

/** The instructions of a function's body, from `at` on, which is behind its locals. */
export function* instructionsOf(body: Uint8Array, at = 0): Generator<Place> {
  const reader = new Reader(body, at);
  while (reader.more) yield readInstruction(reader);
  if (reader.at !== body.length)
    fail('ENGINE_ABORT', 'The translator stopped itself: code of WebAssembly ends within an instruction.');
}
