/** Guest memory in an array, and the memory map. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VisorkitError } from '@visorkit/core';
import {
  ArrayGuestMemory,
  HIGH_RAM_START,
  LOW_RAM_END,
  MemoryMap,
  MemoryType,
  e820Entries,
  layoutMemory,
  ramFrom,
} from './index.js';

const size = 4096;

describe('ArrayGuestMemory', () => {
  it('behaves as an array of bytes, little endian, and tells of every write', () => {
    const access = fc.record({
      gpa: fc.integer({ min: 0, max: size - 1 }),
      width: fc.constantFrom(1, 2, 4, 8),
      value: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
        const memory = new ArrayGuestMemory(size, new SharedArrayBuffer(size + 32), 32);
        const model = new Uint8Array(size);
        const told: [number, number][] = [];
        memory.onWrite((gpa, length) => told.push([gpa, length]));
        const made: [number, number][] = [];
        for (const { gpa, width, value } of accesses) {
          if (gpa + width > size) {
            expect(() => memory.writeU64(size - 7, 0n)).toThrow(VisorkitError);
            continue;
          }
          if (width === 1) memory.writeU8(gpa, Number(value & 0xffn));
          else if (width === 2) memory.writeU16(gpa, Number(value & 0xffffn));
          else if (width === 4) memory.writeU32(gpa, Number(value & 0xffff_ffffn));
          else memory.writeU64(gpa, value);
          made.push([gpa, width]);
          for (let i = 0; i < width; i++) model[gpa + i] = Number((value >> BigInt(8 * i)) & 0xffn);
          const read =
            width === 1
              ? memory.readU8(gpa)
              : width === 2
                ? memory.readU16(gpa)
                : width === 4
                  ? memory.readU32(gpa)
                  : memory.readU64(gpa);
          expect(BigInt(read)).toBe(BigInt.asUintN(8 * width, value));
        }
        expect(Buffer.compare(memory.read(0, size), model)).toBe(0);
        expect(told).toEqual(made);
      }),
    );
  });

  it('takes late content when somebody needs it, a piece at a time, and is no different then', () => {
    const base = 3 * 4096;
    const pages = 16;
    const content = (page: number): Uint8Array => new Uint8Array(4096).fill(page + 1);
    const step = fc.record({
      kind: fc.constantFrom('read', 'write', 'fill', 'bring', 'all'),
      gpa: fc.nat(pages * 4096 - 1),
      length: fc.integer({ min: 1, max: 9000 }),
    });
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(pages / 2 - 1)), fc.array(step, { maxLength: 20 }), (chosen, steps) => {
        const buffer = new SharedArrayBuffer(base + pages * 4096);
        const bits = new Uint8Array(8);
        const memory = new ArrayGuestMemory(pages * 4096, buffer, base, bits);
        const model = new Uint8Array(pages * 4096);
        const asked: number[] = [];
        memory.restore(
          chosen.map((pair) => ({
            gpa: pair * 8192,
            length: 8192,
            get bytes() {
              asked.push(pair);
              return Uint8Array.from([...content(2 * pair), ...content(2 * pair + 1)]);
            },
          })),
        );
        for (const pair of chosen) model.set([...content(2 * pair), ...content(2 * pair + 1)], pair * 8192);
        expect(asked).toEqual([]);
        for (const { kind, gpa, length: wanted } of steps) {
          const length = Math.min(wanted, pages * 4096 - gpa);
          if (kind === 'read')
            expect(Buffer.compare(memory.read(gpa, length), model.subarray(gpa, gpa + length))).toBe(0);
          else if (kind === 'bring') memory.bring(base + gpa, length);
          else if (kind === 'all') expect(memory.buffer).toBe(buffer);
          else {
            if (kind === 'write') memory.write(gpa, new Uint8Array(length).fill(0xee));
            else memory.fill(gpa, length, 0xee);
            model.fill(0xee, gpa, gpa + length);
          }
          // What the processor sees: pages whose bit is clear are as they should be
          const seen = new Uint8Array(buffer, base);
          for (let page = 0; page < pages; page++) {
            const late = (bits[(page + 3) >> 3] >> ((page + 3) & 7)) & 1;
            const at = page * 4096;
            if (late === 0) expect(Buffer.compare(seen.subarray(at, at + 4096), model.subarray(at, at + 4096))).toBe(0);
          }
        }
        expect(Buffer.compare(memory.read(0, pages * 4096), model)).toBe(0);
        expect([...asked].sort()).toEqual([...chosen].sort());
      }),
    );
  });

  it('keeps content outstanding that could not be read', () => {
    const memory = new ArrayGuestMemory(8192, undefined, 0, new Uint8Array(1));
    let broken = true;
    memory.restore([
      {
        gpa: 4096,
        length: 4096,
        get bytes() {
          if (broken) throw new Error('the disk is gone');
          return new Uint8Array(4096).fill(7);
        },
      },
    ]);
    expect(() => memory.readU8(5000)).toThrow('the disk is gone');
    expect(() => memory.buffer).toThrow('the disk is gone');
    expect(memory.readU8(4095)).toBe(0);
    broken = false;
    expect(memory.readU8(5000)).toBe(7);
  });

  it('refuses every access that is not wholly RAM', () => {
    const memory = new ArrayGuestMemory(size);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.integer({ min: -10, max: size + 10 }),
          fc.double(),
          fc.constantFrom(LOW_RAM_END, HIGH_RAM_START, 2 ** 52, -1),
        ),
        fc.integer({ min: 0, max: 20 }),
        (gpa, length) => {
          const inside = Number.isInteger(gpa) && gpa >= 0 && gpa + length <= size;
          if (inside) expect(memory.read(gpa, length)).toHaveLength(length);
          else
            expect(() => memory.read(gpa, length)).toThrow(
              expect.objectContaining({ code: 'GUEST_MEMORY_RANGE' }) as Error,
            );
        },
      ),
    );
  });

  it('copies, fills and reads into', () => {
    const memory = new ArrayGuestMemory(size);
    memory.write(10, Uint8Array.of(1, 2, 3));
    const copy = memory.read(10, 3);
    memory.fill(11, 2, 0xee);
    expect([...copy]).toEqual([1, 2, 3]);
    const target = new Uint8Array(4);
    memory.readInto(9, target);
    expect([...target]).toEqual([0, 1, 0xee, 0xee]);
  });

  it('puts what is beyond 3 GiB at 4 GiB', () => {
    expect(layoutMemory(LOW_RAM_END + 8192, 4096)).toEqual([
      { gpa: 0, size: LOW_RAM_END, hostOffset: 4096 },
      { gpa: HIGH_RAM_START, size: 8192, hostOffset: 4096 + LOW_RAM_END },
    ]);
    expect(layoutMemory(4096)).toEqual([{ gpa: 0, size: 4096, hostOffset: 0 }]);
    expect(() => layoutMemory(100)).toThrow('whole 4096-byte pages');
    expect(() => new ArrayGuestMemory(8192, new ArrayBuffer(4096))).toThrow(VisorkitError);
  });
});

describe('MemoryMap', () => {
  it('gives sorted entries without overlaps in which the last word counts', () => {
    const reservation = fc.record({
      gpa: fc.integer({ min: 0, max: 40 }),
      size: fc.integer({ min: 0, max: 20 }),
      type: fc.constantFrom(2, 3, 4),
    });
    fc.assert(
      fc.property(fc.array(reservation, { maxLength: 8 }), (reservations) => {
        const map = new MemoryMap([{ gpa: 0, size: 32, hostOffset: 0 }]);
        const model = new Array<number>(64).fill(0).fill(MemoryType.RAM, 0, 32);
        for (const { gpa, size: length, type } of reservations) {
          map.reserve(gpa, length, type);
          model.fill(type, gpa, gpa + length);
        }
        const entries = map.entries();
        const seen = new Array<number>(64).fill(0);
        for (let i = 0; i < entries.length; i++) {
          const { gpa, size: length, type } = entries[i];
          expect(seen.slice(gpa, gpa + length).every((t) => t === 0)).toBe(true);
          seen.fill(type, gpa, gpa + length);
          const previous = entries[i - 1];
          if (previous)
            expect(
              previous.gpa + previous.size < gpa || (previous.gpa + previous.size === gpa && previous.type !== type),
            ).toBe(true);
        }
        expect(seen).toEqual(model);
      }),
    );
  });
});

describe('entries of a memory map', () => {
  it('are written as E820 has them: address, length, type, little endian', () => {
    const entry = { gpa: 0x1_0000_0000, size: 0x1000, type: 2 };
    const bytes = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
    expect([...e820Entries([entry, entry])]).toEqual([...bytes, ...bytes]);
    expect([...e820Entries([entry, entry], 24)]).toEqual([...bytes, 0, 0, 0, 0, ...bytes, 0, 0, 0, 0]);
  });

  it('say how much RAM there is from an address on, up to the first gap', () => {
    const entries = [
      { gpa: 0, size: 0x9fc00, type: MemoryType.RAM },
      { gpa: 0x9fc00, size: 0x400, type: MemoryType.RESERVED },
      { gpa: 0x100000, size: 0x300000, type: MemoryType.RAM },
    ];
    expect([0, 0x1000, 0x9fc00, 0x100000, 0x3fffff, 0x400000].map((start) => ramFrom(entries, start))).toEqual([
      0x9fc00, 0x9ec00, 0, 0x300000, 1, 0,
    ]);
  });
});
