/** Where a linear address of code leads after its translation has changed (SDM 3A 4.10.4.1): nothing that is kept of jumps outlives what the guest has dropped. */
import { VmcsField as F } from '@visorkit/x86';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BareGuest, le32 } from '../assembly/system/test/bare-guest.js';
import { GLOBAL_GENERATION, JUMP_GENERATION } from './layout.js';
import { writeControls } from './vmcs-setup.js';

/** Linear 1 GiB on: a directory of its own, whose first entry is a table or a page of 2 MiB. */
const LINEAR = 0x4000_0000;
const [POINTERS, DIRECTORY, TABLE] = [0x4_1000, 0x4_3000, 0x4_4000];
const [RESULTS, DESCRIPTOR] = [0x6_0000, 0x6_0100];
const [PRESENT, LARGE, GLOBAL] = [7n, 0x80n, 0x100n];
const CR4_PAE = 0x20,
  CR4_PGE = 0x80;
const HLT = 0xf4;

let g: BareGuest;
beforeAll(async () => {
  g = await BareGuest.create();
});
beforeEach(() => {
  g.longMode();
  g.engine.cr4 = BigInt(CR4_PAE | CR4_PGE);
  g.write64(POINTERS + 8, BigInt(DIRECTORY) | PRESENT);
  g.engine.memory.fill(DIRECTORY, 0x2000, 0);
});

const movAl = (value: number): number[] => [0xb0, value, 0xc3]; // MOV AL, value; RET
const call = (linear: number): number[] => [0xb8, ...le32(linear), 0xff, 0xd0]; // MOV EAX, linear; CALL RAX
const keepAl = (slot: number): number[] => [0x88, 0x04, 0x25, ...le32(RESULTS + slot)];
const setEntry = (at: number, value: bigint): number[] => [
  ...[0x48, 0xb8, ...le32(Number(value & 0xffff_ffffn)), ...le32(Number(value >> 32n))], // MOV RAX, value
  ...[0x48, 0x89, 0x04, 0x25, ...le32(at)], // MOV [at], RAX
];
const invlpg = (linear: number): number[] => [0xb8, ...le32(linear), 0x0f, 0x01, 0x38];
const writeCr3 = [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8];
const togglePge = [0x0f, 0x20, 0xe0, 0x34, CR4_PGE, 0x0f, 0x22, 0xe0]; // XOR AL, PGE
const invpcid = (type: number): number[] => [
  0xb8,
  ...le32(type),
  0x66,
  0x0f,
  0x38,
  0x82,
  0x04,
  0x25,
  ...le32(DESCRIPTOR),
];

/** Calls the code at `linear`, has `entry` become `value`, drops translations, and calls it again: what AL was both times. */
function twice(linear: number, entry: number, value: bigint, drop: number[]): number[] {
  g.engine.memory.fill(DESCRIPTOR, 16, 0);
  g.run([
    ...[...call(linear), ...keepAl(0)],
    ...[...setEntry(entry, value), ...drop],
    ...[...call(linear), ...keepAl(1), HLT],
  ]);
  return [...g.engine.memory.read(RESULTS, 2)];
}

const DROPS: [string, (linear: number) => number[], { global: boolean }][] = [
  ['INVLPG', invlpg, { global: true }],
  ['a write to CR3', () => writeCr3, { global: false }],
  ['a change of CR4.PGE', () => togglePge, { global: true }],
  ['INVPCID of all', () => invpcid(2), { global: true }],
  ['INVPCID of all but global ones', () => invpcid(3), { global: false }],
];

describe('a page of 4 KiB', () => {
  const [FIRST, SECOND] = [0x10_0000, 0x10_1000];
  const page = LINEAR + 0x5000,
    entry = TABLE + 5 * 8;
  beforeEach(() => {
    g.write64(DIRECTORY, BigInt(TABLE) | PRESENT);
    g.code(movAl(1), FIRST);
    g.code(movAl(2), SECOND);
  });

  it.each(DROPS)('leads elsewhere after %s', (_what, drop) => {
    g.write64(entry, BigInt(FIRST) | PRESENT);
    expect(twice(page, entry, BigInt(SECOND) | PRESENT, drop(page))).toEqual([1, 2]);
  });
  it.each(DROPS.filter(([, , drops]) => drops.global))('leads elsewhere after %s, though global', (_what, drop) => {
    g.write64(entry, BigInt(FIRST) | PRESENT | GLOBAL);
    expect(twice(page, entry, BigInt(SECOND) | PRESENT | GLOBAL, drop(page))).toEqual([1, 2]);
  });

  it.each([0n, GLOBAL])('holds the end of an instruction (flags %d)', (flags) => {
    const middle = LINEAR + 0x4fff; // MOV AL, n: the opcode at the end of the page before
    g.write64(TABLE + 4 * 8, BigInt(0x10_2000) | PRESENT | flags);
    g.code([0xb0], 0x10_2fff);
    g.code([1, 0xc3], FIRST);
    g.code([2, 0xc3], SECOND);
    g.write64(entry, BigInt(FIRST) | PRESENT | flags);
    expect(twice(middle, entry, BigInt(SECOND) | PRESENT | flags, invlpg(page))).toEqual([1, 2]);
  });
});

describe('a page of 2 MiB', () => {
  const OFFSET = 0x18_0000,
    OTHER = 0x20_0000;
  beforeEach(() => {
    g.code(movAl(1), OFFSET);
    g.code(movAl(2), OTHER + OFFSET);
  });
  const drops: typeof DROPS = [
    ...DROPS,
    ['INVLPG of another address in it', () => invlpg(LINEAR + 0x1234), { global: true }],
  ];

  it.each(drops)('leads elsewhere after %s', (_what, drop) => {
    g.write64(DIRECTORY, LARGE | PRESENT);
    const there = LINEAR + OFFSET;
    expect(twice(there, DIRECTORY, BigInt(OTHER) | LARGE | PRESENT, drop(there))).toEqual([1, 2]);
  });
  it.each(drops.filter(([, , all]) => all.global))('leads elsewhere after %s, though global', (_what, drop) => {
    g.write64(DIRECTORY, LARGE | PRESENT | GLOBAL);
    const there = LINEAR + OFFSET;
    expect(twice(there, DIRECTORY, BigInt(OTHER) | LARGE | PRESENT | GLOBAL, drop(there))).toEqual([1, 2]);
  });
});

describe('what is kept of jumps', () => {
  beforeEach(() => {
    writeControls(g.engine.vmcs, 'secondary', [
      'enable-ept',
      'enable-rdtscp',
      'unrestricted-guest',
      'enable-invpcid',
      'enable-vpid',
    ]);
    g.engine.vmcs.write32(F.VPID, 1);
    g.write64(DIRECTORY, BigInt(TABLE) | PRESENT);
    g.write64(TABLE, 0x10_0000n | PRESENT | GLOBAL);
    g.code(movAl(1), 0x10_0000);
  });
  /** Which generations have changed while `code` ran: of pages that are not global, and of global ones. */
  function changed(code: number[]): [boolean, boolean] {
    const { words } = g.engine;
    g.run([...call(LINEAR), HLT, ...call(LINEAR), ...code, HLT]);
    const before = [words[JUMP_GENERATION >>> 2], words[GLOBAL_GENERATION >>> 2]];
    g.stepOver();
    g.resume();
    return [words[JUMP_GENERATION >>> 2] !== before[0], words[GLOBAL_GENERATION >>> 2] !== before[1]];
  }

  it('outlives a write to CR3 for code of global pages', () => {
    expect(changed(writeCr3)).toEqual([true, false]);
  });
  it('outlives INVLPG of a page that was not jumped to', () => {
    expect(changed(invlpg(LINEAR + 0x3000))).toEqual([false, false]);
  });
  it('outlives INVLPG of a page of the other kind', () => {
    expect(changed(invlpg(LINEAR))).toEqual([false, true]);
  });
});
