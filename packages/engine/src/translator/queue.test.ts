/** Blocks wait for others before they are translated: what may happen meanwhile. */
import { VmcsField } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { Engine } from '../engine.js';
import { ARENA, ARENA_BYTES, ARENA_NEXT, TIER_QUEUED, TIER_QUEUE_ENTRIES } from '../layout.js';
import { writeIdentityTables, writeValidVmcs } from '../testing.js';
import type { TranslatorOptions } from './options.js';

const CODE = 0x1_0000;
const AC = 1 << 18;
const LOOP = [0xff, 0xc0, 0xeb, 0xfc]; // INC EAX; JMP to it

async function machine(translate: TranslatorOptions): Promise<Engine> {
  const engine = await Engine.create({ memoryBytes: 4 << 20, translate });
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  return engine;
}

function run(engine: Engine, rip: number, instructions: number, flags = 0): void {
  engine.rip = BigInt(rip);
  engine.rflags = 2 | flags;
  engine.setDeadline(engine.retired + instructions);
  engine.enter();
}

describe('the queue of hot blocks', () => {
  it('has a region use the TLB table that its block became hot with', async () => {
    const engine = await machine({ threshold: 100, batch: 2 });
    engine.memory.write(CODE, Uint8Array.from(LOOP));
    engine.memory.write(CODE + 0x1000, Uint8Array.from(LOOP));
    run(engine, CODE, 300, AC);
    run(engine, CODE + 0x1000, 300);
    expect(engine.translator?.figures.regions).toBe(2);
    const before = engine.translator!.retired;
    run(engine, CODE, 1000, AC);
    expect(engine.translator!.retired - before).toBeGreaterThan(900);
  });

  it('makes a region again, for any table, when its block is hot under another one too', async () => {
    const engine = await machine({ threshold: 100, batch: 1 });
    engine.memory.write(CODE, Uint8Array.from(LOOP));
    run(engine, CODE, 300);
    expect(engine.translator?.figures.regions).toBe(1);
    run(engine, CODE, 300, AC);
    expect(engine.translator?.figures.regions).toBe(2);
    for (const flags of [AC, 0, AC]) {
      const before = engine.translator!.retired,
        sum = engine.getRegister32(0);
      run(engine, CODE, 1000, flags);
      expect(engine.translator!.retired - before).toBeGreaterThan(900);
      expect(engine.getRegister32(0) - sum).toBe(500);
    }
    expect(engine.translator?.figures.regions).toBe(2);
  });

  it('waits for a module to be full only as long as that costs less than a module', async () => {
    const engine = await machine({ threshold: 100, batch: 8 });
    engine.memory.write(CODE, Uint8Array.from(LOOP));
    run(engine, CODE, 2 * 700);
    expect(engine.translator).toBeUndefined();
    run(engine, CODE, 2 * 300);
    expect(engine.translator?.figures.modules).toBe(1);
  });

  it('has a block in the middle of another region of its module wait whether it is needed still', async () => {
    const engine = await machine({ threshold: 100, batch: 8 });
    const begin = (times: number): void => {
      for (let n = 0; n < times; n++) run(engine, CODE + 2, 2);
    };
    engine.memory.write(CODE, Uint8Array.from([0xff, 0xc0, 0xff, 0xc0, 0xeb, 0xfa])); // INC EAX; INC EAX; JMP to the first
    run(engine, CODE, 3 * 110);
    begin(110);
    expect(engine.words[TIER_QUEUED >>> 2]).toBe(2);
    run(engine, CODE, 3 * 1000);
    expect(engine.translator?.figures).toMatchObject({ modules: 1, regions: 1, refused: 0 });
    begin(2000);
    expect(engine.translator?.figures).toMatchObject({ modules: 2, regions: 2, refused: 0 });
  });

  it('takes no more than it has room for while the arena is nearly full', async () => {
    const engine = await machine({ threshold: 2, batch: TIER_QUEUE_ENTRIES }),
      blocks = 4 * TIER_QUEUE_ENTRIES + 50;
    // each in a line of its own: INC EAX; JMP to the next
    for (let n = 0; n < blocks; n++) engine.memory.write(CODE + n * 8, Uint8Array.from([0xff, 0xc0, 0xeb, 4]));
    engine.memory.write(CODE + blocks * 8, Uint8Array.from([0xe9, 0, 0, 0, 0]));
    engine.memory.writeU32(CODE + blocks * 8 + 1, -(blocks * 8 + 5) >>> 0);
    run(engine, CODE, blocks * 2);
    engine.words[ARENA_NEXT >>> 2] = ARENA + ARENA_BYTES - 0x3000;
    run(engine, CODE, blocks * 10);
    expect(engine.words[TIER_QUEUED >>> 2]).toBe(TIER_QUEUE_ENTRIES);
    expect(engine.getRegister32(0)).toBeGreaterThan(blocks);
  });
});
