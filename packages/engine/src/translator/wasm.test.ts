/** Modules as they are written: what is said of branches must name them. */
import { describe, expect, it } from 'vitest';
import { I32, Op } from './opcodes.js';
import { Code, ModuleWriter } from './wasm.js';

const CODE = 10,
  HEADER_BYTES = 8,
  SECTION = 'metadata.code.branch_hint';

class Reader {
  at = 0;
  constructor(private readonly bytes: Uint8Array) {}
  get more(): boolean {
    return this.at < this.bytes.length;
  }
  unsigned(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  take(length: number): Uint8Array {
    return this.bytes.subarray(this.at, (this.at += length));
  }
}

/** Bodies of a module's functions, with their locals, in order. */
function bodiesOf(module: Uint8Array): Uint8Array[] {
  const reader = new Reader(module);
  reader.at = HEADER_BYTES;
  while (reader.more) {
    const id = reader.take(1)[0],
      content = new Reader(reader.take(reader.unsigned()));
    if (id === CODE) return Array.from({ length: content.unsigned() }, () => content.take(content.unsigned()));
  }
  return [];
}
/** Of each function by its index, what the section says: opcode of the branch, and 1 where it is mostly taken. */
function hintsOf(module: Uint8Array<ArrayBuffer>): Map<number, [opcode: number, taken: number][]> {
  const [content] = WebAssembly.Module.customSections(new WebAssembly.Module(module), SECTION),
    bodies = bodiesOf(module),
    said = new Map<number, [number, number][]>();
  if (content === undefined) return said;
  const reader = new Reader(new Uint8Array(content));
  for (let functions = reader.unsigned(); functions > 0; functions--) {
    const index = reader.unsigned(),
      list: [number, number][] = [];
    let last = -1;
    for (let hints = reader.unsigned(); hints > 0; hints--) {
      const offset = reader.unsigned();
      expect(offset).toBeGreaterThan(last); // else V8 takes none of them
      last = offset;
      expect(reader.unsigned()).toBe(1);
      list.push([bodies[index]![offset]!, reader.unsigned()]);
    }
    said.set(index, list);
  }
  expect(reader.more).toBe(false);
  return said;
}

const writer = (): ModuleWriter => new ModuleWriter({ locals: [[3, I32]], fewLocals: [[1, I32]], maximumPages: 1 });

describe('hints of how branches go', () => {
  it('name the branches they stand in front of, whatever locals their function declares', () => {
    const w = writer(),
      code = new Code(),
      out = code.block();
    code.get(0).unlikely().brIf(out).get(0).likely().when();
    code.end().end().i32(1).op(Op.end);
    w.add(code);
    w.add(new Code().i32(2).op(Op.end)); // has none
    w.add(code, true);
    const expected = [
      [Op.br_if, 0],
      [Op.if, 1],
    ];
    expect(hintsOf(w.finish().slice())).toEqual(
      new Map([
        [0, expected],
        [2, expected],
      ]),
    );
    // the next module has its own
    w.add(new Code().i32(3).op(Op.end));
    expect(hintsOf(w.finish().slice()).size).toBe(0);
  });

  it('go with the code that they are in when it is appended to other code', () => {
    const w = writer(),
      body = new Code(),
      whole = new Code(),
      passed = { bytes: 0, marks: 0, hints: 0 };
    body.i32(1_000_000).op(Op.drop);
    const first = body.length;
    body.get(0).unlikely().when();
    body.end();
    body.get(0).likely().when();
    body.end();
    whole.appendCode(body, first, passed);
    whole.get(0).unlikely().when();
    whole.end();
    whole.appendCode(body, body.length, passed);
    whole.i32(1).op(Op.end);
    w.add(whole);
    expect(hintsOf(w.finish().slice()).get(0)).toEqual([
      [Op.if, 0],
      [Op.if, 0],
      [Op.if, 1],
    ]);
  });
});
