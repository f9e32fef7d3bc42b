/** Searches tell how far they are and where they stop, in this process as in an error. */
import { describe, expect, it } from 'vitest';
import { Bound, FileMemory, Vmi, defineOsProfile, searched } from './index.js';
import { source } from './test-memory.js';

const MIB = 1 << 20;
const memory = (): FileMemory =>
  new FileMemory(source(new Uint8Array(3 * MIB)), [
    { start: 0x1000, length: MIB + 0x1000, offset: 0 },
    { start: 16 * MIB, length: MIB, offset: 2 * MIB },
  ]);

describe('a search', () => {
  it('goes through memory in parts, each of which knows how far it may look on', () => {
    const parts = [...searched(memory(), 'anything')];
    const first = { start: 0x1000, end: MIB + 0x2000 };
    expect(parts).toEqual([
      { start: 0x1000, end: MIB + 0x1000, range: expect.objectContaining(first) as unknown },
      { start: MIB + 0x1000, end: MIB + 0x2000, range: expect.objectContaining(first) as unknown },
      { start: 16 * MIB, end: 17 * MIB, range: expect.objectContaining({ start: 16 * MIB, end: 17 * MIB }) as unknown },
    ]);
  });

  it('tells how far it is', () => {
    const told: unknown[] = [];
    const there = memory();
    there.observer = { progress: (...far) => told.push(far) };
    expect([...searched(there, 'page tables')]).toHaveLength(3);
    const total = 2 * MIB + 0x1000;
    expect(told).toEqual([
      ['page tables', MIB, total],
      ['page tables', MIB + 0x1000, total],
      ['page tables', total, total],
    ]);
  });

  it('says once that it has stopped', () => {
    const told: string[] = [];
    const there = memory();
    there.observer = { stopped: (sentence) => told.push(sentence) };
    const bound = new Bound(there, 'entries of a list', 2);
    expect([bound.take(), bound.take(), bound.take(), bound.take()]).toEqual([true, true, false, false]);
    expect(told).toEqual(['After 2 entries of a list no more are looked at.']);
  });

  it('for a kernel that has stopped is named where none is found, and its observer is told too', () => {
    const told: string[] = [];
    const there = memory();
    there.observer = { stopped: (sentence) => told.push(sentence) };
    const profile = defineOsProfile({
      name: 'none',
      describe: 'nothing',
      reports: {},
      find(at) {
        new Bound(at, 'banners', 0).take();
        return undefined;
      },
    });
    const vmi = new Vmi(there, { profiles: [profile] });
    expect(() => vmi.kernel).toThrow(/looked for: none\. After 0 banners no more are looked at\.$/);
    expect(told).toHaveLength(1);
    new Bound(there, 'pages', 0).take();
    expect(told).toHaveLength(2);
  });
});
