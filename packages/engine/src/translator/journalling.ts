/**
 * Makes code of WebAssembly tell of its stores: each one is replaced by the call of a function that tells where it is about to write, if that is at
 * or above the address JOURNAL_FROM, and then stores. For the verifier alone: the processor and the regions that run otherwise know nothing of it.
 */
import { fail } from '@visorkit/core';
import { PREFIX_ATOMIC, PREFIX_BULK, PREFIX_VECTOR, Reader, instructionsOf } from './binary.js';
import type { Place } from './binary.js';
import { I32, I64, Op } from './opcodes.js';
import { Bytes, Code } from './wasm.js';
import type { ImportedFunction } from './wasm.js';

/** Import of the changed processor, from "env": `(address, bytes)`, before they are written. */
export const JOURNAL = 'journal';
/** Export of the changed processor: the lowest address (i32, unsigned) whose stores are told of; all ones, as it is at first: none are. */
export const JOURNAL_FROM = 'journalFrom';

/** Where that import leads to. */
export interface Journal {
  /** `bytes` bytes at `address` (a signed number) are about to be written. */
  told(address: number, bytes: number): void;
}

const F32 = 0x7d;
const F64 = 0x7c;
const V128 = 0x7b;
const VECTOR_STORE = 11;
const MEMORY_INIT = 8;
const MEMORY_COPY = 10;
const MEMORY_FILL = 11;
const GLOBAL_GET = 0x23;
const I32_GE_U = 0x4f;
const RETURN_CALL = 0x12;
const REF_FUNC = 0xd2;
const MUTABLE = 1;
const HEADER_BYTES = 8;
const SECTION = {
  types: 1,
  imports: 2,
  functions: 3,
  globals: 6,
  exports: 7,
  start: 8,
  elements: 9,
  code: 10,
} as const;
/** Kinds of imports and exports. */
const FUNCTION = 0;
const TABLE = 1;
const MEMORY = 2;
const GLOBAL = 3;

/** A kind of store. Those with `bytes` have an address, a value of this type and an offset; the others an address, a number and their length. */
interface Store {
  readonly name: string;
  readonly opcode: number;
  readonly sub: number;
  readonly type: number;
  readonly bytes: number;
}
const plain = (name: string, opcode: number, type: number, bytes: number): Store => ({
  name,
  opcode,
  sub: -1,
  type,
  bytes,
});
const STORES: readonly Store[] = [
  plain('i32.store', Op.i32_store, I32, 4),
  plain('i64.store', Op.i64_store, I64, 8),
  plain('f32.store', 0x38, F32, 4),
  plain('f64.store', 0x39, F64, 8),
  plain('i32.store8', Op.i32_store8, I32, 1),
  plain('i32.store16', Op.i32_store16, I32, 2),
  plain('i64.store8', Op.i64_store8, I64, 1),
  plain('i64.store16', Op.i64_store16, I64, 2),
  plain('i64.store32', Op.i64_store32, I64, 4),
  { name: 'v128.store', opcode: PREFIX_VECTOR, sub: VECTOR_STORE, type: V128, bytes: 16 },
  { name: 'memory.copy', opcode: PREFIX_BULK, sub: MEMORY_COPY, type: I32, bytes: 0 },
  { name: 'memory.fill', opcode: PREFIX_BULK, sub: MEMORY_FILL, type: I32, bytes: 0 },
];
/** Functions of the changed processor that take the place of stores, as a module of regions imports them. */
export const STORE_FUNCTIONS: readonly ImportedFunction[] = STORES.map(({ name, type }) => ({
  name,
  parameters: [I32, type, I32],
  results: [],
}));

/** Kind of store that an instruction is; -1: none. Others that write to memory are not known here, and refused. */
function storeOf({ opcode, sub }: Place): number {
  const lane = opcode === PREFIX_VECTOR && sub >= 88 && sub <= 91;
  if (lane || opcode === PREFIX_ATOMIC || (opcode === PREFIX_BULK && sub === MEMORY_INIT))
    fail(
      'ENGINE_ABORT',
      `Stores of opcode 0x${opcode.toString(16)} ${sub} cannot be told of: give journalling.ts a row.`,
    );
  return STORES.findIndex((store) => store.opcode === opcode && store.sub === sub);
}

/**
 * Appends code whose stores are calls of functions `first` and those behind it, in the order of STORE_FUNCTIONS. `at`: where its instructions begin.
 * `calls` and `types` give functions and types that it names new numbers, and `inTable` a function in the place of one that is called in a table, by its type.
 */
export function tellStores(
  out: Code,
  body: Uint8Array,
  first: number,
  {
    at = 0,
    calls = (index) => index,
    types = (index) => index,
    inTable,
  }: {
    at?: number;
    calls?: (index: number) => number;
    types?: (type: number) => number;
    inTable?: (type: number) => number;
  } = {},
): void {
  let copied = at;
  for (const place of instructionsOf(body, at)) {
    const { opcode, operands, from, to } = place,
      store = storeOf(place),
      named = opcode === Op.call || opcode === RETURN_CALL || opcode === REF_FUNC;
    const replaced = opcode === Op.call_indirect && inTable !== undefined;
    if (store < 0 && !named && !replaced && opcode !== Op.return_call_indirect) continue;
    out.append(body.subarray(copied, from));
    out.reserve();
    copied = to;
    const reader = new Reader(body, operands);
    if (store >= 0) {
      if (STORES[store]!.bytes > 0) {
        reader.unsigned(); // alignment
        out.i32(reader.unsigned() | 0);
      }
      out.call(first + store);
    } else if (named) {
      out.byte(opcode);
      out.unsigned(calls(reader.unsigned()));
    } else if (replaced)
      out.op(Op.drop).call(inTable(reader.unsigned())); // the place in the table is on the stack
    else out.returnCallIndirect(types(reader.unsigned()));
  }
  out.append(body.subarray(copied));
  out.reserve();
}

/** Numbers that the changed module has for what it has besides, and for what it had. */
interface Numbers {
  /** The type of the journal; those of the functions that store follow. */
  types: number;
  /** The journal is imported behind the other functions: those that are defined move up by one. */
  journal: number;
  moved: (index: number) => number;
  /** The first function that stores. */
  first: number;
  journalFrom: number;
}

/** By the number of a section: writes it anew. `old` is behind the count, which is given. */
const SECTIONS: Readonly<Record<number, (section: Code, count: number, old: Reader, numbers: Numbers) => void>> = {
  [SECTION.types]: (section, count, old) => {
    section.unsigned(count + 1 + STORES.length);
    section.append(old.rest());
    functionType(section, [I32, I32]);
    for (const { parameters } of STORE_FUNCTIONS) functionType(section, parameters);
  },
  [SECTION.imports]: (section, count, old, { types }) => {
    section.unsigned(count + 1);
    section.append(old.rest());
    section.text('env');
    section.text(JOURNAL);
    section.byte(FUNCTION);
    section.unsigned(types);
  },
  [SECTION.functions]: (section, count, old, { types }) => {
    section.unsigned(count + STORES.length);
    section.append(old.rest());
    STORES.forEach((_, n) => section.unsigned(types + 1 + n));
  },
  [SECTION.globals]: (section, count, old) => {
    section.unsigned(count + 1);
    section.append(old.rest());
    section.byte(I32);
    section.byte(MUTABLE);
    section.reserve();
    section.i32(-1).op(Op.end);
  },
  [SECTION.exports]: (section, count, old, { first, journalFrom, moved }) => {
    section.unsigned(count + 1 + STORES.length);
    for (let n = 0; n < count; n++) {
      const name = old.counted(),
        kind = old.byte(),
        index = old.unsigned();
      section.unsigned(name.length);
      section.append(name);
      section.byte(kind);
      section.unsigned(kind === FUNCTION ? moved(index) : index);
    }
    section.text(JOURNAL_FROM);
    section.byte(GLOBAL);
    section.unsigned(journalFrom);
    STORES.forEach(({ name }, n) => {
      section.text(name);
      section.byte(FUNCTION);
      section.unsigned(first + n);
    });
  },
  [SECTION.code]: (section, count, old, { first, journal, journalFrom, moved }) => {
    const code = new Code();
    const close = (): void => {
      section.unsigned(code.length);
      section.append(code.written());
      code.clear();
    };
    section.unsigned(count + STORES.length);
    for (let n = 0; n < count; n++) {
      const body = old.counted(),
        at = behindLocals(body);
      code.append(body.subarray(0, at));
      tellStores(code, body, first, { at, calls: moved });
      close();
    }
    for (const store of STORES) {
      storeFunction(code, store, journal, journalFrom);
      close();
    }
  },
};

/**
 * The processor with stores that are told of: `module` are the bytes of engine.wasm. It imports {@link JOURNAL} besides, and exports
 * {@link JOURNAL_FROM} and {@link STORE_FUNCTIONS}.
 */
export function journallingProcessor(module: Uint8Array): Uint8Array<ArrayBuffer> {
  const sections = sectionsOf(module),
    imported = countImports(sections),
    journal = imported.functions;
  const moved = (index: number): number => (index >= journal ? index + 1 : index);
  const numbers: Numbers = {
    types: countOf(sections, SECTION.types),
    journal,
    moved,
    first: moved(journal + countOf(sections, SECTION.functions)),
    journalFrom: imported.globals + countOf(sections, SECTION.globals),
  };
  const out = new Bytes();
  out.append(module.subarray(0, HEADER_BYTES));
  for (const { id, content } of sections) {
    if (id === SECTION.start || id === SECTION.elements)
      fail('ENGINE_ABORT', `The processor's code has a section ${id}, which journalling.ts does not know.`);
    const write = SECTIONS[id],
      section = new Code(),
      old = new Reader(content);
    if (write === undefined) section.append(content);
    else write(section, old.unsigned(), old, numbers);
    out.byte(id);
    out.unsigned(section.length);
    out.append(section.written());
  }
  return out.written();
}

/** Tells of the bytes, then stores. */
function storeFunction(code: Code, { opcode, sub, bytes }: Store, journal: number, journalFrom: number): void {
  code.byte(0); // no locals
  code.get(0);
  if (bytes > 0) code.get(2).op(Op.i32_add).tee(0);
  code.byte(GLOBAL_GET);
  code.unsigned(journalFrom);
  code.byte(I32_GE_U);
  code.when();
  code.get(0);
  if (bytes > 0) code.i32(bytes);
  else code.get(2);
  code.call(journal).end();
  code.get(0).get(1);
  if (bytes === 0) code.get(2);
  code.byte(opcode);
  if (sub >= 0) code.unsigned(sub);
  // alignment and offset, or numbers of memories
  code.byte(0);
  if (sub !== MEMORY_FILL || opcode !== PREFIX_BULK) code.byte(0);
  code.op(Op.end);
}

function functionType(section: Bytes, parameters: readonly number[]): void {
  section.byte(0x60);
  section.unsigned(parameters.length);
  for (const type of parameters) section.byte(type);
  section.unsigned(0);
}

interface Section {
  readonly id: number;
  readonly content: Uint8Array;
}
function sectionsOf(module: Uint8Array): Section[] {
  const reader = new Reader(module, HEADER_BYTES),
    sections: Section[] = [];
  while (reader.more) sections.push({ id: reader.byte(), content: reader.counted() });
  return sections;
}
function countOf(sections: readonly Section[], id: number): number {
  const section = sections.find((one) => one.id === id);
  return section === undefined ? 0 : new Reader(section.content).unsigned();
}
/** How many functions and globals are imported. */
function countImports(sections: readonly Section[]): { functions: number; globals: number } {
  const reader = new Reader(sections.find(({ id }) => id === SECTION.imports)!.content),
    kinds: number[] = [];
  reader.unsigned();
  while (reader.more) {
    reader.counted();
    reader.counted();
    const kind = reader.byte();
    kinds.push(kind);
    if (kind === TABLE || kind === GLOBAL) reader.byte();
    if (kind === TABLE || kind === MEMORY) {
      const limits = reader.byte();
      reader.unsigned();
      if ((limits & 1) !== 0) reader.unsigned();
    } else reader.unsigned();
  }
  const count = (wanted: number): number => kinds.filter((kind) => kind === wanted).length;
  return { functions: count(FUNCTION), globals: count(GLOBAL) };
}
/** Where a function's instructions begin. */
function behindLocals(body: Uint8Array): number {
  const reader = new Reader(body);
  for (let groups = reader.unsigned(); groups > 0; groups--) {
    reader.unsigned();
    reader.byte();
  }
  return reader.at;
}
