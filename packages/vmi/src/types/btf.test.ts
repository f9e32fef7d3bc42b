/** BTF: every kind of type as Linux's documentation (bpf/btf.rst) lays it out, and what damaged bytes lead to. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attempt, damaged, sample, sourceOf } from '../../samples/samples.js';
import { isBtf, openElf, readBtf } from '../symbols/elf.js';
import { Btf } from './btf.js';
import { fieldOf } from './type.js';
import type { Type } from './type.js';

const [INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, CONST] = [1, 2, 3, 4, 5, 6, 7, 8, 10];
const [FLOAT, ENUM64] = [16, 19];

/** Types as they are written: the name, kind, count of parts, flag, size or type, and the numbers behind. */
type Written = [name: string, kind: number, count: number, flag: boolean, size: number, ...rest: (number | string)[]];

/** BTF of these types; `firstString`: where the names begin of split BTF. Text in `rest` is a name. */
function btfOf(types: readonly Written[], firstString = 0): Uint8Array<ArrayBuffer> {
  let names = firstString === 0 ? '\0' : '';
  const name = (text: string): number => {
    if (text === '') return 0;
    const at = names.length + firstString;
    names += `${text}\0`;
    return at;
  };
  const words = types.flatMap(([own, kind, count, flag, size, ...rest]) => [
    name(own),
    ((flag ? 0x8000_0000 : 0) | (kind << 24) | count) >>> 0,
    size,
    ...rest.map((value) => (typeof value === 'string' ? name(value) : value >>> 0)),
  ]);
  const bytes = new Uint8Array(24 + 4 * words.length + names.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, true);
  view.setUint8(2, 1);
  [24, 0, 4 * words.length, 4 * words.length, names.length].forEach((value, index) =>
    view.setUint32(4 + 4 * index, value, true),
  );
  words.forEach((word, index) => view.setUint32(24 + 4 * index, word, true));
  bytes.set(Buffer.from(names), 24 + 4 * words.length);
  return bytes;
}

const SIGNED = 1 << 24;
/** Widths and places of bit fields stand in one word. */
const bits = (size: number, offset: number): number => (size << 24) | offset;

const KERNEL: Written[] = [
  ['int', INT, 0, false, 4, SIGNED | 32], // 1
  ['list', STRUCT, 2, false, 16, 'next', 3, 0, '', 4, 64], // 2
  ['', POINTER, 0, false, 2], // 3
  ['', UNION, 2, false, 8, 'a', 1, 0, 'b', 5, 0], // 4
  ['u64', TYPEDEF, 0, false, 6], // 5
  ['', CONST, 0, false, 7], // 6
  ['unsigned long', INT, 0, false, 8, 64], // 7
  ['flags', STRUCT, 3, true, 8, 'low', 1, bits(3, 0), 'high', 7, bits(40, 24), 'whole', 1, 32], // 8
  ['double', FLOAT, 0, false, 8], // 9
  ['table', STRUCT, 2, false, 48, 'cells', 11, 0, 'rows', 12, 128], // 10
  ['', ARRAY, 0, false, 0, 9, 1, 2], // 11
  ['', ARRAY, 0, false, 0, 13, 1, 2], // 12
  ['', ARRAY, 0, false, 0, 1, 1, 4], // 13
  ['colour', ENUM, 2, true, 4, 'RED', 1, 'NONE', -1], // 14
  ['mask', ENUM64, 2, false, 8, 'ALL', -1, -1, 'BIT40', 0, 0x100], // 15
  ['offset', ENUM64, 1, true, 8, 'BACK', -2, -1], // 16
  ['later', FORWARD, 0, false, 0], // 17
];

/** What can be compared of a type. */
const plain = (type: Type | undefined): unknown => type && { kind: type.kind, size: type.size, signed: type.signed };

describe('BTF', () => {
  const types = new Btf(btfOf(KERNEL));

  it('finds fields, those of anonymous members too', () => {
    expect(types.size).toBe(KERNEL.length);
    const list = types.type('list')!;
    expect(fieldOf(list, 'next')).toMatchObject({ offset: 0, size: 8 });
    expect(fieldOf(list, 'b')).toMatchObject({ offset: 8, size: 8 });
    expect(fieldOf(list, 'b')!.type.name).toBe('unsigned long');
    expect(fieldOf(list, 'next')!.type.target).toBe(list);
    expect(fieldOf(list, 'c')).toBeUndefined();
  });

  it('has numbers, typedefs, floats and arrays of arrays', () => {
    expect(plain(types.type('int'))).toEqual({ kind: 'integer', size: 4, signed: true });
    expect(plain(types.type('u64'))).toEqual({ kind: 'integer', size: 8, signed: false });
    expect(plain(types.type('double'))).toEqual({ kind: 'float', size: 8, signed: undefined });
    const table = types.type('table')!;
    expect(fieldOf(table, 'cells')).toMatchObject({ offset: 0, size: 16 });
    expect(fieldOf(table, 'cells[1]')).toMatchObject({ offset: 8, size: 8, type: { kind: 'float' } });
    expect(fieldOf(table, 'rows')).toMatchObject({ offset: 16, size: 32 });
    expect(fieldOf(table, 'rows[1][3]')).toMatchObject({ offset: 16 + 28, size: 4 });
  });

  it('has bit fields, which stand beside whole fields', () => {
    const flags = types.type('flags')!;
    expect(fieldOf(flags, 'low')).toMatchObject({ offset: 0, bits: { offset: 0, size: 3 } });
    expect(fieldOf(flags, 'high')).toMatchObject({ offset: 3, bits: { offset: 24, size: 40 } });
    expect(fieldOf(flags, 'whole')).toEqual({ offset: 4, size: 4, type: types.type('int') });
  });

  it('has enums of 32 and 64 bits, with and without sign', () => {
    expect([...types.type('colour')!.values!]).toEqual([
      ['RED', 1n],
      ['NONE', -1n],
    ]);
    expect([...types.type('mask')!.values!]).toEqual([
      ['ALL', 0xffff_ffff_ffff_ffffn],
      ['BIT40', 1n << 40n],
    ]);
    expect(types.type('mask')).toMatchObject({ kind: 'enum', size: 8, signed: false });
    expect([...types.type('offset')!.values!]).toEqual([['BACK', -2n]]);
  });

  it('of a writer that does not note signs has negative values where there are some', () => {
    const old = new Btf(
      btfOf([
        ['plain', ENUM, 1, false, 4, 'ONE', 1],
        ['negative', ENUM, 2, false, 4, 'ONE', 1, 'NONE', -1],
      ]),
    );
    expect(old.type('plain')!.signed).toBe(false);
    expect(old.type('negative')!.signed).toBe(true);
    expect(old.type('negative')!.values!.get('NONE')).toBe(-1n);
    const now = new Btf(
      btfOf([
        ['high', ENUM, 1, false, 4, 'TOP', -1],
        ['negative', ENUM, 1, true, 4, 'NONE', -1],
      ]),
    );
    expect(now.type('high')!.values!.get('TOP')).toBe(0xffff_ffffn);
  });

  it('has none that is named only', () => {
    expect(types.type('later')).toBeUndefined();
    expect(types.type('')).toBeUndefined();
    expect([...types.structures()]).toEqual(['list', 'flags', 'table']);
  });
});

describe('split BTF', () => {
  const whole = btfOf(KERNEL);
  const base = new Btf(whole);
  const strings = new DataView(whole.buffer).getUint32(20, true);
  const next = KERNEL.length + 1;
  const MODULE: Written[] = [
    ['module_thing', STRUCT, 2, false, 24, 'link', 2, 0, 'own', next + 1, 128],
    ['own_type', STRUCT, 1, false, 8, 'value', 5, 0],
  ];
  const bytes = btfOf(MODULE, strings);

  it('goes on where the kernel ends', () => {
    const module = new Btf(bytes, { base });
    expect(module.size).toBe(2);
    const thing = module.type('module_thing')!;
    expect(fieldOf(thing, 'link.next')).toMatchObject({ offset: 0, size: 8 });
    expect(fieldOf(thing, 'own.value')).toMatchObject({ offset: 16, size: 8 });
    expect(module.type('list')).toBe(base.type('list'));
    expect(thing.members![0].type).toBe(base.type('list'));
    expect(base.type('module_thing')).toBeUndefined();
  });

  it('says what it lacks when it is read alone', () => {
    expect(attempt('VMI_TYPES', () => new Btf(bytes))).toMatch(/give that as base/);
  });

  it('that is damaged is refused, or read', () => {
    fc.assert(
      fc.property(damaged(bytes), (changed) => look(() => new Btf(changed, { base }))),
      { numRuns: 500 },
    );
  });
});

describe('in files', () => {
  const elf = sample('types.o');
  const types = readBtf(sourceOf(elf));

  it('is read from a section of an ELF file, and raw', () => {
    expect(types.type('task')!.size).toBe(136);
    const at = Buffer.from(elf).indexOf(Buffer.from([0x9f, 0xeb, 1, 0]));
    const raw = elf.slice(at);
    expect(isBtf(sourceOf(raw))).toBe(true);
    expect(readBtf(sourceOf(raw)).type('task')!.size).toBe(136);
    expect(openElf(sourceOf(elf)).bits).toBe(64);
  });

  it('that have none, this is said', () => {
    const without = elf.slice();
    // Another name for the section
    without[Buffer.from(elf).lastIndexOf('.BTF') + 1] = 0x43;
    expect(attempt('VMI_TYPES', () => readBtf(sourceOf(without)))).toMatch(/without a section \.BTF/);
    expect(attempt('VMI_TYPES', () => readBtf(sourceOf(new Uint8Array(100))))).toMatch(/does not begin with eb9f/);
  });

  it('that are damaged is refused, or read', () => {
    const read = (bytes: Uint8Array): void => {
      attempt(['VMI_TYPES', 'VMI_SYMBOL_FILE'], () => {
        look(() => readBtf(sourceOf(bytes)));
        openElf(sourceOf(bytes)).symbols();
      });
    };
    fc.assert(fc.property(damaged(elf, 64), read), { numRuns: 500 });
    fc.assert(fc.property(damaged(elf), read), { numRuns: 500 });
  });
});

describe('BTF that is damaged', () => {
  it('is refused, or read, and any search ends', () => {
    const whole = btfOf(KERNEL);
    fc.assert(
      fc.property(damaged(whole), (bytes) => look(() => new Btf(bytes))),
      { numRuns: 1000 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => look(() => new Btf(bytes))));
  });

  it('has an end where structures have themselves in them, many times', () => {
    const inside = Array.from({ length: 40 }, (_unused, index) => ['', 1 + (index % 3), 0]).flat();
    const loops: Written[] = [1, 2, 3].map((id) => [`loop${id}`, STRUCT, 40, false, 8, ...inside]);
    const types = new Btf(btfOf(loops));
    expect(fieldOf(types.type('loop1')!, 'nothing')).toBeUndefined();
    const arrays = new Btf(
      btfOf([
        ['', ARRAY, 0, false, 0, 1, 1, 0x7fff_ffff],
        ['loop', STRUCT, 1, false, 8, 'cells', 1, 0],
      ]),
    );
    expect(fieldOf(arrays.type('loop')!, 'cells[1][1][1]')).toBeDefined();
    const alias = new Btf(btfOf([['a', TYPEDEF, 0, false, 1]]));
    expect(plain(alias.type('a'))).toEqual({ kind: 'void', size: 0, signed: undefined });
  });
});

/** Everything that can be asked of types. */
function look(make: () => Btf): void {
  attempt(['VMI_TYPES', 'VMI_SYMBOL_FILE'], () => {
    const types = make();
    for (const name of [
      'list',
      'flags',
      'table',
      'colour',
      'mask',
      'module_thing',
      'task',
      'u64',
      ...types.structures(),
    ]) {
      const type = types.type(name);
      if (type === undefined) continue;
      for (const path of ['next', 'b', 'rows[1][3]', 'link.next', 'pid', 'nothing']) fieldOf(type, path);
      for (const member of type.members ?? []) void member.type.target?.members;
    }
  });
}
