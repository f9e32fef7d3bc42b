/**
 * Which access of an instruction with several faults first, and what CR2 and the error code say then (SDM 2: the pseudo-code of PUSHA, POPA, CALL,
 * ENTER, IRET, RET and INT n; SDM 3A 5.7).
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import {
  BareGuest,
  CODE,
  HANDLERS,
  KERNEL_CODE,
  TSS_BASE,
  USER_CODE,
  USER_DATA,
  le16,
  le32,
} from '../assembly/system/test/bare-guest.js';

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});

const DIRECTORY = 0x60000,
  TABLE = 0x61000;
const ABSENT = 0,
  READ_ONLY = 5,
  WRITABLE = 7,
  SUPERVISOR = 3;
/** Two neighbouring pages for stacks and operands, and two more. */
const LOW = 0x28000,
  HIGH = 0x29000,
  OTHER = 0x2b000;
const GP = 13,
  SS = 12;

/** 32-bit paging with 4 KiB pages over the first 4 MiB. */
function paging32(pages: Record<number, number> = {}, wp = 1): void {
  g.protectedMode();
  g.write32(DIRECTORY, TABLE | 7);
  for (let page = 0; page < 1024; page++) g.write32(TABLE + page * 4, (page << 12) | 7);
  for (const [at, rights] of Object.entries(pages)) g.write32(TABLE + (Number(at) >>> 12) * 4, Number(at) | rights);
  g.engine.cr3 = BigInt(DIRECTORY);
  g.engine.cr0 = BigInt(wp ? 0x8001_0031 : 0x8000_0031);
  exitOnFaults();
}
/** 64-bit mode with 4 KiB pages over the first 2 MiB. */
function paging64(pages: Record<number, number> = {}): void {
  g.longMode();
  g.write64(0x42000, BigInt(TABLE | 7));
  for (let page = 0; page < 512; page++) g.write64(TABLE + page * 8, BigInt((page << 12) | 7));
  for (const [at, rights] of Object.entries(pages))
    g.write64(TABLE + (Number(at) >>> 12) * 8, BigInt(Number(at) | rights));
  exitOnFaults();
}
function exitOnFaults(): void {
  g.engine.vmcs.write32(F.EXCEPTION_BITMAP, (1 << 14) | (1 << GP) | (1 << SS));
  g.engine.flushTranslations();
}
/** The fault that ended the run: vector, error code and, of page faults, the address. */
function fault(): number[] {
  const { vmcs } = g.engine;
  const vector = vmcs.read32(F.EXIT_INTERRUPTION_INFO) & 0xff;
  const error = vmcs.read32(F.EXIT_INTERRUPTION_ERROR_CODE);
  return vector === 14 ? [vector, error, Number(vmcs.read64(F.EXIT_QUALIFICATION))] : [vector, error];
}
function run(code: number[], sp?: number): number[] {
  if (sp !== undefined) g.engine.setRegister(4, BigInt(sp));
  expect(g.run([...code, 0x0f, 0x0b]).reason).toBe(0);
  return fault();
}
/** To CPL 3 by IRETD, which pops from the normal stack. */
function user(code: number[], sp: number): number[] {
  g.code([...code, 0x0f, 0x0b], CODE + 0x1000);
  const frame = [USER_DATA, sp, 2, USER_CODE, CODE + 0x1000];
  expect(g.run([...frame.flatMap((v) => [0x68, ...le32(v)]), 0xcf]).reason).toBe(0);
  return fault();
}
const farCall = (selector: number, offset = 0): number[] => [0x9a, ...le32(offset), ...le16(selector)];
/** A 32-bit data segment for stacks of which the offsets up to `limit` exist, in SS. */
const limitedStack = (limit: number): number[] => [
  0x66,
  0xb8,
  ...le16(g.define(0, limit, 0x4093)),
  0x8e,
  0xd0, // MOV SS, AX
];

describe('PUSHA', () => {
  test.each<[string, Record<number, number>, number, number[]]>([
    ['both pages absent: the first push', { [LOW]: ABSENT, [HIGH]: ABSENT }, HIGH + 0x10, [14, 2, HIGH + 0xc]],
    ['the upper page read-only', { [LOW]: ABSENT, [HIGH]: READ_ONLY }, HIGH + 0x10, [14, 3, HIGH + 0xc]],
    ['the lower page read-only', { [LOW]: READ_ONLY }, HIGH + 0x10, [14, 3, LOW + 0xffc]],
    ['a push across the boundary', { [LOW]: ABSENT }, HIGH + 6, [14, 2, LOW + 0xffe]],
    ['one page: the first push, not the end of the block', { [LOW]: ABSENT }, LOW + 0x100, [14, 2, LOW + 0xfc]],
  ])('%s', (_, pages, sp, expected) => {
    paging32(pages);
    g.write32(HIGH + 0xc, 0x5a5a5a5a);
    expect(run([0x60], sp)).toEqual(expected);
    expect([g.engine.getRegister32(4), g.read32(HIGH + 0xc)]).toEqual([sp, 0x5a5a5a5a]);
  });
  test('the limit is looked at for all of it before anything is written', () => {
    paging32({ [LOW]: ABSENT });
    // an expand-down segment of offsets above LOW + 0xff7, so that the last push is outside
    const code = [0x66, 0xb8, ...le16(g.define(0, LOW + 0xff7, 0x4097)), 0x8e, 0xd0, 0x60];
    expect(run(code, HIGH + 0x10)).toEqual([SS, 0]);
  });
});

describe('POPA', () => {
  test.each<[string, Record<number, number>, number, number[]]>([
    ['both pages absent: the first pop', { [LOW]: ABSENT, [HIGH]: ABSENT }, LOW + 0xff0, [14, 0, LOW + 0xff0]],
    ['the upper page absent', { [HIGH]: ABSENT }, LOW + 0xff0, [14, 0, HIGH]],
    ['a pop across the boundary', { [HIGH]: ABSENT }, LOW + 0xff2, [14, 0, HIGH]],
  ])('%s', (_, pages, sp, expected) => {
    paging32(pages);
    g.engine.setRegister(7, 0x1234n);
    expect(run([0x61], sp)).toEqual(expected);
    expect([g.engine.getRegister32(4), g.engine.getRegister32(7)]).toEqual([sp, 0x1234]);
  });
  test('the limit is looked at for all of it first', () => {
    paging32({ [LOW]: ABSENT });
    expect(run([...limitedStack(LOW + 0xfff), 0x61], LOW + 0xff0)).toEqual([SS, 0]);
  });
});

describe('far CALL', () => {
  test('CS is pushed first', () => {
    paging32({ [LOW]: ABSENT, [HIGH]: ABSENT });
    expect(run(farCall(KERNEL_CODE, HANDLERS), HIGH + 4)).toEqual([14, 2, HIGH]);
    paging32({ [LOW]: READ_ONLY });
    expect(run(farCall(KERNEL_CODE, HANDLERS), HIGH + 4)).toEqual([14, 3, LOW + 0xffc]);
    paging32({ [LOW]: READ_ONLY });
    expect(run(farCall(KERNEL_CODE, HANDLERS), LOW + 0x100)).toEqual([14, 3, LOW + 0xfc]);
  });
  test('room on the stack is looked at before the target, the target before anything is pushed', () => {
    paging32();
    const beyond = (): number => g.define(0, 0xfff, 0x409b);
    expect(run([...limitedStack(0xfff), ...farCall(beyond(), 0x1000)], 0x1004)).toEqual([SS, 0]);
    paging32({ [LOW]: ABSENT });
    expect(run(farCall(beyond(), 0x1000), LOW + 0x100)).toEqual([GP, 0]);
  });
  test('in real-address mode too', () => {
    g.realMode();
    g.engine.vmcs.write32(F.EXCEPTION_BITMAP, (1 << GP) | (1 << SS));
    g.engine.setSegment(2, { selector: 0, base: 0n, limit: 0x7fff, accessRights: 0x93 });
    g.engine.setRegister(4, 0xfff0n);
    expect(run([0x66, 0x9a, ...le32(0x10000), 0, 0])).toEqual([SS, 0]); // CALL far 0:10000H with 32-bit offset
  });
});

describe('call gates', () => {
  const gateTo = (parameters: number, target = KERNEL_CODE, offset = HANDLERS): number =>
    g.defineGate(target, offset, 0xec, parameters) | 3;
  test('SS and ESP are pushed before the parameters are read', () => {
    paging32({ [HIGH]: ABSENT, [OTHER]: ABSENT });
    g.write32(TSS_BASE + 4, HIGH + 8);
    expect(user(farCall(gateTo(2)), OTHER)).toEqual([14, 2, HIGH + 4]);
    paging32({ [OTHER]: ABSENT });
    g.write32(TSS_BASE + 4, HIGH + 8);
    expect(user(farCall(gateTo(2)), OTHER)).toEqual([14, 4, OTHER + 4]); // the first parameter lies highest
    paging32({ [LOW]: READ_ONLY });
    g.write32(TSS_BASE + 4, HIGH + 8);
    expect(user(farCall(gateTo(2)), OTHER)).toEqual([14, 3, LOW + 0xffc]);
  });
  test('room on the new stack is looked at before the target', () => {
    paging32();
    const stack = g.define(0, 0xfff, 0x4093),
      code = g.define(0, 0xfff, 0x409b);
    g.write32(TSS_BASE + 4, 0x1010);
    g.write32(TSS_BASE + 8, stack);
    expect(user(farCall(gateTo(2, code, 0x1000)), OTHER)).toEqual([SS, stack]);
    paging32();
    g.write32(TSS_BASE + 4, 0x1000);
    expect(user(farCall(gateTo(2, g.define(0, 0xfff, 0x409b), 0x1000)), OTHER)).toEqual([GP, 0]);
  });
});

describe('interrupt frames', () => {
  test('32-bit: to an inner level SS is pushed first, as a supervisor', () => {
    for (const [pages, expected] of [
      [{ [LOW]: ABSENT, [HIGH]: ABSENT }, [14, 2, HIGH + 4]],
      [{ [LOW]: ABSENT }, [14, 2, LOW + 0xffc]],
      [{ [LOW]: READ_ONLY }, [14, 3, LOW + 0xffc]],
    ] as const) {
      paging32(pages);
      g.gate(0x80, KERNEL_CODE, HANDLERS, 0xee);
      g.write32(TSS_BASE + 4, HIGH + 8);
      expect(user([0xcd, 0x80], OTHER)).toEqual(expected);
    }
  });
  test('32-bit: on the same level EFLAGS is pushed first', () => {
    paging32({ [LOW]: ABSENT, [HIGH]: ABSENT });
    expect(run([0xcd, 0x40], HIGH + 8)).toEqual([14, 2, HIGH + 4]);
    paging32({ [LOW]: ABSENT });
    expect(run([0xcd, 0x40], HIGH + 8)).toEqual([14, 2, LOW + 0xffc]);
  });
  test('32-bit: no room is #SS, whatever the target is', () => {
    paging32();
    g.gate(0x40, g.define(0, 0xfff, 0x409b), 0x1000, 0x8e);
    expect(run([...limitedStack(0xfff), 0xcd, 0x40], 0x1008)).toEqual([SS, 0]);
  });
  test('64-bit: SS is pushed first', () => {
    for (const [pages, expected] of [
      [{ [LOW]: ABSENT, [HIGH]: ABSENT }, [14, 2, HIGH + 8]],
      [{ [LOW]: READ_ONLY }, [14, 3, LOW + 0xff8]],
      [{ [LOW]: ABSENT, [HIGH]: READ_ONLY }, [14, 3, HIGH + 8]],
    ] as const) {
      paging64(pages);
      expect(run([0xcd, 0x40], HIGH + 0x1c)).toEqual(expected);
    }
  });
});

describe('ENTER', () => {
  test('pushes go down one by one; the last page is looked at too', () => {
    paging32({ [LOW]: ABSENT, [HIGH]: ABSENT });
    expect(run([0xc8, ...le16(0x100), 0], HIGH + 4)).toEqual([14, 2, HIGH]);
    paging32({ [LOW]: ABSENT });
    expect(run([0xc8, ...le16(0x100), 0], HIGH + 4)).toEqual([14, 2, HIGH - 0x100]);
    paging32({ [LOW]: READ_ONLY });
    g.engine.setRegister(5, BigInt(OTHER));
    expect(run([0xc8, ...le16(0), 3], HIGH + 8)).toEqual([14, 3, LOW + 0xffc]);
    expect([g.engine.getRegister32(4), g.engine.getRegister32(5)]).toEqual([HIGH + 8, OTHER]);
  });
});

describe('returns', () => {
  const bad = 0; // a null CS is #GP(0) once it is looked at
  test('IRET in 64-bit mode pops all five before it looks at CS', () => {
    paging64({ [HIGH]: ABSENT });
    g.write64(LOW + 0xff0, BigInt(bad));
    expect(run([0x48, 0xcf], LOW + 0xfe8)).toEqual([14, 0, HIGH]);
    paging64({ [HIGH]: ABSENT });
    g.write64(LOW + 0xfe8, BigInt(bad));
    expect(run([0x48, 0xcf], LOW + 0xfe0)).toEqual([14, 0, HIGH]); // RSP can be read, SS cannot
    paging64();
    expect(run([0x48, 0xcf], LOW + 0xfe8)).toEqual([GP, 0]);
  });
  test('IRET and RET in protected mode look at CS before they pop ESP and SS', () => {
    paging32({ [HIGH]: ABSENT });
    g.write32(LOW + 0xff8, bad);
    expect(run([0xcf], LOW + 0xff4)).toEqual([GP, 0]);
    paging32({ [HIGH]: ABSENT });
    g.write32(LOW + 0xff8, USER_CODE);
    expect(run([0xcf], LOW + 0xff4)).toEqual([14, 0, HIGH]);
    paging32({ [HIGH]: ABSENT });
    g.write32(LOW + 0xffc, bad);
    expect(run([0xcb], LOW + 0xff8)).toEqual([GP, 0]);
    paging32({ [HIGH]: ABSENT });
    g.write32(LOW + 0xffc, USER_CODE);
    expect(run([0xcb], LOW + 0xff8)).toEqual([14, 0, HIGH]);
  });
  test('what is to be popped must be inside the limit before the first is read', () => {
    paging32({ [LOW]: ABSENT });
    expect(run([...limitedStack(LOW + 0xfff), 0xcb], LOW + 0xffc)).toEqual([SS, 0]); // RET: CS is outside
    paging32({ [LOW]: ABSENT });
    expect(run([...limitedStack(LOW + 0xfff), 0xcf], LOW + 0xff8)).toEqual([SS, 0]); // IRET: EFLAGS is
    paging32({ [LOW]: WRITABLE });
    g.write32(LOW + 0xff8, USER_CODE);
    expect(run([...limitedStack(LOW + 0xfff), 0xcf], LOW + 0xff4)).toEqual([SS, 0]); // ESP and SS are
  });
  test('IRET to virtual-8086 mode pops upwards, after limit and target', () => {
    const frame = (sp: number, eip: number): void => [eip, 0x900, 0x20002].forEach((v, i) => g.write32(sp + i * 4, v));
    paging32({ [HIGH]: ABSENT, [HIGH + 0x1000]: ABSENT });
    frame(LOW + 0xff4, 0);
    expect(run([0xcf], LOW + 0xff4)).toEqual([14, 0, HIGH]); // ESP, not GS
    paging32({ [HIGH]: ABSENT });
    frame(LOW + 0xff4, 0x10000);
    expect(run([0xcf], LOW + 0xff4)).toEqual([GP, 0]);
    paging32();
    frame(LOW + 0xff4, 0x10000);
    expect(run([...limitedStack(HIGH + 16), 0xcf], LOW + 0xff4)).toEqual([SS, 0]);
  });
});

describe('ARPL writes only when it raises the RPL (SDM 2A)', () => {
  /** Through SS, which is usable at every level here. */
  const arpl = (at: number, rpl: number): number[] => [0x66, 0xb8, ...le16(rpl), 0x36, 0x63, 0x05, ...le32(at)];
  const ADJUSTED = 0x40;
  test.each<[string, number, number, number, number[] | 'done', boolean]>([
    ['read-only, not raised', READ_ONLY, 3, 1, 'done', false],
    ['read-only, raised', READ_ONLY, 1, 3, [14, 3, LOW + 8], false],
    ['absent: a read', ABSENT, 1, 3, [14, 0, LOW + 8], false],
    ['writable, raised', WRITABLE, 0x11, 2, 'done', true],
  ])('%s', (_, rights, selector, rpl, expected, zero) => {
    paging32({ [LOW]: rights });
    g.write32(LOW + 8, selector);
    if (expected !== 'done') expect(run(arpl(LOW + 8, rpl))).toEqual(expected);
    else {
      expect(g.run([...arpl(LOW + 8, rpl), 0xf4]).reason).toBe(12);
      expect((g.engine.rflags & ADJUSTED) !== 0).toBe(zero);
      expect(g.read32(LOW + 8)).toBe(zero ? (selector & ~3) | rpl : selector);
    }
  });
  test('at CPL 3', () => {
    paging32({ [LOW]: READ_ONLY });
    g.write32(LOW + 8, 0);
    expect(user(arpl(LOW + 8, 3), OTHER)).toEqual([14, 7, LOW + 8]);
    paging32({ [LOW]: ABSENT });
    expect(user(arpl(LOW + 8, 3), OTHER)).toEqual([14, 4, LOW + 8]);
    paging32({ [LOW]: SUPERVISOR });
    expect(user(arpl(LOW + 8, 3), OTHER)).toEqual([14, 5, LOW + 8]);
  });
  test('across two pages of different rights', () => {
    paging32({ [HIGH]: READ_ONLY });
    expect(run(arpl(LOW + 0xfff, 3))).toEqual([14, 3, HIGH]);
    paging32({ [HIGH]: ABSENT });
    expect(run(arpl(LOW + 0xfff, 3))).toEqual([14, 0, HIGH]);
  });
});

test('code that runs off the end of the canonical range is #GP(0), at the address behind it', () => {
  paging64();
  // the last page of the lower half shows the page of CODE
  g.write64(0x40000 + 255 * 8, 0x41007n);
  g.write64(0x41000 + 511 * 8, 0x42007n);
  g.write64(TABLE + 511 * 8, BigInt(CODE | 7));
  g.write64(0x42000 + 511 * 8, BigInt(TABLE | 7));
  g.engine.flushTranslations();
  g.code([0x90, 0x90], CODE + 0xffe);
  g.engine.rip = 0x7fff_ffff_fffen;
  expect(g.resume().reason).toBe(0);
  expect([...fault(), g.engine.rip]).toEqual([GP, 0, 0x8000_0000_0000n]);
});
