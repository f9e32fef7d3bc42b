/** The body of a translated function in WebAssembly's text format, a line for an instruction, for people who look for a fault of the translator. */
import { PREFIX_VECTOR, Reader, instructionsOf } from './binary.js';
import type { Place } from './binary.js';
import { CALLED, FIND_NEXT } from './called.js';
import {
  BASE,
  ENTRY,
  FA,
  FB,
  FK,
  FN,
  FR,
  FS,
  LEFT,
  LINEAR,
  ONWARD,
  P,
  REGISTERS,
  START,
  TABLE,
  TARGET,
  WAY,
} from './locals.js';
import { Op, Vector } from './opcodes.js';

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
/** Locals that have a name; the others are numbers. */
const LOCAL_NAMES: Readonly<Record<number, string>> = {
  ...Object.fromEntries(Array.from({ length: REGISTERS }, (_, n) => [n, GENERAL[n] ?? `r${n}`])),
  ...Object.fromEntries(
    Object.entries({ FA, FB, FR, FS, FN, FK, BASE, TARGET, LINEAR, LEFT, START, WAY, P, ENTRY, TABLE, ONWARD }).map(
      ([name, local]) => [local, name.toLowerCase()],
    ),
  ),
};
const localName = (local: number): string =>
  LOCAL_NAMES[local] === undefined ? String(local) : `$${LOCAL_NAMES[local]}`;

/** `i64_store8` is `i64.store8`, `br_if` stays. */
const dotted = (name: string): string => name.replace(/^(i32|i64|f64|local|[if]\d+x\d+)_/, '$1.');
/** Looked for each time: few runs have a region to show, and all would have to make a table. */
const keyOf = (numbers: Readonly<Record<string, number>>, wanted: number): string | undefined =>
  Object.keys(numbers).find((key) => numbers[key] === wanted);
function vectorName(sub: number): string | undefined {
  const key = keyOf(Vector, sub);
  if (key === undefined) return undefined;
  if (sub === Vector.shuffle || sub === Vector.swizzle) return `i8x16.${key}`;
  return key.includes('x') ? dotted(key) : `v128.${key}`;
}
function plainName(opcode: number): string | undefined {
  const key = keyOf(Op, opcode);
  return key && dotted(key);
}

/** Opcodes that begin and end what is indented. */
const OPENS = new Set<number>([Op.block, Op.loop, Op.if, Op.else]);
const CLOSES = new Set<number>([Op.else, Op.end]);

/** Lines of a body as emitRegion (emit.ts) writes it: without its locals. */
export function textOf(body: Uint8Array): string[] {
  let depth = 0;
  return [...instructionsOf(body)].map((place) => {
    if (CLOSES.has(place.opcode)) depth = Math.max(0, depth - 1);
    const line = `${'  '.repeat(depth)}${nameOf(place)}${operandsOf(place, new Reader(body, place.operands))}`;
    if (OPENS.has(place.opcode)) depth++;
    return line;
  });
}

function nameOf({ opcode, sub }: Place): string {
  const name = opcode === PREFIX_VECTOR ? vectorName(sub) : plainName(opcode);
  return name ?? `opcode 0x${opcode.toString(16)}${sub < 0 ? '' : ` ${sub}`}`;
}

/** Operands in the text's order, each behind a space. */
function operandsOf({ opcode, sub, to }: Place, reader: Reader): string {
  switch (opcode) {
    case Op.block:
    case Op.loop:
    case Op.if:
      return '';
    case Op.local_get:
    case Op.local_set:
    case Op.local_tee:
      return ` ${localName(reader.unsigned())}`;
    case Op.call: {
      const index = reader.unsigned();
      return ` $${index === FIND_NEXT ? 'findNext' : index}`;
    }
    case Op.call_indirect: {
      const type = reader.unsigned();
      return ` (type ${type})${CALLED[type] === undefined ? '' : ` ;; ${CALLED[type].name}`}`;
    }
    case Op.i32_const:
    case Op.i64_const: {
      const value = reader.signed();
      return value >= -9n && value <= 9n
        ? ` ${value}`
        : ` ${value < 0n ? '-' : ''}0x${(value < 0n ? -value : value).toString(16)}`;
    }
    case Op.f64_const:
      return ` ${new DataView(reader.bytes.buffer, reader.bytes.byteOffset + reader.at, 8).getFloat64(0, true)}`;
    case Op.return_call_indirect:
      return ` (type ${reader.unsigned()})`;
    case Op.br_table: {
      const labels = Array.from({ length: reader.unsigned() + 1 }, () => reader.unsigned());
      return ` ${labels.join(' ')}`;
    }
    case PREFIX_VECTOR:
      if (sub === Vector.shuffle || sub === Vector.const)
        return `${sub === Vector.const ? ' i8x16' : ''} ${[...reader.take(16)].join(' ')}`;
      break;
  }
  const loads = opcode >= Op.i32_load && opcode <= Op.i64_store32;
  if (loads || (opcode === PREFIX_VECTOR && reader.at < to)) {
    reader.unsigned(); // alignment
    const offset = reader.unsigned();
    return offset === 0 ? '' : ` offset=0x${offset.toString(16)}`;
  }
  return reader.at < to ? ` ${reader.unsigned()}` : '';
}
