/** Controls of newer processors that the hypervisor may ask for: sub-page permissions, user wait and pause, bus-lock detection, instruction timeout. Rules by their section of the SDM. */
import type { Vmm } from '@visorkit/core';
import { MsrBusToken } from '@visorkit/machine';
import { definePlugin } from '@visorkit/core';
import { Msr, VmcsField as F } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import type { NestedVmxOptions } from './index.js';
import { AT, Code, EPTP, WITH_EPT, eptEntry, hypervisor, machine, run, tell, writeEpt } from './test-hypervisor.js';

const EXCEPTION = 0n,
  VMCALL = 18n,
  EPT_VIOLATION = 48n,
  SPP = 66n,
  UMWAIT = 67n,
  TPAUSE = 68n,
  BUS_LOCK = 74n,
  TIMEOUT = 75n;
const EPT = 1 << 1,
  UNRESTRICTED = 1 << 7,
  PML = 1 << 17,
  SUB_PAGES = 1 << 23,
  USER_WAIT = 1 << 26,
  BUS_LOCKS = 1 << 30,
  TIMEOUTS = 0x8000_0000;
const PRIMARY = 0x8400_6172,
  RDTSC_EXITING = 1 << 12;
const PAGE = 0x6_0000;
const TABLES = 0x7_0000;

async function secondary(options: NestedVmxOptions): Promise<number> {
  let allowed = 0n;
  const reader = definePlugin({
    name: 'reader',
    uses: { msrs: MsrBusToken },
    apply({ hooks }, { msrs }) {
      hooks.load.tap(() => {
        allowed = msrs.find(Msr.IA32_VMX_PROCBASED_CTLS2)!.readMsr(Msr.IA32_VMX_PROCBASED_CTLS2, 0)! >> 32n;
      });
    },
  });
  await machine({ code: new Code().halt(), options, plugins: [reader] });
  return Number(allowed);
}

it('are in IA32_VMX_PROCBASED_CTLS2, unless the options take them away (A.3.3)', async () => {
  const all = SUB_PAGES | USER_WAIT | BUS_LOCKS | TIMEOUTS;
  expect((await secondary({})) & all).toBe(all);
  const without: readonly [NestedVmxOptions, number][] = [
    [{ spp: false }, SUB_PAGES],
    [{ ept: false }, SUB_PAGES],
    [{ userWait: false }, USER_WAIT],
    [{ busLockDetection: false }, BUS_LOCKS],
    [{ instructionTimeout: false }, TIMEOUTS],
  ];
  for (const [options, bit] of without) expect((await secondary(options)) & all).toBe(all & ~bit);
});

describe('sub-page write permissions (29.3.4)', () => {
  /** The page may be read; its entry has bit 61. `parts`: its entry in the table, which ends one level above with `undefined`. */
  const prepare =
    (parts: bigint | undefined) =>
    (vmm: Vmm): void => {
      writeEpt(vmm);
      vmm.memory.writeU64(eptEntry(PAGE), BigInt(PAGE) | 0x35n | (1n << 61n));
      for (let level = 0; level < (parts === undefined ? 2 : 3); level++)
        vmm.memory.writeU64(TABLES + level * 0x1000, BigInt(TABLES + (level + 1) * 0x1000) | 1n);
      if (parts !== undefined) vmm.memory.writeU64(TABLES + 0x3000 + (PAGE >>> 12) * 8, parts);
    };
  const fields = {
    ...WITH_EPT,
    [F.SECONDARY_CONTROLS]: EPT | SUB_PAGES,
    [F.SUB_PAGE_PERMISSION_TABLE_POINTER]: TABLES,
  };
  const PART_3 = 1n << 6n;

  it('let writes through to the parts that the table allows', async () => {
    const guest = new Code().load(PAGE).mov(0, 7);
    for (const offset of [0x180, 0x1f8, 0x188]) guest.store(PAGE + offset);
    const { result, vmm } = await run({
      code: hypervisor(fields),
      guest: guest.vmcall(),
      handler: tell(),
      prepare: prepare(PART_3),
    });
    expect(result(1)).toBe(VMCALL);
    expect([0x180, 0x1f8, 0x188].map((offset) => vmm.memory.readU64(PAGE + offset))).toEqual([7n, 7n, 7n]);
  });

  it.each([
    ['another part', 0x200],
    ['a part and the next one', 0x1fc],
  ])('refuse a write to %s: an EPT violation', async (_what, offset) => {
    const { result, vmm } = await run({
      code: hypervisor(fields),
      guest: new Code()
        .store(PAGE + 0x180)
        .mov(0, 7)
        .store(PAGE + offset)
        .vmcall(),
      handler: tell(),
      prepare: prepare(PART_3),
    });
    expect([result(1), result(4)]).toEqual([EPT_VIOLATION, BigInt(PAGE + offset)]);
    expect(result(2) & 0x1bfn).toBe(0x1aan); // a write to what may be read and executed, through a linear address
    expect(vmm.memory.readU64(PAGE + offset)).toBe(0n);
  });

  it('set no dirty flag and log nothing for a write that one of its two parts refuses (29.3.4, 29.3.5)', async () => {
    const { result, vmm } = await run({
      code: hypervisor({
        ...fields,
        [F.SECONDARY_CONTROLS]: EPT | SUB_PAGES | PML,
        [F.EPT_POINTER]: EPTP | 0x40n,
        [F.PML_ADDRESS]: TABLES + 0x8000,
        [F.PML_INDEX]: 511,
      }),
      guest: new Code().store(PAGE + 0x1fc).vmcall(),
      handler: tell(),
      prepare: prepare(PART_3),
    });
    expect([result(1), result(4)]).toEqual([EPT_VIOLATION, BigInt(PAGE + 0x1fc)]);
    expect(vmm.memory.readU64(eptEntry(PAGE)) & 0x200n).toBe(0n);
    expect(vmm.memory.readU64(TABLES + 0x8000 + 511 * 8)).not.toBe(BigInt(PAGE));
  });

  it.each<[string, bigint | undefined, bigint]>([
    ['no entry', undefined, 0x800n],
    ['an entry with a reserved bit', 2n | PART_3, 0n],
  ])('exit with reason 66 for a page with %s', async (_what, parts, qualification) => {
    const { result } = await run({
      code: hypervisor(fields),
      guest: new Code().store(PAGE + 0x180).vmcall(),
      handler: tell(),
      prepare: prepare(parts),
    });
    expect([result(1), result(2), result(4)]).toEqual([SPP, qualification, BigInt(PAGE + 0x180)]);
  });

  it('count for nothing without the control', async () => {
    const { result } = await run({
      code: hypervisor({ ...fields, [F.SECONDARY_CONTROLS]: EPT }),
      guest: new Code().store(PAGE + 0x180).vmcall(),
      handler: tell(),
      prepare: prepare(PART_3),
    });
    expect(result(1)).toBe(EPT_VIOLATION);
  });

  it('set the dirty flag and log the page (29.3.5, 29.3.6)', async () => {
    const { result, vmm } = await run({
      code: hypervisor({
        ...fields,
        [F.SECONDARY_CONTROLS]: EPT | SUB_PAGES | PML,
        [F.EPT_POINTER]: EPTP | 0x40n,
        [F.PML_ADDRESS]: TABLES + 0x8000,
        [F.PML_INDEX]: 511,
      }),
      guest: new Code().store(PAGE + 0x180).vmcall(),
      handler: tell(),
      prepare: prepare(PART_3),
    });
    expect(result(1)).toBe(VMCALL);
    expect((vmm.memory.readU64(eptEntry(PAGE)) >> 9n) & 1n).toBe(1n);
    const logged = Array.from({ length: 8 }, (_, n) => vmm.memory.readU64(TABLES + 0x8ff8 - n * 8));
    expect(logged).toContain(BigInt(PAGE));
  });

  it('are taken anew from the table after INVEPT', async () => {
    // the handler: at the first exit it allows part 4 as well, and goes on
    const handler = new Code()
      .vmread(F.EXIT_REASON, AT.results + 8)
      .add(0x48, 0x83, 0xfa, 48, 0x74, 0x01, 0xf4) // CMP RDX, 48; JE +1; HLT
      .mov(0, PART_3 | (1n << 8n))
      .store(TABLES + 0x3000 + (PAGE >>> 12) * 8)
      .mov(0, 2)
      .add(0x66, 0x0f, 0x38, 0x80, 0x04, 0x25, 0x00, 0x00, 0x05, 0x00) // INVEPT RAX, [AT.free]
      .vmresume();
    const { result, vmm } = await run({
      code: hypervisor(fields),
      guest: new Code()
        .store(PAGE + 0x180)
        .store(PAGE + 0x200)
        .vmcall(),
      handler,
      prepare: prepare(PART_3),
    });
    expect([result(1), vmm.memory.readU64(PAGE + 0x200)]).toEqual([VMCALL, 2n]); // RAX is the handler's
  });
});

describe('user wait and pause (26.3)', () => {
  // UMWAIT ECX and TPAUSE ECX
  const waits = [
    [UMWAIT, [0xf2, 0x0f, 0xae, 0xf1]],
    [TPAUSE, [0x66, 0x0f, 0xae, 0xf1]],
  ] as const;
  const guest = (code: readonly number[]): Code =>
    new Code()
      .mov(1, 1)
      .add(...code)
      .vmcall();
  const ended = async (
    primary: number,
    second: number,
    code: readonly number[],
  ): Promise<readonly [bigint, bigint]> => {
    const { result } = await run({
      code: hypervisor({
        [F.PRIMARY_CONTROLS]: primary,
        [F.SECONDARY_CONTROLS]: second,
        [F.EXCEPTION_BITMAP]: 1 << 6,
      }),
      guest: guest(code),
      handler: tell(),
    });
    return [result(1), result(5)];
  };

  it.each(waits)('exit %i with RDTSC exiting, go on without, are #UD without the control', async (reason, code) => {
    expect((await ended(PRIMARY | RDTSC_EXITING, USER_WAIT, code))[0]).toBe(reason);
    expect((await ended(PRIMARY, USER_WAIT, code))[0]).toBe(VMCALL);
    expect(await ended(PRIMARY | RDTSC_EXITING, 0, code)).toEqual([EXCEPTION, 0x8000_0306n]);
  });
});

describe('VMM bus-lock detection (26.2)', () => {
  const at = PAGE + 0x3e,
    ASSERTED = 1n << 26n;
  /** LOCK INC dword [at], across two cache lines. */
  const locked = new Code().add(0xf0, 0xff, 0x04, 0x25, at & 0xff, (at >> 8) & 0xff, (at >> 16) & 0xff, 0).vmcall();
  it.each<[string, number, bigint, bigint]>([
    ['exits behind the instruction', BUS_LOCKS, BUS_LOCK, BigInt(AT.guest + 8)],
    ['does not without the control', 0, VMCALL, BigInt(AT.guest + 8)],
  ])('%s', async (_what, control, reason, rip) => {
    const { result, vmm } = await run({
      code: hypervisor({ [F.PRIMARY_CONTROLS]: PRIMARY, [F.SECONDARY_CONTROLS]: control }),
      guest: locked,
      handler: tell(),
    });
    expect([result(1), result(3)]).toEqual([reason, rip]);
    expect(vmm.memory.readU32(at)).toBe(1);
  });

  const stepped = { [F.PRIMARY_CONTROLS]: PRIMARY, [F.SECONDARY_CONTROLS]: BUS_LOCKS, [F.GUEST_RFLAGS]: 0x102 };
  it('is told by bit 26 of the reason where another exit comes first: that of the single-step trap (25.9.1)', async () => {
    const { result } = await run({
      code: hypervisor({ ...stepped, [F.EXCEPTION_BITMAP]: 2 }),
      guest: locked,
      handler: tell(),
    });
    expect([result(1), result(3), result(5)]).toEqual([ASSERTED, BigInt(AT.guest + 8), 0x8000_0301n]);
  });

  it('is told by the next exit, when the machine has handled the one that came first', async () => {
    const IDT = 0x6_2000,
      GDT = 0x6_3000;
    // the delivery of #DB leaves the guest for a page of tables that is not there yet
    const { result } = await run({
      code: hypervisor({
        ...stepped,
        [F.SECONDARY_CONTROLS]: EPT | BUS_LOCKS,
        [F.EPT_POINTER]: EPTP,
        [F.GUEST_IDTR_BASE]: IDT,
        [F.GUEST_IDTR_LIMIT]: 0xfff,
        [F.GUEST_GDTR_BASE]: GDT,
        [F.GUEST_GDTR_LIMIT]: 0xff,
      }),
      guest: locked,
      handler: tell(),
      prepare: (vmm) => {
        writeEpt(vmm);
        vmm.memory.writeU64(GDT + 8, 0xaf_9b00_0000_ffffn);
        vmm.memory.writeU64(IDT + 16, BigInt(AT.guest + 8) | 0x8e00_0008_0000n);
      },
    });
    expect([result(1), result(3)]).toEqual([ASSERTED | VMCALL, BigInt(AT.guest + 8)]);
  });
});

describe('instruction timeout (26.2)', () => {
  const IDT = 0x6_2000,
    GDT = 0x6_3000;
  /** A guest at CPL 3 whose alignment checks fail while each is delivered: nothing ends that. */
  const endless = {
    ...WITH_EPT,
    [F.SECONDARY_CONTROLS]: (EPT | UNRESTRICTED | TIMEOUTS) >>> 0,
    [F.INSTRUCTION_TIMEOUT]: 100,
    [F.ENTRY_CONTROLS]: 0x91fb,
    [F.GUEST_IA32_EFER]: 0,
    [F.GUEST_CR0]: 0x4_0031,
    [F.GUEST_CR4]: 0x2000,
    [F.GUEST_RFLAGS]: 0x4_0002,
    [F.GUEST_RSP]: AT.guestStack + 2,
    [F.GUEST_IDTR_BASE]: IDT,
    [F.GUEST_IDTR_LIMIT]: 0x7ff,
    [F.GUEST_GDTR_BASE]: GDT,
    [F.GUEST_GDTR_LIMIT]: 0xff,
    ...Object.fromEntries(
      [0, 1, 2, 3, 4, 5].flatMap((n) => [
        [F.GUEST_ES_SELECTOR + 2 * n, n === 1 ? 0x1b : 0x23],
        [F.GUEST_ES_ACCESS_RIGHTS + 2 * n, n === 1 ? 0xc0fb : 0xc0f3],
      ]),
    ),
  };
  it('exits when events raise one another for longer than the limit', async () => {
    const { result } = await run({
      code: hypervisor(endless),
      guest: new Code().add(0x8b, 0x46, 0x01), // MOV EAX, [ESI + 1]
      handler: tell(),
      prepare: (vmm) => {
        writeEpt(vmm);
        vmm.memory.writeU64(GDT + 0x18, 0x00cf_fb00_0000_ffffn);
        vmm.memory.writeU64(IDT + 17 * 8, BigInt(AT.guest) | (0x1bn << 16n) | (0xeen << 40n));
      },
    });
    expect(result(1)).toBe(TIMEOUT);
  });
});
