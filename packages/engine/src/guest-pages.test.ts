/** Rights taken from guest-physical pages that the guest is using: one page is invalidated, the others stay translated. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { EptRights, ExitReason, VmcsField, eptPointer } from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';
import { Engine } from './engine.js';
import { COUNTERS } from './layout.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';

const CODE = 0x10000;
const DATA = 0x40000;
/** The last page directory of writeIdentityTables(). */
const DIRECTORY = 0x3000;
/** Linear addresses at which the first 2 MiB of memory are seen too: the first takes other places in the TLB, the second the same. */
const ALIAS = 10 << 20;
const GIB = 1 << 30;
const STRUCTURE = 8;
const HLT = 0xf4;

let engine: Engine;
let ept: EptBuilder;

beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  writeIdentityTables(engine);
  engine.memory.writeU64(DIRECTORY + 5 * 8, 0x87n);
  engine.memory.writeU64(0x2008, BigInt(DIRECTORY) | 7n);
  ept = writeValidVmcs(engine);
});

/** Changes rights, and tells the processor what was lost of them. */
function protect(gpa: number, rights: number): void {
  const { hpa, rights: before } = ept.find(gpa)!;
  ept.protect(gpa, rights);
  const lost = before & ~rights;
  engine.exports.invalidateGuestPage(
    gpa / 4096,
    hpa - (hpa % 4096),
    lost | ((lost & EptRights.READ) !== 0 ? STRUCTURE : 0),
  );
}

const flushes = (): number => engine.words[COUNTERS >>> 2];
const misses = (): number => engine.words[(COUNTERS >>> 2) + 1];

/** Runs code at `at`; the exit reason. */
function run(at: number, ...bytes: number[]): number {
  if (bytes.length !== 0) engine.memory.write(at % GIB < 4 << 20 ? at % GIB : at - ALIAS, Uint8Array.from(bytes));
  engine.rip = BigInt(at);
  return engine.enter();
}
const load = (linear: number): number => {
  engine.setRegister(6, BigInt(linear));
  return run(CODE, 0x8a, 0x06, HLT); // MOV AL, [RSI]
};
const store = (linear: number): number => {
  engine.setRegister(6, BigInt(linear));
  return run(CODE + 16, 0x88, 0x06, HLT); // MOV [RSI], AL
};

describe('one guest-physical page', () => {
  it('is not read any more at any address at which it was', () => {
    for (const linear of [DATA, DATA + ALIAS]) expect(load(linear)).toBe(ExitReason.HLT);
    protect(DATA, EptRights.EXECUTE);
    for (const linear of [DATA, DATA + ALIAS, DATA + GIB]) expect(load(linear)).toBe(ExitReason.EPT_VIOLATION);
    protect(DATA, EptRights.RWX);
    for (const linear of [DATA, DATA + ALIAS, DATA + GIB]) expect(load(linear)).toBe(ExitReason.HLT);
  });

  it('is still read after it has lost the right of writing, without another walk', () => {
    expect(store(DATA)).toBe(ExitReason.HLT);
    expect(load(DATA)).toBe(ExitReason.HLT);
    protect(DATA, EptRights.RX);
    const before = misses();
    expect(load(DATA)).toBe(ExitReason.HLT);
    expect(misses()).toBe(before);
    expect(store(DATA)).toBe(ExitReason.EPT_VIOLATION);
  });

  it('leaves the translations of all others as they are', () => {
    const others = Array.from({ length: 64 }, (_, n) => 0x80000 + n * 4096);
    for (const page of [DATA, ...others]) load(page);
    for (let i = 0; i < 10; i++) {
      protect(DATA, i % 2 === 0 ? EptRights.NONE : EptRights.RWX);
      const before = [flushes(), misses()];
      for (const page of others) expect(load(page)).toBe(ExitReason.HLT);
      expect([flushes(), misses()]).toEqual(before);
    }
  });

  it('runs no more, though its code is decoded and linked', () => {
    const page = 0x50000;
    // MOV ECX, 1000; 1: DEC ECX; JNZ 1b; HLT
    expect(run(page, 0xb9, 0xe8, 0x03, 0, 0, 0xff, 0xc9, 0x75, 0xfc, HLT)).toBe(ExitReason.HLT);
    protect(page, EptRights.RW);
    expect(run(page)).toBe(ExitReason.EPT_VIOLATION);
    expect(engine.vmcs.read32(VmcsField.EXIT_QUALIFICATION)).toBe(0x19c);
    protect(page, EptRights.RWX);
    expect(run(page)).toBe(ExitReason.HLT);
  });

  it('runs no more where only the jump cache still knows the way to it', () => {
    const page = 0x50000;
    expect(run(page, HLT)).toBe(ExitReason.HLT);
    load(page + GIB); // takes its entry of the TLB
    protect(page, EptRights.RW);
    expect(run(page)).toBe(ExitReason.EPT_VIOLATION);
  });

  it('takes with it what it translates, when it is a paging structure', () => {
    expect(load(DATA)).toBe(ExitReason.HLT);
    protect(DIRECTORY, EptRights.NONE);
    expect(load(DATA)).toBe(ExitReason.EPT_VIOLATION);
    expect(engine.vmcs.read64(VmcsField.GUEST_PHYSICAL_ADDRESS) & ~0xfffn).toBe(BigInt(DIRECTORY));
    // a structure no longer: nothing else is dropped
    engine.memory.writeU64(0x2000, 0x4007n);
    for (let i = 0; i < 8; i++) engine.memory.writeU64(0x4000 + i * 8, BigInt(i * 0x200000) | 0x87n);
    engine.flushTranslations();
    expect(load(DATA)).toBe(ExitReason.HLT);
    const before = flushes();
    protect(DIRECTORY, EptRights.RWX);
    protect(DIRECTORY, EptRights.NONE);
    expect(flushes()).toBe(before);
  });

  it('is reported as written once more when its dirty flag was cleared', () => {
    engine.vmcs.write64(VmcsField.EPT_POINTER, eptPointer(ept.root, 6, true));
    protect(DATA, EptRights.RWX); // 4 KiB
    for (let i = 0; i < 5; i++) {
      expect(store(DATA)).toBe(ExitReason.HLT);
      const pages: number[] = [];
      ept.harvest(1 << 9, (gpa) => {
        pages.push(gpa);
        engine.exports.invalidateGuestPage(gpa / 4096, 0, EptRights.WRITE);
      });
      expect(pages).toContain(DATA);
    }
  });

  it('has the rights that it was given last, whatever was done before', () => {
    const page = fc.integer({ min: 0x40, max: 0x47 }),
      linear = fc.record({ page, base: fc.constantFrom(0, ALIAS, GIB) });
    const step = fc.oneof(
      fc.record({ kind: fc.constant('protect' as const), page, rights: fc.constantFrom(0, 1, 3, 4, 5, 7) }),
      fc.record({ kind: fc.constant('access' as const), at: linear, access: fc.constantFrom(1, 2, 4) }),
    );
    for (let n = 0x40; n < 0x48; n++) engine.memory.write(n * 4096, Uint8Array.of(HLT));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        for (const s of steps) {
          if (s.kind === 'protect') {
            protect(s.page * 4096, s.rights);
            continue;
          }
          const at = s.at.base + s.at.page * 4096,
            rights = ept.find(s.at.page * 4096)!.rights;
          const reason = s.access === 1 ? load(at) : s.access === 2 ? store(at + 8) : run(at);
          expect(reason).toBe((rights & s.access) !== 0 ? ExitReason.HLT : ExitReason.EPT_VIOLATION);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('the whole', () => {
  it('is looked up anew after flushTranslations(), EPT and all', () => {
    expect(load(DATA)).toBe(ExitReason.HLT);
    ept.protect(DATA, EptRights.NONE);
    engine.flushTranslations();
    expect(load(DATA)).toBe(ExitReason.EPT_VIOLATION);
  });
});
