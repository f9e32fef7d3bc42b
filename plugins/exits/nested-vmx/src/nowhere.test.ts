/** Page tables and code of the hypervisor's guest where there is no memory: reads of nothing give all ones, and what comes of it is that guest's, or its hypervisor's. */
import { describe, expect, it } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import { AT, Code, MEMORY, WITH_EPT, hypervisor, run, tell, writeEpt } from './test-hypervisor.js';
import type { Setting } from './test-hypervisor.js';

const NOWHERE = 0x3000_0000;
/** The guest's own tables, where it has others than the hypervisor. */
const TABLES = 0x70000;
const EXCEPTION = 0n,
  TRIPLE_FAULT = 2n,
  VMCALL = 18n;
/** Interruption information of hardware exceptions. */
const UD = 0x8000_0306n,
  GP = 0x8000_0b0dn,
  PF = 0x8000_0b0en;
const PRESENT = 1n,
  RESERVED = 8n;
const EXCEPTIONS = { [F.EXCEPTION_BITMAP]: (1 << 6) | (1 << 13) | (1 << 14) } as const;

/** JMP RAX. */
const jump = (to: number): Code => new Code().mov(0, to).add(0xff, 0xe0);

const WAYS: readonly [string, Readonly<Record<number, bigint | number>>][] = [
  ['with EPT of the hypervisor', WITH_EPT],
  ['without', {}],
  ['with accessed and dirty flags of EPT', { ...WITH_EPT, [F.EPT_POINTER]: BigInt(AT.ept) | 0x5en }],
];

describe.each(WAYS)('where there is no memory, %s', (_how, ept) => {
  const outcome = async (setting: Omit<Setting, 'code'>, fields: Readonly<Record<number, bigint | number>> = {}) => {
    const { result, report, vmm } = await run({
      handler: tell(),
      ...setting,
      code: hypervisor({ ...ept, ...EXCEPTIONS, ...fields }),
      prepare: (made, nested) => {
        writeEpt(made);
        // The hypervisor's tables lead to where nothing is, too
        for (let n = 4; n < 512; n++) made.memory.writeU64(AT.ept + 0x2000 + n * 8, BigInt(n * 2 ** 21) | 0xb7n);
        made.memory.write(TABLES, made.memory.read(AT.tables, 0x3000));
        made.memory.writeU64(TABLES, BigInt(TABLES + 0x1003));
        made.memory.writeU64(TABLES + 0x1000, BigInt(TABLES + 0x2003));
        setting.prepare?.(made, nested);
      },
    });
    expect(report.reason).toBe('halted');
    await vmm.dispose();
    return { reason: result(1), qualification: result(2), rip: result(3), info: result(5), result };
  };

  it('page tables have reserved bits set: #PF (SDM 3A 5.7)', async () => {
    const { reason, qualification, info } = await outcome({}, { [F.GUEST_CR3]: NOWHERE });
    expect([reason, info, qualification]).toEqual([EXCEPTION, PF, BigInt(AT.guest)]);
  });

  it('the last of the page tables as well; its error code says so', async () => {
    const AT_TABLE = 0x4000_0000 - 2 ** 21 + 0x5000;
    const { reason, qualification, info, result } = await outcome({
      guest: new Code().load(AT_TABLE).vmcall(),
      handler: new Code().vmread(F.EXIT_INTERRUPTION_ERROR_CODE, AT.results + 64).add(...tell().bytes),
      prepare: ({ memory }) => memory.writeU64(AT.tables + 0x2000 + 511 * 8, BigInt(NOWHERE) | 3n),
    });
    expect([reason, info, qualification]).toEqual([EXCEPTION, PF, BigInt(AT_TABLE)]);
    expect(result(8)).toBe(PRESENT | RESERVED);
  });

  it('page-directory-pointer-table entries too: MOV CR3 is #GP(0) (SDM 3A 5.4.1)', async () => {
    const { reason, info, rip } = await outcome(
      {
        guest: new Code().add(0xb8, 0, 0, 0, NOWHERE >>> 24, 0x0f, 0x22, 0xd8),
        prepare: ({ memory }) => memory.writeU64(AT.free, BigInt(AT.tables + 0x2000) | 1n),
      },
      {
        [F.ENTRY_CONTROLS]: 0x91fb,
        [F.GUEST_IA32_EFER]: 0,
        [F.GUEST_CR3]: AT.free,
        [F.GUEST_PDPTE0]: BigInt(AT.tables + 0x2000) | 1n,
        [F.GUEST_PDPTE1]: 0,
        [F.GUEST_PDPTE2]: 0,
        [F.GUEST_PDPTE3]: 0,
        [F.GUEST_CS_ACCESS_RIGHTS]: 0xc09b,
      },
    );
    expect([reason, info, rip]).toEqual([EXCEPTION, GP, BigInt(AT.guest + 5)]);
  });

  it('code is FF FF, which is no instruction: #UD', async () => {
    const { reason, info, rip } = await outcome({ guest: jump(NOWHERE + 0x10) });
    expect([reason, info, rip]).toEqual([EXCEPTION, UD, BigInt(NOWHERE + 0x10)]);
  });

  it('an instruction that goes on there has all ones from there', async () => {
    const { reason, info, rip, result } = await outcome({
      guest: jump(MEMORY - 3),
      handler: new Code().store(AT.results + 64).add(...tell().bytes),
      prepare: ({ memory }) => memory.write(MEMORY - 3, Uint8Array.of(0xb8, 0x12, 0x34)), // MOV EAX, imm32
    });
    expect([reason, info, rip]).toEqual([EXCEPTION, UD, BigInt(MEMORY + 2)]);
    expect(result(8)).toBe(0xffff_3412n);
  });

  it.each([
    ['page tables', { [F.GUEST_CR3]: NOWHERE }, undefined],
    ['code', {}, jump(NOWHERE)],
    [
      'the stack and handlers',
      { [F.GUEST_RSP]: NOWHERE, [F.GUEST_IDTR_BASE]: NOWHERE, [F.GUEST_IDTR_LIMIT]: 0xfff },
      new Code().add(0x0f, 0x0b),
    ],
  ])('a guest that can do nothing about it shuts down: %s', async (_what, fields, guest) => {
    const { reason } = await outcome(guest === undefined ? {} : { guest }, { ...fields, [F.EXCEPTION_BITMAP]: 0 });
    expect(reason).toBe(TRIPLE_FAULT);
  });

  it('is left to the hypervisor, which can go on', async () => {
    const { reason, rip } = await outcome({
      guest: jump(NOWHERE),
      handler: new Code()
        .vmread(F.EXIT_REASON, AT.results + 64)
        .mov(0, F.EXIT_REASON)
        .add(0x0f, 0x78, 0xc2, 0x85, 0xd2, 0x75, 24) // VMREAD RDX; TEST EDX, EDX; JNZ behind the entry
        .vmwrite(F.GUEST_RIP, AT.guest + 0x80)
        .vmresume()
        .add(...tell().bytes),
      prepare: ({ memory }) => memory.write(AT.guest + 0x80, Uint8Array.of(0x0f, 0x01, 0xc1)),
    });
    expect([reason, rip]).toEqual([VMCALL, BigInt(AT.guest + 0x80)]);
  });

  it('page tables in read-only memory serve; the flags that are set there get lost', async () => {
    const PAGE = 0x60000;
    const rom = new Uint8Array(4096);
    // The table for the first 2 MiB, by pages of 4 KiB, without accessed and dirty flags
    for (let n = 0; n < 512; n++) new DataView(rom.buffer).setBigUint64(n * 8, BigInt(n * 4096) | 3n, true);
    const { reason, result } = await outcome(
      {
        guest: new Code()
          .load(PAGE)
          .store(PAGE + 8)
          .vmcall(),
        handler: new Code()
          .load(PAGE + 8)
          .store(AT.results + 64)
          .add(...tell().bytes),
        prepare: ({ backend, memory }) => {
          backend.mapRom!(NOWHERE, rom);
          memory.writeU64(PAGE, 0x1234n);
          memory.writeU64(TABLES + 0x2000, BigInt(NOWHERE) | 3n);
        },
      },
      { [F.GUEST_CR3]: TABLES },
    );
    expect([reason, result(8)]).toEqual([VMCALL, 0x1234n]);
  });
});
