/**
 * Writes WebAssembly: the instructions of a function body into one growing array, and modules of such bodies.
 *
 * Binary format: WebAssembly core specification 2.0, chapter 5. The well-known libraries for this build trees first, or take a string for an
 * instruction; here a byte is stored for a byte (some 0.06 µs an instruction with its operands).
 */

/** Opcodes by their names in the text format. Those above 0xff are prefix 0xfd (vectors) with the rest as LEB128. */
export const Op = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  br_table: 0x0e,
  return: 0x0f,
  call: 0x10,
  drop: 0x1a,
  select: 0x1b,
  local_get: 0x20,
  local_set: 0x21,
  local_tee: 0x22,
  i32_load: 0x28,
  i64_load: 0x29,
  f64_load: 0x2b,
  i32_load8_s: 0x2c,
  i32_load8_u: 0x2d,
  i32_load16_s: 0x2e,
  i32_load16_u: 0x2f,
  i64_load32_u: 0x35,
  i32_store: 0x36,
  i64_store: 0x37,
  f64_store: 0x39,
  i32_store8: 0x3a,
  i32_store16: 0x3b,
  i64_store32: 0x3e,
  i32_const: 0x41,
  i64_const: 0x42,
  f64_const: 0x44,
  i32_eqz: 0x45,
  i32_eq: 0x46,
  i32_ne: 0x47,
  i32_lt_s: 0x48,
  i32_lt_u: 0x49,
  i32_gt_s: 0x4a,
  i32_gt_u: 0x4b,
  i32_le_s: 0x4c,
  i32_le_u: 0x4d,
  i32_ge_s: 0x4e,
  i32_ge_u: 0x4f,
  i64_eqz: 0x50,
  i64_eq: 0x51,
  i64_ne: 0x52,
  i64_lt_s: 0x53,
  i64_lt_u: 0x54,
  i64_gt_s: 0x55,
  i64_gt_u: 0x56,
  i64_le_s: 0x57,
  i64_le_u: 0x58,
  i64_ge_s: 0x59,
  i64_ge_u: 0x5a,
  i32_clz: 0x67,
  i32_ctz: 0x68,
  i32_popcnt: 0x69,
  i32_add: 0x6a,
  i32_sub: 0x6b,
  i32_mul: 0x6c,
  i32_div_u: 0x6e,
  i32_and: 0x71,
  i32_or: 0x72,
  i32_xor: 0x73,
  i32_shl: 0x74,
  i32_shr_s: 0x75,
  i32_shr_u: 0x76,
  i32_rotl: 0x77,
  i32_rotr: 0x78,
  i64_clz: 0x79,
  i64_ctz: 0x7a,
  i64_popcnt: 0x7b,
  i64_add: 0x7c,
  i64_sub: 0x7d,
  i64_mul: 0x7e,
  i64_div_s: 0x7f,
  i64_div_u: 0x80,
  i64_rem_s: 0x81,
  i64_rem_u: 0x82,
  i64_and: 0x83,
  i64_or: 0x84,
  i64_xor: 0x85,
  i64_shl: 0x86,
  i64_shr_s: 0x87,
  i64_shr_u: 0x88,
  i64_rotl: 0x89,
  i64_rotr: 0x8a,
  f64_eq: 0x61,
  f64_ne: 0x62,
  f64_lt: 0x63,
  f64_gt: 0x64,
  f64_le: 0x65,
  f64_ge: 0x66,
  f64_abs: 0x99,
  f64_sqrt: 0x9f,
  f64_add: 0xa0,
  f64_sub: 0xa1,
  f64_mul: 0xa2,
  f64_div: 0xa3,
  i32_wrap_i64: 0xa7,
  i64_extend_i32_s: 0xac,
  i64_extend_i32_u: 0xad,
  i64_trunc_f64_s: 0xb0,
  f64_convert_i32_s: 0xb7,
  i64_reinterpret_f64: 0xbd,
  f64_reinterpret_i64: 0xbf,
  i32_extend8_s: 0xc0,
  i32_extend16_s: 0xc1,
  i64_extend8_s: 0xc2,
  i64_extend16_s: 0xc3,
  i64_extend32_s: 0xc4,
} as const;
export type Op = (typeof Op)[keyof typeof Op];

/** Vector opcodes behind the prefix 0xfd. */
export const Vector = {
  load: 0,
  load32_zero: 92,
  load64_zero: 93,
  store: 11,
  const: 12,
  shuffle: 13,
  i8x16_splat: 15,
  i64x2_splat: 18,
  i32x4_extract_lane: 27,
  i64x2_extract_lane: 29,
  i64x2_replace_lane: 30,
  f64x2_extract_lane: 33,
  f64x2_replace_lane: 34,
  i8x16_eq: 35,
  i8x16_gt_s: 39,
  i16x8_eq: 45,
  i16x8_gt_s: 49,
  i32x4_eq: 55,
  i32x4_gt_s: 59,
  and: 78,
  andnot: 79,
  or: 80,
  xor: 81,
  i8x16_bitmask: 100,
  i8x16_add: 110,
  i8x16_add_sat_u: 112,
  i8x16_sub: 113,
  i8x16_sub_sat_u: 115,
  i8x16_min_u: 119,
  i8x16_max_u: 121,
  i8x16_avgr_u: 123,
  i16x8_shl: 139,
  i16x8_shr_s: 140,
  i16x8_shr_u: 141,
  i16x8_add: 142,
  i16x8_sub: 145,
  i16x8_mul: 149,
  i32x4_shl: 171,
  i32x4_shr_s: 172,
  i32x4_shr_u: 173,
  i32x4_add: 174,
  i32x4_sub: 177,
  i32x4_dot_i16x8_s: 186,
  i64x2_shl: 203,
  i64x2_shr_u: 205,
  i64x2_add: 206,
  i64x2_sub: 209,
  i64x2_mul: 213,
} as const;
export type Vector = (typeof Vector)[keyof typeof Vector];

const PREFIX_VECTOR = 0xfd;
/** Types of values, and the empty type of a block. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const F64 = 0x7c;
export const V128 = 0x7b;
const VOID = 0x40;
const FUNCTION = 0x60;

const FIRST_BYTES = 16384;

/** A growing array of bytes with the encodings of the binary format. */
export class Bytes {
  private data = new Uint8Array(FIRST_BYTES);
  length = 0;

  /** Makes room for `count` more bytes. */
  protected room(count: number): void {
    if (this.length + count <= this.data.length) return;
    const larger = new Uint8Array(Math.max(this.data.length * 2, this.length + count));
    larger.set(this.data.subarray(0, this.length));
    this.data = larger;
  }
  /** What has been written, valid until more is. */
  written(from = 0): Uint8Array {
    return this.data.subarray(from, this.length);
  }
  clear(): void {
    this.length = 0;
  }
  byte(value: number): void {
    this.room(1);
    this.data[this.length++] = value;
  }
  append(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.data.set(bytes, this.length);
    this.length += bytes.length;
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

/** The instructions of a function. Nesting depth is counted, so that a branch can name the block it leaves by {@link Code.depth}. */
export class Code extends Bytes {
  /** Blocks open now. */
  depth = 0;

  override clear(): void {
    super.clear();
    this.depth = 0;
  }
  op(op: Op): this {
    this.byte(op);
    return this;
  }
  vector(op: Vector): this {
    this.byte(PREFIX_VECTOR);
    this.unsigned(op);
    return this;
  }
  get(local: number): this {
    this.byte(Op.local_get);
    this.unsigned(local);
    return this;
  }
  set(local: number): this {
    this.byte(Op.local_set);
    this.unsigned(local);
    return this;
  }
  tee(local: number): this {
    this.byte(Op.local_tee);
    this.unsigned(local);
    return this;
  }
  i32(value: number): this {
    this.byte(Op.i32_const);
    this.signed(value);
    return this;
  }
  /** A constant from -2^31 to 2^31 - 1, or with its upper half. */
  i64(low: number, high = low >> 31): this {
    this.byte(Op.i64_const);
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
    this.byte(op);
    this.byte(0); // no alignment is promised
    this.unsigned(offset);
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
    for (const label of labels) this.unsigned(this.depth - label);
    this.unsigned(this.depth - other);
    return this;
  }
  call(index: number): this {
    this.byte(Op.call);
    this.unsigned(index);
    return this;
  }
  private open(op: Op): number {
    this.byte(op);
    this.byte(VOID);
    return ++this.depth;
  }
}

/** A function of another module: its name there, parameters and results. */
export interface ImportedFunction {
  name: string;
  parameters: readonly number[];
  results: readonly number[];
}

/** Locals in groups of one type, in the order of their numbers. */
export type Locals = readonly (readonly [count: number, type: number])[];

/**
 * A module of functions without parameters that return an i32, exported as "0", "1" and so on. It imports from "e" the shared memory "m" and
 * `imports`, whose function indices come first.
 */
export class ModuleWriter {
  private readonly bodies = new Bytes();
  /** What each body begins with. */
  private readonly declarations = new Bytes();
  private count = 0;

  constructor(
    private readonly imports: readonly ImportedFunction[],
    locals: Locals,
    private readonly maximumPages: number,
  ) {
    this.declarations.unsigned(locals.length);
    for (const [count, type] of locals) {
      this.declarations.unsigned(count);
      this.declarations.byte(type);
    }
  }

  /** Bytes of code so far. */
  get bytes(): number {
    return this.bodies.length;
  }
  /** Adds a function; returns its number. */
  add(code: Code): number {
    this.bodies.unsigned(this.declarations.length + code.length);
    this.bodies.append(this.declarations.written());
    this.bodies.append(code.written());
    return this.count++;
  }

  finish(): Uint8Array<ArrayBuffer> {
    const { imports, count } = this,
      out = new Bytes();
    out.append(Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
    section(out, 1, (s) => {
      s.unsigned(imports.length + 1);
      for (const { parameters, results } of [...imports, { parameters: [], results: [I32] }]) {
        s.byte(FUNCTION);
        s.unsigned(parameters.length);
        for (const type of parameters) s.byte(type);
        s.unsigned(results.length);
        for (const type of results) s.byte(type);
      }
    });
    section(out, 2, (s) => {
      s.unsigned(imports.length + 1);
      s.text('e');
      s.text('m');
      s.byte(2); // memory
      s.byte(3); // shared, with a maximum
      s.unsigned(1);
      s.unsigned(this.maximumPages);
      imports.forEach(({ name }, type) => {
        s.text('e');
        s.text(name);
        s.byte(0);
        s.unsigned(type);
      });
    });
    section(out, 3, (s) => {
      s.unsigned(count);
      for (let i = 0; i < count; i++) s.unsigned(imports.length);
    });
    section(out, 7, (s) => {
      s.unsigned(count);
      for (let i = 0; i < count; i++) {
        s.text(String(i));
        s.byte(0);
        s.unsigned(imports.length + i);
      }
    });
    section(out, 10, (s) => {
      s.unsigned(count);
      s.append(this.bodies.written());
    });
    return out.written().slice() as Uint8Array<ArrayBuffer>;
  }
}

function section(out: Bytes, id: number, write: (content: Bytes) => void): void {
  const content = new Bytes();
  write(content);
  out.byte(id);
  out.unsigned(content.length);
  out.append(content.written());
}
