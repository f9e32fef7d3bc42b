/** Gates, returns and fast system calls in IA-32e mode (SDM 2; SDM 3A 6.14, 5.8). */
import { VmcsField } from '@visorkit/x86';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { processorCpuid } from './cpuid.js';
import { MSR_CSTAR, MSR_FMASK, MSR_LSTAR, MSR_STAR } from './layout.js';
import {
  BareGuest,
  CODE,
  HANDLERS,
  INNER_STACK,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  TSS_BASE,
  USER_CODE64,
  USER_DATA,
  USER_STACK,
  le16,
  le32,
} from '../assembly/system/test/bare-guest.js';

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});
beforeEach(() => {
  g.longMode();
});

const NONCANONICAL = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80]; // MOV RAX, 1 << 63
const UNDEFINED = [0x0f, 0x0b];
const push = (...values: number[]): number[] => values.flatMap((v) => [0x68, ...le32(v)]);

describe('gates', () => {
  test('the stack is aligned and SS:RSP is always pushed', () => {
    const stop = g.run([0x48, 0x83, 0xec, 3, 0xcd, 0x40]); // SUB RSP, 3
    expect([stop.vector, ...stop.stack.slice(0, 5)]).toEqual([
      0x40,
      CODE + 6,
      KERNEL_CODE,
      expect.any(Number),
      STACK - 3,
      KERNEL_DATA,
    ]);
    expect(g.engine.getRegister32(4)).toBe(((STACK - 3) & ~15) - 40);
  });
  test('the interrupt stack table is used at any level', () => {
    g.write64(TSS_BASE + 36, 0x38008n);
    g.gate(0x40, KERNEL_CODE, HANDLERS + 0x400, 0x8e, 1);
    g.run([0xcd, 0x40]);
    expect(g.engine.getRegister32(4)).toBe(0x38000 - 40);
  });
  test('a change of level loads a null SS with RPL = CPL', () => {
    g.gate(0x40, KERNEL_CODE, HANDLERS + 0x400, 0xee);
    const stop = g.user([0xcd, 0x40], 2, USER_CODE64);
    expect([stop.vector, ...stop.stack.slice(0, 5)]).toEqual([
      0x40,
      CODE + 0x1002,
      USER_CODE64,
      2,
      USER_STACK,
      USER_DATA,
    ]);
    expect([g.engine.getSegment(2).selector, g.cpl, g.engine.getRegister32(4)]).toEqual([0, 0, INNER_STACK - 40]);
  });
  test.each<[string, () => void, number, number]>([
    ['a 32-bit code segment', () => g.gate(0x40, g.define(0, 0xffffffff, 0xc09b), HANDLERS, 0x8e), 13, 0x48],
    ['a gate not present', () => g.gate(0x40, KERNEL_CODE, HANDLERS, 0x0e), 11, 0x202],
    ['a 32-bit gate type', () => g.gate(0x40, KERNEL_CODE, HANDLERS, 0x85), 13, 0x202],
    ['a handler that is not canonical', () => g.write32(0x2000 + 0x408, 0x12345678), 13, 0],
    [
      'a stack pointer that is not canonical',
      () => {
        g.write64(TSS_BASE + 36, 1n << 63n);
        g.gate(0x40, KERNEL_CODE, HANDLERS, 0x8e, 1);
      },
      12,
      0,
    ],
  ])('%s', (_, prepare, vector, error) => {
    prepare();
    const stop = g.run([0xcd, 0x40]);
    expect([stop.vector, stop.stack[0], stop.stack[1]]).toEqual([vector, error, CODE]);
  });
  test('a 64-bit call gate pushes 8-byte values and copies nothing', () => {
    const gate = g.defineGate(KERNEL_CODE, HANDLERS, 0xec);
    g.code([0, 0, 0, 0, ...le16(gate | 3)], 0x9f00);
    const stop = g.user([0xff, 0x1c, 0x25, ...le32(0x9f00)], 2, USER_CODE64);
    expect([stop.vector, ...stop.stack.slice(0, 4)]).toEqual([0, CODE + 0x1007, USER_CODE64, USER_STACK, USER_DATA]);
  });
});

describe('addresses that are not canonical', () => {
  /** Each form with its address in RAX, which goes to RDI, RSI and RBX too. */
  const forms: readonly [string, number[]][] = [
    ['a load', [0x8b, 0x00]],
    ['a store', [0x89, 0x00]],
    ['an addition to memory', [0x01, 0x00]],
    ['MOVSB', [0xa4]],
    ['STOSB', [0xaa]],
    ['REP MOVSQ', [0xf3, 0x48, 0xa5]],
    ['LODSB', [0xac]],
    ['XLAT', [0x30, 0xc0, 0xd7]],
    ['BT', [0x31, 0xc9, 0x0f, 0xa3, 0x08]],
    ['FXSAVE', [0x0f, 0xae, 0x00]],
    ['FNSTENV', [0xd9, 0x30]],
    ['FRSTOR', [0xdd, 0x20]],
    ['MASKMOVDQU', [0x66, 0x0f, 0xf7, 0xc0]],
    ['PUSH', [0xff, 0x30]],
    ['CMPXCHG8B', [0x0f, 0xc7, 0x08]],
    ['LGDT', [0x0f, 0x01, 0x10]],
    ['far JMP', [0xff, 0x28]],
  ];
  const addresses = [
    '8000000000000000',
    '8000000000000001',
    '7fffffffffffffff',
    '0000800000000001',
    'ffff7ffffffffff8',
  ] as const;
  test.each(addresses.flatMap((address) => forms.map(([form, code]) => [form, address, code] as const)))(
    '%s at %s',
    (form, address, code) => {
      g.run(UNDEFINED); // leaves another vector behind
      g.longMode();
      g.engine.cr4 |= 0x200n; // OSFXSR
      g.engine.setRegister(1, 3n);
      const load = [0x48, 0xb8, ...Buffer.from(address, 'hex').reverse()];
      // PCMPEQD XMM0, XMM0: MASKMOVDQU writes all bytes; MOV RDI, RAX; MOV RSI, RAX; MOV RBX, RAX
      const stop = g.run([
        0x66,
        0x0f,
        0x76,
        0xc0,
        ...load,
        0x48,
        0x89,
        0xc7,
        0x48,
        0x89,
        0xc6,
        0x48,
        0x89,
        0xc3,
        ...code,
        ...UNDEFINED,
      ]);
      const misaligned = form === 'FXSAVE' && BigInt(`0x${address}`) % 16n !== 0n; // #GP too
      expect([stop.vector, stop.stack[0], misaligned || stop.stack[1]]).toEqual([
        13,
        0,
        misaligned || expect.any(Number),
      ]);
    },
  );
});

describe('returns', () => {
  test.each<[string, () => number[], number, number]>([
    [
      'IRET to a RIP that is not canonical',
      () => [...push(KERNEL_DATA, STACK, 2, KERNEL_CODE), ...NONCANONICAL, 0x50, 0x48, 0xcf],
      13,
      0,
    ],
    [
      'IRET with SS of another level',
      () => [...push(USER_DATA, STACK, 2, KERNEL_CODE, CODE), 0x48, 0xcf],
      13,
      USER_DATA & ~3,
    ],
    ['IRET to CPL 3 with a null SS', () => [...push(3, STACK, 2, USER_CODE64, CODE), 0x48, 0xcf], 13, 0],
    [
      'IRET to code with L and D',
      () => [...push(KERNEL_DATA, STACK, 2, g.define(0, 0xffffffff, 0xe09b), CODE), 0x48, 0xcf],
      13,
      0x48,
    ],
    ['IRET with NT', () => [0x9c, 0x81, 0x0c, 0x24, ...le32(0x4000), 0x9d, 0x48, 0xcf], 13, 0],
    ['RET near to an address that is not canonical', () => [...NONCANONICAL, 0x50, 0xc3], 13, 0],
    ['a load from an address that is not canonical', () => [...NONCANONICAL, 0x8b, 0x00], 13, 0],
    ['a load through RBP that is not canonical', () => [...NONCANONICAL, 0x48, 0x89, 0xc5, 0x8b, 0x45, 0], 12, 0],
  ])('%s', (_, code, vector, error) => {
    const stop = g.run(code());
    expect([stop.vector, stop.stack[0]]).toEqual([vector, error]);
  });
  test('IRET at CPL 0 may load a null SS', () => {
    expect(g.run([...push(0, STACK - 64, 2, KERNEL_CODE, HANDLERS), 0x48, 0xcf])).toMatchObject({ vector: 0 });
    expect([g.engine.getSegment(2).accessRights, g.engine.getRegister32(4)]).toEqual([0x10000, STACK - 64]);
  });
  test('IRET ends blocking by NMI even when it faults', () => {
    g.engine.interruptibility = 8;
    expect(g.run([...push(KERNEL_DATA, STACK, 2, 0, CODE), 0x48, 0xcf]).vector).toBe(13);
    expect(g.engine.interruptibility & 8).toBe(0);
  });
});

describe('returns to an outer level', () => {
  test('a data segment it must not see becomes null, and the base behind it stays', () => {
    g.gate(0x40, KERNEL_CODE, HANDLERS + 0x400, 0xee);
    g.write32(0x9010, 0x12345678);
    g.engine.setSegment(5, { selector: KERNEL_DATA, base: 0x9000n, limit: 0xffffffff, accessRights: 0xc093 });
    const stop = g.user([0x65, 0x8b, 0x04, 0x25, ...le32(0x10), 0xcd, 0x40], 2, USER_CODE64); // MOV EAX, GS:[10H]
    expect([
      stop.vector,
      g.engine.getRegister32(0),
      g.engine.getSegment(5).selector,
      g.engine.getSegment(5).base,
    ]).toEqual([0x40, 0x12345678, 0, 0x9000n]);
  });
});

describe('SYSCALL and SYSRET', () => {
  const star = (): void => {
    g.engine.longs[MSR_STAR >>> 3] = (0x18n << 48n) | (0x08n << 32n);
    g.engine.longs[MSR_LSTAR >>> 3] = BigInt(HANDLERS + 0x900);
    g.engine.longs[MSR_FMASK >>> 3] = 0x4700n;
  };
  test('SYSCALL from user mode', () => {
    star();
    g.engine.efer |= 1n;
    const stop = g.user([0x0f, 0x05], 0x202, USER_CODE64);
    expect(stop.vector).toBe(0x90);
    expect([g.engine.getRegister32(1), g.engine.getRegister32(11), g.engine.rflags]).toEqual([CODE + 0x1002, 0x202, 2]);
    expect([g.engine.getSegment(1).selector, g.engine.getSegment(2).selector, g.cpl]).toEqual([0x08, 0x10, 0]);
  });
  test('without EFER.SCE it is undefined', () => {
    star();
    g.engine.efer &= ~1n;
    expect(g.run([0x0f, 0x05]).vector).toBe(6);
  });
  test('from compatibility mode it is undefined on Intel processors, and goes to CSTAR on AMD ones', () => {
    star();
    g.engine.efer |= 1n;
    expect(g.user([0x0f, 0x05]).vector).toBe(6);
    g.longMode();
    star();
    g.engine.longs[MSR_CSTAR >>> 3] = BigInt(HANDLERS + 0x910);
    g.engine.efer |= 1n;
    g.engine.setCpuid(processorCpuid(undefined, { vendor: 'amd' }));
    const stop = g.user([0x0f, 0x05], 0x202);
    expect([
      stop.vector,
      g.engine.getRegister32(1),
      g.engine.getRegister32(11),
      g.engine.getSegment(1).selector,
      g.cpl,
    ]).toEqual([0x91, CODE + 0x1002, 0x202, 8, 0]);
    expect(g.run([0x0f, 0x34]).vector).toBe(6); // SYSENTER
    g.engine.setCpuid(processorCpuid());
  });
  test('SYSRET to an address that is not canonical faults at CPL 0', () => {
    star();
    g.engine.efer |= 1n;
    expect(g.run([...NONCANONICAL, 0x48, 0x89, 0xc1, 0x48, 0x0f, 0x07]).vector).toBe(13);
    expect(g.cpl).toBe(0);
  });
  test('SYSRET to 64-bit code', () => {
    star();
    g.engine.efer |= 1n;
    g.gate(0x40, KERNEL_CODE, HANDLERS + 0x400, 0xee);
    g.code([0xcd, 0x40], 0x9000);
    const stop = g.run([0xb9, ...le32(0x9000), 0x41, 0xbb, ...le32(0x202), 0x48, 0x0f, 0x07]);
    expect([stop.vector, stop.stack[1], stop.stack[2], stop.stack[4]]).toEqual([0x40, 0x2b, 0x202, 0x23]);
  });
});

describe("AMD's processors (APM 3)", () => {
  const SYSRET64 = [0x48, 0x0f, 0x07],
    SYSRET32 = [0x0f, 0x07];
  beforeEach(() => {
    g.engine.setCpuid(processorCpuid(undefined, { vendor: 'amd' }));
    g.engine.efer |= 1n;
    g.gate(0x40, KERNEL_CODE, HANDLERS + 0x400, 0xee);
    g.code([0xcd, 0x40], 0x9000);
  });
  afterEach(() => g.engine.setCpuid(processorCpuid()));
  const star = (selector: number): void => {
    g.engine.longs[MSR_STAR >>> 3] = BigInt(selector) << 48n;
  };
  const sysret = (code: number[], flags = 2): number[] => [0xb9, ...le32(0x9000), 0x41, 0xbb, ...le32(flags), ...code];

  test.each<[string, number, number[], number, number]>([
    ['64-bit, RPL 0 in STAR', 0x18, SYSRET64, 0x2b, 0x20],
    ['64-bit, RPL 3 in STAR', 0x1b, SYSRET64, 0x2b, 0x23],
    ['32-bit, RPL 0 in STAR', 0x18, SYSRET32, 0x1b, 0x20],
  ])('SYSRET takes SS as it is in STAR: %s', (_, selector, code, cs, ss) => {
    star(selector);
    const stop = g.run(sysret(code));
    expect([stop.vector, stop.stack[1], stop.stack[4]]).toEqual([0x40, cs, ss]);
  });
  test('SYSRET keeps the hidden part of SS', () => {
    star(0x1b);
    const nullStack = [0x31, 0xc0, 0x8e, 0xd0]; // MOV SS, 0
    g.code([0x0f, 0x0b], 0x9000);
    g.engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 1 << 6);
    expect(g.run([...nullStack, ...sysret(SYSRET32)]).reason).toBe(0);
    expect(g.engine.getSegment(2)).toMatchObject({ selector: 0x23, accessRights: 0x10060 });
  });
  test('SYSRET does not look at RCX: an address that is not canonical faults at the fetch, at CPL 3', () => {
    star(0x1b);
    g.engine.vmcs.write32(VmcsField.EXCEPTION_BITMAP, 1 << 13);
    const code = [0x48, 0xb9, ...le32(0), ...le32(0x8000), 0x41, 0xbb, ...le32(2), ...SYSRET64];
    expect(g.run(code).reason).toBe(0);
    expect([g.engine.rip, g.cpl, g.engine.vmcs.read32(VmcsField.EXIT_INTERRUPTION_ERROR_CODE)]).toEqual([
      0x8000_0000_0000n,
      3,
      0,
    ]);
  });
  test('REX.W does not widen far pointers in memory', () => {
    g.write64(0x9100, BigInt(KERNEL_DATA) << 32n);
    g.write32(0x9100, 0x12345678);
    g.run([0x48, 0x0f, 0xb2, 0x04, 0x25, ...le32(0x9100), 0xf4]); // LSS RAX
    expect([g.engine.getRegister(0), g.engine.getSegment(2).selector]).toEqual([0x12345678n, KERNEL_DATA]);
  });
  test('a 32-bit push of a segment register writes four bytes', () => {
    g.protectedMode();
    g.engine.setCpuid(processorCpuid(undefined, { vendor: 'amd' }));
    g.write32(STACK - 4, 0xffffffff);
    g.run([0x1e, 0xf4]); // PUSH DS
    expect(g.read32(STACK - 4)).toBe(KERNEL_DATA);
    g.engine.setCpuid(processorCpuid());
    g.protectedMode();
    g.write32(STACK - 4, 0xffffffff);
    g.run([0x1e, 0xf4]);
    expect(g.read32(STACK - 4)).toBe(0xffff0000 + KERNEL_DATA);
  });
});
