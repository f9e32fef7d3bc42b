/** Tables of symbols of every layout that kernels have had, written here as scripts/kallsyms.c writes them, and found without being told where they are. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { AddressSpace, FileMemory } from '@visorkit/vmi';
import { Kallsyms } from './kallsyms.js';
import { findKallsyms } from './kallsyms-place.js';

interface Layout {
  readonly pointerSize: 4 | 8;
  /** Bytes of a marker: those of a pointer before 4.20. */
  readonly marker: 4 | 8;
  /** Where the addresses stand: since 6.4 behind the tokens. */
  readonly addresses: 'before' | 'behind';
  readonly form: 'absolute' | 'relative' | 'per-cpu' | 'place';
  /** Numbers of the names in alphabetical order, 3 bytes each: between the markers and the tokens, or at the end. */
  readonly sequence?: 'middle' | 'end';
}

const LAYOUTS: Readonly<Record<string, Layout>> = {
  '4.5, 64 bits': { pointerSize: 8, marker: 8, addresses: 'before', form: 'absolute' },
  '4.5, 32 bits': { pointerSize: 4, marker: 4, addresses: 'before', form: 'absolute' },
  '4.19, 64 bits': { pointerSize: 8, marker: 8, addresses: 'before', form: 'per-cpu' },
  '5.10, 64 bits': { pointerSize: 8, marker: 4, addresses: 'before', form: 'per-cpu' },
  '5.10, 32 bits': { pointerSize: 4, marker: 4, addresses: 'before', form: 'relative' },
  '6.2, 64 bits': { pointerSize: 8, marker: 4, addresses: 'before', form: 'per-cpu', sequence: 'middle' },
  '6.12, 64 bits': { pointerSize: 8, marker: 4, addresses: 'behind', form: 'per-cpu', sequence: 'end' },
  '6.12, 32 bits': { pointerSize: 4, marker: 4, addresses: 'behind', form: 'relative', sequence: 'end' },
  '6.16, 64 bits': { pointerSize: 8, marker: 4, addresses: 'behind', form: 'relative', sequence: 'end' },
  '7.0, 64 bits': { pointerSize: 8, marker: 4, addresses: 'behind', form: 'place', sequence: 'end' },
};

interface Named {
  readonly name: string;
  readonly type: string;
  readonly address: bigint;
}

/** Where tables are put in memory, and what is subtracted from a linear address of the image for the physical one. */
const AT = 0x12_3440;
const LOADED = { 8: 0xffff_ffff_a000_0000n, 4: 0xc000_0000n } as const;

/** In order of addresses, with per-CPU ones first where the layout has them. */
function symbolsOf({ pointerSize, form }: Layout): Named[] {
  const base = LOADED[pointerSize];
  const own = Array.from({ length: 1200 }, (_unused, index) => ({
    name:
      index === 0
        ? '_stext'
        : index === 700
          ? `long_${'x'.repeat(150)}`
          : `sys_${index % 7 === 0 ? 'init_' : ''}f${index}`,
    type: index % 3 === 0 ? 't' : 'T',
    address: base + BigInt(index * 0x90),
  }));
  const perCpu = form === 'per-cpu' || (form === 'absolute' && pointerSize === 8);
  return [
    ...(perCpu ? [0n, 0x40n, 0x1f000n].map((address, index) => ({ name: `cpu_${index}`, type: 'A', address })) : []),
    ...own,
  ];
}

const LETTERS = Array.from({ length: 0x7f - 0x21 }, (_unused, index) => String.fromCharCode(0x21 + index));

function tableOf(layout: Layout, symbols: readonly Named[]): Buffer {
  const { pointerSize: p, marker, addresses, form, sequence } = layout;
  const tokens = Array.from({ length: 256 }, (_unused, code) =>
    LETTERS.includes(String.fromCharCode(code)) ? String.fromCharCode(code) : `~${code}~`,
  );
  tokens[1] = 'sys_';
  tokens[2] = 'init_';
  const encode = (text: string): number[] => {
    const bytes: number[] = [];
    for (let at = 0; at < text.length; ) {
      const token = [1, 2].find((number) => text.startsWith(tokens[number], at)) ?? text.charCodeAt(at);
      bytes.push(token);
      at += tokens[token].length;
    }
    return bytes;
  };
  const parts: Buffer[] = [];
  let length = 0;
  const put = (bytes: Buffer): number => {
    const padding = (p - (length % p)) % p;
    parts.push(Buffer.alloc(padding), bytes);
    length += padding + bytes.length;
    return length - bytes.length;
  };
  const word = (value: bigint, size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    if (size === 8) bytes.writeBigUInt64LE(value);
    else bytes.writeUInt32LE(Number(value));
    return bytes;
  };
  const putAddresses = (): void => {
    if (form === 'absolute') {
      put(Buffer.concat(symbols.map(({ address }) => word(address, p))));
      return;
    }
    const table = Buffer.alloc(symbols.length * 4);
    const place = Math.ceil(length / p) * p;
    symbols.forEach(({ address }, index) => {
      const base = LOADED[p];
      const offset =
        form === 'relative'
          ? address - base
          : form === 'place'
            ? // The image is loaded at physical 0
              address - base - BigInt(AT + place + index * 4)
            : address < 0x100_0000n
              ? address
              : base - 1n - address;
      table.writeInt32LE(Number(BigInt.asIntN(32, offset)), index * 4);
    });
    put(table);
    if (form !== 'place') put(word(LOADED[p], p));
  };

  if (addresses === 'before') putAddresses();
  put(word(BigInt(symbols.length), 4));
  const names: number[] = [];
  const markers: number[] = [];
  symbols.forEach(({ type, name }, index) => {
    if (index % 256 === 0) markers.push(names.length);
    const bytes = encode(type + name);
    names.push(...(bytes.length > 0x7f ? [(bytes.length & 0x7f) | 0x80, bytes.length >> 7] : [bytes.length]), ...bytes);
  });
  put(Buffer.from(names));
  put(Buffer.concat(markers.map((value) => word(BigInt(value), marker))));
  const numbers = Buffer.alloc(symbols.length * 3, 1);
  if (sequence === 'middle') put(numbers);
  put(Buffer.from(tokens.map((token) => `${token}\0`).join(''), 'latin1'));
  let at = 0;
  const index = Buffer.alloc(512);
  tokens.forEach((token, number) => {
    index.writeUInt16LE(at, number * 2);
    at += token.length + 1;
  });
  put(index);
  if (addresses === 'behind') putAddresses();
  if (sequence === 'end') put(numbers);
  return Buffer.concat(parts);
}

/** 4 MiB with the table, and other bytes around it. */
function imageOf(layout: Layout): Uint8Array {
  const bytes = new Uint8Array(4 << 20);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 2_654_435_761) >>> 24;
  bytes.set(tableOf(layout, symbolsOf(layout)), AT);
  return bytes;
}

const memoryOf = (bytes: Uint8Array): FileMemory =>
  new FileMemory(
    { length: bytes.length, read: (at, target) => void target.set(bytes.subarray(at, at + target.length)) },
    [{ start: 0, length: bytes.length, offset: 0 }],
  );

describe('a table of symbols, found blind', () => {
  it.each(Object.entries(LAYOUTS))('as Linux %s has it', (_version, layout) => {
    const memory = memoryOf(imageOf(layout));
    const physical = new AddressSpace(memory, 'none');
    const found = [...findKallsyms(memory, physical)];
    expect(found).toHaveLength(1);
    const [{ place, pointerSize, linear }] = found;
    expect({ pointerSize, form: place.addresses.form }).toEqual({ pointerSize: layout.pointerSize, form: layout.form });
    expect(linear).toBe(layout.form !== 'place');
    // One that has addresses by its own place gives physical ones, until the place is known in the kernel's space
    const { addresses } = place;
    const table = new Kallsyms(
      physical,
      addresses.form === 'place'
        ? { ...place, addresses: { ...addresses, linear: addresses.table + LOADED[layout.pointerSize] } }
        : place,
    );
    const symbols = symbolsOf(layout);
    expect([...table]).toEqual(symbols);
    expect(table.address('sys_f1199')).toBe(symbols.at(-1)!.address);
    expect(table.address('sys_f1200')).toBeUndefined();
  });

  it('says when it has stopped: where nearly everything looks like one', () => {
    const digits = Buffer.from(Array.from({ length: 10 }, (_unused, index) => `${index}\0`).join(''));
    const memory = memoryOf(new Uint8Array(Buffer.alloc(2 << 20, digits)));
    const search = findKallsyms(memory, new AddressSpace(memory, 'none'));
    expect(search.next()).toEqual({ done: true, value: false });
    const empty = memoryOf(new Uint8Array(1 << 20));
    expect(findKallsyms(empty, new AddressSpace(empty, 'none')).next()).toEqual({ done: true, value: true });
  });

  it('that is damaged is not found, or read, or refused with a sentence', () => {
    const images = Object.values(LAYOUTS).map((layout) => ({
      bytes: imageOf(layout),
      length: tableOf(layout, symbolsOf(layout)).length,
    }));
    fc.assert(
      fc.property(
        fc.nat(images.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (which, changes) => {
          const { length } = images[which];
          const bytes = Uint8Array.from(images[which].bytes);
          for (const [at, value] of changes) bytes[AT + (at % length)] = value;
          const memory = memoryOf(bytes);
          const physical = new AddressSpace(memory, 'none');
          try {
            for (const { place } of findKallsyms(memory, physical))
              expect([...new Kallsyms(physical, place)].length).toBe(place.count);
          } catch (error) {
            if (!isVisorkitError(error)) throw error;
            expect(error.code).toBe('LINUX_SYMBOLS');
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
