/** EPT of a hypervisor in the guest: violations, flags, VM functions, #VE. Rules by their section of the SDM, volume 3C. */
import { describe, expect, it } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import type { MemoryViews } from '@visorkit/machine';
import { MemoryViewsToken } from '@visorkit/machine';
import { definePlugin } from '@visorkit/core';
import { AT, Code, EPTP, WITH_EPT, eptEntry, hypervisor, run, tell, writeEpt } from './test-hypervisor.js';

const EPT_VIOLATION = 48n,
  EPT_MISCONFIGURATION = 49n,
  VMCALL = 18n,
  VMFUNC = 59n,
  PML_FULL = 62n;
const PAGE = 0x60000;
/** Where there is no memory. */
const DEVICE = 0x3000_0000;
const ACCESSED_DIRTY = 0x40n;

/** MOV RAX, [PAGE] and MOV [PAGE], RAX. */
const read = new Code().load(PAGE).vmcall();
const write = new Code().store(PAGE).vmcall();

describe('EPT of the hypervisor', () => {
  it('translates: its guest sees another page than the hypervisor at the same address', async () => {
    const { result } = await run({
      code: hypervisor(WITH_EPT),
      guest: new Code()
        .load(PAGE)
        .store(AT.results + 48)
        .vmcall(),
      handler: tell(),
      prepare: (vmm) => {
        writeEpt(vmm);
        vmm.memory.writeU64(eptEntry(PAGE), BigInt(PAGE + 0x1000) | 0x37n);
        vmm.memory.writeU64(PAGE, 1n);
        vmm.memory.writeU64(PAGE + 0x1000, 2n);
      },
    });
    expect([result(1), result(6)]).toEqual([VMCALL, 2n]);
  });

  it.each([
    ['with EPT of the hypervisor', WITH_EPT],
    ['without', {}],
  ])('lets an access to a device be made in pieces, each of them once, %s', async (_how, fields) => {
    const seen: string[] = [];
    const { result } = await run({
      code: hypervisor(fields),
      // MOV RAX, [DEVICE + 0xffd], over the end of its page; SGDT [DEVICE], of ten bytes
      guest: new Code()
        .load(DEVICE + 0xffd)
        .store(AT.results + 48)
        .add(0x0f, 0x01, 0x04, 0x25, ...[0, 8, 16, 24].map((shift) => (DEVICE >>> shift) & 0xff))
        .vmcall(),
      handler: tell(),
      plugins: [
        {
          name: 'device',
          apply: ({ hooks }) => {
            hooks.exit.for('ept-violation').tap({ stage: 50 }, ({ mmio: { valid, write, gpa, size } }) => {
              if (valid) seen.push(`${write ? 'write' : 'read'} ${size} at ${(gpa - DEVICE).toString(16)}`);
            });
          },
        },
      ],
      prepare: (vmm) => {
        writeEpt(vmm);
        // the hypervisor's own tables have the device where the machine has it
        vmm.memory.writeU64(AT.ept + 0x2000 + (DEVICE >>> 21) * 8, BigInt(DEVICE - (DEVICE % 2 ** 21)) | 0x87n);
      },
    });
    expect(result(1)).toBe(VMCALL);
    expect(result(6)).toBe((1n << 64n) - 1n);
    expect(seen).toEqual([
      'read 2 at ffd',
      'read 1 at fff',
      'read 4 at 1000',
      'read 1 at 1004',
      'write 8 at 0',
      'write 2 at 8',
    ]);
  });

  it.each<[string, Code, number, bigint, bigint]>([
    ['a read of what is not there', read, 0, EPT_VIOLATION, 0x181n],
    ['a write to what may be read', write, 1, EPT_VIOLATION, 0x18an],
    ['a read of execute-only', read, 4, EPT_VIOLATION, 0x1a1n],
    ['writable and not readable', read, 2, EPT_MISCONFIGURATION, 0n],
  ])('tells it of %s (29.3.3)', async (_what, guest, rights, reason, qualification) => {
    const { result } = await run({
      code: hypervisor(WITH_EPT),
      guest,
      handler: tell(),
      prepare: (vmm) => {
        writeEpt(vmm);
        vmm.memory.writeU64(eptEntry(PAGE), rights === 0 ? 0n : BigInt(PAGE + rights) | 0x30n);
      },
    });
    expect([result(1), result(4)]).toEqual([reason, BigInt(PAGE)]);
    if (reason === EPT_VIOLATION) expect(result(2)).toBe(qualification);
  });

  it('has accessed and dirty flags when its pointer says so, the dirty flag with the first write only (29.3.5)', async () => {
    const { result, vmm } = await run({
      code: hypervisor({ ...WITH_EPT, [F.EPT_POINTER]: EPTP | ACCESSED_DIRTY }),
      guest: new Code()
        .load(PAGE)
        .load(PAGE + 0x1000)
        .store(PAGE + 0x1000)
        .load(PAGE + 0x2000)
        .vmcall(),
      handler: tell(),
      prepare: (made) => writeEpt(made),
    });
    expect(result(1)).toBe(VMCALL);
    const flags = (gpa: number): bigint => (vmm.memory.readU64(eptEntry(gpa)) >> 8n) & 3n;
    expect([flags(PAGE), flags(PAGE + 0x1000), flags(PAGE + 0x3000)]).toEqual([1n, 3n, 0n]);
  });

  it('logs what its guest writes, and exits when the log is full (29.3.6)', async () => {
    const { result, vmm } = await run({
      code: hypervisor({
        ...WITH_EPT,
        [F.SECONDARY_CONTROLS]: 2 | (1 << 17),
        [F.EPT_POINTER]: EPTP | ACCESSED_DIRTY,
        [F.PML_ADDRESS]: 0x70000,
        [F.PML_INDEX]: 1,
      }),
      guest: new Code()
        .store(PAGE + 0x1008)
        .store(PAGE)
        .store(PAGE + 0x2000)
        .store(PAGE + 0x3000)
        .vmcall(),
      handler: tell(),
      prepare: (made) => {
        writeEpt(made);
        // the guest's own page tables are dirty already
        for (const gpa of [AT.tables, AT.tables + 0x1000, AT.tables + 0x2000])
          made.memory.writeU64(eptEntry(gpa), made.memory.readU64(eptEntry(gpa)) | 0x300n);
      },
    });
    expect(result(1)).toBe(PML_FULL);
    expect([vmm.memory.readU64(0x70008), vmm.memory.readU64(0x70000)]).toEqual([BigInt(PAGE + 0x1000), BigInt(PAGE)]);
  });

  it('is looked at anew after INVEPT, and after a change that gives more', async () => {
    const { result } = await run({
      code: hypervisor(WITH_EPT),
      guest: new Code().load(PAGE).vmcall(),
      handler: new Code()
        .vmread(F.EXIT_REASON, AT.results + 8)
        .mov(0, BigInt(PAGE) | 0x37n)
        .store(eptEntry(PAGE))
        .load(AT.results + 64)
        .add(0x48, 0xff, 0xc0)
        .store(AT.results + 64)
        .add(0x48, 0x83, 0xf8, 0x02, 0x75, 0x01, 0xf4)
        .vmresume(),
      prepare: (vmm) => {
        writeEpt(vmm);
        vmm.memory.writeU64(eptEntry(PAGE), 0n);
      },
    });
    expect([result(1), result(8)]).toEqual([VMCALL, 2n]);
  });
});

describe('VM functions', () => {
  const LIST = 0x71000,
    OTHER = 0x80000;
  const fields = {
    ...WITH_EPT,
    [F.SECONDARY_CONTROLS]: 2 | (1 << 13),
    [F.VM_FUNCTION_CONTROLS]: 1,
    [F.EPTP_LIST_ADDRESS]: LIST,
  };
  const vmfunc = (index: number): Code => new Code().mov(0, 0).mov(1, index).add(0x0f, 0x01, 0xd4);

  it('switch the EPT pointer without the hypervisor (26.5.6.3)', async () => {
    const guest = vmfunc(1);
    guest
      .load(PAGE)
      .store(AT.results + 48)
      .vmcall();
    const { result } = await run({
      code: hypervisor(fields),
      guest,
      handler: tell().add(0x90),
      prepare: (vmm) => {
        writeEpt(vmm);
        writeEpt(vmm, 7, OTHER);
        vmm.memory.writeU64(eptEntry(PAGE, OTHER), BigInt(PAGE + 0x1000) | 0x37n);
        vmm.memory.writeU64(PAGE + 0x1000, 7n);
        vmm.memory.writeU64(LIST, EPTP);
        vmm.memory.writeU64(LIST + 8, BigInt(OTHER) | 0x1en);
      },
    });
    expect([result(1), result(6)]).toEqual([VMCALL, 7n]);
  });

  it.each([
    ['beyond the list', 512],
    ['an entry that is no EPT pointer', 2],
  ])('exit with an index %s', async (_what, index) => {
    const { result } = await run({
      code: hypervisor(fields),
      guest: vmfunc(index),
      handler: tell(),
      prepare: (vmm) => {
        writeEpt(vmm);
        vmm.memory.writeU64(LIST + 16, 0x777n);
      },
    });
    expect(result(1)).toBe(VMFUNC);
  });
});

describe('#VE', () => {
  const AREA = 0x72000,
    IDT = 0x73000;
  const fields = {
    ...WITH_EPT,
    [F.SECONDARY_CONTROLS]: 2 | (1 << 18),
    [F.VIRTUALIZATION_EXCEPTION_INFORMATION]: AREA,
    [F.GUEST_IDTR_BASE]: IDT,
    [F.GUEST_IDTR_LIMIT]: 0xfff,
    [F.GUEST_GDTR_BASE]: 0x74000,
    [F.GUEST_GDTR_LIMIT]: 0x3f,
  };
  const setUp = (entry: bigint, busy: number) => (vmm: Parameters<typeof writeEpt>[0]) => {
    writeEpt(vmm);
    const { memory } = vmm;
    memory.writeU64(eptEntry(PAGE), entry);
    memory.writeU32(AREA + 4, busy);
    memory.writeU64(0x74008, 0x00af_9b00_0000_ffffn); // 64-bit code at selector 8
    const handler = 0x5000;
    memory.writeU64(IDT + 20 * 16, BigInt(handler) | (8n << 16n) | (0x8e00n << 32n));
    memory.write(handler, Uint8Array.from(new Code().vmcall().bytes));
  };

  it('comes in the place of a violation whose entry has bit 63 clear, with the area filled (26.5.7)', async () => {
    const { result, vmm } = await run({
      code: hypervisor(fields),
      guest: read,
      handler: tell(),
      prepare: setUp(0n, 0),
    });
    expect([result(1), result(3)]).toEqual([VMCALL, 0x5000n]);
    const { memory } = vmm;
    expect([memory.readU32(AREA), memory.readU32(AREA + 4)]).toEqual([48, 0xffff_ffff]);
    expect([memory.readU64(AREA + 8), memory.readU64(AREA + 16), memory.readU64(AREA + 24)]).toEqual([
      0x181n,
      BigInt(PAGE),
      BigInt(PAGE),
    ]);
  });

  it.each<[string, bigint, number]>([
    ['bit 63 is set', 1n << 63n, 0],
    ['the area is in use', 0n, 1],
  ])('does not come when %s', async (_what, entry, busy) => {
    const { result } = await run({
      code: hypervisor(fields),
      guest: read,
      handler: tell(),
      prepare: setUp(entry, busy),
    });
    expect(result(1)).toBe(EPT_VIOLATION);
  });
});

it('what is written for the hypervisor past the tables of the machine counts as written: its VMCS, flags of its EPT tables, its log, its virtual-APIC page', async () => {
  let views: MemoryViews | undefined;
  const LOG = 0x7_0000,
    VIRTUAL_APIC = 0x7_1000;
  await run({
    code: hypervisor({
      ...WITH_EPT,
      [F.PRIMARY_CONTROLS]: 0x8420_6172,
      [F.SECONDARY_CONTROLS]: 0x2_0002,
      [F.EPT_POINTER]: EPTP | ACCESSED_DIRTY,
      [F.PML_ADDRESS]: LOG,
      [F.PML_INDEX]: 511,
      [F.VIRTUAL_APIC_ADDRESS]: VIRTUAL_APIC,
    }),
    // MOV RAX, 5; MOV CR8, RAX: to the virtual-APIC page
    guest: new Code().mov(0, 5).add(0x44, 0x0f, 0x22, 0xc0).store(PAGE).vmcall(),
    handler: tell(),
    prepare: (vmm) => {
      writeEpt(vmm);
      views!.trackDirty('flags');
    },
    plugins: [
      definePlugin({
        name: 'views',
        uses: { views: MemoryViewsToken },
        apply: (_host, used) => {
          ({ views } = used);
        },
      }),
    ],
  });
  const written = views!.base.dirtyPages();
  for (const page of [AT.vmcs, AT.ept + 0x3000, LOG, VIRTUAL_APIC, PAGE]) expect(written).toContain(page);
  expect(written).not.toContain(PAGE + 0x1000);
});
