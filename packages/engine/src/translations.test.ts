/** Several VMCSs in turn (SDM 3C 25.11.3), and translations by VPID and EPT pointer (29.4). */
import { ExitReason, VMCS_FIELDS, VmcsField as F, controlBits, eptPointer, interruptionInfo } from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';
import { beforeEach, describe, expect, it } from 'vitest';
import { ProcessorBanks } from './banks.js';
import { Engine } from './engine.js';
import { COUNTERS } from './layout.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';
import { ENTER_DEADLINE, ENTER_VMFAIL, NO_REGION, V_LAUNCH_STATE } from './vmcs-layout.js';
import { fieldAddress } from './vmcs.js';

const DATA = 0x50_0000;
const OPERAND_ERROR = 28;
const [CODE_A, CODE_B] = [0x1_0000, 0x2_0000];

let engine: Engine;

/** INC QWORD [DATA + slot * 8]; HLT; JMP back. */
function counter(at: number, slot: number): void {
  engine.memory.write(
    at,
    Uint8Array.from([0x48, 0xff, 0x04, 0x25, slot * 8, 0x00, DATA >>> 16, 0x00, 0xf4, 0xeb, 0xf5]),
  );
}

interface Guest {
  readonly region: number;
  readonly ept: EptBuilder;
  readonly eptp: bigint;
}
/** A VMCS of its own that counts in `slot`, with a hierarchy of its own unless one is given. */
function makeGuest(vpid: number, code: number, slot: number, eptp?: bigint): Guest {
  const region = engine.newVmcsRegion();
  expect(engine.vmptrld(region)).toBe(0);
  const ept = writeValidVmcs(engine);
  if (eptp !== undefined) engine.vmcs.write64(F.EPT_POINTER, eptp);
  engine.vmcs.write32(F.VPID, vpid);
  counter(code, slot);
  engine.rip = BigInt(code);
  return { region, ept, eptp: eptp ?? eptPointer(ept.root) };
}
function run(guest: Guest): void {
  expect(engine.vmptrld(guest.region)).toBe(0);
  expect(engine.enter()).toBe(ExitReason.HLT);
  engine.rip += 1n; // behind HLT, without a check of anything but guest state
}
const count = (slot: number): bigint => engine.memory.readU64(DATA + slot * 8);
/** TLB entries made while `guest` runs once. */
function fills(guest: Guest): number {
  const before = engine.words[(COUNTERS >>> 2) + 1];
  run(guest);
  return engine.words[(COUNTERS >>> 2) + 1] - before;
}

beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 8 << 20 });
  writeIdentityTables(engine);
});

describe('VMCS regions', () => {
  it('let two guests run in turn, each from where it was', () => {
    const a = makeGuest(1, CODE_A, 0),
      b = makeGuest(2, CODE_B, 1);
    for (let turn = 1; turn <= 5; turn++) {
      run(a);
      run(b);
      run(b);
      expect([count(0), count(1)]).toEqual([BigInt(turn), BigInt(2 * turn)]);
    }
    expect(engine.vmptrld(a.region)).toBe(0);
    expect([engine.rip, engine.vmcs.read32(F.VPID)]).toEqual([BigInt(CODE_A + 9), 1]);
    expect(engine.vmptrld(b.region)).toBe(0);
    expect([engine.rip, engine.vmcs.read32(F.VPID)]).toEqual([BigInt(CODE_B + 9), 2]);
  });

  it('hold the VMCS that was there first', () => {
    const first = engine.vmptrst();
    expect(first).not.toBe(NO_REGION);
    writeValidVmcs(engine);
    counter(CODE_A, 0);
    engine.rip = BigInt(CODE_A);
    engine.rflags = 0x246;
    makeGuest(2, CODE_B, 1);
    expect(engine.vmptrst()).not.toBe(first);
    expect(engine.vmptrld(first)).toBe(0);
    expect([engine.rip, engine.rflags]).toEqual([BigInt(CODE_A), 0x246]);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect([count(0), count(1)]).toEqual([1n, 0n]);
  });

  it('keep the launch state of each, until VMCLEAR', () => {
    const a = makeGuest(1, CODE_A, 0),
      b = makeGuest(2, CODE_B, 1);
    const launched = (guest: Guest): number => {
      expect(engine.vmptrld(guest.region)).toBe(0);
      return engine.words[V_LAUNCH_STATE >>> 2];
    };
    run(a);
    expect([launched(b), launched(a)]).toEqual([0, 1]);
    run(b);
    expect([launched(a), launched(b)]).toEqual([1, 1]);
    expect(engine.vmclear(a.region)).toBe(0); // it is not the current one
    expect([engine.vmptrst(), launched(a), launched(b)]).toEqual([b.region, 0, 1]);
    run(a);
    expect([launched(a), count(0)]).toEqual([1, 2n]);
  });

  it('keep an event that waits to be injected, and what the exit reported', () => {
    const a = makeGuest(1, CODE_A, 0),
      b = makeGuest(2, CODE_B, 1);
    run(a);
    engine.vmcs.write32(F.ENTRY_INTERRUPTION_INFO, interruptionInfo(0x31, 0));
    run(b);
    expect(engine.vmptrld(a.region)).toBe(0);
    expect(engine.vmcs.read32(F.ENTRY_INTERRUPTION_INFO)).toBe(interruptionInfo(0x31, 0));
    expect(engine.vmcs.read32(F.EXIT_REASON)).toBe(ExitReason.HLT);
  });

  it('hold every field', () => {
    const a = engine.newVmcsRegion(),
      b = engine.newVmcsRegion();
    const fields = VMCS_FIELDS.filter(({ encoding }) => fieldAddress(encoding) !== -1);
    // what has bits that cannot be written, or that RFLAGS's lazy form changes
    const value = (encoding: number, salt: bigint): bigint => {
      if (encoding === F.GUEST_RFLAGS) return salt === 1n ? 0x246n : 0x86n;
      return BigInt.asUintN(16, BigInt(encoding) * 7n + salt * 0x1357n);
    };
    for (const [region, salt] of [
      [a, 1n],
      [b, 2n],
    ] as const) {
      expect(engine.vmptrld(region)).toBe(0);
      for (const { encoding } of fields) engine.vmcs.write64(encoding, value(encoding, salt));
    }
    for (const [region, salt] of [
      [a, 1n],
      [b, 2n],
      [a, 1n],
    ] as const) {
      expect(engine.vmptrld(region)).toBe(0);
      for (const { encoding, name } of fields)
        expect([name, engine.vmcs.read64(encoding)]).toEqual([name, value(encoding, salt)]);
    }
  });

  it('without a current one, no guest is entered', () => {
    const a = makeGuest(1, CODE_A, 0);
    run(a);
    expect(engine.vmclear(a.region)).toBe(0);
    expect(engine.vmptrst()).toBe(NO_REGION);
    expect(engine.enter()).toBe(ENTER_VMFAIL);
    expect(count(0)).toBe(1n);
    expect(engine.vmptrld(a.region)).toBe(0);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(count(0)).toBe(2n);
  });
});

describe('translations', () => {
  it('of two VPIDs are both kept', () => {
    const a = makeGuest(1, CODE_A, 0),
      b = makeGuest(2, CODE_B, 1);
    expect(fills(a)).toBeGreaterThan(0);
    expect(fills(b)).toBeGreaterThan(0);
    fills(a);
    for (let turn = 0; turn < 4; turn++) expect([fills(a), fills(b)]).toEqual([0, 0]);
  });

  it('without VPIDs are dropped by every entry', () => {
    const a = makeGuest(1, CODE_A, 0);
    engine.vmcs.write32(
      F.SECONDARY_CONTROLS,
      engine.vmcs.read32(F.SECONDARY_CONTROLS) & ~controlBits('secondary', ['enable-vpid']),
    );
    run(a);
    const b = makeGuest(2, CODE_B, 1);
    run(b);
    expect(fills(a)).toBeGreaterThan(0);
    expect(fills(a)).toBeGreaterThan(0);
    run(b);
    expect(fills(b)).toBe(0); // those of a VPID survive entries without one
  });

  it('of two EPT pointers are both kept', () => {
    const a = makeGuest(1, CODE_A, 0),
      other = engine.vmcs.read64(F.EPT_POINTER) | 0x40n; // the same hierarchy with accessed and dirty flags: another pointer
    const through = (eptp: bigint): number => {
      expect(engine.vmptrld(a.region)).toBe(0);
      engine.vmcs.write64(F.EPT_POINTER, eptp);
      return fills(a);
    };
    for (const eptp of [a.eptp, other, a.eptp, other]) through(eptp);
    expect([through(a.eptp), through(other), through(a.eptp)]).toEqual([0, 0, 0]);
  });

  it('are of one address space each: the same linear address, two places', () => {
    const a = makeGuest(1, CODE_A, 0),
      b = makeGuest(2, CODE_A, 0);
    // the second guest's data lie elsewhere
    b.ept.map(DATA, engine.memory.regions[0].hostOffset + DATA + 0x1000, 0x1000);
    engine.invept(1, b.eptp);
    for (let turn = 0; turn < 3; turn++) {
      run(a);
      run(b);
      run(b);
    }
    expect([count(0), engine.memory.readU64(DATA + 0x1000)]).toEqual([3n, 6n]);
  });

  it('are found again by more guests than there are sets', () => {
    const guests = Array.from({ length: 12 }, (_, i) => makeGuest(i + 1, CODE_A + i * 0x1000, i));
    for (let turn = 0; turn < 3; turn++) guests.forEach(run);
    expect(guests.map((_, i) => count(i))).toEqual(guests.map(() => 3n));
  });

  it('see code that another guest has changed', () => {
    const a = makeGuest(1, CODE_A, 0),
      b = makeGuest(2, CODE_B, 1, a.eptp);
    run(a);
    run(b);
    // MOV BYTE [CODE_A + 4], 16: the first guest counts in slot 2 from now on; HLT
    engine.memory.write(CODE_B + 0x100, Uint8Array.from([0xc6, 0x04, 0x25, 4, 0, CODE_A >>> 16, 0, 16, 0xf4]));
    expect(engine.vmptrld(b.region)).toBe(0);
    engine.rip = BigInt(CODE_B + 0x100);
    run(b);
    run(a);
    run(a);
    expect([count(0), count(2)]).toEqual([1n, 2n]);
  });

  it('do not outlive what a register says that all guests share', () => {
    const a = makeGuest(1, CODE_A, 0);
    engine.cr4 = 0x40_0020n; // protection keys
    run(a);
    run(a);
    const b = makeGuest(2, CODE_B, 1);
    engine.cr4 = 0x40_0020n;
    // XOR ECX, ECX; XOR EDX, EDX; MOV EAX, 3; WRPKRU: no data access to pages with key 0; HLT
    const forbid = [0x31, 0xc9, 0x31, 0xd2, 0xb8, 3, 0, 0, 0, 0x0f, 0x01, 0xef, 0xf4];
    engine.memory.write(CODE_B, Uint8Array.from(forbid));
    run(b);
    expect(engine.vmptrld(a.region)).toBe(0);
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 1 << 14);
    engine.enter();
    expect(engine.vmcs.read32(F.EXIT_INTERRUPTION_INFO)).toBe(interruptionInfo(14, 3, true));
    expect(engine.vmcs.read64(F.EXIT_QUALIFICATION)).toBe(BigInt(DATA));
  });

  it('do not hide a data breakpoint that the hypervisor has set', () => {
    const a = makeGuest(1, CODE_A, 0);
    run(a);
    run(a);
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 1 << 1);
    engine.setDebugRegister(0, BigInt(DATA));
    engine.vmcs.write64(F.GUEST_DR7, 0xd_0402n); // breakpoint 0, global: writes, 4 bytes
    engine.enter();
    expect(engine.vmcs.read32(F.EXIT_INTERRUPTION_INFO)).toBe(interruptionInfo(1, 3));
    expect(engine.vmcs.read64(F.EXIT_QUALIFICATION) & 15n).toBe(1n);
    expect(count(0)).toBe(3n); // a trap: the write is done
    engine.vmcs.write64(F.GUEST_DR7, 0x400n);
    run(a);
    run(a);
    expect(count(0)).toBe(4n);
  });
});

describe('INVVPID', () => {
  let a: Guest, b: Guest;
  beforeEach(() => {
    // the page of code is global, that of data is not
    engine.memory.writeU64(0x3000, 0x187n);
    a = makeGuest(1, CODE_A, 0);
    engine.cr4 = 0xa0n;
    b = makeGuest(2, CODE_B, 1);
    engine.cr4 = 0xa0n;
    for (const guest of [a, b, a, b]) run(guest);
    expect([fills(a), fills(b)]).toEqual([0, 0]);
  });

  it('0 drops one page of one VPID', () => {
    expect(engine.invvpid(0, 1, BigInt(DATA))).toBe(0);
    expect([fills(a), fills(b)]).toEqual([1, 0]);
    expect(engine.invvpid(0, 1, 0x1000_0000n)).toBe(0); // not cached
    expect([fills(a), fills(b)]).toEqual([0, 0]);
  });

  it('1 drops one VPID', () => {
    expect(engine.invvpid(1, 2)).toBe(0);
    expect([fills(a), fills(b)]).toEqual([0, 2]);
  });

  it('2 drops all VPIDs', () => {
    expect(engine.invvpid(2)).toBe(0);
    expect([fills(a), fills(b)]).toEqual([2, 2]);
  });

  it('3 leaves the global ones', () => {
    expect(engine.invvpid(3, 1)).toBe(0);
    expect([fills(a), fills(b)]).toEqual([1, 0]);
  });

  it('refuses what is not there', () => {
    expect(engine.invvpid(4, 1)).toBe(OPERAND_ERROR);
    for (const type of [0, 1, 3]) expect(engine.invvpid(type, 0)).toBe(OPERAND_ERROR);
    expect(engine.invvpid(1, 0x1_0000)).toBe(OPERAND_ERROR);
    expect(engine.invvpid(0, 1, 0x0100_0000_0000_0000n)).toBe(OPERAND_ERROR); // not canonical in any paging mode
    expect([fills(a), fills(b)]).toEqual([0, 0]);
  });

  it('is not needed for what the guest itself drops', () => {
    // MOV RAX, CR3; MOV CR3, RAX in the first guest: its own translations, not the second's
    engine.memory.write(CODE_A + 0x100, Uint8Array.from([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xf4]));
    expect(engine.vmptrld(a.region)).toBe(0);
    engine.rip = BigInt(CODE_A + 0x100);
    run(a);
    expect(engine.vmptrld(a.region)).toBe(0);
    engine.rip = BigInt(CODE_A);
    expect([fills(a), fills(b)]).toEqual([1, 0]);
  });
});

describe('INVEPT', () => {
  let a: Guest, b: Guest, c: Guest;
  beforeEach(() => {
    a = makeGuest(1, CODE_A, 0);
    b = makeGuest(2, CODE_B, 1);
    c = makeGuest(3, CODE_B + 0x1000, 2, a.eptp);
    for (const guest of [a, b, c, a, b, c]) run(guest);
    expect([fills(a), fills(b), fills(c)]).toEqual([0, 0, 0]);
  });

  it('1 drops what was made through one hierarchy, whatever the VPID', () => {
    expect(engine.invept(1, a.eptp)).toBe(0);
    expect([fills(a), fills(b), fills(c)]).toEqual([2, 0, 2]);
  });

  it('2 drops what was made through any', () => {
    expect(engine.invept(2)).toBe(0);
    expect([fills(a), fills(b), fills(c)]).toEqual([2, 2, 2]);
  });

  it('makes a change of the hierarchy count', () => {
    b.ept.map(DATA, engine.memory.regions[0].hostOffset + DATA + 0x1000, 0x1000);
    expect(engine.invept(1, b.eptp)).toBe(0);
    const before = count(1);
    run(b);
    run(a);
    expect([count(1), engine.memory.readU64(DATA + 0x1008)]).toEqual([before, 1n]);
  });

  it('refuses what is not there', () => {
    for (const type of [0, 3]) expect(engine.invept(type, a.eptp)).toBe(OPERAND_ERROR);
    expect(engine.invept(1, a.eptp | 0x80n)).toBe(OPERAND_ERROR);
    expect([fills(a), fills(b), fills(c)]).toEqual([0, 0, 0]);
  });
});

describe('processors that take turns', () => {
  it('have translations and a VMCS of their own', () => {
    writeValidVmcs(engine);
    const banks = new ProcessorBanks(engine, 2);
    const regions = new Set<number>();
    [CODE_A, CODE_B].forEach((code, index) => {
      const processor = banks.select(index);
      regions.add(processor.vmptrst());
      counter(code, index);
      processor.rip = BigInt(code);
      // the same linear address leads the second one elsewhere
      if (index === 1) {
        engine.memory.writeU64(0x4000, 0x5007n);
        engine.memory.writeU64(0x5000, 0x6007n);
        engine.memory.writeU64(0x6000, 0x187n);
        engine.memory.writeU64(0x6000 + (DATA >>> 21) * 8, BigInt(DATA & ~0x1f_ffff) | 0x87n);
        processor.cr3 = 0x4000n;
      }
    });
    expect(regions.size).toBe(2);
    const turn = (index: number): number => {
      const processor = banks.select(index),
        before = engine.words[(COUNTERS >>> 2) + 1];
      expect(processor.enter()).toBe(ExitReason.HLT);
      processor.rip += 1n;
      return engine.words[(COUNTERS >>> 2) + 1] - before;
    };
    for (const index of [0, 1, 0, 1]) turn(index);
    expect([turn(0), turn(1), turn(0), turn(1)]).toEqual([0, 0, 0, 0]);
    expect([count(0), count(1)]).toEqual([4n, 4n]);
    expect(engine.invvpid(1, 1)).toBe(0); // processor 1 is in the engine
    expect([turn(0), turn(1)]).toEqual([0, 2]);
    engine.flushTranslations();
    expect([turn(0), turn(1)]).toEqual([2, 2]);
    banks.select(0).setDeadline(engine.retired);
    expect(engine.enter()).toBe(ENTER_DEADLINE);
  });
});
