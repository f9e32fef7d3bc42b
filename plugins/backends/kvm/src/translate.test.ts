/** Address translation by the guest's own page tables. */
import { describe, expect, it } from 'vitest';
import { ArrayGuestMemory, writeIdentityMap } from '@visorkit/machine';
import { translateLinear } from './translate.js';
import type { Access, TranslationState } from './translate.js';

const TABLE = 0x1_0000;
const NXE = 0x800n,
  LONG = 0x500n;
const PG_WP = 0x8001_0001n;

function walker(
  state: Partial<TranslationState>,
  entries: Readonly<Record<number, bigint>>,
  wide = true,
): {
  memory: ArrayGuestMemory;
  walk: (linear: bigint, access?: Access, changes?: Partial<TranslationState>) => [number, number, number];
} {
  const memory = new ArrayGuestMemory(1 << 20);
  for (const [at, entry] of Object.entries(entries)) {
    if (wide) memory.writeU64(Number(at), entry);
    else memory.writeU32(Number(at), Number(entry));
  }
  return {
    memory,
    walk: (linear, access = 'probe', changes = {}) => {
      const fault = { vector: 0, errorCode: 0, linear: 0n };
      const gpa = translateLinear(
        { cr0: PG_WP, cr3: BigInt(TABLE), cr4: 0x20n, efer: LONG, user: false, rflags: 0, ...state, ...changes },
        memory,
        linear,
        access,
        fault,
      );
      return [gpa, fault.vector, fault.errorCode];
    },
  };
}

describe('4-level paging', () => {
  // 40000000H: a table with 6000H writable, 7000H read-only and user, absent, 8000H no-execute
  const { memory, walk } = walker(
    {},
    {
      [TABLE]: 0x1_1007n,
      0x1_1000: 0x1_2007n,
      0x1_1008: 0x1_3007n,
      0x1_3000: 0x1_4007n,
      0x1_4000: 0x6003n,
      0x1_4008: 0x7005n,
      0x1_4010: 0n,
      0x1_4018: 0x8000_0000_0000_8003n,
      0x1_2000: 0x20_0083n,
    },
  );

  it('finds pages of 4 KiB and 2 MiB', () => {
    expect(walk(0x4000_0123n)).toEqual([0x6123, 0, 0]);
    expect(walk(0x12_3456n)).toEqual([0x32_3456, 0, 0]);
  });

  it('a probe changes nothing, an access sets flags', () => {
    expect(memory.readU64(0x1_4000)).toBe(0x6003n);
    walk(0x4000_0000n, 'read');
    expect([memory.readU64(TABLE), memory.readU64(0x1_4000)]).toEqual([0x1_1027n, 0x6023n]);
    walk(0x4000_0000n, 'write');
    expect(memory.readU64(0x1_4000)).toBe(0x6063n);
  });

  it('faults with the error code of the access', () => {
    expect(walk(0x4000_2000n, 'read')).toEqual([-1, 14, 0]);
    expect(walk(0x4000_2000n, 'write', { user: true })).toEqual([-1, 14, 6]);
    expect(walk(0x4000_1000n, 'write')).toEqual([-1, 14, 3]);
    expect(walk(0x4000_1000n, 'write', { cr0: 0x8000_0001n })).toEqual([0x7000, 0, 0]);
    expect(walk(0x4000_0000n, 'read', { user: true })).toEqual([-1, 14, 5]);
    expect(walk(0x4000_3000n, 'execute', { efer: LONG | NXE })).toEqual([-1, 14, 0x11]);
    expect(walk(0x4000_3000n, 'read', { efer: LONG | NXE })).toEqual([0x8000, 0, 0]);
  });

  it('SMEP and SMAP keep the supervisor from pages of the user', () => {
    expect(walk(0x4000_1000n, 'execute', { cr4: 0x20n | (1n << 20n) })).toEqual([-1, 14, 0x11]);
    expect(walk(0x4000_1000n, 'read', { cr4: 0x20n | (1n << 21n) })).toEqual([-1, 14, 1]);
    expect(walk(0x4000_1000n, 'read', { cr4: 0x20n | (1n << 21n), rflags: 1 << 18 })).toEqual([0x7000, 0, 0]);
  });

  it('#GP for what is not canonical; tables outside RAM are no fault of the guest', () => {
    expect(walk(0x8000_0000_0000n)).toEqual([-1, 13, 0]);
    expect(walk(0n, 'read', { cr3: 0x4000_0000n })).toEqual([-1, 0, 0]);
  });

  it('goes over a whole identity map', () => {
    const map = new ArrayGuestMemory(1 << 20),
      fault = { vector: 0, errorCode: 0, linear: 0n };
    writeIdentityMap(map, TABLE);
    for (const linear of [0n, 0x1f_ffffn, 0xfee0_0010n, 0xffff_ffffn]) {
      expect(
        translateLinear(
          { cr0: PG_WP, cr3: BigInt(TABLE), cr4: 0x20n, efer: LONG, user: false, rflags: 0 },
          map,
          linear,
          'probe',
          fault,
        ),
      ).toBe(Number(linear));
    }
  });
});

it('PAE and 32-bit paging', () => {
  const pae = walker({ efer: 0n }, { [TABLE + 8]: 0x1_1001n, 0x1_1000: 0x1_2003n, 0x1_2008: 0x9003n });
  expect(pae.walk(0x4000_1abcn)).toEqual([0x9abc, 0, 0]);
  expect(pae.walk(0x8000_0000n, 'read')).toEqual([-1, 14, 0]);
  const legacy = walker(
    { efer: 0n, cr4: 0x10n },
    { [TABLE + 4]: 0x1_1003n, 0x1_1004: 0xa003n, [TABLE + 8]: 0x40_0083n },
    false,
  );
  expect(legacy.walk(0x40_1defn, 'write')).toEqual([0xadef, 0, 0]);
  expect(legacy.walk(0x80_1234n)).toEqual([0x40_1234, 0, 0]);
  expect(legacy.memory.readU32(0x1_1004)).toBe(0xa063);
});

it('without paging addresses are physical', () => {
  expect(walker({ cr0: 1n }, {}).walk(0x1_2345_6789n)).toEqual([0x2345_6789, 0, 0]);
});
