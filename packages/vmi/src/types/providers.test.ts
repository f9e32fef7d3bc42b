/** The same C structures (../../samples/source/types.h) as every provider describes them: what is asked of one is answered by all. */
import { describe, expect, it } from 'vitest';
import { sample, sourceOf } from '../../samples/samples.js';
import { AddressSpace } from '../address-space.js';
import { FileMemory } from '../stored-memory.js';
import { readBtf } from '../symbols/elf.js';
import { PdbFile } from '../symbols/pdb.js';
import { readIsf } from './isf.js';
import { readRekall } from './rekall.js';
import { StructView } from './struct-view.js';
import { fieldOf } from './type.js';
import type { TypeTable } from './type.js';

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

function isf(): TypeTable {
  const base = (name: string): unknown => ({ kind: 'base', name });
  const struct = (name: string): unknown => ({ kind: 'struct', name });
  const pointer = (subtype: unknown): unknown => ({ kind: 'pointer', subtype });
  const array = (count: number, subtype: unknown): unknown => ({ kind: 'array', count, subtype });
  const bits = (bit_position: number, bit_length: number, type: unknown): unknown => ({
    kind: 'bitfield',
    bit_position,
    bit_length,
    type,
  });
  const u32 = base('unsigned int');
  const int = (size: number, signed: boolean, kind = 'int'): unknown => ({ size, signed, kind, endian: 'little' });
  return readIsf(
    json({
      metadata: { format: '6.2.0', linux: {} },
      symbols: {},
      base_types: {
        void: int(0, false, 'void'),
        char: int(1, true, 'char'),
        'unsigned char': int(1, false, 'char'),
        'unsigned short': int(2, false),
        int: int(4, true),
        'unsigned int': int(4, false),
        'long long': int(8, true),
        'unsigned long long': int(8, false),
        double: int(8, true, 'float'),
        pointer: int(8, false),
      },
      enums: { state: { size: 4, base: 'int', constants: { STATE_RUNNING: 0, STATE_WAITING: 5, STATE_DEAD: -1 } } },
      user_types: {
        list: {
          kind: 'struct',
          size: 16,
          fields: {
            next: { offset: 0, type: pointer(struct('list')) },
            prev: { offset: 8, type: pointer(struct('list')) },
          },
        },
        credentials: {
          kind: 'struct',
          size: 8,
          fields: { uid: { offset: 0, type: u32 }, gid: { offset: 4, type: u32 } },
        },
        word: {
          kind: 'union',
          size: 4,
          fields: { whole: { offset: 0, type: u32 }, bytes: { offset: 0, type: array(4, base('unsigned char')) } },
        },
        unnamed_3: {
          kind: 'struct',
          size: 4,
          fields: {
            low: { offset: 0, type: base('unsigned short') },
            high: { offset: 2, type: base('unsigned short') },
          },
        },
        unnamed_2: {
          kind: 'union',
          size: 4,
          fields: {
            tgid: { offset: 0, type: u32 },
            unnamed_field_0: { offset: 0, anonymous: true, type: struct('unnamed_3') },
          },
        },
        unnamed_1: {
          kind: 'struct',
          size: 8,
          fields: {
            pid: { offset: 0, type: u32 },
            unnamed_field_4: { offset: 4, anonymous: true, type: { kind: 'union', name: 'unnamed_2' } },
          },
        },
        task: {
          kind: 'struct',
          size: 136,
          fields: {
            state: { offset: 0, type: { kind: 'enum', name: 'state' } },
            flags: { offset: 4, type: bits(0, 3, u32) },
            kind: { offset: 4, type: bits(3, 5, u32) },
            level: { offset: 4, type: bits(8, 4, base('int')) },
            wide: { offset: 8, type: bits(0, 40, base('unsigned long long')) },
            tasks: { offset: 16, type: struct('list') },
            unnamed_field_20: { offset: 32, anonymous: true, type: struct('unnamed_1') },
            owner: { offset: 40, type: struct('credentials') },
            cred: { offset: 48, type: pointer(struct('credentials')) },
            parent: { offset: 56, type: pointer(struct('task')) },
            words: { offset: 64, type: array(2, array(3, { kind: 'union', name: 'word' })) },
            name: { offset: 88, type: array(16, base('char')) },
            nice: { offset: 104, type: base('long long') },
            load: { offset: 112, type: base('double') },
            leave: { offset: 120, type: pointer({ kind: 'function' }) },
            secret: { offset: 128, type: pointer(struct('undescribed')) },
          },
        },
      },
    }),
  ).types;
}

function rekall(): TypeTable {
  const pointer = (target: string): unknown => ['Pointer', { target, target_args: null }];
  const bits = (start_bit: number, end_bit: number, target: string): unknown => [
    'BitField',
    { start_bit, end_bit, target },
  ];
  return readRekall(
    json({
      $METADATA: { ProfileClass: 'Linux', Type: 'Profile', arch: 'AMD64' },
      $CONSTANTS: {},
      $ENUMS: { state: { '0': 'STATE_RUNNING', '5': 'STATE_WAITING', '4294967295': 'STATE_DEAD' } },
      $STRUCTS: {
        list: [16, { next: [0, pointer('list')], prev: [8, pointer('list')] }],
        credentials: [8, { uid: [0, ['unsigned int']], gid: [4, ['unsigned int']] }],
        word: [4, { whole: [0, ['unsigned int']], bytes: [0, ['Array', { count: 4, target: 'unsigned char' }]] }],
        __unnamed_30: [4, { low: [0, ['short unsigned int']], high: [2, ['short unsigned int']] }],
        __unnamed_20: [4, { tgid: [0, ['unsigned int']], u1: [0, ['__unnamed_30']] }],
        __unnamed_10: [8, { pid: [0, ['unsigned int']], u1: [4, ['__unnamed_20']] }],
        task: [
          136,
          {
            state: [0, ['Enumeration', { enum_name: 'state', target: 'long' }]],
            flags: [4, bits(0, 3, 'unsigned int')],
            kind: [4, bits(3, 8, 'unsigned int')],
            level: [4, bits(8, 12, 'int')],
            wide: [8, bits(0, 40, 'long long unsigned int')],
            tasks: [16, ['list']],
            u1: [32, ['__unnamed_10']],
            owner: [40, ['credentials']],
            cred: [48, pointer('credentials')],
            parent: [56, pointer('task')],
            words: [64, ['Array', { count: 2, target: 'Array', target_args: { count: 3, target: 'word' } }]],
            name: [88, ['Array', { count: 16, target: 'char' }]],
            nice: [104, ['long long int']],
            load: [112, ['double']],
            leave: [120, pointer('Function')],
            secret: [128, pointer('undescribed')],
          },
        ],
      },
    }),
  ).types;
}

const PROVIDERS: Record<string, () => TypeTable> = {
  BTF: () => readBtf(sourceOf(sample('types.o'))),
  ISF: isf,
  Rekall: rekall,
  PDB: () => new PdbFile(sourceOf(sample('sample.pdb'))).types,
};

/** Offsets and sizes by path, as a C compiler for x86-64 has them. */
const PLACES: Record<string, [offset: number, size: number]> = {
  state: [0, 4],
  tasks: [16, 16],
  'tasks.prev': [24, 8],
  pid: [32, 4],
  tgid: [36, 4],
  low: [36, 2],
  high: [38, 2],
  owner: [40, 8],
  'owner.gid': [44, 4],
  cred: [48, 8],
  parent: [56, 8],
  words: [64, 24],
  'words[1]': [76, 12],
  'words[1][2]': [84, 4],
  'words[1][2].bytes[3]': [87, 1],
  name: [88, 16],
  nice: [104, 8],
  load: [112, 8],
  leave: [120, 8],
  secret: [128, 8],
};
const BITS: Record<string, [offset: number, size: number]> = {
  flags: [32, 3],
  kind: [35, 5],
  level: [40, 4],
  wide: [64, 40],
};

describe.each(Object.entries(PROVIDERS))('types from %s', (_name, make) => {
  const types = make();
  const task = types.type('task')!;

  it('have sizes and offsets, through structures, arrays and anonymous members', () => {
    expect(types.pointerSize).toBe(8);
    expect([task.kind, task.name, task.size]).toEqual(['struct', 'task', 136]);
    for (const [path, [offset, size]] of Object.entries(PLACES))
      expect(fieldOf(task, path), path).toMatchObject({ offset, size });
    for (const path of Object.keys(PLACES)) expect(fieldOf(task, path)!.bits, path).toBeUndefined();
  });

  it('have bit fields', () => {
    for (const [path, [offset, size]] of Object.entries(BITS))
      expect(fieldOf(task, path)!.bits, path).toEqual({ offset, size });
  });

  it("do not take a named structure's field for the outer one's", () => {
    for (const path of ['uid', 'gid', 'next', 'prev', 'whole', 'bytes', 'cred.uid', 'words.whole', 'nothing', ''])
      expect(fieldOf(task, path), path).toBeUndefined();
  });

  it('lead on through pointers and arrays', () => {
    expect(fieldOf(task, 'parent')!.type.target?.size).toBe(136);
    expect(fieldOf(fieldOf(task, 'cred')!.type.target!, 'gid')).toMatchObject({ offset: 4, size: 4 });
    expect(fieldOf(task, 'leave')!.type.target?.kind).toBe('function');
    expect(fieldOf(task, 'secret')!.type.target?.members ?? []).toEqual([]);
    const { type: words } = fieldOf(task, 'words')!;
    expect([words.kind, words.count, words.target?.count, words.target?.target?.name]).toEqual(['array', 2, 3, 'word']);
  });

  it('know kinds, signs and the values of enums', () => {
    const kinds = ['state', 'pid', 'nice', 'load', 'tasks', 'parent', 'words'].map(
      (path) => fieldOf(task, path)!.type.kind,
    );
    expect(kinds).toEqual(['enum', 'integer', 'integer', 'float', 'struct', 'pointer', 'array']);
    expect(['pid', 'nice', 'level', 'flags'].map((path) => fieldOf(task, path)!.type.signed)).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(new Map(types.type('state')!.values)).toEqual(
      new Map([
        ['STATE_RUNNING', 0n],
        ['STATE_WAITING', 5n],
        ['STATE_DEAD', -1n],
      ]),
    );
    expect(types.type('undescribed')?.members).toBeUndefined();
    expect(types.type('no_such_type')).toBeUndefined();
    expect(types.type('constructor')).toBeUndefined();
  });

  it('read a structure in memory', () => {
    const bytes = new Uint8Array(512);
    const view = new DataView(bytes.buffer);
    view.setInt32(0x100, -1, true);
    // flags 5, kind 17, level -3, wide 0xff00000001
    view.setUint32(0x104, 5 | (17 << 3) | (0xd << 8), true);
    view.setBigUint64(0x108, 0xab_cdef_ff00_0000_01n, true);
    view.setUint32(0x100 + 32, 77, true);
    view.setUint32(0x100 + 36, 0x1234_5678, true);
    view.setBigUint64(0x100 + 56, 0x100n, true);
    bytes.set(Buffer.from('swapper/0\0'), 0x100 + 88);
    view.setBigInt64(0x100 + 104, -20n, true);
    const memory = new FileMemory(sourceOf(bytes), [{ start: 0, length: bytes.length, offset: 0 }]);
    const one = new StructView(new AddressSpace(memory, 'none'), task, 0x100n);
    expect(one.big('state')).toBe(-1n);
    expect(['flags', 'kind', 'level'].map((path) => one.number(path))).toEqual([5, 17, -3]);
    expect(one.big('wide')).toBe(0xff_0000_0001n);
    expect(['pid', 'low', 'high'].map((path) => one.number(path))).toEqual([77, 0x5678, 0x1234]);
    expect(one.follow('parent')!.number('tgid')).toBe(0x1234_5678);
    expect(one.text('name')).toBe('swapper/0');
    expect(one.big('nice')).toBe(-20n);
    expect(() => one.big('uid')).toThrow(/no field "uid"/);
  });
});
