/** Segmentation, gates and exceptions in protected and real-address mode, after SDM 2 and 3A chapters 5 to 7. */
import { beforeAll, describe, expect, test } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import {
  BareGuest,
  CODE,
  HANDLERS,
  INNER_STACK,
  KERNEL_CODE,
  KERNEL_DATA,
  STACK,
  TSS,
  TSS_BASE,
  USER_CODE,
  USER_DATA,
  USER_STACK,
  le16,
  le32,
} from '../assembly/system/test/bare-guest.js';

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});

const RF = 0x10000;
/** MOV AX, selector; MOV Sreg, AX. */
const load = (segment: number, selector: number): number[] => [
  0x66,
  0xb8,
  ...le16(selector),
  0x8e,
  0xc0 | (segment << 3),
];
const ES = 0,
  SS = 2,
  DS = 3;
const farJump = (selector: number, offset = 0): number[] => [0xea, ...le32(offset), ...le16(selector)];
const farCall = (selector: number, offset = 0): number[] => [0x9a, ...le32(offset), ...le16(selector)];
const UNDEFINED = [0x0f, 0x0b];

describe('loading segment registers', () => {
  const notPresent = (): number => g.define(0, 0xffffffff, 0xc013),
    readOnly = (): number => g.define(0, 0xffffffff, 0xc091);
  test.each<[string, () => number[], number, number]>([
    ['SS null', () => load(SS, 0), 13, 0],
    ['SS with RPL other than CPL', () => load(SS, KERNEL_DATA | 3), 13, KERNEL_DATA],
    ['SS not writable', () => load(SS, readOnly()), 13, 0x48],
    ['SS not present', () => load(SS, notPresent()), 12, 0x48],
    ['SS of another level', () => load(SS, USER_DATA & ~3), 13, USER_DATA & ~3],
    ['DS beyond the GDT', () => load(DS, 0x1000), 13, 0x1000],
    ['DS in an LDT that is not there', () => load(DS, 0x0c), 13, 0x0c],
    ['DS of a system descriptor', () => load(DS, TSS), 13, TSS],
    ['DS of execute-only code', () => load(DS, g.define(0, 0xffffffff, 0xc099)), 13, 0x48],
    ['DS with RPL above DPL', () => load(DS, KERNEL_DATA | 3), 13, KERNEL_DATA],
    ['ES not present', () => load(ES, notPresent()), 11, 0x48],
    ['an access through a null DS', () => [...load(DS, 0), 0xa0, 0, 0, 0, 0], 13, 0],
    ['a write to a read-only segment', () => [...load(DS, readOnly()), 0xa2, 0, 0, 0, 0], 13, 0],
    ['a write through CS', () => [0x2e, 0xa2, 0, 0, 0, 0], 13, 0],
    [
      'a read beyond the limit',
      () => [...load(ES, g.define(0x8000, 0xfff, 0x4093)), 0x26, 0xa1, ...le32(0xffd)],
      13,
      0,
    ],
    [
      'an access through SS beyond the limit',
      () => [...load(SS, g.define(0, 0xfff, 0x4093)), 0xbc, ...le32(0x800), 0x36, 0xa1, ...le32(0xffe)],
      12,
      0,
    ],
    [
      'a read below an expand-down limit',
      () => [...load(ES, g.define(0, 0xfff, 0x4097)), 0x26, 0xa0, ...le32(0xfff)],
      13,
      0,
    ],
  ])('%s', (_, code, vector, error) => {
    g.protectedMode();
    const stop = g.run([...code(), ...UNDEFINED]);
    expect([stop.vector, stop.stack[0]]).toEqual([vector, error]);
    expect(stop.stack[3] & RF).toBe(RF);
  });
  test('a load sets the accessed flag in the table', () => {
    g.protectedMode();
    const selector = g.define(0x1234000, 0x5678, 0x4092);
    expect(g.run([...load(ES, selector), 0xf4]).reason).toBe(12);
    expect(g.engine.getSegment(ES)).toEqual({ selector, base: 0x1234000n, limit: 0x5678, accessRights: 0x4093 });
    expect((g.read32(0x1000 + selector + 4) >>> 8) & 0xff).toBe(0x93);
  });
  test('LDS leaves the register alone when the segment faults', () => {
    g.protectedMode();
    g.write32(0x9000, 0x55555555);
    g.write32(0x9004, 0x1000);
    const stop = g.run([0xb8, ...le32(7), 0xc5, 0x05, ...le32(0x9000)]);
    expect([stop.vector, g.engine.getRegister32(0)]).toEqual([13, 7]);
  });
});

describe('far transfers', () => {
  test.each<[string, () => number[], number, number]>([
    ['JMP to null', () => farJump(0), 13, 0],
    ['JMP to data', () => farJump(KERNEL_DATA), 13, KERNEL_DATA],
    ['JMP to code of another level', () => farJump(USER_CODE), 13, USER_CODE & ~3],
    ['JMP to code not present', () => farJump(g.define(0, 0xffffffff, 0xc01b)), 11, 0x48],
    ['JMP beyond the limit', () => farJump(g.define(0, 0xfff, 0x409b), 0x1000), 13, 0],
    ['CALL through a gate not present', () => farCall(g.defineGate(KERNEL_CODE, 0, 0x0c)), 11, 0x48],
    ['CALL through a gate with a null selector', () => farCall(g.defineGate(0, 0, 0x8c)), 13, 0],
    ['CALL through a gate to data', () => farCall(g.defineGate(KERNEL_DATA, 0, 0x8c)), 13, KERNEL_DATA],
    ['CALL to an LDT descriptor', () => farCall(g.define(0, 0xff, 0x82)), 13, 0x48],
    ['RET to null', () => [0x6a, 0, 0x6a, 0, 0xcb], 13, 0],
    ['RET to code not present', () => [0x6a, g.define(0, 0xffffffff, 0xc01b), 0x6a, 0, 0xcb], 11, 0x48],
    [
      'IRET to an outer level with a wrong SS',
      () => [0x6a, KERNEL_DATA, 0x6a, 0, 0x9c, 0x6a, USER_CODE, 0x6a, 0, 0xcf],
      13,
      KERNEL_DATA,
    ],
    ['IRET to an outer level with a null SS', () => [0x6a, 0, 0x6a, 0, 0x9c, 0x6a, USER_CODE, 0x6a, 0, 0xcf], 13, 0],
    ['IRET with NT and a link to no task', () => [0x9c, 0x81, 0x0c, 0x24, ...le32(0x4000), 0x9d, 0xcf], 10, 0],
  ])('%s', (_, code, vector, error) => {
    g.protectedMode();
    const stop = g.run(code());
    expect([stop.vector, stop.stack[0]]).toEqual([vector, error]);
  });

  test('a call gate copies parameters to the stack of its level', () => {
    g.protectedMode();
    const gate = g.defineGate(KERNEL_CODE, HANDLERS, 0xec, 2);
    const stop = g.user([0x68, ...le32(0x1111), 0x68, ...le32(0x2222), ...farCall(gate | 3)]);
    expect(stop.vector).toBe(0);
    expect(stop.stack.slice(0, 6)).toEqual([CODE + 0x1000 + 17, USER_CODE, 0x2222, 0x1111, USER_STACK - 8, USER_DATA]);
    expect([g.cpl, g.engine.getRegister32(4)]).toEqual([0, INNER_STACK - 24]);
  });
  test('RET with an immediate drops the parameters on both stacks', () => {
    g.protectedMode();
    g.code([0xca, 8, 0], 0x9800);
    const gate = g.defineGate(KERNEL_CODE, 0x9800, 0xec, 2);
    const stop = g.user([0x6a, 1, 0x6a, 2, ...farCall(gate | 3), 0x0f, 0x0b]);
    expect([stop.vector, stop.stack[0], stop.stack[3]]).toEqual([6, CODE + 0x1000 + 11, USER_STACK]);
  });
  test('a return to an outer level empties segments it must not see', () => {
    g.protectedMode();
    g.user(UNDEFINED);
    expect(g.engine.getSegment(DS).accessRights).toBe(0x10000);
  });
  test.each<[string, number, number, number]>([
    ['null', 0, 10, 0],
    ['of another RPL', KERNEL_DATA | 3, 10, KERNEL_DATA],
    ['beyond the GDT', 0x1000, 10, 0x1000],
  ])('a stack selector in the TSS that is %s is #TS', (_, selector, vector, error) => {
    g.protectedMode();
    // a level between: faults of a change to level 2 are delivered at level 0
    const code2 = g.define(0, 0xffffffff, 0xc0db);
    g.gate(0x80, code2, HANDLERS, 0xee);
    g.write32(TSS_BASE + 0x18, selector);
    const stop = g.user([0xcd, 0x80]);
    expect([stop.vector, stop.stack[0], stop.stack[2]]).toEqual([vector, error, USER_CODE]);
  });
  test('IRET to a flat user segment and a software interrupt back', () => {
    g.protectedMode();
    g.gate(0x80, KERNEL_CODE, HANDLERS + 0x800, 0xee);
    const stop = g.user([0xcd, 0x80]);
    expect([stop.vector, ...stop.stack.slice(0, 5)]).toEqual([
      0x80,
      CODE + 0x1002,
      USER_CODE,
      2,
      USER_STACK,
      USER_DATA,
    ]);
  });
  test('a gate of a more privileged DPL refuses INT n', () => {
    g.protectedMode();
    const stop = g.user([0xcd, 0x20]);
    expect([stop.vector, stop.stack[0], stop.stack[1]]).toEqual([13, (0x20 << 3) | 2, CODE + 0x1000]);
  });
});

describe('exceptions', () => {
  test('error codes of exceptions during delivery have EXT, those of INT n have not', () => {
    g.protectedMode();
    g.gate(6, KERNEL_CODE, 0, 0x0e); // #UD handler not present
    expect(g.run(UNDEFINED).stack[0]).toBe((6 << 3) | 3);
    g.protectedMode();
    g.gate(0x40, KERNEL_CODE, 0, 0x0e);
    expect(g.run([0xcd, 0x40]).stack[0]).toBe((0x40 << 3) | 2);
  });
  test('two contributory exceptions make a double fault, a third leaves the guest', () => {
    g.protectedMode();
    g.gate(13, KERNEL_CODE, 0, 0x0e);
    g.gate(11, KERNEL_CODE, 0, 0x0e);
    const stop = g.run(load(DS, 0x1000));
    expect([stop.vector, stop.stack[0], stop.stack[1]]).toEqual([8, 0, CODE + 4]);
    g.gate(8, KERNEL_CODE, 0, 0x0e);
    expect(g.run(load(DS, 0x1000))).toMatchObject({ vector: -1, reason: 2, rip: CODE + 4 });
  });
  test('a benign exception and a contributory one are handled in turn', () => {
    g.protectedMode();
    g.gate(6, KERNEL_CODE, 0, 0x0e);
    expect(g.run(UNDEFINED).vector).toBe(11);
  });
  test('the exception bitmap is asked first; what was being delivered is told', () => {
    g.protectedMode();
    const { vmcs } = g.engine;
    vmcs.write32(F.EXCEPTION_BITMAP, 1 << 11);
    g.gate(0x40, KERNEL_CODE, 0, 0x0e);
    expect(g.run([0xcd, 0x40])).toMatchObject({ reason: 0, rip: CODE });
    expect(vmcs.read32(F.EXIT_INTERRUPTION_INFO)).toBe((0x80000000 | (1 << 11) | (3 << 8) | 11) >>> 0);
    expect(vmcs.read32(F.EXIT_INTERRUPTION_ERROR_CODE)).toBe((0x40 << 3) | 2);
    expect(vmcs.read32(F.IDT_VECTORING_INFO)).toBe((0x80000000 | (4 << 8) | 0x40) >>> 0);
    expect(vmcs.read32(F.EXIT_INSTRUCTION_LENGTH)).toBe(2);
  });
  test('INT3 exits as a software exception with its length', () => {
    g.protectedMode();
    g.engine.vmcs.write32(F.EXCEPTION_BITMAP, 1 << 3);
    expect(g.run([0xcc])).toMatchObject({ reason: 0, rip: CODE });
    expect(g.engine.vmcs.read32(F.EXIT_INTERRUPTION_INFO)).toBe((0x80000000 | (6 << 8) | 3) >>> 0);
    expect(g.engine.vmcs.read32(F.EXIT_INSTRUCTION_LENGTH)).toBe(1);
  });
  test('a fault saves RF, a trap does not', () => {
    g.protectedMode();
    expect(g.run(UNDEFINED).stack[2] & RF).toBe(RF);
    g.protectedMode();
    expect(g.run([0xcc]).stack[2] & RF).toBe(0);
  });
  test('real-address mode: FLAGS, CS and IP as words, no error code', () => {
    g.realMode();
    const stop = g.run([0xfb, 0xcd, 0x21]);
    expect(stop.vector).toBe(0x21);
    expect(stop.stack[0]).toBe((0 << 16) | (CODE + 3));
    expect(stop.stack[1] & 0xffff).toBe(0x202);
    expect(g.engine.rflags & 0x200).toBe(0);
  });
  test('real-address mode: a vector beyond the table is #GP', () => {
    g.realMode();
    g.engine.idtr = { base: 0n, limit: 0x7f };
    expect(g.run([0xcd, 0x21])).toMatchObject({ vector: 13 });
  });
});

describe('virtual-8086 mode', () => {
  /** IRET to virtual-8086 mode at 0x900:0. */
  function enter(code: number[], flags: number): ReturnType<BareGuest['run']> {
    g.code(code, 0x9000);
    const frame = [0, 0, 0x900, 0x900, 0x900, 0xfff0, flags | 0x20002, 0x900, 0];
    return g.run([...frame.flatMap((v) => [0x68, ...le32(v)]), 0xcf]);
  }
  test('INT n needs IOPL 3; the frame has the data segments, which become null', () => {
    g.protectedMode();
    g.gate(0x80, KERNEL_CODE, HANDLERS + 0x800, 0xee);
    expect(enter([0xcd, 0x80], 0).vector).toBe(13);
    g.protectedMode();
    g.gate(0x80, KERNEL_CODE, HANDLERS + 0x800, 0xee);
    const stop = enter([0xcd, 0x80], 0x3000);
    expect([stop.vector, ...stop.stack.slice(0, 9)]).toEqual([
      0x80, 2, 0x900, 0x23002, 0xfff0, 0x900, 0x900, 0x900, 0, 0,
    ]);
    expect(g.engine.getSegment(DS).accessRights).toBe(0x10000);
  });
  test('CLI and PUSHF at IOPL 0 fault; with VME they work on VIF', () => {
    g.protectedMode();
    expect(enter([0xfa], 0).vector).toBe(13);
    g.protectedMode();
    g.engine.cr4 = 1n;
    const stop = enter([0xfb, 0x9c, 0x58, 0x0f, 0x0b], 0); // STI, PUSHF, POP AX, UD2
    expect([stop.vector, g.engine.getRegister32(0) & 0x3200]).toEqual([6, 0x3200]);
    expect(stop.stack[2] & 0x80200).toBe(0x80000);
  });
  test('VME: a clear redirection bit takes the vector of the task', () => {
    g.protectedMode();
    g.engine.cr4 = 1n;
    g.write32(TSS_BASE + 100, 136 << 16);
    g.write32(0x80 * 4, (0x900 << 16) | 0x10);
    g.code([0x58, 0x5b, 0x59, 0x0f, 0x0b], 0x9010);
    const stop = enter([0xcd, 0x80], 0);
    expect([stop.vector, stop.stack[0]]).toEqual([6, 0x13]);
    expect([0, 3, 1].map((r) => g.engine.getRegister32(r) & 0xffff)).toEqual([2, 0x900, 0x3002]);
    g.protectedMode();
    g.engine.cr4 = 1n;
    g.write32(TSS_BASE + 100, 136 << 16);
    g.write32(TSS_BASE + 104 + 16, 1);
    expect(enter([0xcd, 0x80], 0).vector).toBe(13);
  });
});

test('the stack is where it was after a fault in the middle of a frame', () => {
  g.protectedMode();
  const stop = g.run([0x6a, 0x5a, ...farCall(g.define(0, 0xfff, 0x409b), 0x1000)]);
  expect([stop.vector, stop.stack[4]]).toEqual([13, 0x5a]);
  expect(g.engine.getRegister32(4)).toBe(STACK - 4 - 16);
});
