/** Hardware task switches: exits with their qualification, and what carrying them out does (SDM 3A chapter 8, 3C 26.4.2). */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import {
  BareGuest,
  CODE,
  HANDLERS,
  KERNEL_CODE,
  KERNEL_DATA,
  TSS,
  TSS_BASE,
  le16,
  le32,
} from '../assembly/system/test/bare-guest.js';

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});

const NEW_TSS = 0x3800,
  TASK = 0x9000,
  TASK_STACK = 0x38000;
let task = 0;
const rights = (selector: number): number => (g.read32(0x1000 + (selector & ~7) + 4) >>> 8) & 0xff;
const farCall = (selector: number): number[] => [0x9a, 0, 0, 0, 0, ...le16(selector)];
const farJump = (selector: number): number[] => [0xea, 0, 0, 0, 0, ...le16(selector)];

beforeEach(() => {
  g.protectedMode();
  task = g.define(NEW_TSS, 103, 0x89);
  const fields: [number, number][] = [
    [0x20, TASK],
    [0x24, 2],
    [0x28, 0xaaaa],
    [0x38, TASK_STACK],
    [0x48, KERNEL_DATA],
    [0x4c, KERNEL_CODE],
    [0x50, KERNEL_DATA],
    [0x54, KERNEL_DATA],
  ];
  for (const [offset, value] of fields) g.write32(NEW_TSS + offset, value);
  g.code([0xf4, 0xcf], TASK); // HLT, IRET
});

describe('exits', () => {
  test.each<[string, () => number[], number, number]>([
    ['CALL', () => farCall(task), 0, 7],
    ['JMP', () => farJump(task), 2, 7],
    ['CALL through a task gate', () => farCall(g.defineGate(task, 0, 0x85)), 0, 7],
  ])('%s', (_, code, source, length) => {
    const bytes = code();
    g.code(bytes);
    g.engine.rip = BigInt(CODE);
    const stop = g.resume(false);
    expect(stop).toMatchObject({ reason: 9, rip: CODE });
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe(((source << 30) | task) >>> 0);
    expect(g.engine.vmcs.read32(F.EXIT_INSTRUCTION_LENGTH)).toBe(length);
    expect(g.engine.vmcs.read32(F.IDT_VECTORING_INFO)).toBe(0);
  });
  test('an exception through a task gate is in the IDT-vectoring fields', () => {
    g.gate(13, task, 0, 0x85);
    g.code([0x66, 0xb8, ...le16(0x1000), 0x8e, 0xd8]);
    g.engine.rip = BigInt(CODE);
    expect(g.resume(false)).toMatchObject({ reason: 9, rip: CODE + 4 });
    expect(g.engine.vmcs.read32(F.EXIT_QUALIFICATION)).toBe((0xc0000000 | task) >>> 0);
    expect(g.engine.vmcs.read32(F.IDT_VECTORING_INFO)).toBe((0x80000000 | (1 << 11) | (3 << 8) | 13) >>> 0);
    expect(g.engine.vmcs.read32(F.IDT_VECTORING_ERROR_CODE)).toBe(0x1000);
  });
  test.each<[string, () => number[], number, () => number]>([
    ['a busy task', () => farJump(TSS), 13, () => TSS],
    [
      'a TSS not present',
      () => {
        g.descriptor(task, NEW_TSS, 103, 0x09);
        return farJump(task);
      },
      11,
      () => task,
    ],
    [
      'a TSS too short',
      () => {
        g.descriptor(task, NEW_TSS, 102, 0x89);
        return farJump(task);
      },
      10,
      () => task,
    ],
    ['a task gate not present', () => farCall(g.defineGate(task, 0, 0x05)), 11, () => task + 16],
  ])('%s faults before it exits', (_, code, vector, error) => {
    const stop = g.run(code());
    expect([stop.vector, stop.stack[0]]).toEqual([vector, error()]);
  });
});

describe('switching', () => {
  test('CALL links back, sets NT and TS, and keeps the old task busy', () => {
    g.engine.setRegister32(3, 0x12345678);
    const stop = g.run([...farCall(task), 0xf4]);
    expect(stop).toMatchObject({ reason: 12, rip: TASK });
    expect([rights(task), rights(TSS)]).toEqual([0x8b, 0x8b]);
    expect([g.read32(NEW_TSS) & 0xffff, g.read32(TSS_BASE + 0x20), g.read32(TSS_BASE + 0x34)]).toEqual([
      TSS,
      CODE + 7,
      0x12345678,
    ]);
    expect([
      g.engine.rflags & 0x4000,
      Number(g.engine.cr0 & 8n),
      g.engine.getRegister32(0),
      g.engine.getRegister32(4),
    ]).toEqual([0x4000, 8, 0xaaaa, TASK_STACK]);
    expect(g.engine.getSegment(7)).toMatchObject({ selector: task, base: BigInt(NEW_TSS), accessRights: 0x8b });
    // and IRET returns, making the nested task available again
    g.stepOver();
    expect(g.resume()).toMatchObject({ reason: 12, rip: CODE + 7 });
    expect([rights(task), rights(TSS), g.engine.rflags & 0x4000]).toEqual([0x89, 0x8b, 0]);
    expect(g.read32(NEW_TSS + 0x20)).toBe(TASK + 2);
    expect(g.engine.getRegister32(3)).toBe(0x12345678);
  });
  test('JMP frees the old task and does not nest', () => {
    expect(g.run(farJump(task))).toMatchObject({ reason: 12, rip: TASK });
    expect([rights(task), rights(TSS), g.engine.rflags & 0x4000]).toEqual([0x8b, 0x89, 0]);
  });
  test('an exception through a task gate pushes its error code in the new task', () => {
    g.gate(13, task, 0, 0x85);
    const stop = g.run([0x66, 0xb8, ...le16(0x1000), 0x8e, 0xd8]);
    expect([stop.rip, stop.stack[0], g.read32(TSS_BASE + 0x20)]).toEqual([TASK, 0x1000, CODE + 4]);
    expect(g.read32(TSS_BASE + 0x24) & 0x10000).toBe(0x10000); // a fault: RF in the old image
  });
  test('the debug bit of the TSS raises #DB in the new task', () => {
    g.write32(NEW_TSS + 0x64, 1);
    const stop = g.run(farCall(task));
    expect([stop.vector, stop.stack[0]]).toEqual([1, TASK]);
    expect(g.engine.getDebugRegister(6) & 0x8000n).toBe(0x8000n);
  });
  test.each<[string, number, number, number, number]>([
    ['a code segment that is data', 0x4c, KERNEL_DATA, 10, KERNEL_DATA],
    ['a data segment beyond the GDT', 0x54, 0x2000, 10, 0x2000],
  ])('%s faults in the new task', (_, offset, value, vector, error) => {
    g.write32(NEW_TSS + offset, value);
    const stop = g.run(farCall(task));
    expect([stop.vector, stop.stack[0], stop.stack[1], g.engine.getSegment(7).selector]).toEqual([
      vector,
      error,
      TASK,
      task,
    ]);
  });
  test('a page of the new TSS that is not there leaves the old task as it was', () => {
    // the directory maps the first 4 MiB as pages of 4 KiB but for the new TSS's second page
    const directory = 0x40000,
      table = 0x41000;
    g.descriptor(task, 0x3fd0, 103, 0x89);
    g.engine.memory.writeU32(directory, table | 3);
    for (let i = 0; i < 1024; i++) g.engine.memory.writeU32(table + i * 4, i === 4 ? 0 : (i << 12) | 3);
    g.engine.cr3 = BigInt(directory);
    g.engine.cr0 = 0x80000031n;
    const stop = g.run(farCall(task));
    expect([stop.vector, stop.stack[1], Number(g.engine.cr2)]).toEqual([14, CODE, 0x4000]);
    expect([rights(task), g.engine.getSegment(7).selector, g.read32(TSS_BASE + 0x20)]).toEqual([0x89, TSS, 0]);
  });
  test('a 16-bit TSS', () => {
    const narrow = g.define(NEW_TSS, 43, 0x81);
    const words: [number, number][] = [
      [14, TASK],
      [16, 2],
      [18, 0x1234],
      [26, 0xfff0],
      [34, KERNEL_DATA],
      [36, KERNEL_CODE],
      [38, KERNEL_DATA],
      [40, KERNEL_DATA],
    ];
    g.engine.memory.fill(NEW_TSS, 104, 0);
    for (const [offset, value] of words) g.engine.memory.writeU16(NEW_TSS + offset, value);
    expect(g.run([...farCall(narrow), 0x0f, 0x0b]).rip).toBe(TASK);
    expect([g.engine.getRegister32(0), rights(narrow)]).toEqual([0xffff1234, 0x83]);
    g.stepOver();
    expect(g.resume().vector).toBe(6);
  });
});

test('a double fault goes to its task', () => {
  g.gate(8, task, 0, 0x85);
  g.gate(13, KERNEL_CODE, 0, 0x0e);
  const stop = g.run([0x66, 0xb8, ...le16(0x1000), 0x8e, 0xd8, 0xbc, ...le32(HANDLERS)]);
  expect([stop.rip, stop.stack[0], g.read32(NEW_TSS) & 0xffff]).toEqual([TASK, 0, TSS]);
});
