/** Control registers, MSRs, descriptor tables and I/O with the exits they make (SDM 3A 2.5, 4; SDM 3C 26, 28). */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import { PKRU } from './layout.js';
import { CODE, TSS_BASE, USER_CODE64, le16, le32 } from '../assembly/system/test/bare-guest.js';

import { HLT, fromCr, g, makeBareGuest, primary, rax, resetBareGuest, toCr, wrmsr } from './test-bare.js';

beforeAll(makeBareGuest);
beforeEach(resetBareGuest);

describe('writes that fault', () => {
  test.each<[string, number[]]>([
    ['CR0 with bit 40', [...rax(0x10080010031n), ...toCr(0)]],
    ['CR0.PG without PE', [...rax(0x80000010n), ...toCr(0)]],
    ['CR0.NW without CD', [...rax(0xa0000031n), ...toCr(0)]],
    ['CR0.PG cleared in 64-bit mode', [...rax(0x31n), ...toCr(0)]],
    ['CR3 with bit 60', [...rax(1n << 60n), ...toCr(3)]],
    ['CR4 with a reserved bit', [...rax(0x80000020n), ...toCr(4)]],
    ['CR4.PAE cleared in IA-32e mode', [...rax(0n), ...toCr(4)]],
    ['CR4.LA57 changed in IA-32e mode', [...rax(0x1020n), ...toCr(4)]],
    ['CR4.PCIDE with a PCID in CR3', [...rax(0x40008n), ...toCr(3), ...rax(0x20020n), ...toCr(4)]],
    ['CR8 above 15', [...rax(16n), 0x44, 0x0f, 0x22, 0xc0]],
    ['DR7 above 32 bits', [...rax(1n << 32n), 0x0f, 0x23, 0xf8]],
    ['EFER.LME cleared with paging', wrmsr(0xc0000080, 0x401n)],
    ['EFER with a reserved bit', wrmsr(0xc0000080, 0x503n)],
    ['FS base that is not canonical', wrmsr(0xc0000100, 1n << 63n)],
    ['LSTAR that is not canonical', wrmsr(0xc0000082, 1n << 62n)],
    ['PAT with type 2', wrmsr(0x277, 2n)],
    ['MTRR default type 2', wrmsr(0x2ff, 2n)],
    ['TSC_AUX above 32 bits', wrmsr(0xc0000103, 1n << 32n)],
  ])('%s', (_, code) => {
    const stop = g.run([...code, HLT]);
    expect([stop.vector, stop.stack[0]]).toEqual([13, 0]);
  });
  test('MOV CR1 is undefined; so is DR4 with CR4.DE', () => {
    expect(g.run(fromCr(1)).vector).toBe(6);
    g.longMode();
    g.engine.cr4 = 0x28n;
    expect(g.run([0x0f, 0x21, 0xe0]).vector).toBe(6);
  });
});

describe('IA32_MISC_ENABLE (SDM 4, table 2-2)', () => {
  const rdmsr = (index: number): number[] => [0xb9, ...le32(index), 0x0f, 0x32];
  test('BTS and PEBS are unavailable, whatever is written', () => {
    g.run([...wrmsr(0x1a0, 0x40001n), ...rdmsr(0x1a0), HLT]);
    expect(g.engine.getRegister(0)).toBe(0x41801n);
  });
  test.each<[string, number[]]>([
    ['MONITOR', [0x0f, 0x01, 0xc8]],
    ['MWAIT', [0x0f, 0x01, 0xc9]],
  ])('%s is undefined without bit 18', (_, code) => {
    const clear = [0x48, 0xc7, 0xc0, ...le32(0x8000), 0x31, 0xc9]; // mov rax, 8000H; xor ecx, ecx
    expect(g.run([...clear, ...code, HLT]).vector).toBe(-1);
    g.longMode();
    expect(g.run([...wrmsr(0x1a0, 1n), ...clear, ...code, HLT]).vector).toBe(6);
  });
  test('EFER.NXE is reserved with bit 34', () => {
    expect(g.run([...wrmsr(0xc0000080, 0xd01n), HLT]).vector).toBe(-1);
    g.longMode();
    expect(g.run([...wrmsr(0x1a0, (1n << 34n) | 0x41801n), ...wrmsr(0xc0000080, 0xd01n), HLT]).vector).toBe(13);
  });
});

describe('prefixes that are part of an opcode (SDM 2A 2.1.1, table A-4)', () => {
  test.each<[string, number[]]>([
    ['RDSEED with F2', [0xf2, 0x0f, 0xc7, 0xf8]],
    ['RDSEED with 66 and F2', [0x66, 0xf2, 0x0f, 0xc7, 0xf8]],
    ['RDRAND with F3', [0xf3, 0x0f, 0xc7, 0xf0]],
    ['INVPCID with F2 behind 66', [0x66, 0xf2, 0x0f, 0x38, 0x82, 0x08]],
    ['INVPCID with F3 before 66', [0xf3, 0x66, 0x0f, 0x38, 0x82, 0x08]],
    ['INVEPT with F2', [0x66, 0xf2, 0x0f, 0x38, 0x80, 0x08]],
    ['INVVPID with F3', [0x66, 0xf3, 0x0f, 0x38, 0x81, 0x08]],
    ['VMCALL with F3', [0xf3, 0x0f, 0x01, 0xc1]],
    ['VMLAUNCH with 66', [0x66, 0x0f, 0x01, 0xc2]],
    ['VMRESUME with F2', [0xf2, 0x0f, 0x01, 0xc3]],
    ['VMXOFF with F3', [0xf3, 0x0f, 0x01, 0xc4]],
    ['F2 0F C7 /6', [0xf2, 0x0f, 0xc7, 0x30]],
    ['66 F2 0F C7 /6', [0x66, 0xf2, 0x0f, 0xc7, 0x30]],
    ['66 F3 0F C7 /6 is VMXON', [0x66, 0xf3, 0x0f, 0xc7, 0x30]],
    ['VMPTRST with 66', [0x66, 0x0f, 0xc7, 0x38]],
    ['VMPTRST with F3', [0xf3, 0x0f, 0xc7, 0x38]],
  ])('%s is undefined', (_, code) => {
    const stop = g.run([0x48, 0xc7, 0xc0, ...le32(0x8000), 0x31, 0xc9, ...code, HLT]);
    expect([stop.vector, stop.reason]).toEqual([6, 12]);
  });
  test.each<[string, number[], number]>([
    ['VMCALL', [0x0f, 0x01, 0xc1], 18],
    ['VMPTRLD', [0x0f, 0xc7, 0x30], 21],
    ['VMCLEAR', [0x66, 0x0f, 0xc7, 0x30], 19],
    ['VMPTRST', [0x0f, 0xc7, 0x38], 22],
  ])('%s without them exits', (_, code, reason) => {
    expect(g.run([0x48, 0xc7, 0xc0, ...le32(0x8000), ...code, HLT]).reason).toBe(reason);
  });
  test('a VEX instruction that is undefined for its prefixes is as long as it would be', () => {
    // CS and 67 segment and address overrides, VPERM-like map 3 with an immediate: 16 bytes are #GP before they are #UD
    const code = [0x2e, 0xf2, 0x66, 0x67, 0xf2, 0xc4, 0x41, 0x53, 0xc4, 0xac, 0x3b, 0xf7, 0x00, 0x00, 0x00, 0x00];
    expect(g.run([...code, HLT]).vector).toBe(13);
    g.longMode();
    expect(g.run([...code.slice(1), HLT]).vector).toBe(6);
  });
  test('XGETBV with ECX = 1 tells what XSAVEC would save (SDM 1 13.6)', () => {
    g.engine.cr4 |= 1n << 18n;
    g.engine.xcr0 = 7n;
    const xgetbv = [0xdb, 0xe3, 0xb9, 1, 0, 0, 0, 0x0f, 0x01, 0xd0]; // fninit; mov ecx, 1; xgetbv
    g.run([...xgetbv, HLT]);
    expect(g.engine.getRegister(0)).toBe(0n);
    g.longMode();
    g.engine.cr4 |= (1n << 18n) | (1n << 9n);
    g.engine.xcr0 = 7n;
    g.run([0x66, 0x0f, 0x76, 0xc0, ...xgetbv, HLT]); // pcmpeqd xmm0, xmm0
    expect(g.engine.getRegister(0)).toBe(2n);
  });
});

describe('protection keys for user pages (SDM 3A 5.6.2, 5.7)', () => {
  test.each<[string, bigint, number, number]>([
    ['a key that disables access, and a page that is read-only too', 0x200005n, 0x10, 0x27],
    ['a key that disables writes', 0x200007n, 0x20, 0x27],
    ['a read-only page with a key that allows all', 0x200005n, 0xc, 7],
  ])('%s', (_, entry, pkru, error) => {
    g.engine.cr4 |= 1n << 22n;
    g.write64(0x42008, entry | 0x80n | (2n << 59n));
    g.engine.words[PKRU >>> 2] = pkru;
    const stop = g.user([0xc6, 0x04, 0x25, ...le32(0x200000), 1], 2, USER_CODE64);
    g.engine.words[PKRU >>> 2] = 0;
    expect([stop.vector, stop.stack[0]]).toEqual([14, error]);
  });
});

describe('protection keys for supervisor pages (SDM 3A 5.6.2)', () => {
  /** Makes 200000H a supervisor page with key 2, writes IA32_PKRS, then stores there. */
  const store = (pkrs: bigint, cr0: bigint): number => {
    const directory = 0x42000;
    g.write64(directory + 8, 0x200083n | (2n << 59n));
    g.engine.cr4 |= 1n << 24n;
    g.engine.cr0 = cr0;
    return g.run([...wrmsr(0x6e1, pkrs), 0xc6, 0x04, 0x25, ...le32(0x200000), 1, HLT]).vector;
  };
  test.each<[string, bigint, bigint, number]>([
    ['access disabled', 0x10n, 0x80000031n, 14],
    ['write disabled with CR0.WP', 0x20n, 0x80010031n, 14],
    ['write disabled without', 0x20n, 0x80000031n, -1],
    ['another key', 0xffcfn, 0x80010031n, -1],
  ])('%s', (_, pkrs, cr0, vector) => expect(store(pkrs, cr0)).toBe(vector));
  test('the error code has bit 5, and CR4.PKS off means no key', () => {
    g.longMode();
    g.write64(0x42008, 0x200083n | (2n << 59n));
    g.engine.cr4 |= 1n << 24n;
    expect(g.run([...wrmsr(0x6e1, 0x10n), 0x8a, 0x04, 0x25, ...le32(0x200000), HLT]).stack[0]).toBe(0x21);
    expect(g.run(wrmsr(0x6e1, 1n << 32n)).vector).toBe(13);
    g.longMode();
    g.write64(0x42008, 0x200083n | (2n << 59n));
    expect(g.run([...wrmsr(0x6e1, 0x10n), 0x8a, 0x04, 0x25, ...le32(0x200000), HLT]).vector).toBe(-1);
  });
});

describe('INVPCID', () => {
  test('an individual address must be canonical for the widest paging the processor has, whatever CR4.LA57 says', () => {
    const invpcid = [0x31, 0xc0, 0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, ...le32(0x9000), HLT]; // INVPCID EAX=0, [9000H]
    g.write64(0x9008, 0xffaaaaaaaaaaaaaan);
    expect(g.run(invpcid).vector).toBe(-1);
    g.write64(0x9008, 0xaaaaaaaaaaaaaaaan);
    expect(g.run(invpcid).vector).toBe(13);
  });
});

describe('control-register exits', () => {
  test('a host-owned bit that would differ from its shadow', () => {
    const { vmcs } = g.engine;
    vmcs.write64(F.CR0_MASK, 0x20n);
    vmcs.write64(F.CR0_READ_SHADOW, 0n);
    expect(g.run([0x48, ...fromCr(0), 0x48, 0x89, 0xc3, ...toCr(0), 0x0c, 0x20, ...toCr(0)]).reason).toBe(28); // the second one
    expect(Number(g.engine.getRegister(3)) & 0x20).toBe(0);
    expect([Number(g.engine.rip), vmcs.read32(F.EXIT_QUALIFICATION)]).toEqual([CODE + 12, 0]);
    expect(Number(g.engine.cr0) & 0x20).toBe(0x20);
  });
  test('CR3 loads: qualification and target values', () => {
    primary(15);
    const { vmcs } = g.engine;
    vmcs.write32(F.CR3_TARGET_COUNT, 1);
    vmcs.write64(F.CR3_TARGET_0, 0x40000n);
    expect(g.run([...rax(0x40000n), ...toCr(3), 0x48, 0x8d, 0xb0, ...le32(0x1000), 0x0f, 0x22, 0xde]).reason).toBe(28);
    expect([Number(g.engine.rip), vmcs.read32(F.EXIT_QUALIFICATION)]).toEqual([CODE + 20, 3 | (6 << 8)]);
    vmcs.write32(F.CR3_TARGET_COUNT, 0);
  });
  test('LMSW with a memory operand', () => {
    g.engine.vmcs.write64(F.CR0_MASK, 8n);
    g.write32(0x9000, 8);
    expect(g.run([0x0f, 0x01, 0x34, 0x25, ...le32(0x9000)]).reason).toBe(28);
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe((3 << 4) | (1 << 6) | (8 << 16));
    expect(g.engine.vmcs.read32(F.GUEST_LINEAR_ADDRESS)).toBe(0x9000);
  });
  test('MOV DR: general detect comes after the exit, the exit after #UD', () => {
    primary(23);
    g.engine.setDebugRegister(7, 0x2400n);
    expect(g.run([0x0f, 0x21, 0xc3]).reason).toBe(29);
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe((1 << 4) | (3 << 8));
  });
});

describe('MSRs', () => {
  test('the bitmap decides; what the processor does not keep exits anyway', () => {
    expect(g.run([0xb9, ...le32(0x277), 0x0f, 0x32, HLT]).reason).toBe(12);
    expect(g.engine.getRegister32(2)).toBe(0x00070406);
    expect(g.run([0xb9, ...le32(0x1b), 0x0f, 0x32]).reason).toBe(31);
    expect(g.run(wrmsr(0x8b, 0n)).reason).toBe(32);
    const bitmap = Number(g.engine.vmcs.read64(F.MSR_BITMAP));
    g.engine.bytes[bitmap + (0x277 >>> 3)] |= 1 << 7;
    expect(g.run([0xb9, ...le32(0x277), 0x0f, 0x32]).reason).toBe(31);
    g.engine.bytes[bitmap + (0x277 >>> 3)] = 0;
  });
  test('at CPL 3 the fault comes before the exit', () => {
    expect(g.user([0xb9, ...le32(0x1b), 0x0f, 0x32], 2, USER_CODE64).vector).toBe(13);
  });
  test('a write of the TSC moves IA32_TSC_ADJUST', () => {
    const adjust = g.engine.readMsr(0x3b) ?? 0n;
    expect(g.run([...wrmsr(0x10, 0x100000000n), 0x0f, 0x31, HLT]).reason).toBe(12);
    expect([g.engine.getRegister32(2), g.engine.getRegister32(0)]).toEqual([1, 1]);
    expect(g.engine.readMsr(0x3b)).not.toBe(adjust);
  });
});

describe('I/O', () => {
  test.each<[string, number[], number]>([
    ['IN AL, imm8', [0xe4, 0x60], 0 | (1 << 3) | (1 << 6) | (0x60 << 16)],
    ['OUT DX, EAX', [0x66, 0xba, ...le16(0xcf8), 0xef], 3 | (0xcf8 << 16)],
    ['OUT DX, AX', [0x66, 0xba, ...le16(0x3f8), 0x66, 0xef], 1 | (0x3f8 << 16)],
    [
      'REP INSW',
      [0x66, 0xba, ...le16(0x1f0), 0xb9, 1, 0, 0, 0, 0xbf, ...le32(0x9000), 0xf3, 0x66, 0x6d],
      1 | (1 << 3) | (1 << 4) | (1 << 5) | (0x1f0 << 16),
    ],
  ])('%s', (_, code, qualification) => {
    expect(g.run(code).reason).toBe(30);
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(qualification);
    if (qualification & 16)
      expect([g.engine.vmcs.read32(F.GUEST_LINEAR_ADDRESS), g.engine.vmcs.read32(F.EXIT_INSTRUCTION_INFO)]).toEqual([
        0x9000,
        2 << 7,
      ]);
  });
  test('REP INS with a count of 0 does nothing', () => {
    expect(g.run([0x31, 0xc9, 0xf3, 0x6c, HLT]).reason).toBe(12);
  });
  test('the permission bitmap of the TSS', () => {
    expect(g.user([0xe4, 0x60], 2, USER_CODE64).reason).toBe(30); // bitmap at 104, all clear
    g.longMode();
    g.engine.memory.writeU8(TSS_BASE + 104 + 12, 1);
    expect(g.user([0xe4, 0x60], 2, USER_CODE64).vector).toBe(13);
    g.longMode();
    g.write32(TSS_BASE + 100, 0xfff0 << 16);
    expect(g.user([0xe4, 0x60], 2, USER_CODE64).vector).toBe(13);
    g.longMode();
    g.write32(TSS_BASE + 100, 0xfff0 << 16);
    expect(g.user([0xe4, 0x60], 0x3002, USER_CODE64).reason).toBe(30);
  });
});

describe('instructions that leave', () => {
  test.each<[string, number[], number]>([
    ['CPUID', [0x0f, 0xa2], 10],
    ['HLT', [HLT], 12],
    ['INVD', [0x0f, 0x08], 13],
    ['VMCALL', [0x0f, 0x01, 0xc1], 18],
    ['VMLAUNCH', [0x0f, 0x01, 0xc2], 20],
    ['VMPTRLD', [0x0f, 0xc7, 0x34, 0x25, ...le32(0x9000)], 21],
    ['VMREAD', [0x0f, 0x78, 0xd8], 23],
  ])('%s', (_, code, reason) => {
    expect(g.run(code)).toMatchObject({ reason, rip: CODE });
    expect(g.engine.vmcs.read32(F.EXIT_INSTRUCTION_LENGTH)).toBe(code.length);
  });
  test('VMREAD [RBX+RCX*4+0x10], RDX: displacement and instruction information', () => {
    expect(g.run([0x0f, 0x78, 0x54, 0x8b, 0x10]).reason).toBe(23);
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(0x10);
    expect(g.engine.vmcs.read32(F.EXIT_INSTRUCTION_INFO)).toBe(
      (2 | (2 << 7) | (3 << 15) | (1 << 18) | (3 << 23) | (2 << 28)) >>> 0,
    );
  });
  test('LGDT with descriptor-table exiting, RIP-relative', () => {
    g.engine.vmcs.write32(F.SECONDARY_CONTROLS, 0x108a | 4);
    expect(g.run([0x0f, 0x01, 0x15, ...le32(0x100)]).reason).toBe(46);
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(CODE + 7 + 0x100);
    expect(g.engine.vmcs.read32(F.EXIT_INSTRUCTION_INFO) & 0x30000000).toBe(2 << 28);
  });
  test('CR4.UMIP keeps SIDT, SMSW and STR from user mode', () => {
    for (const code of [
      [0x0f, 0x01, 0x0c, 0x24],
      [0x0f, 0x01, 0xe0],
      [0x0f, 0x00, 0xc8],
    ]) {
      g.longMode();
      g.engine.cr4 |= 0x800n;
      expect(g.user(code, 2, USER_CODE64).vector).toBe(13);
    }
  });
});
