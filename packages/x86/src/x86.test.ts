/** Exit qualifications, names, segments and paging against the SDM. */
import { describe, expect, it } from 'vitest';
import { CPUID_FEATURES, cpuidMask } from './cpuid.js';
import * as q from './exit-qualification.js';
import { ExitReason, exitReasonName } from './exit-reasons.js';
import { msrBitmapByte, msrName } from './msr.js';
import { isCanonical, isValidPdpte, pagingMode } from './paging.js';
import { hasErrorCode, interruptionInfo } from './registers.js';
import { encodeDescriptor, encodeGate64 } from './segments.js';
import { CONTROL_TABLES, controlBits, controlNames } from './vmx-controls.js';

describe('exit qualifications', () => {
  it('takes I/O apart', () => {
    const value = 0x03f8_0039; // REP OUTS? no: IN, string, REP, 2 bytes
    expect([q.ioSize(value), q.ioInput(value), q.ioString(value), q.ioRep(value), q.ioPort(value)]).toEqual([
      2,
      true,
      true,
      true,
      0x3f8,
    ]);
  });

  it('takes control-register accesses apart', () => {
    const lmsw = 0xabcd_0030 | 0x40;
    expect([q.crNumber(lmsw), q.crAccess(lmsw), q.crLmswMemory(lmsw), q.crLmswSource(lmsw)]).toEqual([
      0,
      q.CrAccess.LMSW,
      true,
      0xabcd,
    ]);
    expect([q.crNumber(0xf14), q.crAccess(0xf14), q.crRegister(0xf14)]).toEqual([4, q.CrAccess.MOV_FROM, 15]);
  });

  it('takes the rest apart', () => {
    expect([q.drNumber(0x917), q.drRead(0x917), q.drRegister(0x917)]).toEqual([7, true, 9]);
    expect([q.taskSelector(0xc000_0028), q.taskSource(0xc000_0028)]).toEqual([0x28, q.TaskSwitchSource.GATE]);
    const info = interruptionInfo(14, 3, true);
    expect([q.infoValid(info), q.infoHasError(info), q.infoNmiUnblocking(info)]).toEqual([true, true, false]);
  });

  it('takes instruction information apart', () => {
    // 64-bit address, DS
    const info = (2 | (9 << 3) | (2 << 7) | (3 << 15) | (6 << 18)) >>> 0;
    expect([q.infoAddressSize(info), q.infoSegment(info)]).toEqual([8, 3]);
  });
});

describe('names and bits', () => {
  it('names exit reasons', () => {
    expect(exitReasonName(ExitReason.EPT_VIOLATION)).toBe('ept-violation');
    expect(exitReasonName(0x8000_0021)).toBe('entry-failure-guest-state');
    expect(exitReasonName(35)).toBe('reason-35');
  });

  it('turns control names into bits and back', () => {
    for (const table of Object.keys(CONTROL_TABLES) as (keyof typeof CONTROL_TABLES)[]) {
      const names = Object.keys(CONTROL_TABLES[table]);
      expect(controlNames(table, controlBits(table, names))).toEqual(names);
    }
    expect(controlBits('primary', ['activate-secondary-controls'])).toBe(0x8000_0000);
    expect(() => controlBits('pin', ['hlt-exiting'])).toThrow('"hlt-exiting" is not a pin control');
  });

  it('knows which exceptions have error codes', () => {
    expect([...Array(32).keys()].filter(hasErrorCode)).toEqual([8, 10, 11, 12, 13, 14, 17, 21]);
  });

  it('places MSRs in the bitmap', () => {
    expect(msrBitmapByte(0x10, false)).toBe(2);
    expect(msrBitmapByte(0xc0000080, false)).toBe(1024 + 16);
    expect(msrBitmapByte(0xc0000080, true)).toBe(2048 + 1024 + 16);
    expect(msrBitmapByte(0x40000000, false)).toBe(-1);
    expect(msrName(0xc0000082)).toBe('IA32_LSTAR');
    expect(msrName(0x999)).toBe('MSR 0x999');
  });

  it('makes CPUID masks', () => {
    expect(cpuidMask(1, 0, 'edx', ['fpu', 'sse2', 'avx2'])).toBe((1 << 26) | 1);
    expect(() => cpuidMask(1, 0, 'edx', ['warp'])).toThrow('not a CPUID feature');
    expect(CPUID_FEATURES.get('la57')).toEqual({ leaf: 7, subleaf: 0, register: 'ecx', bit: 16 });
  });
});

describe('segments', () => {
  it('encodes descriptors', () => {
    expect(encodeDescriptor({ base: 0, limit: 0xffffffff, accessRights: 0xc09b })).toBe(0x00cf9b000000ffffn);
    expect(encodeDescriptor({ base: 0x12345678, limit: 0xabcde, accessRights: 0x4093 })).toBe(0x124a93345678bcden);
    expect(encodeDescriptor({ base: 1, limit: 0x12345fff, accessRights: 0xc0f3 })).toBe(0x00c1f30000012345n);
    expect(() => encodeDescriptor({ base: 0, limit: 0x100000, accessRights: 0x93 })).toThrow('granularity');
  });

  it('encodes what takes 16 bytes', () => {
    expect(encodeGate64(8, 0x1_2345_6789n, 14, 3, 2)).toEqual([0x2345ee0200086789n, 1n]);
  });
});

describe('paging', () => {
  it('takes entries of a page-directory-pointer table without reserved bits (SDM 3A, table 4-8)', () => {
    expect(isValidPdpte(0x1000n | 1n, 36)).toBe(true);
    expect(isValidPdpte(0x1000n | 0x19n, 36)).toBe(true); // PWT, PCD
    for (const bit of [1, 2, 5, 6, 7, 8, 36, 51, 63]) expect(isValidPdpte(1n | (1n << BigInt(bit)), 36)).toBe(false);
    expect(isValidPdpte(1n | (1n << 36n), 46)).toBe(true);
    expect(isValidPdpte(1n << 63n, 36)).toBe(true); // not present
  });

  it('knows modes and canonical addresses', () => {
    expect(pagingMode(1n, 0n, 0n)).toBe('none');
    expect(pagingMode(0x80000001n, 0x20n, 0x500n)).toBe('4-level');
    expect(pagingMode(0x80000001n, 0x1020n, 0x500n)).toBe('5-level');
    expect(pagingMode(0x80000001n, 0x20n, 0n)).toBe('pae');
    expect(isCanonical(0xffff_8000_0000_0000n)).toBe(true);
    expect(isCanonical(0x8000_0000_0000n)).toBe(false);
    expect(isCanonical(0x8000_0000_0000n, 57)).toBe(true);
  });
});
