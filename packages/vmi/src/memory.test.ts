/** Physical memory: windows and holes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FileMemory, SavedVmMemory } from './index.js';
import { agrees, noise, source } from './test-memory.js';

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
