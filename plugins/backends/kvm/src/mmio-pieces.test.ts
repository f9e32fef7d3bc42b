/** Memory-mapped accesses in pieces, and what is left of them as plain data. */
import { VmExit } from '@visorkit/core';
import { describe, expect, it } from 'vitest';
import { MmioPieces, sourceOf } from './mmio-pieces.js';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** Carries `count` pieces out, and says what they were. */
function carryOut(pieces: MmioPieces, count = Infinity): string[] {
  const { mmio } = new VmExit();
  const seen: string[] = [];
  while (pieces.pending && count-- > 0) {
    pieces.describe(mmio);
    seen.push(`${mmio.gpa.toString(16)} ${mmio.size} ${(mmio.value >>> 0).toString(16)}`);
    mmio.value = 0xddcc_bbaa;
    pieces.complete(mmio);
  }
  return seen;
}

describe('an access to memory', () => {
  it('is handed out in pieces of 1, 2, 4 and 8 bytes', () => {
    const pieces = new MmioPieces();
    pieces.start(sourceOf(bytes(1, 2, 3, 4, 5, 6, 7)), 0x1000, 7, true);
    expect(carryOut(pieces)).toEqual(['1000 4 4030201', '1004 2 605', '1006 1 7']);
    const read = new Uint8Array(3);
    pieces.start(sourceOf(read), 0x2000, 3, false);
    expect(carryOut(pieces)).toEqual(['2000 2 0', '2002 1 0']);
    expect([...read]).toEqual([0xaa, 0xbb, 0xaa]);
  });

  it('that is a read goes on where it stood', () => {
    const pieces = new MmioPieces();
    pieces.start(sourceOf(new Uint8Array(8)), 0x1000, 7, false, 4);
    expect([pieces.done, pieces.writes()]).toEqual([4, []]);
    expect(carryOut(pieces)).toEqual(['1004 2 0', '1006 1 0']);
  });

  it('that is a write leaves what has not been carried out, and others after it', () => {
    const pieces = new MmioPieces();
    pieces.startWrites([
      { gpa: 0x1ffd, data: bytes(1, 2, 3) },
      { gpa: 0x2000, data: bytes(4, 5) },
    ]);
    expect(carryOut(pieces, 1)).toEqual(['1ffd 2 201']);
    const left = pieces.writes();
    expect(left).toEqual([
      { gpa: 0x1fff, data: bytes(3) },
      { gpa: 0x2000, data: bytes(4, 5) },
    ]);
    const others = new MmioPieces();
    others.startWrites(left);
    expect(carryOut(others)).toEqual(carryOut(pieces));
    expect([others.pending, others.writes()]).toEqual([false, []]);
  });

  it('is forgotten with all that was to follow', () => {
    const pieces = new MmioPieces();
    pieces.startWrites([
      { gpa: 0, data: bytes(1) },
      { gpa: 4, data: bytes(2) },
    ]);
    pieces.drop();
    pieces.start(sourceOf(bytes(3)), 8, 1, true);
    expect(carryOut(pieces)).toEqual(['8 1 3']);
  });
});
