/** RAM whose content comes when the processor needs it: by every way there is to a page. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { SavedMemory } from '@visorkit/core';
import { ExitReason } from '@visorkit/x86';
import { Engine } from './engine.js';
import { EPT_CACHE, EPT_CACHE_ENTRIES } from './layout.js';
import { recentPages } from './recent-pages.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';

const PAGE = 4096;
const CODE = 0x10000;
const DATA = 0x40000;
const HLT = 0xf4;

let engine: Engine;
/** Pages that were asked for, in order. */
let asked: number[];
let content: Map<number, Uint8Array>;

/** A page that comes late. */
const late = (gpa: number): SavedMemory => ({
  gpa,
  length: PAGE,
  get bytes() {
    asked.push(gpa);
    return content.get(gpa)!;
  },
});
const page = (...bytes: number[]): Uint8Array => {
  const made = new Uint8Array(PAGE);
  made.set(bytes);
  return made;
};

/** An engine with the tables of a guest and `pages`, all of them late. */
async function make(pages: ReadonlyMap<number, Uint8Array>): Promise<void> {
  const before = await Engine.create({ memoryBytes: 4 << 20 });
  writeIdentityTables(before);
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  content = new Map(pages);
  for (const gpa of [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000]) content.set(gpa, before.memory.read(gpa, PAGE));
  asked = [];
  engine.memory.restore([...content.keys()].map(late));
  writeValidVmcs(engine);
  engine.flushTranslations();
}

function run(at: number): number {
  engine.rip = BigInt(at);
  return engine.enter();
}

describe('late pages', () => {
  beforeEach(() =>
    make(
      new Map([
        [CODE, page(0x8a, 0x06, 0x88, 0x07, HLT)],
        [DATA, page(0x5a)],
        [DATA + PAGE, page(1, 2, 3)],
      ]),
    ),
  );

  it('come for the walk of the tables, for code, for reads and for writes, once each', () => {
    engine.setRegister(6, BigInt(DATA)); // MOV AL, [RSI]; MOV [RDI], AL; HLT
    engine.setRegister(7, BigInt(DATA + PAGE + 1));
    expect(run(CODE)).toBe(ExitReason.HLT);
    expect(asked.slice(0, 3)).toEqual([0x1000, 0x2000, 0x3000]);
    expect(asked.slice(3)).toEqual([CODE, DATA, DATA + PAGE]);
    expect([...engine.memory.read(DATA + PAGE, 4)]).toEqual([1, 0x5a, 3, 0]);
    expect(run(CODE)).toBe(ExitReason.HLT);
    expect(asked).toHaveLength(6);
  });

  it('come for an access that crosses from one to the other, and for who looks from outside', async () => {
    // MOV EAX, [RSI]
    await make(
      new Map([
        [CODE, page(0x8b, 0x06, HLT)],
        [DATA, page()],
        [DATA + PAGE, page(1, 2, 3)],
      ]),
    );
    content.get(DATA)!.set([9], PAGE - 1);
    expect(engine.translate(BigInt(DATA)).gpa).toBe(DATA);
    engine.setRegister(6, BigInt(DATA + PAGE - 1));
    expect(run(CODE)).toBe(ExitReason.HLT);
    expect(engine.getRegister32(0)).toBe(0x03020109);
    expect(new Set(asked).size).toBe(asked.length);
    expect(asked).toContain(DATA + PAGE);
  });

  it('do not change what the guest retires', async () => {
    engine.setRegister(6, BigInt(DATA));
    engine.setRegister(7, BigInt(DATA + PAGE));
    run(CODE);
    const withLate = engine.retired;
    const other = await Engine.create({ memoryBytes: 4 << 20 });
    writeIdentityTables(other);
    for (const [gpa, bytes] of content) other.memory.write(gpa, bytes);
    writeValidVmcs(other);
    other.setRegister(6, BigInt(DATA));
    other.setRegister(7, BigInt(DATA + PAGE));
    other.rip = BigInt(CODE);
    expect(other.enter()).toBe(ExitReason.HLT);
    expect(other.retired).toBe(withLate);
  });

  it('that cannot be read end the run with the reason', () => {
    content.delete(DATA);
    engine.setRegister(6, BigInt(DATA));
    expect(() => run(CODE)).toThrow();
  });

  it('are those that a saved VM will need first', () => {
    engine.setRegister(6, BigInt(DATA));
    engine.setRegister(7, BigInt(DATA + PAGE));
    run(CODE);
    const recent = recentPages(engine);
    for (const gpa of asked) expect(recent).toContain(gpa);
    expect(recent).not.toContain(0x20_0000);
    // the TLB has them still where the cache has others in their places
    engine.words.fill(1, EPT_CACHE >>> 2, (EPT_CACHE >>> 2) + EPT_CACHE_ENTRIES * 4);
    expect(recentPages(engine)).toContain(DATA);
    expect(recentPages(engine)).not.toContain(0x20_0000);
  });
});
