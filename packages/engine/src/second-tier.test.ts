/** The helpers that a second tier finds in the processor's exports. */
import { ExitReason, VmcsField as F } from '@visorkit/x86';
import { beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_HEADER } from './code-layout.js';
import { Engine } from './engine.js';
import {
  ARENA,
  BOUNCE,
  EXC_VECTOR,
  GUEST_RAM,
  HYPERVISOR,
  MODE,
  SEG_DS,
  SEG_SS,
  TLB_BASE,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
} from './layout.js';
import type { ProcessorExports } from './module.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';

const CODE = 0x1_0000,
  DATA = 0x3_0000;
const [OK, FAULT, EXIT] = [0, 1, 3];

let engine: Engine;
let exports: ProcessorExports;
/** Where records are: not in the arena. */
let record: number;

/** A 64-bit guest with flat memory that has run to a HLT. */
beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  ({ exports } = engine);
  writeIdentityTables(engine);
  writeValidVmcs(engine);
  engine.memory.write(CODE, Uint8Array.from([0xf4]));
  engine.rip = BigInt(CODE);
  expect(engine.enter()).toBe(ExitReason.HLT);
  record = engine.pages.allocatePage();
  expect(record).toBeGreaterThanOrEqual(HYPERVISOR);
});

/** Decodes code put at CODE + 100H. */
function decode(...bytes: number[]): number {
  engine.memory.write(CODE + 0x100, Uint8Array.from(bytes));
  const source = GUEST_RAM + CODE + 0x100;
  return exports.decodeRecord(record, source, bytes.length, 0x100, engine.words[MODE >>> 2]);
}

describe('decodeRecord', () => {
  it('gives length, and whether a block ends', () => {
    expect(decode(0x48, 0x01, 0xd8)).toBe(3); // ADD RAX, RBX
    expect([...engine.bytes.subarray(record + 4, record + 8)]).toEqual([3, 0, 0, 24]); // length, left, RAX, RBX
    expect(decode(0xeb, 0xfe)).toBe(0x102); // JMP
    expect(decode(0x0f, 0xa2)).toBe(2); // CPUID
    expect(decode(0x0f, 0x0b)).toBe(0x102); // UD2
  });

  it('wants more bytes at the end of a page', () => {
    expect(decode(0x48, 0x8b)).toBe(0);
  });
});

describe('runUnit', () => {
  it('runs an instruction that has no handler of its own', () => {
    decode(0x0f, 0xc8); // BSWAP EAX
    engine.setRegister(0, 0xffff_ffff_1122_3344n);
    expect(exports.runUnit(record)).toBe(OK);
    expect(engine.getRegister(0)).toBe(0x4433_2211n);
  });

  it('tells faults and exits', () => {
    decode(0x48, 0xf7, 0xf1); // DIV RCX
    engine.setRegister(1, 0n);
    expect(exports.runUnit(record)).toBe(FAULT);
    expect(engine.words[EXC_VECTOR >>> 2]).toBe(0);
    decode(0x0f, 0xa2); // CPUID
    expect(exports.runUnit(record)).toBe(EXIT);
    expect(engine.vmcs.read32(F.EXIT_REASON)).toBe(ExitReason.CPUID);
    decode(0x06); // undefined in 64-bit mode
    expect(exports.runUnit(record)).toBe(FAULT);
    expect(engine.words[EXC_VECTOR >>> 2]).toBe(6);
  });

  it('leaves others alone', () => {
    decode(0x48, 0x01, 0xd8); // ADD RAX, RBX
    engine.setRegister(0, 1n);
    engine.setRegister(3, 2n);
    expect(exports.runUnit(record)).toBe(-1);
    expect(engine.getRegister(0)).toBe(1n);
  });
});

describe('loadSlow and storeSlow', () => {
  it('walk the tables and fill the TLB', () => {
    expect(exports.loadSlow(BigInt(DATA + 8), 8, SEG_DS, record)).toBe(GUEST_RAM + DATA + 8);
    const entry = engine.words[TLB_BASE >>> 2] + ((DATA >>> 12) % TLB_ENTRIES) * TLB_ENTRY_BYTES;
    expect(engine.longs[entry >>> 3]).toBe(BigInt(DATA));
    expect(DATA + engine.words[(entry + 24) >>> 2]).toBe(GUEST_RAM + DATA);
  });

  it('gather an access across pages', () => {
    engine.memory.writeU64(DATA + 0xffc, 0x1122_3344_5566_7788n);
    const from = exports.loadSlow(BigInt(DATA + 0xffc), 8, SEG_DS, record);
    expect([from, engine.longs[BOUNCE >>> 3]]).toEqual([BOUNCE, 0x1122_3344_5566_7788n]);
    const to = exports.storeSlow(BigInt(DATA + 0xffc), 8, SEG_DS, record, 1);
    expect([to, engine.longs[BOUNCE >>> 3]]).toEqual([BOUNCE, 0x1122_3344_5566_7788n]);
    engine.longs[BOUNCE >>> 3] = 0x99n;
    expect(engine.memory.readU64(DATA + 0xffc)).toBe(0x1122_3344_5566_7788n);
    expect(exports.finishStore(to)).toBe(1);
    expect(engine.memory.readU64(DATA + 0xffc)).toBe(0x99n);
  });

  it('raise what the access raises', () => {
    expect(exports.loadSlow(0x1_0000_0000n, 4, SEG_DS, record)).toBe(0);
    expect(engine.words[EXC_VECTOR >>> 2]).toBe(14);
    expect(exports.storeSlow(0x8000_0000_0000n, 4, SEG_DS, record, 0)).toBe(0);
    expect(engine.words[EXC_VECTOR >>> 2]).toBe(13);
    expect(exports.loadSlow(0x8000_0000_0000n, 4, SEG_SS, record)).toBe(0);
    expect(engine.words[EXC_VECTOR >>> 2]).toBe(12);
  });

  it('record the exit of a memory-mapped access', () => {
    const beyond = 0x80_0000; // mapped by the guest, not by the EPT
    expect(exports.loadSlow(BigInt(beyond), 4, SEG_DS, record)).toBe(0);
    expect(engine.vmcs.read32(F.EXIT_REASON)).toBe(ExitReason.EPT_VIOLATION);
    const to = exports.storeSlow(BigInt(beyond + 4), 4, SEG_DS, record, 0);
    expect(to).toBe(BOUNCE);
    expect(exports.finishStore(to)).toBe(0);
    expect(engine.vmcs.read64(F.GUEST_PHYSICAL_ADDRESS)).toBe(BigInt(beyond + 4));
  });
});

describe('coverCode', () => {
  const host = GUEST_RAM + DATA + 0x100;
  it('makes writes to the lines void what was made of the page', () => {
    const serial = exports.coverCode(host, 40);
    expect(exports.codeIsCurrent(host, serial)).toBe(1);
    exports.storeSlow(BigInt(DATA + 0x200), 4, SEG_DS, 0, 0); // another line
    expect(exports.codeIsCurrent(host, serial)).toBe(1);
    exports.storeSlow(BigInt(DATA + 0x120), 4, SEG_DS, 0, 0);
    expect(exports.codeIsCurrent(host, serial)).toBe(0);
    const again = exports.coverCode(host, 40);
    expect(again).not.toBe(serial);
    expect([exports.codeIsCurrent(host, serial), exports.codeIsCurrent(host, again)]).toEqual([0, 1]);
  });

  it('counts for writes through a translation that was there before, and for those from outside', () => {
    expect(exports.storeSlow(BigInt(DATA), 4, SEG_DS, 0, 0)).toBe(GUEST_RAM + DATA);
    let serial = exports.coverCode(host, 1);
    engine.memory.write(CODE, Uint8Array.from([0x88, 0x04, 0x25, 0x3f, DATA >>> 8, DATA >>> 16, 0, 0xf4])); // MOV [DATA + 13FH], AL
    engine.memory.write(CODE + 4, Uint8Array.from([0x01]));
    engine.rip = BigInt(CODE);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(exports.codeIsCurrent(host, serial)).toBe(0);
    serial = exports.coverCode(host, 1);
    engine.memory.writeU8(DATA + 0x100, 1);
    expect(exports.codeIsCurrent(host, serial)).toBe(0);
  });

  it('shares the page with the blocks of the interpreter', () => {
    const serial = exports.coverCode(GUEST_RAM + CODE, 1);
    expect(exports.codeIsCurrent(GUEST_RAM + CODE, serial)).toBe(1);
    engine.rip = BigInt(CODE);
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(exports.codeIsCurrent(GUEST_RAM + CODE, serial)).toBe(1);
  });
});

describe('findBlock', () => {
  it('gives the block of an address, always the same', () => {
    engine.memory.write(CODE + 0x200, Uint8Array.from([0x90, 0x90, 0xeb, 0xfe]));
    const mode = engine.words[MODE >>> 2],
      block = exports.findBlock(BigInt(CODE + 0x200), mode);
    expect(block).toBeGreaterThan(ARENA);
    const header = block - BLOCK_HEADER;
    expect([engine.words[header >>> 2], engine.words[(header + 4) >>> 2]]).toEqual([GUEST_RAM + CODE + 0x200, mode]);
    expect(engine.words[(header + 24) >>> 2]).toBe((4 << 16) | 3); // bytes, instructions
    expect(exports.findBlock(BigInt(CODE + 0x200), mode)).toBe(block);
  });

  it('raises what fetching raises', () => {
    expect(exports.findBlock(0x1_0000_0000n, engine.words[MODE >>> 2])).toBe(0);
    expect(engine.words[EXC_VECTOR >>> 2]).toBe(14);
  });
});

describe('flags and conditions', () => {
  it('go to their lazy form and back', () => {
    for (const flags of [0, 1, 4, 0x10, 0x40, 0x80, 0x800, 0x8d5, 0x41, 0x884]) {
      exports.flagsToLazy(flags);
      expect(exports.flagsFromLazy()).toBe(flags);
    }
  });

  it('say what Jcc would do', () => {
    const holds = (): string => Array.from({ length: 16 }, (_, cc) => exports.conditionHolds(cc)).join('');
    exports.flagsToLazy(0);
    expect(holds()).toBe('0101010101010101');
    exports.flagsToLazy(0x8d5);
    expect(holds()).toBe('1010101010100110');
    exports.flagsToLazy(0x80); // SF alone
    expect(holds()).toBe('0101010110011010');
  });
});

describe('table', () => {
  it('grows and takes functions', () => {
    const { table } = exports,
      index = table.grow(2);
    expect(table.length).toBe(index + 2);
    table.set(index, exports.flagsFromLazy);
    exports.flagsToLazy(0x41);
    expect(table.get(index)?.()).toBe(0x41);
    expect(table.get(index + 1)).toBeNull();
  });
});
