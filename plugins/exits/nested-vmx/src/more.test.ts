/** What else the hypervisor may ask for: shadow VMCSs, the preemption timer, task switches, the monitor trap flag, MSRs, bits that are fixed. */
import { describe, expect, it } from 'vitest';
import { VmcsField as F } from '@visorkit/x86';
import { AT, Code, REVISION, enterVmx, hypercalls, hypervisor, machine, run, tell } from './test-hypervisor.js';

const VMCALL = 18n;
const ZF = 0x40n,
  CF = 1n;
const UD = 6,
  GP = 13;

/** Vectors that the hypervisor would be given: the run ends with a triple fault, because it has no IDT. */
async function faults(code: Code): Promise<string> {
  const { report } = await run({ code });
  return report.reason;
}

describe('VMX operation', () => {
  it('is not entered without IA32_FEATURE_CONTROL (24.7)', async () => {
    const code = new Code()
      .add(0x0f, 0x20, 0xe0, 0x48, 0x0d, 0x00, 0x20, 0x00, 0x00, 0x0f, 0x22, 0xe0)
      .vmxon(AT.results + 0xf00)
      .halt();
    expect(await faults(code)).toBe('triple-fault');
  });

  it('keeps CR4.VMXE and CR0.NE set, until VMXOFF (24.8)', async () => {
    const clear = [0x0f, 0x20, 0xe0, 0x48, 0x25, 0xff, 0xdf, 0xff, 0xff, 0x0f, 0x22, 0xe0] as const;
    expect(
      await faults(
        enterVmx(new Code())
          .add(...clear)
          .halt(),
      ),
    ).toBe('triple-fault');
    expect(
      await faults(
        enterVmx(new Code())
          .vmxoff()
          .add(...clear)
          .halt(),
      ),
    ).toBe('halted');
  });

  it('has no VMX instructions before VMXON: #UD', async () => {
    expect(await faults(new Code().vmptrld(AT.results + 0xf08).halt())).toBe('triple-fault');
    expect([UD, GP]).toEqual([6, 13]);
  });

  it('answers VMREAD of a field that does not exist with error 12, and one without a VMCS with VMfailInvalid (31.2)', async () => {
    const { result, nested, vcpu } = await run({
      code: enterVmx(new Code())
        .mov(0, 0x7ffe)
        .add(0x0f, 0x78, 0xc2)
        .flags(AT.results)
        .vmread(F.VM_INSTRUCTION_ERROR, AT.results + 16)
        .vmclear(AT.results + 0xf08)
        .mov(0, F.GUEST_RIP)
        .add(0x0f, 0x78, 0xc2)
        .flags(AT.results + 8)
        .halt(),
    });
    expect([result(0) & (ZF | CF), result(1) & (ZF | CF), result(2)]).toEqual([ZF, CF, 12n]);
    expect(nested.currentVmcs(vcpu)).toBe(-1);
  });
});

describe('VMCS shadowing', () => {
  it('lets the hypervisor read and write fields without an exit', async () => {
    const counted: number[] = [];
    const { vmm } = await run({
      code: enterVmx(new Code())
        .vmwrite(F.GUEST_RSP, 0x1234)
        .vmread(F.GUEST_RSP, AT.results + 8)
        .halt(),
      plugins: [
        {
          name: 'count',
          apply: ({ hooks }) => {
            for (const name of ['vmread', 'vmwrite'] as const)
              hooks.exit.for(name).tap(({ reason }) => void counted.push(reason));
          },
        },
      ],
    });
    expect(counted).toEqual([]);
    expect(vmm.memory.readU64(AT.results + 8)).toBe(0x1234n);
  });

  it('survives a hypervisor that overwrites the revision identifier of its current VMCS', async () => {
    const code = enterVmx(new Code());
    code
      .mov(0, 0)
      .store(AT.vmcs)
      .cpuid()
      .vmwrite(F.GUEST_RSP, 5)
      .vmread(F.GUEST_RSP, AT.results + 8)
      .halt();
    const { report, result } = await run({ code });
    expect([report.reason, result(1)]).toEqual(['halted', 5n]);
  });

  it('is offered to the hypervisor: its guest reads a shadow VMCS (25.6.15)', async () => {
    const SHADOW = 0x75000,
      BITMAPS = 0x76000;
    const { result } = await run({
      code: hypervisor({
        [F.PRIMARY_CONTROLS]: 0x8400_6172,
        [F.SECONDARY_CONTROLS]: 1 << 14,
        [F.VMREAD_BITMAP]: BITMAPS,
        [F.VMWRITE_BITMAP]: BITMAPS + 0x1000,
        [F.VMCS_LINK_POINTER]: SHADOW,
      }),
      guest: new Code()
        .vmwrite(F.GUEST_RSP, 0x77)
        .vmread(F.GUEST_RSP, AT.results + 48)
        .mov(0, F.GUEST_RIP)
        .add(0x0f, 0x78, 0xc2),
      handler: tell(),
      prepare: ({ memory }) => {
        memory.writeU32(SHADOW, (REVISION | 0x8000_0000) >>> 0);
        memory.writeU8(BITMAPS + (F.GUEST_RIP >> 3), 1 << (F.GUEST_RIP & 7));
      },
    });
    expect([result(6), result(1)]).toEqual([0x77n, 23n]);
  });
});

describe('the guest of the hypervisor', () => {
  it('is left when the preemption timer runs out, halted or not (26.5.1)', async () => {
    for (const guest of [new Code().add(0xeb, 0xfe), new Code().halt()]) {
      const { result } = await run({
        code: hypervisor({ [F.PIN_CONTROLS]: 0x56, [F.GUEST_PREEMPTION_TIMER]: 100 }),
        guest,
        handler: tell(),
      });
      expect(result(1)).toBe(52n);
    }
  });

  it('is left when the preemption timer runs out between exits that the machine handles (26.5.1)', async () => {
    // One at each tick: some come in the last 32, in which the timer counts no more
    const guest = new Code();
    for (let round = 0; round < 200; round++) guest.add(0xe6, 0x80); // OUT 80H, AL
    const { result } = await run({
      code: hypervisor({ [F.PIN_CONTROLS]: 0x56, [F.GUEST_PREEMPTION_TIMER]: 4 }),
      guest: guest.halt(),
      handler: tell(),
    });
    expect(result(1)).toBe(52n);
  });

  it('has a preemption timer that writes of the time stamp counter do not move: increments of it count (26.5.1)', async () => {
    const TSC = 0x10,
      TSC_ADJUST = 0x3b,
      TICKS = 1000;
    for (const [msr, value] of [
      [TSC, 1n << 45n],
      [TSC, 0n],
      [TSC_ADJUST, -(1n << 45n)],
      [TSC_ADJUST, 77n],
    ] as const) {
      const { result, report } = await run({
        code: hypervisor({
          [F.PIN_CONTROLS]: 0x56,
          [F.PRIMARY_CONTROLS]: 0x1400_6172,
          [F.MSR_BITMAP]: 0x79000,
          [F.GUEST_PREEMPTION_TIMER]: TICKS,
        }),
        // MOV EAX; MOV EDX; MOV ECX; WRMSR; OUT 80H, AL, which the machine carries out; JMP to itself
        guest: new Code()
          .mov(1, msr)
          .mov(0, value & 0xffff_ffffn)
          .mov(2, BigInt.asUintN(32, value >> 32n))
          .add(0x0f, 0x30, 0xe6, 0x80, 0xeb, 0xfe),
        handler: tell(),
      });
      expect(result(1)).toBe(52n);
      // A nanosecond is a tick of the counter
      expect(report.guestNanoseconds).toBeGreaterThan(TICKS * 32);
      expect(report.guestNanoseconds).toBeLessThan(TICKS * 32 + 3000);
    }
  });

  it('exits at a task switch, whatever the controls say (26.2)', async () => {
    const GDT = 0x77000;
    const { result } = await run({
      // INT 32 through a task gate, in 32-bit mode without long mode
      code: hypervisor({
        [F.PRIMARY_CONTROLS]: 0x8400_6172,
        [F.SECONDARY_CONTROLS]: 0x82,
        [F.EPT_POINTER]: BigInt(AT.ept) | 0x1en,
        [F.ENTRY_CONTROLS]: 0x11fb,
        [F.GUEST_IA32_EFER]: 0,
        [F.GUEST_CR0]: 0x31,
        [F.GUEST_CS_ACCESS_RIGHTS]: 0xc09b,
        [F.GUEST_IDTR_BASE]: GDT + 0x100,
        [F.GUEST_IDTR_LIMIT]: 0x7ff,
        [F.GUEST_GDTR_BASE]: GDT,
        [F.GUEST_GDTR_LIMIT]: 0x3f,
      }),
      guest: new Code().add(0xcd, 0x20),
      handler: tell(),
      prepare: ({ memory }) => {
        memory.writeU64(GDT + 0x28, 0x0000_8900_0000_0067n | 0x7800_0000n);
        memory.writeU64(GDT + 0x100 + 0x20 * 8, 0x0000_8500_0028_0000n);
        memory.writeU64(AT.ept, BigInt(AT.ept + 0x1000) | 7n);
        memory.writeU64(AT.ept + 0x1000, 0xb7n);
      },
    });
    expect([result(1), result(2)]).toEqual([9n, 0xc000_0028n]);
  });

  it('is stepped by the monitor trap flag, also over an instruction that the machine carries out (26.5.2)', async () => {
    const { result } = await run({
      code: hypervisor({ [F.PRIMARY_CONTROLS]: 0x0c00_6172 }),
      guest: new Code().add(0xe6, 0x80, 0x90), // OUT 80H, AL
      handler: tell(),
    });
    expect([result(1), result(3)]).toEqual([37n, BigInt(AT.guest + 2)]);
  });

  it('has MSRs loaded at its entry, stored and loaded at its exit (27.4, 28.4, 28.6)', async () => {
    const AREA = 0x78000,
      STAR = 0xc000_0081;
    const { result, vmm } = await run({
      code: hypervisor({
        [F.ENTRY_MSR_LOAD_ADDRESS]: AREA,
        [F.ENTRY_MSR_LOAD_COUNT]: 1,
        [F.EXIT_MSR_STORE_ADDRESS]: AREA + 0x10,
        [F.EXIT_MSR_STORE_COUNT]: 1,
        [F.EXIT_MSR_LOAD_ADDRESS]: AREA + 0x20,
        [F.EXIT_MSR_LOAD_COUNT]: 1,
        [F.PRIMARY_CONTROLS]: 0x1400_6172,
        [F.MSR_BITMAP]: 0x79000,
      }),
      guest: new Code().mov(1, STAR).add(0x0f, 0x32, 0x48, 0x05, 1, 0, 0, 0, 0x0f, 0x30).vmcall(), // RDMSR; ADD RAX, 1; WRMSR
      handler: new Code()
        .mov(1, STAR)
        .add(0x0f, 0x32)
        .store(AT.results + 8)
        .halt(),
      prepare: ({ memory }) =>
        [100n, 0n, 300n].forEach((value, n) => {
          memory.writeU32(AREA + n * 16, STAR);
          memory.writeU64(AREA + n * 16 + 8, value);
        }),
    });
    expect([vmm.memory.readU64(AREA + 0x18), result(1)]).toEqual([101n, 300n]);
  });

  it('gives its hypercalls to the hypervisor, and the hypervisor its own to the machine', async () => {
    let calls = 0;
    const code = enterVmx(new Code()).vmcall();
    const { result } = await run({
      code: code.add(...hypervisor().bytes.slice(enterVmx(new Code()).bytes.length)),
      handler: tell(),
      plugins: [hypercalls(() => void calls++)],
    });
    expect([calls, result(1)]).toEqual([1, VMCALL]);
  });
});

describe('a reset of the machine', () => {
  it('ends VMX operation', async () => {
    const { vmm, nested, vcpu } = await machine({ code: enterVmx(new Code()).add(0xeb, 0xfe) });
    await vmm.run({ maxInstructions: 1000 });
    expect(nested.inVmxOperation(vcpu)).toBe(true);
    await vmm.dispose();
  });
});
