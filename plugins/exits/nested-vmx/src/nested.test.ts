/** A hypervisor in the guest: entries, exits, hooks, saving. Rules by their section of the SDM, volume 3C. */
import { describe, expect, it } from 'vitest';
import { SystemControlToken, definePlugin } from '@visorkit/core';
import { ClockToken, CpuidTableToken, MsrBusToken, TimerQueueToken } from '@visorkit/machine';
import { VmcsField as F } from '@visorkit/x86';
import { AT, Code, REVISION, hypervisor, machine, run, tell } from './test-hypervisor.js';

const ZF = 0x40n;
const CPUID = 10n,
  VMCALL = 18n;
const ENTRY_FAILURE = 0x8000_0000n;

describe('a hypervisor in the guest', () => {
  it('enters its guest, and gets the exit of its CPUID with RIP at the instruction (28.2, 28.3)', async () => {
    const { report, result } = await run({
      code: hypervisor(),
      guest: new Code().add(0x90).cpuid(),
      handler: tell(),
    });
    expect(report.reason).toBe('halted');
    expect([result(1), result(3)]).toEqual([CPUID, BigInt(AT.guest + 1)]);
  });

  it('resumes its guest', async () => {
    const { result } = await run({
      code: hypervisor(),
      guest: new Code().cpuid().vmcall(),
      handler: new Code()
        .vmread(F.EXIT_REASON, AT.results + 8)
        // stop at the second exit
        .load(AT.results + 64)
        .add(0x48, 0xff, 0xc0)
        .store(AT.results + 64)
        .add(0x48, 0x83, 0xf8, 0x02, 0x75, 0x01, 0xf4)
        .skipInstruction()
        .vmresume(),
    });
    expect([result(1), result(8)]).toEqual([VMCALL, 2n]);
  });

  it('has its VMCS in its own memory, in the format that IA32_VMX_BASIC names', async () => {
    const { vmm, vcpu, nested } = await run({ code: hypervisor(), handler: tell() });
    expect(vmm.memory.readU32(AT.vmcs)).toBe(REVISION);
    expect(nested.currentVmcs(vcpu)).toBe(AT.vmcs);
    expect(nested.read(vcpu, F.EXIT_REASON)).toBe(VMCALL);
    expect(nested.read(vcpu, 0x7ffe)).toBeUndefined();
    // by the group of 32-bit read-only fields, second slot
    expect(vmm.memory.readU32(AT.vmcs + 0x648)).toBe(18);
  });

  it.each<[string, Record<number, bigint | number>, bigint]>([
    ['a control that must be 1', { [F.PIN_CONTROLS]: 0 }, 7n],
    ['a reserved secondary control', { [F.PRIMARY_CONTROLS]: 0x8400_6172, [F.SECONDARY_CONTROLS]: 1 << 15 }, 7n],
    ['virtual NMIs without NMI exiting', { [F.PIN_CONTROLS]: 0x36 }, 7n],
    ['an MSR bitmap beyond the address width', { [F.PRIMARY_CONTROLS]: 0x1400_6172, [F.MSR_BITMAP]: 1n << 50n }, 7n],
    ['host CR0 without NE', { [F.HOST_CR0]: 0x8000_0011n }, 8n],
    ['a host selector with RPL 3', { [F.HOST_DS_SELECTOR]: 19 }, 8n],
    ['host RIP that is not canonical', { [F.HOST_RIP]: 1n << 62n }, 8n],
  ])('fails to enter with %s: VMfailValid (27.2)', async (_what, fields, error) => {
    const { result, nested, vcpu } = await run({ code: hypervisor(fields) });
    expect(result(0) & ZF).toBe(ZF);
    expect(nested.read(vcpu, F.VM_INSTRUCTION_ERROR)).toBe(error);
  });

  it.each<[string, Record<number, bigint | number>, bigint, bigint]>([
    ['CR4 without VMXE', { [F.GUEST_CR4]: 0x20 }, 33n, 0n],
    ['RFLAGS without bit 1', { [F.GUEST_RFLAGS]: 0 }, 33n, 0n],
    ['an unusable TR', { [F.GUEST_TR_ACCESS_RIGHTS]: 0x1008b }, 33n, 0n],
    ['a link pointer to what is no VMCS', { [F.VMCS_LINK_POINTER]: AT.free }, 33n, 4n],
    ['an MSR area that loads FS.base', { [F.ENTRY_MSR_LOAD_COUNT]: 1, [F.ENTRY_MSR_LOAD_ADDRESS]: AT.free }, 34n, 1n],
  ])('fails to enter with %s: an exit with bit 31 (27.8)', async (_what, fields, reason, qualification) => {
    const { result } = await run({
      code: hypervisor(fields),
      handler: tell(),
      prepare: ({ memory }) => memory.writeU32(AT.free, 0xc000_0100),
    });
    expect([result(1), result(2)]).toEqual([reason | ENTRY_FAILURE, qualification]);
  });

  it('does not see what the guest state was before a failed entry', async () => {
    const { result } = await run({ code: hypervisor({ [F.GUEST_RFLAGS]: 0 }), handler: tell() });
    expect(result(3)).toBe(BigInt(AT.guest));
  });
});

describe('what the guest is told', () => {
  it('is VMX in CPUID, and nothing without the plugin', async () => {
    const { vmm } = await machine({ code: new Code().halt() });
    expect((vmm.services.get(CpuidTableToken).get(1)?.ecx ?? 0) & 0x20).toBe(0x20);
    await vmm.dispose();
  });

  it.each([
    ['ept', 0x48b, 33],
    ['unrestrictedGuest', 0x48b, 39],
    ['vpid', 0x48b, 37],
    ['shadowVmcs', 0x48b, 46],
    ['apicv', 0x48b, 41],
    ['flexpriority', 0x482, 53],
    ['preemptionTimer', 0x481, 38],
    ['vmFunctions', 0x48b, 45],
    ['mbec', 0x48b, 54],
    ['eptAccessedDirty', 0x48c, 21],
    ['pml', 0x48b, 49],
    ['virtualizationException', 0x48b, 50],
    ['tscScaling', 0x48b, 57],
  ] as const)('loses %s by an option', async (option, msr, bit) => {
    const has = async (on: boolean): Promise<bigint> => {
      const { vmm } = await machine({ code: new Code().halt(), options: { [option]: on } });
      const value = vmm.services.get(MsrBusToken).find(msr)!.readMsr(msr, 0)!;
      await vmm.dispose();
      return (value >> BigInt(bit)) & 1n;
    };
    expect([await has(true), await has(false)]).toEqual([1n, 0n]);
  });
});

describe('a third party', () => {
  it('sees every instruction, every write with before and after, every exit and switch', async () => {
    const seen: string[] = [];
    const writes: [string, bigint, bigint][] = [];
    await run({
      code: hypervisor(),
      guest: new Code().cpuid(),
      prepare: (_vmm, { hooks }) => {
        hooks.instruction.tap(({ name, error }) => void seen.push(`${name} ${error}`));
        hooks.write.tap(({ name, before, after }) => void writes.push([name, before, after]));
        hooks.exit.tap(({ exit, by }) => void seen.push(`exit ${exit.reason} ${by}`));
        hooks.vmcsSwitch.tap(({ to, reason }) => void seen.push(`${to} ${reason}`));
      },
    });
    expect(seen.filter((what) => what !== 'vmwrite 0')).toEqual([
      'vmxon 0',
      'vmclear 0',
      'vmptrld 0',
      'vmlaunch 0',
      'guest 0',
      'exit 10 hypervisor',
      'hypervisor 10',
    ]);
    expect(writes).toContainEqual(['GUEST_CR0', 0n, 0x8000_0031n]);
  });

  it('changes what is written, and who handles an exit', async () => {
    const { result } = await run({
      code: hypervisor(),
      guest: new Code().cpuid().vmcall(),
      handler: tell(),
      prepare: (_vmm, { hooks }) => {
        hooks.write.tap((write) => {
          if (write.field === F.GUEST_RSP) write.after = 0x7000n;
        });
        hooks.exit.tap((event) => {
          if (event.exit.reason === 10) event.by = 'machine';
        });
      },
    });
    expect(result(1)).toBe(VMCALL); // CPUID was answered by the machine
  });
});

describe('saved', () => {
  it('with the guest of the hypervisor running, and goes on elsewhere as here', async () => {
    const setting = {
      code: hypervisor(),
      // counts in RBX to 100000, then tells the hypervisor
      guest: new Code().mov(3, 0).add(0x48, 0xff, 0xc3, 0x81, 0xfb, 0xa0, 0x86, 0x01, 0x00, 0x75, 0xf5).vmcall(),
      handler: new Code()
        .add(0x48, 0x89, 0xd8)
        .store(AT.results + 8)
        .vmread(F.EXIT_REASON, AT.results + 16)
        .halt(),
    };
    const first = await machine(setting);
    await first.vmm.run({ maxInstructions: 50_000 });
    expect(first.nested.inGuest(first.vcpu)).toBe(true);
    const saved = first.vmm.save();
    const second = await machine({ ...setting, saved });
    expect(second.nested.inGuest(second.vcpu)).toBe(true);
    for (const { vmm } of [first, second]) {
      await vmm.run({ maxInstructions: 1_000_000 });
      expect([vmm.memory.readU64(AT.results + 8), vmm.memory.readU64(AT.results + 16)]).toEqual([100_000n, VMCALL]);
    }
    expect(second.vmm.instructions).toBe(first.vmm.instructions);
  });

  it('with that guest in the HLT state, which its preemption timer ends (26.5.1)', async () => {
    const setting = {
      code: hypervisor({ [F.PIN_CONTROLS]: 0x56, [F.GUEST_PREEMPTION_TIMER]: 0x1_0000 }),
      guest: new Code().halt(),
      handler: tell(),
    };
    const early = definePlugin({
      name: 'early',
      uses: { timers: TimerQueueToken, clock: ClockToken, system: SystemControlToken },
      apply({ hooks }, { timers, clock, system }) {
        hooks.started.tap(() => {
          timers.schedule(clock.now() + 1e6, () => system.pause('to be saved'));
        });
      },
    });
    const first = await machine({ ...setting, plugins: [early] });
    await first.vmm.run();
    expect([first.nested.inGuest(first.vcpu), first.vmm.memory.readU64(AT.results + 8)]).toEqual([true, 0n]);
    const second = await machine({ ...setting, saved: first.vmm.save() });
    for (const { vmm } of [first, second]) {
      await vmm.run({ maxInstructions: 1_000_000 });
      expect(vmm.memory.readU64(AT.results + 8)).toBe(52n);
    }
    expect(second.vmm.instructions).toBe(first.vmm.instructions);
  });
});
