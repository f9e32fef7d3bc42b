/** Sub-page write permissions (SDM 3C 29.3.4) and bus-lock detection: which accesses are let through, which exit. */
import { EptRights, ExitReason, VmcsField as F, controlBits, eptPointer } from '@visorkit/x86';
import type { EptBuilder } from '@visorkit/x86';
import { beforeEach, describe, expect, it } from 'vitest';
import { Engine } from './engine.js';
import { writeIdentityTables, writeValidVmcs } from './testing.js';

const CODE = 0x10000;
const DATA = 0x40000;
const HLT = 0xf4;
/** MOV [RSI], AL; MOV [RSI], RAX. */
const STORE = [0x88, 0x06],
  STORE8 = [0x48, 0x89, 0x06];

let engine: Engine;
let ept: EptBuilder;
const read = (field: number): number => engine.vmcs.read32(field);
const secondary = (...names: string[]): void =>
  engine.vmcs.write32(F.SECONDARY_CONTROLS, (read(F.SECONDARY_CONTROLS) | controlBits('secondary', names)) >>> 0);
function run(address: number, ...code: number[]): number {
  engine.memory.write(CODE, Uint8Array.from([...code, HLT]));
  engine.rip = BigInt(CODE);
  engine.setRegister(6, BigInt(address));
  engine.setRegister(0, 0x1122_3344_5566_7788n);
  return engine.enter();
}

beforeEach(async () => {
  engine = await Engine.create({ memoryBytes: 4 << 20 });
  writeIdentityTables(engine);
  ept = writeValidVmcs(engine);
});

describe('sub-page write permissions', () => {
  /** Entry of DATA's page in the table of permissions. */
  let entry: number;
  let leaf: number;
  beforeEach(() => {
    secondary('sub-page-write-permissions');
    const [first, second, third, last] = [0, 1, 2, 3].map(() => engine.pages.allocatePage());
    engine.longs[first >>> 3] = BigInt(second) | 1n;
    engine.longs[second >>> 3] = BigInt(third) | 1n;
    engine.longs[third >>> 3] = BigInt(last) | 1n;
    entry = (last >>> 3) + (DATA >>> 12);
    engine.vmcs.write64(F.SUB_PAGE_PERMISSION_TABLE_POINTER, BigInt(first));
    ept.protect(DATA, EptRights.RX);
    let table = ept.root;
    for (let level = 4; level > 1; level--)
      table = (engine.words[(table >>> 2) + (Math.floor(DATA / 2 ** (3 + 9 * level)) % 512) * 2] & ~0xfff) >>> 0;
    leaf = (table >>> 3) + (DATA >>> 12);
    engine.longs[leaf] |= 1n << 61n;
  });

  it('let writes through to the parts that they allow, as often as they come', () => {
    engine.longs[entry] = 1n << 6n; // part 3: 180H to 1FFH
    for (const offset of [0x180, 0x1ff, 0x180]) {
      expect(run(DATA + offset, ...STORE)).toBe(ExitReason.HLT);
      expect(engine.memory.readU8(DATA + offset)).toBe(0x88);
    }
    for (const offset of [0x17f, 0x200, 0]) {
      expect(run(DATA + offset, ...STORE)).toBe(ExitReason.EPT_VIOLATION);
      expect(read(F.EXIT_QUALIFICATION)).toBe(0x1aa);
      expect(engine.memory.readU8(DATA + offset)).toBe(0);
    }
  });

  it('must allow every part that a write touches', () => {
    engine.longs[entry] = 1n << 6n;
    expect(run(DATA + 0x1fc, ...STORE8)).toBe(ExitReason.EPT_VIOLATION);
    engine.longs[entry] = (1n << 6n) | (1n << 8n);
    expect(run(DATA + 0x1fc, ...STORE8)).toBe(ExitReason.HLT);
    expect(engine.memory.readU64(DATA + 0x1fc)).toBe(0x1122_3344_5566_7788n);
  });

  it('hold for instructions that read and write, and reads need none', () => {
    engine.memory.writeU8(DATA + 0x180, 7);
    expect(run(DATA + 0x180, 0x8a, 0x1e)).toBe(ExitReason.HLT); // MOV BL, [RSI]
    expect(engine.getRegister32(3) & 0xff).toBe(7);
    expect(run(DATA + 0x180, 0xfe, 0x06)).toBe(ExitReason.EPT_VIOLATION); // INC [RSI]
    engine.longs[entry] = 1n << 6n;
    expect(run(DATA + 0x180, 0xfe, 0x06)).toBe(ExitReason.HLT);
    expect(engine.memory.readU8(DATA + 0x180)).toBe(8);
  });

  it('count only with bit 61, and not where a page can be written anyway', () => {
    engine.longs[entry] = 1n << 6n;
    engine.longs[leaf] &= ~(1n << 61n);
    engine.flushTranslations();
    expect(run(DATA + 0x180, ...STORE)).toBe(ExitReason.EPT_VIOLATION);
    ept.protect(DATA, EptRights.RWX);
    engine.flushTranslations();
    expect(run(DATA, ...STORE)).toBe(ExitReason.HLT);
  });

  it('exit where the table has no entry, or reserved bits', () => {
    const top = Number(engine.vmcs.read64(F.SUB_PAGE_PERMISSION_TABLE_POINTER)) >>> 3;
    engine.longs[entry] = 2n;
    expect(run(DATA, ...STORE)).toBe(ExitReason.SPP);
    expect(read(F.EXIT_QUALIFICATION)).toBe(0);
    expect(engine.vmcs.read64(F.GUEST_PHYSICAL_ADDRESS)).toBe(BigInt(DATA));
    expect(engine.vmcs.read64(F.GUEST_LINEAR_ADDRESS)).toBe(BigInt(DATA));
    expect(engine.rip).toBe(BigInt(CODE));
    engine.longs[top] |= 4n;
    expect(run(DATA, ...STORE)).toBe(ExitReason.SPP);
    expect(read(F.EXIT_QUALIFICATION)).toBe(0);
    engine.longs[top] = 0n;
    expect(run(DATA, ...STORE)).toBe(ExitReason.SPP);
    expect(read(F.EXIT_QUALIFICATION)).toBe(1 << 11);
  });

  it('set dirty flags and are logged', () => {
    engine.longs[entry] = 1n;
    secondary('enable-pml');
    const log = engine.pages.allocatePage();
    engine.vmcs.write64(F.PML_ADDRESS, BigInt(log));
    engine.vmcs.write32(F.PML_INDEX, 511);
    engine.vmcs.write64(F.EPT_POINTER, eptPointer(ept.root, 6, true));
    expect(run(DATA, ...STORE)).toBe(ExitReason.HLT);
    expect(engine.longs[leaf] & 0x300n).toBe(0x300n);
    expect([...engine.longs.slice(log >>> 3, (log >>> 3) + 512)]).toContain(BigInt(DATA));
  });
});

describe('bus-lock detection', () => {
  const CROSSING = DATA + 62;
  beforeEach(() => secondary('vmm-bus-lock-detection'));

  it.each([
    ['LOCK INC', [0xf0, 0xff, 0x06]],
    ['XCHG without LOCK', [0x87, 0x06]],
    ['LOCK CMPXCHG', [0xf0, 0x0f, 0xb1, 0x0e]],
    ['LOCK BTS', [0xf0, 0x0f, 0xba, 0x2e, 0x05]],
  ])('sees %s across two lines, once it is done', (_name, code) => {
    expect(run(CROSSING, ...code)).toBe(ExitReason.BUS_LOCK);
    expect(engine.rip).toBe(BigInt(CODE + code.length));
    expect(engine.enter()).toBe(ExitReason.HLT);
  });

  it('sees one across two pages', () => {
    engine.memory.writeU32(DATA + 0xffe, 0x0001_ffff);
    expect(run(DATA + 0xffe, 0xf0, 0xff, 0x06)).toBe(ExitReason.BUS_LOCK);
    expect(engine.memory.readU32(DATA + 0xffe)).toBe(0x0002_0000);
  });

  it.each([
    ['within a line', DATA + 60, [0xf0, 0xff, 0x06]],
    ['without LOCK', CROSSING, [0xff, 0x06]],
    ['that only write', CROSSING, [0x89, 0x06]],
  ])('does not see accesses %s', (_name, address, code) => {
    expect(run(address, ...code)).toBe(ExitReason.HLT);
  });

  it('is told by bit 26 of the reason where another exit comes first, and not once more (25.9.1)', () => {
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 2);
    engine.rflags = 0x102; // a single-step trap is due
    expect(run(CROSSING, 0xf0, 0xff, 0x06) & 0xffff).toBe(ExitReason.EXCEPTION);
    expect(read(F.EXIT_REASON)).toBe((1 << 26) | ExitReason.EXCEPTION);
    expect(engine.rip).toBe(BigInt(CODE + 3));
    engine.rflags = 2;
    expect(engine.enter()).toBe(ExitReason.HLT);
    expect(read(F.EXIT_REASON)).toBe(ExitReason.HLT);
  });

  it('is told by an exit of the event that comes first', () => {
    engine.rflags = 0x102; // there is no IDT: the trap ends in a triple fault
    expect(run(CROSSING, 0xf0, 0xff, 0x06) & 0xffff).toBe(ExitReason.TRIPLE_FAULT);
    expect(read(F.EXIT_REASON)).toBe((1 << 26) | ExitReason.TRIPLE_FAULT);
  });

  it('is not told of an instruction that has left before it was done', () => {
    ept.protect(DATA, EptRights.RX);
    engine.flushTranslations();
    expect(run(CROSSING, 0xf0, 0xff, 0x06)).toBe(ExitReason.EPT_VIOLATION);
    expect(read(F.EXIT_REASON)).toBe(ExitReason.EPT_VIOLATION);
  });

  it('costs nothing when the control is clear again', () => {
    engine.vmcs.write32(F.SECONDARY_CONTROLS, read(F.SECONDARY_CONTROLS) & ~(1 << 30));
    expect(run(CROSSING, 0xf0, 0xff, 0x06)).toBe(ExitReason.HLT);
  });
});

describe('user waits', () => {
  const UMONITOR = [0xf3, 0x0f, 0xae, 0xf6],
    UMWAIT = [0xf2, 0x0f, 0xae, 0xf1],
    TPAUSE = [0x66, 0x0f, 0xae, 0xf1];
  beforeEach(() => {
    secondary('enable-user-wait-and-pause');
    engine.vmcs.write32(F.EXCEPTION_BITMAP, 0xffff_ffff);
  });

  it('end at once, with the flags cleared', () => {
    engine.rflags = 0x8d7;
    engine.setRegister(1, 1n);
    expect(run(DATA, ...UMONITOR, ...UMWAIT, ...TPAUSE)).toBe(ExitReason.HLT);
    expect(engine.rflags & 0x8d5).toBe(0);
  });

  it.each([
    ['UMWAIT', UMWAIT],
    ['TPAUSE', TPAUSE],
  ])('%s raises #GP for reserved bits of its operand', (_name, code) => {
    engine.setRegister(1, 2n);
    expect(run(DATA, ...code)).toBe(ExitReason.EXCEPTION);
    expect(read(F.EXIT_INTERRUPTION_INFO)).toBe(0x8000_0b0d);
  });

  it.each([UMONITOR, UMWAIT, TPAUSE])('are undefined without the control: %#', (...code) => {
    engine.vmcs.write32(F.SECONDARY_CONTROLS, read(F.SECONDARY_CONTROLS) & ~(1 << 26));
    expect(run(DATA, ...code)).toBe(ExitReason.EXCEPTION);
    expect(read(F.EXIT_INTERRUPTION_INFO)).toBe(0x8000_0306);
  });

  it('name their operand in the instruction information', () => {
    engine.vmcs.write32(
      F.PRIMARY_CONTROLS,
      (read(F.PRIMARY_CONTROLS) | controlBits('primary', ['rdtsc-exiting'])) >>> 0,
    );
    expect(run(DATA, 0x66, 0x41, 0x0f, 0xae, 0xf3)).toBe(ExitReason.TPAUSE); // R11D
    expect(read(F.EXIT_INSTRUCTION_INFO)).toBe((11 << 3) | (1 << 11));
  });

  it('UMONITOR reads its address', () => {
    expect(run(0x2_0000_0000, ...UMONITOR)).toBe(ExitReason.EXCEPTION);
    expect(read(F.EXIT_INTERRUPTION_INFO)).toBe(0x8000_0b0e);
  });
});
