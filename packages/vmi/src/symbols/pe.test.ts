/** PE images, from a file and from memory: what the linker was told of the samples is what is read. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attempt, damaged, sample, sourceOf } from '../../samples/samples.js';
import { AddressSpace } from '../address-space.js';
import { FileMemory } from '../stored-memory.js';
import { readLoadedPe, readPe } from './pe.js';
import type { PeImage } from './pe.js';

const IN_FILE = 0x200;

/** Loads a file as Windows does, at `base` of a memory without paging; `missing`: pages that are not there. */
function load(file: Uint8Array, base: number, missing: readonly number[] = []): AddressSpace {
  const { sections, sizeOfImage } = readPe(sourceOf(file));
  const image = new Uint8Array(sizeOfImage);
  image.set(file.subarray(0, Math.min(0x400, sections[0].fileOffset)));
  for (const { address, fileOffset, fileSize, size } of sections)
    image.set(file.subarray(fileOffset, fileOffset + Math.min(fileSize, size)), address);
  const ranges = Array.from({ length: sizeOfImage / 4096 }, (_unused, page) => page)
    .filter((page) => !missing.includes(page))
    .map((page) => ({ start: base + page * 4096, length: 4096, offset: page * 4096 }));
  return new AddressSpace(new FileMemory(sourceOf(image), ranges), 'none');
}

/** What ../../samples/source/sample.def exports. */
const EXPORTED = [
  ['leave', 5, undefined],
  ['init_task', 7, undefined],
  ['first_task', 8, undefined],
  ['', 9, undefined],
  ['also_leave', 12, undefined],
  ['by_number', 13, 'other.#4'],
  ['elsewhere', 14, 'other.Somewhere'],
];
/** lld puts an underscore before what 32-bit images forward to. */
const exportsOf = (image: PeImage): unknown[] =>
  image.exports()!.entries.map(({ name, ordinal, forwarder }) => [name, ordinal, forwarder?.replace(/^_/, '')]);

describe.each([
  ['sample.dll', 64, 0x8664, 0x1_8000_0000n],
  ['sample32.dll', 32, 0x14c, 0x1000_0000n],
] as const)('%s', (name, bits, machine, base) => {
  const file = sample(name);
  const image = readPe(sourceOf(file));

  it('has headers, sections and exports', () => {
    expect(image).toMatchObject({ bits, machine, base, subsystem: 2 });
    expect(image.sections.map((section) => section.name).slice(0, 3)).toEqual(['.text', '.rdata', '.data']);
    expect(parseInt(image.id.slice(0, 8), 16)).toBe(image.timeDateStamp);
    expect(parseInt(image.id.slice(8), 16)).toBe(image.sizeOfImage);
    expect(exportsOf(image).sort()).toEqual([...EXPORTED].sort());
    const { symbols, complete, name: own } = image.exports()!;
    expect([complete, own]).toEqual([true, name]);
    const text = image.sections[0];
    expect(symbols.address('leave')).toBe(base + BigInt(text.address));
    expect(symbols.address('also_leave')).toBe(symbols.address('leave'));
    expect(symbols.address('elsewhere')).toBeUndefined();
    expect([...symbols].map((symbol) => `${symbol.type} ${symbol.name}`).sort()).toEqual([
      'D init_task',
      'T also_leave',
      'T first_task',
      'T leave',
    ]);
  });

  it('names its PDB file', () => {
    const { guid, age, path } = image.codeView()!;
    expect([age, path]).toEqual([1, name.replace('.dll', '.pdb')]);
    // The PDB's own GUID: its info stream stands in clear at the begin of a block
    const bytes = Buffer.from(guid, 'hex');
    const stored = Buffer.concat([
      Buffer.from(bytes.subarray(0, 4)).reverse(),
      Buffer.from(bytes.subarray(4, 6)).reverse(),
      Buffer.from(bytes.subarray(6, 8)).reverse(),
      bytes.subarray(8),
    ]);
    expect(Buffer.from(sample(name.replace('.dll', '.pdb') as 'sample.pdb')).includes(stored)).toBe(true);
  });

  it('is the same out of memory, at the address where it is loaded', () => {
    const loaded = readLoadedPe(load(file, 0x40_0000), 0x40_0000n);
    expect(loaded.base).toBe(0x40_0000n);
    expect(loaded.id).toBe(image.id);
    expect(exportsOf(loaded)).toEqual(exportsOf(image));
    expect(loaded.codeView()).toEqual(image.codeView());
    expect(loaded.exports()!.symbols.address('leave')).toBe(0x40_0000n + BigInt(image.sections[0].address));
  });

  it('tells what can be read where pages are missing', () => {
    const pageOfExports = image.sections[1].address / 4096;
    const without = readLoadedPe(load(file, 0x40_0000, [pageOfExports]), 0x40_0000n);
    expect(without.sections).toEqual(image.sections);
    expect(without.exports()).toBeUndefined();
    expect(without.codeView()).toBeUndefined();
    const elsewhere = readLoadedPe(load(file, 0x40_0000, [image.sections[0].address / 4096]), 0x40_0000n);
    expect(exportsOf(elsewhere)).toEqual(exportsOf(image));
    expect(attempt('VMI_PE', () => readLoadedPe(load(file, 0x40_0000, [0]), 0x40_0000n))).toMatch(/header at 0x0/);
  });

  it('that is damaged anywhere is refused, or read', () => {
    const all = (read: () => PeImage): void => {
      attempt('VMI_PE', () => {
        const found = read();
        const entries = found.exports()?.entries.length ?? 0;
        expect(entries).toBeLessThanOrEqual(0x2_0000);
        found.codeView();
      });
    };
    const rdata = image.sections[1];
    const table = file.subarray(rdata.fileOffset, rdata.fileOffset + rdata.fileSize);
    fc.assert(
      fc.property(damaged(file, IN_FILE), (bytes) => all(() => readPe(sourceOf(bytes)))),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(damaged(table), (bytes) => {
        const changed = file.slice();
        changed.set(bytes, rdata.fileOffset);
        all(() => readPe(sourceOf(changed)));
        all(() => readLoadedPe(load(changed, 0x40_0000), 0x40_0000n));
      }),
      { numRuns: 500 },
    );
  });
});

describe('the id of a build', () => {
  it('is what win-guid prints', () => {
    const { image, view } = withExports(1);
    view.setUint32(0x88, 0x4ce7_8a09, true);
    view.setUint32(0x98 + 56, 0x41_2000, true);
    expect(readPe(sourceOf(image)).id).toBe('4ce78a09412000');
  });
});

describe('a table of exports', () => {
  it('that lies in several pages is read as far as it is there', () => {
    const { image, at } = withExports(5000);
    const whole = readPe(sourceOf(image));
    expect(whole.exports()!.entries).toHaveLength(5000);
    expect(whole.exports()!.symbols.address('name4999')).toBe(0x40_0000n + 0x10_0000n + 4999n);
    // One page of the names' text
    const page = Math.floor((at + 200_000) / 4096);
    const ranges = [
      { start: 0, length: page * 4096, offset: 0 },
      { start: (page + 1) * 4096, length: image.length - (page + 1) * 4096, offset: (page + 1) * 4096 },
    ];
    const some = readLoadedPe(new AddressSpace(new FileMemory(sourceOf(image), ranges), 'none'), 0n).exports()!;
    expect(some.complete).toBe(false);
    const names = some.entries.filter((entry) => entry.name !== '').map((entry) => entry.name);
    // 4096 bytes have 102 texts of 40, and parts of two
    expect(names.length).toBeGreaterThanOrEqual(5000 - 104);
    expect(names.length).toBeLessThan(5000);
    // All are there, those without their names too
    expect(some.entries).toHaveLength(5000);
    for (const { name, ordinal } of some.entries) if (name !== '') expect(name).toBe(`name${ordinal - 1}`);
  });

  it('whose names are mostly missing has those that are there', () => {
    const { image, at } = withExports(5000);
    // Of the names' text only the last pages are there
    const [first, last] = [Math.ceil((at + 60_000) / 4096) * 4096, Math.floor((image.length - 8192) / 4096) * 4096];
    const ranges = [
      { start: 0, length: first, offset: 0 },
      { start: last, length: image.length - last, offset: last },
    ];
    const space = new AddressSpace(new FileMemory(sourceOf(image), ranges), 'none');
    const { symbols, complete } = readLoadedPe(space, 0n).exports()!;
    expect(complete).toBe(false);
    expect(symbols.address('name4999')).toBe(0x10_0000n + 4999n);
  });

  it('whose counts lie costs no more than it says', () => {
    const { image, view, at } = withExports(100);
    // Every name is the same very long text
    image.fill(0x41, at + 0x3000, at + 0x3000 + 5000);
    view.setUint32(at + 20, 0xffff_ffff, true);
    view.setUint32(at + 24, 0xffff_ffff, true);
    for (let index = 0; index < 100; index++)
      view.setUint32(view.getUint32(at + 32, true) + 4 * index, at + 0x3000, true);
    const found = readPe(sourceOf(image)).exports()!;
    expect(found.complete).toBe(false);
    expect(found.entries.length).toBeLessThanOrEqual(0x1_0000);
  });
});

/** An image of one section, whose offsets in the file are those in memory, that exports `name0` to `name${count - 1}`. */
function withExports(count: number): { image: Uint8Array<ArrayBuffer>; view: DataView; at: number } {
  const at = 0x1000,
    functions = at + 40,
    names = functions + 4 * count,
    ordinals = names + 4 * count,
    texts = ordinals + 2 * count + 6;
  const padded = (text: string): string => text.padEnd(40, '\0');
  const image = new Uint8Array(Math.max(texts + 40 * count, at + 0x6000));
  const view = new DataView(image.buffer);
  image.set(Buffer.from('MZ'));
  view.setUint32(0x3c, 0x80, true);
  image.set(Buffer.from('PE\0\0'), 0x80);
  const coff = 0x84;
  view.setUint16(coff, 0x14c, true);
  view.setUint16(coff + 2, 1, true);
  view.setUint16(coff + 16, 0xe0, true);
  const optional = coff + 20;
  view.setUint16(optional, 0x10b, true);
  view.setUint32(optional + 28, 0x40_0000, true);
  view.setUint32(optional + 56, 0x20_0000, true);
  view.setUint32(optional + 92, 16, true);
  view.setUint32(optional + 96, at, true);
  view.setUint32(optional + 100, 40, true);
  const section = optional + 0xe0;
  image.set(Buffer.from('.all'), section);
  [image.length - at, at, image.length - at, at].forEach((value, index) =>
    view.setUint32(section + 8 + 4 * index, value, true),
  );
  [0, 1, count, count, functions, names, ordinals].forEach((value, index) =>
    view.setUint32(at + 12 + 4 * index, value, true),
  );
  for (let index = 0; index < count; index++) {
    view.setUint32(functions + 4 * index, 0x10_0000 + index, true);
    view.setUint32(names + 4 * index, texts + 40 * index, true);
    view.setUint16(ordinals + 2 * index, index, true);
    image.set(Buffer.from(padded(`name${index}`)), texts + 40 * index);
  }
  return { image, view, at };
}
