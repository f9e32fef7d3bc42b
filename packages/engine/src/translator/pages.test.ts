/** Regions with code in several pages: they hold for as long as those pages are where they were and have the code that they had. */
import { VmcsField, eptPointer } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { le32 } from '../../assembly/system/test/bare-guest.js';
import { Engine } from '../engine.js';
import { regionsLeft, writeIdentityTables, writeValidVmcs } from '../testing.js';
import { OWN_STATE, writeControls } from '../vmcs-setup.js';

const HLT = 0xf4;
/** Pages of 4 KiB at 1 GiB: the loop, the function that it calls, and one to put in its place; then where they lie. */
const LINEAR = 0x4000_0000,
  TABLE = 0x4_4000,
  LOOP = 0x10_0000,
  FUNCTION = 0x10_1000,
  OTHER = 0x10_2000;
const [PRESENT, ACCESSED] = [7n, 0x20n];
/** Rounds of the loop. Its region is made at the 20th and made again, with the function, at 20 * 40. */
const ROUNDS = 20_000;
const THRESHOLD = 20;
const EPT_ACCESSED_DIRTY = 0x40n;

/** MOV ECX, ROUNDS; CALL the next page; DEC ECX; JNZ to the CALL; HLT. */
const loop = (at = 0): number[] => [
  0xb9,
  ...le32(ROUNDS),
  0xe8,
  ...le32(0x1000 - at - 10),
  0xff,
  0xc9,
  0x75,
  0xf7,
  HLT,
];
/** ADD EAX, n; RET. */
const adds = (n: number): number[] => [0x83, 0xc0, n, 0xc3];

async function machine(translates: boolean, eptFlags = false): Promise<Engine> {
  const engine = await Engine.create({
    memoryBytes: 4 << 20,
    ...(translates ? { translate: { threshold: THRESHOLD, batch: 1 } } : {}),
  });
  const { memory } = engine;
  writeIdentityTables(engine);
  const ept = writeValidVmcs(engine);
  if (eptFlags) engine.vmcs.write64(VmcsField.EPT_POINTER, eptPointer(ept.root) | EPT_ACCESSED_DIRTY);
  engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 0xffff_ffff);
  memory.writeU64(0x2008, 0x4_3007n);
  memory.writeU64(0x4_3000, BigInt(TABLE) | PRESENT);
  map(engine, 0, LOOP);
  map(engine, 1, FUNCTION);
  memory.write(LOOP, Uint8Array.from(loop()));
  memory.write(FUNCTION, Uint8Array.from(adds(1)));
  memory.write(OTHER, Uint8Array.from(adds(3)));
  engine.setRegister32(4, 0x3_0000);
  engine.rflags = 2;
  engine.rip = BigInt(LINEAR);
  return engine;
}
function map(engine: Engine, page: number, gpa: number): void {
  engine.memory.writeU64(TABLE + page * 8, BigInt(gpa) | PRESENT);
}
/** Both run `instructions`, then `change` is made, then both run to HLT. */
async function changed(
  instructions: number,
  change: (engine: Engine) => void,
  { eptFlags = false } = {},
): Promise<Engine> {
  const engines = [await machine(false, eptFlags), await machine(true, eptFlags)] as const;
  for (const engine of engines) {
    engine.setDeadline(instructions);
    engine.enter();
    change(engine);
    engine.setDeadline(Number.MAX_SAFE_INTEGER);
    engine.enter();
  }
  const [plain, translated] = engines;
  expect([translated.rip, translated.rflags, translated.retired]).toEqual([plain.rip, plain.rflags, plain.retired]);
  expect([0, 1, 4].map((n) => translated.getRegister(n))).toEqual([0, 1, 4].map((n) => plain.getRegister(n)));
  expect(translated.memory.read(TABLE, 32)).toEqual(plain.memory.read(TABLE, 32));
  return translated;
}

/** Of the loop: one MOV, then CALL, ADD, RET, DEC and JNZ in each round. */
const HALF = 1 + 5 * (ROUNDS / 2);

describe('a region with code in several pages', () => {
  it('need not be left', async () => {
    const engine = await changed(1, () => {});
    expect(engine.getRegister32(0)).toBe(ROUNDS);
    // one with the loop in it is left for its length's sake, and before that two go to and fro
    expect(regionsLeft(engine)).toBeLessThan(THRESHOLD * 10);
    expect(engine.translator!.retired).toBeGreaterThan(5 * ROUNDS * 0.98);
  });

  it('is not entered when one of them is mapped elsewhere', async () => {
    const engine = await changed(HALF, (of) => {
      map(of, 1, OTHER);
      of.flushTranslations();
    });
    expect(engine.getRegister32(0)).toBe(ROUNDS / 2 + 3 * (ROUNDS / 2));
  });

  it('is not entered when code in one of them has been overwritten', async () => {
    const engine = await changed(HALF, (of) => of.memory.write(FUNCTION, Uint8Array.from(adds(5))));
    expect(engine.getRegister32(0)).toBe(ROUNDS / 2 + 5 * (ROUNDS / 2));
  });

  it.each([false, true])(
    'sets no accessed flag that the code would not set, and misses none (flags of EPT too: %s)',
    async (eptFlags) => {
      const engine = await changed(
        HALF,
        (of) => {
          of.memory.writeU64(TABLE + 8, of.memory.readU64(TABLE + 8) & ~ACCESSED);
          // the loop goes on without a call
          of.memory.write(LOOP + 5, Uint8Array.of(0x90, 0x90, 0x90, 0x90, 0x90));
          of.flushTranslations();
        },
        { eptFlags },
      );
      expect(engine.memory.readU64(TABLE + 8) & ACCESSED).toBe(0n);
      const again = await changed(
        HALF,
        (of) => {
          of.memory.writeU64(TABLE + 8, of.memory.readU64(TABLE + 8) & ~ACCESSED);
          of.flushTranslations();
        },
        { eptFlags },
      );
      expect(regionsLeft(again)).toBeLessThan(THRESHOLD * 20);
      expect(again.memory.readU64(TABLE + 8) & ACCESSED).toBe(ACCESSED);
    },
  );

  it('faults where a page is not there any more', async () => {
    const engine = await changed(HALF, (of) => {
      of.memory.writeU64(TABLE + 8, 0n);
      of.flushTranslations();
    });
    expect(engine.rip).toBe(BigInt(LINEAR + 0x1000));
  });

  it('has the instruction that goes on in the next page, and its page fault', async () => {
    const across = async (instructions: number, change: (engine: Engine) => void): Promise<Engine> =>
      await changed(instructions, (of) => {
        // the CALL has one byte in the first page
        of.memory.write(LOOP + 0xffa, Uint8Array.from(loop(0xffa)).subarray(0, 6));
        of.memory.write(FUNCTION, Uint8Array.from([...loop(0xffa - 0x100).slice(6), HLT]));
        of.memory.write(FUNCTION + 0x100, Uint8Array.from(adds(1)));
        of.rip = BigInt(LINEAR + 0xffa);
        of.setDeadline(of.retired + HALF);
        of.enter();
        change(of);
      });
    expect((await across(1, () => {})).getRegister32(0)).toBe(ROUNDS);
    const missing = await across(1, (of) => {
      of.memory.writeU64(TABLE + 8, 0n);
      of.flushTranslations();
    });
    expect(missing.getRegister32(1)).toBe(ROUNDS / 2);
  });
});

describe('32-bit code in a segment that does not begin at 0', () => {
  it('goes on to where its own addresses lead', async () => {
    const [BASE, GDT] = [0x20_0000, 0x6000];
    const descriptor = (base: number): bigint => (BigInt(base) << 16n) | 0x00cf_9b00_0000_ffffn;
    const results: unknown[] = [];
    for (const translates of [false, true]) {
      const engine = await machine(translates),
        { memory } = engine;
      for (let n = 0; n < 4; n++) memory.writeU32(0x8000 + n * 4, (n * 0x40_0000) | 0x87); // pages of 4 MiB
      writeControls(engine.vmcs, 'entry', OWN_STATE.entry);
      engine.cr4 = 0x10n;
      engine.efer = 0n;
      engine.cr3 = 0x8000n;
      memory.writeU64(GDT + 8, descriptor(0));
      memory.writeU64(GDT + 16, descriptor(BASE));
      engine.gdtr = { base: BigInt(GDT), limit: 0x17 };
      engine.setSegment(1, { selector: 0x08, base: 0n, limit: 0xffff_ffff, accessRights: 0xc09b });
      // the same offsets twice: first in a segment that begins at 0, and from there by a far jump in the other
      memory.write(LOOP, Uint8Array.from([...loop().slice(0, -1), 0xea, ...le32(LOOP), 16, 0]));
      memory.write(FUNCTION, Uint8Array.from(adds(1)));
      memory.write(BASE + LOOP, Uint8Array.from(loop()));
      memory.write(BASE + FUNCTION, Uint8Array.from(adds(7)));
      engine.rip = BigInt(LOOP);
      engine.enter();
      results.push([engine.getRegister32(0), engine.retired, engine.rflags, engine.rip]);
      expect(engine.getRegister32(0)).toBe(ROUNDS * 8);
    }
    expect(results[1]).toEqual(results[0]);
  });
});
