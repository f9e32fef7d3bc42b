/**
 * Writes WebAssembly: the instructions of a function body into one growing array, and modules of such bodies.
 *
 * Binary format: WebAssembly core specification 2.0, chapter 5. The well-known libraries for this build trees first, or take a string for an
 * instruction; here a byte is stored for a byte (some 0.06 µs an instruction with its operands).
 */

import { I32, Op } from './opcodes.js';
import type { Vector } from './opcodes.js';

const PREFIX_VECTOR = 0xfd;
/** The empty type of a block. */
const VOID = 0x40;
const FUNCTION = 0x60;
const FUNCTION_REFERENCE = 0x70;
/** The section of hints (WebAssembly branch hinting, chapter "Code Metadata"): hosts that do not know it pass over it. */
const HINTS = 'metadata.code.branch_hint';

/** Few at first: to the host the first use of a page may be dear, and most arrays stay short. */
const FIRST_BYTES = 512;
/** Bytes from which on copying all at once is faster than one by one. */
const LONG_PART = 48;
/** Between two calls of {@link Code.reserve} at most so many bytes are written but by what makes room for itself. */
const RESERVE = 4096;

/** A growing array of bytes with the encodings of the binary format. */
export class Bytes {
  protected data = new Uint8Array(FIRST_BYTES);
  length = 0;

  /** Makes room for `count` more bytes. */
  protected room(count: number): void {
    if (this.length + count <= this.data.length) return;
    const larger = new Uint8Array(Math.max(this.data.length * 2, this.length + count));
    larger.set(this.data.subarray(0, this.length));
    this.data = larger;
  }
  /** What has been written, valid until more is. */
  written(): Uint8Array<ArrayBuffer> {
    return this.data.subarray(0, this.length);
  }
  clear(): void {
    this.length = 0;
  }
  byte(value: number): void {
    this.room(1);
    this.data[this.length++] = value;
  }
  append(bytes: Uint8Array): void {
    this.appendPart(bytes, 0, bytes.length);
  }
  appendPart(bytes: Uint8Array, from: number, to: number): void {
    this.room(to - from);
    if (to - from > LONG_PART) {
      this.data.set(bytes.subarray(from, to), this.length);
      this.length += to - from;
      return;
    }
    for (let n = from; n < to; n++) this.data[this.length++] = bytes[n]!;
  }
  /** Unsigned LEB128 of up to 32 bits. */
  unsigned(value: number): void {
    this.room(5);
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.data[this.length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.data[this.length++] = rest;
  }
  /** Signed LEB128 of 32 bits. */
  signed(value: number): void {
    this.room(5);
    let rest = value | 0;
    while (rest > 63 || rest < -64) {
      this.data[this.length++] = (rest & 0x7f) | 0x80;
      rest >>= 7;
    }
    this.data[this.length++] = rest & 0x7f;
  }
  /** Signed LEB128 of 64 bits given as two halves of 32. */
  signed64(low: number, high: number): void {
    this.room(10);
    let l = low | 0,
      h = high | 0;
    while (h !== l >> 31 || l > 63 || l < -64) {
      this.data[this.length++] = (l & 0x7f) | 0x80;
      l = (l >>> 7) | (h << 25);
      h >>= 7;
    }
    this.data[this.length++] = l & 0x7f;
  }
  text(name: string): void {
    this.unsigned(name.length);
    for (let i = 0; i < name.length; i++) this.byte(name.charCodeAt(i));
  }
}

/**
 * The instructions of a function. Nesting depth is counted, so that a branch can name the block it leaves by {@link Code.depth}. Most of them make no
 * room for themselves: {@link Code.reserve} does, for a guest instruction at a time.
 */
export class Code extends Bytes {
  /** Blocks open now. */
  depth = 0;
  /** Where constants stand that elsewhere would be others, the first first: addresses that are the region's own ({@link own}), and operands ({@link operand}). */
  readonly marks: number[] = [];
  /** For each of them, where in its page the instruction begins whose operand it is, -1 for an address, and how much larger than the operand it is. */
  readonly origins: number[] = [];
  readonly biases: number[] = [];
  /** Branches of which it is said how they go, the first first: where in the code they stand, times two, and 1 for those that are mostly taken ({@link likely}). */
  readonly hints: number[] = [];

  reserve(): void {
    if (this.length + RESERVE > this.data.length) this.room(RESERVE);
  }

  override clear(): void {
    super.clear();
    this.depth = 0;
    this.marks.length = this.origins.length = this.biases.length = this.hints.length = 0;
  }
  /** Appends what comes next in other code, up to `to`, with its marks and hints; `passed` says what has been appended of it, and is brought up to date. */
  appendCode(other: Code, to: number, passed: Passed): void {
    const by = this.length - passed.bytes;
    for (; passed.marks < other.marks.length && other.marks[passed.marks]! < to; passed.marks++) {
      this.marks.push(other.marks[passed.marks]! + by);
      this.origins.push(other.origins[passed.marks]!);
      this.biases.push(other.biases[passed.marks]!);
    }
    for (; passed.hints < other.hints.length && other.hints[passed.hints]! >> 1 < to; passed.hints++)
      this.hints.push(other.hints[passed.hints]! + 2 * by);
    this.appendPart(other.data, passed.bytes, to);
    passed.bytes = to;
  }
  op(op: Op): this {
    this.data[this.length++] = op;
    return this;
  }
  vector(op: Vector): this {
    this.byte(PREFIX_VECTOR);
    this.unsigned(op);
    return this;
  }
  /** An instruction with 16 bytes as its operand: a constant, or a shuffle. */
  bytes16(op: Vector, bytes: readonly number[]): this {
    this.vector(op);
    for (const byte of bytes) this.byte(byte);
    return this;
  }
  /** Locals have numbers below 128. */
  get(local: number): this {
    this.data[this.length++] = Op.local_get;
    this.data[this.length++] = local;
    return this;
  }
  set(local: number): this {
    this.data[this.length++] = Op.local_set;
    this.data[this.length++] = local;
    return this;
  }
  tee(local: number): this {
    this.data[this.length++] = Op.local_tee;
    this.data[this.length++] = local;
    return this;
  }
  i32(value: number): this {
    this.data[this.length++] = Op.i32_const;
    if (value >= -64 && value < 64) this.data[this.length++] = value & 0x7f;
    else this.signed(value);
    return this;
  }
  /** A constant from -2^31 to 2^31 - 1, or with its upper half. */
  i64(low: number, high = low >> 31): this {
    this.data[this.length++] = Op.i64_const;
    this.signed64(low, high);
    return this;
  }
  f64(value: number): this {
    this.byte(Op.f64_const);
    this.append(new Uint8Array(Float64Array.of(value).buffer));
    return this;
  }
  /** A load or store at the address on the stack plus `offset`. */
  access(op: Op, offset: number): this {
    this.data[this.length++] = op;
    this.data[this.length++] = 0; // no alignment is promised
    this.unsigned(offset);
    return this;
  }
  /** An address of the engine's memory that belongs to the region alone, as a constant, in five bytes. */
  own(address: number): this {
    this.data[this.length++] = Op.i32_const;
    return this.mark(address, -1);
  }
  /** The i64 of a signed operand of 32 bits plus `bias`, in five bytes; `origin` is where its instruction begins in its page. */
  operand(value: number, origin: number, bias = 0): this {
    this.data[this.length++] = Op.i64_const;
    return this.mark(value, origin, bias);
  }
  /** A load or store at such an address plus what is on the stack. */
  accessOwn(op: Op, address: number): this {
    this.data[this.length++] = op;
    this.data[this.length++] = 0;
    return this.mark(address, -1);
  }
  private mark(value: number, origin: number, bias = 0): this {
    this.marks.push(this.length);
    this.origins.push(origin);
    this.biases.push(bias);
    writeMarked(this.data, this.length, value);
    this.length += MARKED_BYTES;
    return this;
  }
  vectorAccess(op: Vector, offset: number): this {
    this.vector(op);
    this.byte(0);
    this.unsigned(offset);
    return this;
  }
  block(): number {
    return this.open(Op.block);
  }
  loop(): number {
    return this.open(Op.loop);
  }
  /** Opens the branch for a condition on the stack. */
  when(): number {
    return this.open(Op.if);
  }
  otherwise(): this {
    return this.op(Op.else);
  }
  end(): this {
    this.depth--;
    return this.op(Op.end);
  }
  /** To the block or loop whose opening gave `label`. */
  br(label: number): this {
    this.byte(Op.br);
    this.unsigned(this.depth - label);
    return this;
  }
  brIf(label: number): this {
    this.byte(Op.br_if);
    this.unsigned(this.depth - label);
    return this;
  }
  /** By the number on the stack. */
  brTable(labels: readonly number[], other: number): this {
    this.byte(Op.br_table);
    this.unsigned(labels.length);
    this.room(5 * labels.length + RESERVE);
    for (const label of labels) this.unsigned(this.depth - label);
    this.unsigned(this.depth - other);
    return this;
  }
  call(index: number): this {
    this.byte(Op.call);
    this.unsigned(index);
    return this;
  }
  /** Calls the function at `place` in the table, whose type has the same number. */
  callInTable(place: number): this {
    this.i32(place);
    this.byte(Op.call_indirect);
    this.unsigned(place);
    this.byte(0);
    return this;
  }
  /** Becomes a call of the function at the index on the stack, in the table, of the type with this number. */
  returnCallIndirect(type: number): this {
    this.byte(Op.return_call_indirect);
    this.unsigned(type);
    this.byte(0);
    return this;
  }
  /** The branch that is written next is mostly not taken: the host keeps what it leads to out of the way. */
  unlikely(): this {
    this.hints.push(this.length << 1);
    return this;
  }
  /** The branch that is written next is mostly taken. */
  likely(): this {
    this.hints.push((this.length << 1) | 1);
    return this;
  }
  private open(op: Op): number {
    this.byte(op);
    this.byte(VOID);
    return ++this.depth;
  }
}

/** How much of other code has been appended: bytes, marks and hints. */
export interface Passed {
  bytes: number;
  marks: number;
  hints: number;
}

/** What is marked always has so many bytes. */
const MARKED_BYTES = 5;
const LEB_BYTE = 0x80;
/** Writes a signed number of 32 bits at a mark; an address is below 2^31, and so the same without a sign. */
export function writeMarked(code: Uint8Array, at: number, value: number): void {
  let rest = value;
  for (let n = 0; n < MARKED_BYTES - 1; n++) {
    code[at + n] = (rest & (LEB_BYTE - 1)) | LEB_BYTE;
    rest >>= 7;
  }
  code[at + MARKED_BYTES - 1] = rest & (LEB_BYTE - 1);
}
/** The number at a mark. */
export function readMarked(code: Uint8Array, at: number): number {
  let value = 0;
  for (let n = MARKED_BYTES - 1; n >= 0; n--) value = (value << 7) | (code[at + n]! & (LEB_BYTE - 1));
  return value;
}

export interface FunctionType {
  parameters: readonly number[];
  results: readonly number[];
}
/** A function of another module, by its name there. */
export interface ImportedFunction extends FunctionType {
  name: string;
}
/** A function that every module has for itself. */
export interface OwnFunction extends FunctionType {
  locals: Locals;
  code: Code;
}

/** The code of a function, and how its branches go. */
export interface HintedCode {
  written(): Uint8Array;
  /** As {@link Code.hints} has them. */
  readonly hints: ArrayLike<number> & Iterable<number>;
}

/** Locals in groups of one type, in the order of their numbers. */
export type Locals = readonly (readonly [count: number, type: number])[];

/** What a module of functions has besides them. */
export interface ModuleParts {
  /** Functions that it imports from "e": their function indices come first. */
  readonly imports?: readonly ImportedFunction[];
  /** Types that come first, with the functions' own behind them; unless given, those of the imports. */
  readonly types?: readonly FunctionType[];
  readonly locals: Locals;
  /** The first of them, for functions that have no more: V8's first compiler writes zeros into all, at each entry. */
  readonly fewLocals?: Locals;
  /** Of the shared memory. */
  readonly maximumPages: number;
  /** The first function behind the imports. */
  readonly own?: OwnFunction;
}

/**
 * Modules of functions without parameters that return an i32, exported as "0", "1" and so on. They import from "e" the shared memory "m", the table
 * "t" and what {@link ModuleParts} says.
 */
export class ModuleWriter {
  private readonly head = new Bytes();
  private readonly bodies = new Bytes();
  /** Of the section of hints: how many functions have some, and what is said of them. */
  private readonly hints = new Bytes();
  private hinted = 0;
  private readonly module = new Bytes();
  private readonly section = new Bytes();
  /** What each body begins with, and that of the own function. */
  private readonly declarations: Uint8Array;
  private readonly fewDeclarations: Uint8Array;
  private readonly ownDeclarations: Uint8Array;
  private count = 0;

  private readonly own: OwnFunction | undefined;
  /** Function index of the first one behind the imports, and number of the functions' type. */
  private readonly first: number;
  private readonly type: number;

  constructor({ imports = [], types: before = imports, locals, fewLocals = locals, maximumPages, own }: ModuleParts) {
    const { head, section: s } = this;
    this.own = own;
    this.first = imports.length;
    this.type = before.length;
    this.declarations = declarationsOf(locals);
    this.fewDeclarations = declarationsOf(fewLocals);
    this.ownDeclarations = declarationsOf(own?.locals ?? []);
    head.append(Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
    s.clear();
    const types: FunctionType[] = [...before, { parameters: [], results: [I32] }, ...(own === undefined ? [] : [own])];
    s.unsigned(types.length);
    for (const { parameters, results } of types) {
      s.byte(FUNCTION);
      s.unsigned(parameters.length);
      for (const type of parameters) s.byte(type);
      s.unsigned(results.length);
      for (const type of results) s.byte(type);
    }
    this.close(head, 1);
    s.unsigned(imports.length + 2);
    s.text('e');
    s.text('m');
    s.byte(2); // memory
    s.byte(3); // shared, with a maximum
    s.unsigned(1);
    s.unsigned(maximumPages);
    s.text('e');
    s.text('t');
    s.byte(1); // table
    s.byte(FUNCTION_REFERENCE);
    s.byte(0); // without a maximum
    s.unsigned(1);
    imports.forEach(({ name }, type) => {
      s.text('e');
      s.text(name);
      s.byte(0);
      s.unsigned(type);
    });
    this.close(head, 2);
  }

  /** Adds a function by its code; returns its number. `few`: the first locals are enough for it. */
  add(code: HintedCode, few = false): number {
    const { own, first } = this;
    if (this.count === 0 && own !== undefined) this.body(first, this.ownDeclarations, own.code);
    this.body(first + (own === undefined ? 0 : 1) + this.count, few ? this.fewDeclarations : this.declarations, code);
    return this.count++;
  }
  private body(index: number, declarations: Uint8Array, code: HintedCode): void {
    const { bodies, hints } = this,
      bytes = code.written();
    bodies.unsigned(declarations.length + bytes.length);
    bodies.append(declarations);
    bodies.append(bytes);
    if (code.hints.length === 0) return;
    this.hinted++;
    hints.unsigned(index);
    hints.unsigned(code.hints.length);
    for (const hint of code.hints) {
      hints.unsigned(declarations.length + (hint >>> 1));
      hints.byte(1); // bytes that follow
      hints.byte(hint & 1);
    }
  }

  /** The module, valid until more functions are added: they are the next one's. */
  finish(): Uint8Array<ArrayBuffer> {
    const { first, type, count, own, module, section: s, bodies } = this,
      before = own === undefined ? 0 : 1;
    module.clear();
    module.append(this.head.written());
    s.unsigned(before + count);
    if (own !== undefined) s.unsigned(type + 1);
    for (let i = 0; i < count; i++) s.unsigned(type);
    this.close(module, 3);
    s.unsigned(count);
    for (let i = 0; i < count; i++) {
      s.text(String(i));
      s.byte(0);
      s.unsigned(first + before + i);
    }
    this.close(module, 7);
    if (this.hinted > 0) {
      s.text(HINTS);
      s.unsigned(this.hinted);
      s.append(this.hints.written());
      this.close(module, 0);
      this.hints.clear();
      this.hinted = 0;
    }
    s.unsigned(before + count);
    module.byte(10);
    module.unsigned(s.length + bodies.length);
    module.append(s.written());
    module.append(bodies.written());
    s.clear();
    bodies.clear();
    this.count = 0;
    return module.written();
  }

  /** What is in `section` becomes a section. */
  private close(out: Bytes, id: number): void {
    const { section } = this;
    out.byte(id);
    out.unsigned(section.length);
    out.append(section.written());
    section.clear();
  }
}

function declarationsOf(locals: Locals): Uint8Array {
  const bytes = new Bytes();
  bytes.unsigned(locals.length);
  for (const [count, type] of locals) {
    bytes.unsigned(count);
    bytes.byte(type);
  }
  return bytes.written();
}
