/** Physical memory: windows, holes, and dumps of every format, whole, cut and lying. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isVisorkitError } from '@visorkit/core';
import { FileMemory, SavedVmMemory, openDump } from './index.js';
import type { ByteSource, PhysicalMemory } from './index.js';

const source = (bytes: Uint8Array): ByteSource => ({
  length: bytes.length,
  read: (at, target) => {
    if (at + target.length > bytes.length) throw new Error(`read of ${target.length} bytes at ${at}`);
    target.set(bytes.subarray(at, at + target.length));
  },
});
const noise = (length: number, seed: number): Uint8Array => {
  let state = seed;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
};

/** Every read agrees with a model that has -1 in holes. */
function agrees(memory: PhysicalMemory, model: readonly number[], address: number): void {
  const bytes = (count: number): number[] => model.slice(address, address + count);
  const number = (count: number): number => {
    const part = bytes(count);
    return part.length < count || part.includes(-1)
      ? -1
      : part.reduce((sum, byte, index) => sum + byte * 2 ** (8 * index), 0);
  };
  expect(memory.u8(address)).toBe(number(1));
  expect(memory.u16(address)).toBe(number(2));
  expect(memory.u32(address)).toBe(number(4));
  const big = bytes(8).length < 8 || bytes(8).includes(-1) ? undefined : Buffer.from(bytes(8)).readBigUInt64LE();
  expect(memory.big(address)).toBe(big);
  expect(memory.u64(address)).toBe(big === undefined ? -1 : Number(big));
  const target = new Uint8Array(300);
  const there = model.slice(address, address + 300).findIndex((byte) => byte < 0);
  const count = there < 0 ? Math.max(0, Math.min(300, model.length - address)) : there;
  expect(memory.read(address, target)).toBe(count);
  expect([...target.subarray(0, count)]).toEqual(model.slice(address, address + count));
}

describe('memory of a file', () => {
  it('is what its ranges say, in any order, overlapping or beyond the end, with little room for blocks', () => {
    const range = fc.record({ start: fc.nat(300_000), length: fc.nat(100_000), offset: fc.nat(250_000) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 6 }), fc.array(fc.nat(420_000), { maxLength: 8 }), (ranges, places) => {
        const bytes = noise(200_000, 7);
        const memory = new FileMemory(source(bytes), ranges, 100_000);
        const model = new Array<number>(400_000).fill(-1);
        let end = 0;
        for (const { start, length, offset } of [...ranges].sort((a, b) => a.start - b.start)) {
          const from = Math.max(start, end),
            to = Math.min(start + length, start + bytes.length - offset);
          if (to <= from) continue;
          for (let at = from; at < to; at++) model[at] = bytes[offset + at - start];
          end = to;
        }
        for (const place of places) if (place < model.length - 300) agrees(memory, model, place);
        for (const { start, end: last } of memory.ranges) {
          expect(memory.u8(start)).toBeGreaterThanOrEqual(0);
          expect(memory.u8(last - 1)).toBeGreaterThanOrEqual(0);
        }
      }),
      { numRuns: 60 },
    );
    const memory = new FileMemory(source(noise(10, 1)), [{ start: 0, length: 10, offset: 0 }]);
    expect(() => memory.write(0, new Uint8Array(1))).toThrow(/cannot be written: this memory is a dump/);
    expect([memory.u8(-1), memory.u8(NaN), memory.u32(7), memory.u8(10)]).toEqual([-1, -1, -1, -1]);
  });
});

describe('memory of a saved VM', () => {
  it('has zeros where the VM had RAM of zeros, and holes where it had none', () => {
    const model = new Array<number>(0x9000).fill(-1).fill(0, 0, 0x8000);
    const pieces = [
      { gpa: 0x4000, bytes: noise(0x2000, 2) },
      { gpa: 0x1000, bytes: noise(0x1000, 3) },
    ].map((piece) => ({ ...piece, length: piece.bytes.length }));
    for (const { gpa, bytes } of pieces) bytes.forEach((byte, index) => (model[gpa + index] = byte));
    const memory = new SavedVmMemory({ memory: pieces }, [{ start: 0, end: 0x8000 }]);
    for (const at of [0, 0xffe, 0x1000, 0x1ffc, 0x3ffd, 0x4000, 0x5fff, 0x7ffc, 0x8000]) agrees(memory, model, at);
    expect(memory.size).toBe(0x8000);
  });
});

/** An ELF core with these ranges; `wide` 64-bit. */
function elfCore(ranges: readonly { start: number; bytes: Uint8Array }[], wide: boolean): Uint8Array {
  const size = wide ? 56 : 32,
    headerSize = wide ? 64 : 52;
  let at = headerSize + size * ranges.length;
  const file = new Uint8Array(at + ranges.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 4, true);
  if (wide) view.setBigUint64(32, BigInt(headerSize), true);
  else view.setUint32(28, headerSize, true);
  view.setUint16(wide ? 54 : 42, size, true);
  view.setUint16(wide ? 56 : 44, ranges.length, true);
  ranges.forEach(({ start, bytes }, index) => {
    const header = headerSize + index * size;
    view.setUint32(header, 1, true);
    if (wide)
      [at, 0, start, bytes.length].forEach((value, n) => view.setBigUint64(header + 8 + n * 8, BigInt(value), true));
    else [at, 0, start, bytes.length].forEach((value, n) => view.setUint32(header + 4 + n * 4, value, true));
    file.set(bytes, at);
    at += bytes.length;
  });
  return file;
}

function lime(ranges: readonly { start: number; bytes: Uint8Array }[]): Uint8Array {
  return Uint8Array.from(
    ranges.flatMap(({ start, bytes }) => {
      const header = new DataView(new ArrayBuffer(32));
      header.setUint32(0, 0x4c694d45, true);
      header.setUint32(4, 1, true);
      header.setBigUint64(8, BigInt(start), true);
      header.setBigUint64(16, BigInt(start + bytes.length - 1), true);
      return [...new Uint8Array(header.buffer), ...bytes];
    }),
  );
}

describe('dumps', () => {
  const ranges = [
    { start: 0x1000, bytes: noise(0x3000, 4) },
    { start: 0x8000, bytes: noise(0x1000, 5) },
  ];
  const model = new Array<number>(0xa000).fill(-1);
  for (const { start, bytes } of ranges) bytes.forEach((byte, index) => (model[start + index] = byte));

  it.each([
    ['elf-core', elfCore(ranges, true)],
    ['elf-core', elfCore(ranges, false)],
    ['lime', lime(ranges)],
  ])('%s', (format, file) => {
    const dump = openDump(source(file));
    expect(dump.format).toBe(format);
    expect(dump.memory.ranges).toEqual(ranges.map(({ start, bytes }) => ({ start, end: start + bytes.length })));
    for (const at of [0, 0xfff, 0x1000, 0x3ffe, 0x4000, 0x8000, 0x8ff9]) agrees(dump.memory, model, at);
  });

  it('raw, when it is nothing else', () => {
    const bytes = noise(5000, 6);
    const { format, memory } = openDump(source(bytes));
    expect(format).toBe('raw');
    agrees(memory, [...bytes], 4000);
  });

  it('that are cut have holes at their ends, and those that lie are refused', () => {
    for (const file of [elfCore(ranges, true), elfCore(ranges, false), lime(ranges)]) {
      fc.assert(
        fc.property(
          fc.nat(file.length - 1),
          fc.array(fc.tuple(fc.nat(Math.min(file.length - 1, 300)), fc.nat(255)), { maxLength: 4 }),
          (length, changes) => {
            const bytes = file.slice(0, length);
            for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
            try {
              const { memory } = openDump(source(bytes));
              for (const { start, end } of memory.ranges) {
                expect(memory.u8(start)).toBeGreaterThanOrEqual(0);
                expect(memory.u8(end - 1)).toBeGreaterThanOrEqual(0);
              }
            } catch (error) {
              if (!isVisorkitError(error)) throw error;
              expect(error.message).toMatch(/^The file is no dump that can be read: .*\.$/);
            }
          },
        ),
      );
    }
  });
});
