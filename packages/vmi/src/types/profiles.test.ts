/** Volatility's and Rekall's JSON: what they say of a kernel, numbers of 64 bits, and texts that are none. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attempt } from '../../samples/samples.js';
import { movedSymbols } from '../symbols/symbol-table.js';
import { isIsf, readIsf } from './isf.js';
import { isRekall, readRekall } from './rekall.js';
import { fieldOf } from './type.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

// Written as text: JSON.stringify has no numbers of 64 bits
const LINUX_ISF = `{
  "metadata": { "format": "6.2.0", "linux": { "symbols": [ { "kind": "dwarf", "name": "vmlinux" } ] } },
  "symbols": {
    "init_task": { "type": { "kind": "struct", "name": "task_struct" }, "address": 18446744071602123072 },
    "_text": { "address": 18446744071578845184 },
    "linux_banner": { "address":18446744071588757504,"constant_data": "TGludXggdmVyc2lvbiA2LjEuMC00MC1hbWQ2NCAoZGViaWFuKQoA" },
    "strange": { "address": "text" },
    "none": 5
  },
  "enums": { "wide": { "size": 8, "base": "unsigned long", "constants": { "ALL": 18446744073709551615, "ONE": 1 } } },
  "base_types": { "unsigned long": { "size": 8, "signed": false, "kind": "int", "endian": "little" }, "pointer": { "size": 8, "signed": false, "kind": "int", "endian": "little" } },
  "user_types": {}
}`;

const WINDOWS_ISF = {
  metadata: {
    format: '6.1.0',
    windows: { pdb: { GUID: '684DA42A30CC450F81C535B4D18944B1', age: 2, database: 'ntkrpamp.pdb', machine_type: 332 } },
  },
  symbols: { PsInitialSystemProcess: { address: 0x16_8d3c } },
  enums: {},
  base_types: { pointer: { size: 4, signed: false, kind: 'int', endian: 'little' } },
  user_types: {},
};

const WINDOWS_REKALL = {
  $METADATA: {
    ProfileClass: 'Nt',
    PDBFile: 'ntkrpamp.pdb',
    GUID_AGE: '684DA42A30CC450F81C535B4D18944B12',
    Type: 'Profile',
  },
  $CONSTANTS: { PsInitialSystemProcess: 0x16_8d3c },
  $FUNCTIONS: { NtClose: 0x27_0000 },
  $ENUMS: {},
  $STRUCTS: {
    _LIST_ENTRY: [
      8,
      { Flink: [0, ['Pointer', { target: '_LIST_ENTRY' }]], Blink: [4, ['Pointer', { target: '_LIST_ENTRY' }]] },
    ],
    __unnamed_1: [4, { Flink: [0, ['unsigned long']] }],
    _MMPFN: [
      24,
      {
        u1: [0, ['__unnamed_1', {}]],
        Long: [4, ['unsigned long', {}]],
        Wide: [8, ['unsigned long long', {}]],
        Name: [16, ['String', { length: 8 }]],
      },
    ],
  },
};

describe('an ISF', () => {
  it('of Linux has its banner, and addresses of 64 bits to the last digit', () => {
    const { metadata, symbols, types } = readIsf(bytes(LINUX_ISF));
    expect(metadata).toEqual({ os: 'linux', banner: 'Linux version 6.1.0-40-amd64 (debian)' });
    expect(symbols.address('init_task')).toBe(18446744071602123072n);
    expect(symbols.address('strange')).toBeUndefined();
    expect(symbols.address('toString')).toBeUndefined();
    expect(symbols.size).toBe(3);
    expect([...symbols].map(({ name }) => name)).toEqual(['init_task', '_text', 'linux_banner']);
    expect(symbols.nearest(18446744071578845190n)).toMatchObject({ symbol: { name: '_text' }, offset: 6n });
    expect(movedSymbols(symbols, 0x1000n).address('_text')).toBe(18446744071578849280n);
    expect([...types.type('wide')!.values!]).toEqual([
      ['ALL', 0xffff_ffff_ffff_ffffn],
      ['ONE', 1n],
    ]);
  });

  it('of Windows says which PDB file it is from', () => {
    const { metadata, symbols, types } = readIsf(bytes(JSON.stringify(WINDOWS_ISF)));
    expect(metadata).toEqual({
      os: 'windows',
      pdb: { guid: '684da42a30cc450f81c535b4d18944b1', age: 2, name: 'ntkrpamp.pdb' },
    });
    expect(movedSymbols(symbols, 0x8283_0000n).address('PsInitialSystemProcess')).toBe(0x8299_8d3cn);
    expect(types.pointerSize).toBe(4);
  });

  it('may have long numbers in its texts', () => {
    const text = `{"metadata":{"linux":{}},"symbols":{"a, 12345678901234567890, b":{"address":16}}}`;
    expect(readIsf(bytes(text)).symbols.address('a, 12345678901234567890, b')).toBe(16n);
  });
});

describe('a Rekall profile', () => {
  it('of Windows says which PDB file it is from, and has its sizes', () => {
    const { metadata, symbols, types } = readRekall(bytes(JSON.stringify(WINDOWS_REKALL)));
    expect(metadata).toEqual({
      os: 'windows',
      pdb: { guid: '684da42a30cc450f81c535b4d18944b1', age: 2, name: 'ntkrpamp.pdb' },
    });
    expect([symbols.address('PsInitialSystemProcess'), symbols.address('NtClose'), symbols.size]).toEqual([
      0x16_8d3cn,
      0x27_0000n,
      2,
    ]);
    expect(types.pointerSize).toBe(4);
    const page = types.type('_MMPFN')!;
    expect(['Long', 'Wide', 'Name', 'u1.Flink'].map((path) => fieldOf(page, path)!.size)).toEqual([4, 8, 8, 4]);
    // There u1 is the source's own name
    expect(fieldOf(page, 'Flink')).toBeUndefined();
  });

  it('of Linux has addresses of 64 bits', () => {
    const text = `{"$METADATA":{"ProfileClass":"Linux"},"$CONSTANTS":{"init_task":18446744071602123072},"$STRUCTS":{"list_head":[16,{}]}}`;
    const { metadata, symbols, types } = readRekall(bytes(text));
    expect(metadata).toEqual({ os: 'linux' });
    expect(symbols.address('init_task')).toBe(18446744071602123072n);
    expect(types.type('long unsigned int')).toMatchObject({ size: 8, signed: false });
  });
});

describe('JSON that is no profile', () => {
  it('is refused with what is missing', () => {
    expect(attempt('VMI_SYMBOL_FILE', () => readIsf(bytes('{'), { source: 'x.json' }))).toMatch(
      /^x\.json is no JSON: /,
    );
    expect(attempt('VMI_SYMBOL_FILE', () => readIsf(bytes('[]')))).toMatch(/holds no JSON object/);
    expect(attempt('VMI_SYMBOL_FILE', () => readIsf(bytes('{"symbols":{}}')))).toMatch(/is no ISF/);
    expect(attempt('VMI_SYMBOL_FILE', () => readRekall(bytes('{"metadata":{}}')))).toMatch(/is no Rekall profile/);
    expect([isIsf({ $METADATA: {} }), isRekall({ metadata: {} })]).toEqual([false, false]);
  });

  it('or a profile with anything in it, is refused, or read', () => {
    const name = fc.constantFrom('a', 'b', 'list', 'constructor', '__proto__', 'pointer', 'u1', '__unnamed_1');
    const word = fc.constantFrom(
      'struct',
      'union',
      'enum',
      'base',
      'array',
      'pointer',
      'bitfield',
      'Array',
      'Pointer',
      'BitField',
      'Enumeration',
      'a',
      'b',
      'toString',
      'long',
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 6 },
        fc.constantFrom(0, 1, 8, -1, 1e300, 2 ** 31, 0.5, null, true),
        word,
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(
          fc.oneof(
            name,
            fc.constantFrom(
              'kind',
              'name',
              'type',
              'subtype',
              'count',
              'offset',
              'size',
              'fields',
              'target',
              'target_args',
              'constants',
              'address',
              'anonymous',
              'start_bit',
              'end_bit',
              'bit_length',
            ),
          ),
          tie('value'),
          { maxKeys: 5 },
        ),
      ),
    }));
    const look = (read: () => ReturnType<typeof readIsf>): void => {
      attempt('VMI_SYMBOL_FILE', () => {
        const { symbols, types } = read();
        symbols.nearest(5n);
        for (const one of ['a', 'b', 'list', 'constructor', '__proto__']) {
          symbols.address(one);
          const type = types.type(one);
          if (type === undefined) continue;
          expect(Number.isFinite(type.size)).toBe(true);
          for (const path of ['a', 'a.b', 'a[1].a', 'nothing']) fieldOf(type, path);
          for (const member of type.members ?? []) void member.type.target?.members;
        }
      });
    };
    fc.assert(
      fc.property(value, value, value, (symbols, types, enums) => {
        look(() =>
          readIsf(bytes(JSON.stringify({ metadata: types, symbols, user_types: types, enums, base_types: symbols }))),
        );
        look(() =>
          readRekall(bytes(JSON.stringify({ $METADATA: {}, $CONSTANTS: symbols, $STRUCTS: types, $ENUMS: enums }))),
        );
        const structures = { a: types, b: { fields: types, size: 8, kind: 'struct' } };
        look(() =>
          readIsf(
            bytes(
              JSON.stringify({
                metadata: {},
                user_types: structures,
                enums: { list: enums },
                base_types: { a: symbols },
              }),
            ),
          ),
        );
        look(() =>
          readRekall(bytes(JSON.stringify({ $METADATA: {}, $STRUCTS: { a: [8, types], b: [8, { a: [0, types] }] } }))),
        );
      }),
      { numRuns: 500 },
    );
    const nested = (depth: number): string =>
      `${'{"kind":"array","count":4000000000,"subtype":'.repeat(depth)}{}${'}'.repeat(depth)}`;
    look(() =>
      readIsf(bytes(`{"metadata":{},"user_types":{"a":{"fields":{"a":{"offset":0,"type":${nested(2000)}}}}}}`)),
    );
  });
});
