/** Entries after the first: what has passed its checks and was merged is kept as long as nothing of it changes, and what changes is seen. */
import { RESUME, definePlugin } from '@visorkit/core';
import { VmcsField as F } from '@visorkit/x86';
import { describe, expect, it } from 'vitest';
import { AT, Code, WITH_EPT, hypervisor, run, tell, writeEpt } from './test-hypervisor.js';

const CPUID = 10n,
  HLT = 12n,
  VMCALL = 18n,
  RDMSR = 31n;
const COUNT = AT.results + 64;
const PAGE = 0x6_0000;

/** Goes on behind each CPUID of the guest; at the exit of this number it does something else first. Any other exit ends it. */
function handler(at: number, change: Code): Code {
  return new Code()
    .vmread(F.EXIT_REASON, AT.results + 8)
    .add(0x48, 0x83, 0xfa, Number(CPUID), 0x74, 0x01, 0xf4) // CMP RDX, CPUID; JE +1; HLT
    .load(COUNT)
    .add(0x48, 0xff, 0xc0) // INC RAX
    .store(COUNT)
    .add(0x48, 0x83, 0xf8, at, 0x75, change.bytes.length) // CMP RAX, at; JNE behind the change
    .add(...change.bytes)
    .skipInstruction()
    .vmresume()
    .flags(AT.results)
    .halt();
}
const cpuids = (count: number): Code => {
  const code = new Code();
  for (let n = 0; n < count; n++) code.add(0x31, 0xc0).cpuid();
  return code;
};

describe('an entry like the last one', () => {
  it('sees a control that the hypervisor has changed', async () => {
    const { result } = await run({
      code: hypervisor(),
      guest: cpuids(4).halt(),
      handler: handler(4, new Code().vmwrite(F.PRIMARY_CONTROLS, 0x0400_61f2)), // HLT exiting
    });
    expect([result(1), result(8)]).toEqual([HLT, 4n]);
  });

  it('sees what has changed in its MSR bitmap', async () => {
    const { result } = await run({
      code: hypervisor({ [F.PRIMARY_CONTROLS]: 0x1400_6172, [F.MSR_BITMAP]: PAGE }),
      guest: cpuids(4).mov(1, 0x277).add(0x0f, 0x32).vmcall(), // RDMSR of IA32_PAT
      handler: handler(4, new Code().mov(0, 1n << 55n).store(PAGE + 0x48)),
    });
    expect([result(1), result(8)]).toEqual([RDMSR, 4n]);
  });

  it('sees another place to go on at', async () => {
    const { result } = await run({
      code: hypervisor(),
      guest: cpuids(8).vmcall(),
      handler: handler(4, new Code().vmwrite(F.HOST_RIP, AT.free)),
      prepare: ({ memory }) =>
        memory.write(
          AT.free,
          Uint8Array.from(
            new Code()
              .mov(0, 77)
              .store(AT.results + 24)
              .halt().bytes,
          ),
        ),
    });
    expect([result(3), result(8)]).toEqual([77n, 4n]);
  });

  it('sees host state that is not valid any more: error 8', async () => {
    const { result, nested, vcpu } = await run({
      code: hypervisor(),
      guest: cpuids(8).vmcall(),
      handler: handler(4, new Code().vmwrite(F.HOST_TR_SELECTOR, 0)),
    });
    expect([result(0) & 0x40n, nested.read(vcpu, F.VM_INSTRUCTION_ERROR)]).toEqual([0x40n, 8n]);
  });

  it('sees another EPT pointer', async () => {
    const other = 0x9_0000;
    const { result } = await run({
      code: hypervisor(WITH_EPT),
      guest: cpuids(4)
        .load(PAGE)
        .store(AT.results + 24)
        .vmcall(),
      handler: handler(4, new Code().vmwrite(F.EPT_POINTER, BigInt(other) | 0x1en)),
      prepare: (vmm) => {
        writeEpt(vmm);
        writeEpt(vmm, 7, other);
        vmm.memory.writeU64(other + 0x3000 + (PAGE >>> 12) * 8, BigInt(PAGE + 0x1000) | 0x37n);
        vmm.memory.writeU64(PAGE + 0x1000, 5n);
      },
    });
    expect([result(1), result(3)]).toEqual([VMCALL, 5n]);
  });

  it("sees the machine's own controls", async () => {
    let exits = 0;
    const holder = definePlugin({
      name: 'holder',
      apply({ hooks, controls }) {
        let held = false;
        hooks.exit.for('vmresume').tap(() => {
          if (!held && ++exits === 4) {
            held = true;
            exits = 0;
            controls.hold({ primary: ['rdtsc-exiting'] });
          }
          return undefined;
        });
        hooks.exit.for('rdtsc').tap({ stage: 50 }, () => {
          exits++;
          return RESUME;
        });
      },
    });
    const { result } = await run({
      code: hypervisor(),
      guest: cpuids(6).add(0x0f, 0x31, 0x0f, 0x31).vmcall(), // RDTSC, twice
      handler: handler(9, new Code()),
      plugins: [holder],
    });
    expect([result(1), result(8), exits]).toEqual([VMCALL, 6n, 2]);
  });
});

describe('entry checks that the model has found wanting', () => {
  it('RIP need only be alike above the width of linear addresses; the fetch is #GP where paging uses fewer (27.3.1.4)', async () => {
    const fields = { [F.GUEST_RIP]: 0x42_0000_0000_0000n, [F.EXCEPTION_BITMAP]: 1 << 13 };
    const { result } = await run({ code: hypervisor(fields), handler: tell() });
    expect([result(1), result(5), result(3)]).toEqual([0n, 0x8000_0b0dn, 0x42_0000_0000_0000n]);
    const beyond = await run({ code: hypervisor({ [F.GUEST_RIP]: 1n << 57n }), handler: tell() });
    expect(beyond.result(1)).toBe(0x8000_0021n);
  });

  it('BTF of the field IA32_DEBUGCTL counts for pending debug exceptions, loaded or not (27.3.1.5)', async () => {
    const stepping = { [F.GUEST_RFLAGS]: 0x302, [F.GUEST_INTERRUPTIBILITY]: 1, [F.GUEST_IA32_DEBUGCTL]: 2 };
    const wrong = await run({ code: hypervisor({ ...stepping, [F.GUEST_PENDING_DEBUG]: 0x4000 }), handler: tell() });
    expect(wrong.result(1)).toBe(0x8000_0021n);
    const right = await run({ code: hypervisor({ ...stepping, [F.EXCEPTION_BITMAP]: 2 }), handler: tell() });
    expect(right.result(1)).toBeLessThan(0x8000_0000n);
  });

  it('VTPR of a virtual-APIC page without memory reads as all ones (27.2.1.1)', async () => {
    const fields = {
      [F.PRIMARY_CONTROLS]: 0x8420_6172,
      [F.VIRTUAL_APIC_ADDRESS]: 0x8000_0000,
      [F.TPR_THRESHOLD]: 15,
    };
    const { result } = await run({ code: hypervisor(fields), handler: tell() });
    expect(result(1)).toBe(VMCALL);
  });
});
