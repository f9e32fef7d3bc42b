/** PDB files: what the compiler was told of the samples is what is read; damaged ones are refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attempt, damaged, sample, sourceOf } from '../../samples/samples.js';
import { fieldOf } from '../types/type.js';
import { Msf } from './msf.js';
import { PdbFile } from './pdb.js';
import { readPe } from './pe.js';

describe.each(['sample', 'sample32'] as const)('%s.pdb', (name) => {
  const pdb = new PdbFile(sourceOf(sample(`${name}.pdb`)));
  const image = readPe(sourceOf(sample(`${name}.dll`)));

  it('belongs to its image', () => {
    expect({ guid: pdb.guid, age: pdb.age, path: `${name}.pdb` }).toEqual(image.codeView());
    expect(pdb.machine).toBe(image.machine);
  });

  it('has the symbols that the image exports, and others, at the same places', () => {
    const symbols = pdb.symbols.moved(image.base);
    const exported = [...image.exports()!.symbols].filter((symbol) => symbol.name !== 'also_leave');
    expect(exported).toHaveLength(3);
    for (const symbol of exported) expect(symbols.address(symbol.name), symbol.name).toBe(symbol.address);
    const letters = new Map([...symbols].map((symbol) => [symbol.name, symbol.type]));
    for (const [symbol, letter] of Object.entries({
      leave: 'T',
      start: 'T',
      init_task: 'D',
      version: 'D',
      hidden_task: 'd',
    }))
      expect(letters.get(symbol), symbol).toBe(letter);
    // Not exported by name, and not decorated
    const text = BigInt(image.sections[0].address);
    expect(symbols.nearest(image.base + text + 2n)).toMatchObject({ symbol: { name: 'leave' }, offset: 2n });
  });
});

describe('types of a PDB file', () => {
  const { types } = new PdbFile(sourceOf(sample('sample.pdb')));

  it('go on in a second list where the first is full', () => {
    const large = types.type('large')!;
    expect(large.members).toHaveLength(1800);
    expect(large.size).toBe(7200);
    // In order of their declaration: the hundreds 1 to 18
    expect(large.members!.every((member, index) => member.bitOffset === index * 32)).toBe(true);
    expect(fieldOf(large, 'a_member_with_a_long_name_1899')).toMatchObject({ offset: 7196, size: 4 });
  });

  it('have members of base classes, and no methods or static members', () => {
    const derived = types.type('Derived')!;
    expect(derived.size).toBe(24);
    expect(fieldOf(derived, 'base_field')).toMatchObject({ offset: 16, size: 4 });
    expect(fieldOf(derived, 'other_field')).toMatchObject({ offset: 8, size: 8 });
    expect(fieldOf(derived, 'inner.depth')).toMatchObject({ offset: 22, size: 2 });
    expect(fieldOf(derived, 'depth')).toBeUndefined();
    expect(fieldOf(derived, 'shared')).toBeUndefined();
    expect(fieldOf(derived, 'method')).toBeUndefined();
    const { type } = fieldOf(derived, 'colour')!;
    expect([type.name, type.size, [...type.values!]]).toEqual([
      'Derived::Colour',
      1,
      [
        ['RED', 0n],
        ['GREEN', 200n],
      ],
    ]);
  });

  it('have the sizes of 32 bits where they are for these', () => {
    const narrow = new PdbFile(sourceOf(sample('sample32.pdb'))).types;
    expect(narrow.pointerSize).toBe(4);
    const task = narrow.type('task')!;
    expect(task.size).toBe(112);
    const places = ['tasks.prev', 'pid', 'owner.gid', 'parent', 'words[1][2]', 'name', 'secret'].map(
      (path) => fieldOf(task, path)!,
    );
    expect(places.map(({ offset, size }) => [offset, size])).toEqual([
      [20, 4],
      [24, 4],
      [36, 4],
      [44, 4],
      [68, 4],
      [72, 16],
      [108, 4],
    ]);
  });

  it('are found by the names of typedefs and of C', () => {
    expect(types.type('u16')).toMatchObject({ kind: 'integer', size: 2, signed: false });
    expect(types.type('long long')).toMatchObject({ kind: 'integer', size: 8, signed: true });
    expect(types.type('no such type')).toBeUndefined();
    expect(types.type('')).toBeUndefined();
  });
});

describe('an image whose parts were moved after linking', () => {
  it('has its symbols where they are now', () => {
    const before = new PdbFile(sourceOf(sample('sample.pdb')));
    const msf = new Msf(sourceOf(sample('sample.pdb')));
    const streams = Array.from({ length: msf.count }, (_unused, index) => msf.stream(index) ?? new Uint8Array());
    const debug = new DataView(streams[3].buffer, streams[3].byteOffset, streams[3].length);
    const optional = streams[3].length - debug.getUint32(48, true);
    const sections = debug.getUint16(optional + 10, true);
    // The old sections as they were, the new ones elsewhere: the map alone tells
    debug.setUint16(optional + 20, streams.length, true);
    streams.push(streams[sections]);
    streams[sections] = new Uint8Array(streams[sections].length);
    debug.setUint16(optional + 8, streams.length, true);
    // RVAs from 0 on are where they were, those from 0x1020 on 0x7000 higher, from 0x2000 on left out, from 0x3000 on lower
    streams.push(new Uint8Array(Uint32Array.of(0, 0x10, 0x1020, 0x8020, 0x2000, 0, 0x3000, 0x2000).buffer));
    const after = new PdbFile(sourceOf(msfOf(streams)));
    const [was, is] = [before, after].map(
      ({ symbols }) =>
        (name: string) =>
          symbols.address(name),
    );
    expect([was('leave'), is('leave')]).toEqual([0x1000n, 0x1010n]);
    expect([was('first_task'), is('first_task')]).toEqual([0x1020n, 0x8020n]);
    expect([was('version'), is('version')]).toEqual([0x2000n, undefined]);
    expect([was('init_task'), is('init_task')]).toEqual([0x3000n, 0x2000n]);
  });
});

describe('a PDB file that is damaged', () => {
  const whole = sample('sample32.pdb');
  const directory = new DataView(whole.buffer).getUint32(52, true) * 4096;
  /** Streams are refused as a file, types as types. */
  const CODES = ['VMI_PDB', 'VMI_TYPES'];
  const all = (bytes: Uint8Array): void => {
    const pdb = attempt('VMI_PDB', () => new PdbFile(sourceOf(bytes)));
    if (typeof pdb === 'string') return;
    attempt('VMI_PDB', () => expect(pdb.symbols.size).toBeLessThan(10_000));
    const types = attempt(CODES, () => pdb.types);
    if (typeof types === 'string') return;
    for (const name of ['task', 'list', 'state', 'word', 'u32', ''])
      attempt(CODES, () => {
        const type = types.type(name);
        if (type === undefined) return;
        for (const path of ['pid', 'owner.uid', 'words[1][2].bytes[3]', 'nothing']) fieldOf(type, path);
        type.members?.forEach((member) => member.type.target?.members);
      });
  };
  it('in its headers is refused, or read', () => {
    fc.assert(fc.property(damaged(whole, 64), all), { numRuns: 300 });
    fc.assert(
      fc.property(damaged(whole.subarray(directory, directory + 4096)), (bytes) => {
        const changed = whole.slice();
        changed.set(bytes, directory);
        all(changed);
      }),
      { numRuns: 300 },
    );
  });

  it('in a stream is refused, or read', () => {
    const msf = new Msf(sourceOf(whole));
    const streams = Array.from({ length: msf.count }, (_unused, index) => msf.stream(index) ?? new Uint8Array());
    const which = fc.constantFrom(1, 2, 2, 2, 3, new DataView(streams[3].buffer).getUint16(20, true));
    fc.assert(
      fc.property(
        which.chain((index) => fc.tuple(fc.constant(index), damaged(streams[index]))),
        ([index, bytes]) => all(msfOf(streams.map((stream, one) => (one === index ? bytes : stream)))),
      ),
      { numRuns: 1000 },
    );
  });

  it('or random, is refused', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 5000 }), all));
  });
});

/** Streams in a file, one behind the other, with blocks of 512 bytes. */
function msfOf(streams: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const block = 512;
  const blocksOf = (size: number): number => Math.ceil(size / block);
  let next = 3;
  const numbers = streams.map((stream) => Array.from({ length: blocksOf(stream.length) }, () => next++));
  const directory = Uint32Array.from([streams.length, ...streams.map((stream) => stream.length), ...numbers.flat()]);
  const directoryBlocks = Array.from({ length: blocksOf(directory.byteLength) }, () => next++);
  const mapAt = next;
  next += blocksOf(4 * directoryBlocks.length);
  const file = new Uint8Array(next * block);
  file.set(Buffer.from('Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0', 'latin1'));
  file.set(new Uint8Array(Uint32Array.of(block, 1, next, directory.byteLength, 0, mapAt).buffer), 32);
  streams.forEach((stream, index) =>
    numbers[index].forEach((number, part) =>
      file.set(stream.subarray(part * block, (part + 1) * block), number * block),
    ),
  );
  const bytes = new Uint8Array(directory.buffer);
  directoryBlocks.forEach((number, part) => file.set(bytes.subarray(part * block, (part + 1) * block), number * block));
  file.set(new Uint8Array(Uint32Array.from(directoryBlocks).buffer), mapAt * block);
  return file;
}
