/** Two vCPUs, each a hypervisor with a guest of its own: they take turns, and neither sees anything of the other. */
import { vmx } from '@visorkit/backend-vmx';
import { InterruptSourceToken, definePlugin } from '@visorkit/core';
import type { GuestMemory, InterruptSource, Vcpu } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { GuestMemoryToken, compose } from '@visorkit/machine';
import { VmcsField as F } from '@visorkit/x86';
import { expect, it } from 'vitest';
import { NestedVmxToken, nestedVmx } from './index.js';
import { AT, Code, REVISION, hypervisor } from './test-hypervisor.js';

const EACH = 2 ** 21;
const CPUIDS = 4000;
const VMCALL = 18n;

/** What a hypervisor sees at linear 0 is the 2 MiB of its vCPU; addresses for the processor are physical. */
function prepare(memory: GuestMemory, cpu: number): void {
  const base = cpu * EACH,
    tables = base + AT.tables;
  const put = (at: number, code: Code): void => memory.write(base + at, Uint8Array.from(code.bytes));
  memory.writeU64(tables, BigInt(tables + 0x1003));
  memory.writeU64(tables + 0x1000, BigInt(tables + 0x2003));
  memory.writeU64(tables + 0x2000, BigInt(base) | 0x83n);
  for (const [n, at] of [AT.vmxon, AT.vmcs].entries()) {
    memory.writeU64(base + AT.results + 0xf00 + n * 8, BigInt(base + at));
    memory.writeU32(base + at, REVISION);
  }
  // VPIDs are the same: they are a vCPU's own
  const secondary = { [F.PRIMARY_CONTROLS]: 0x8400_6172, [F.SECONDARY_CONTROLS]: 1 << 5, [F.VPID]: 1 };
  put(AT.code, hypervisor({ ...secondary, [F.HOST_CR3]: tables, [F.GUEST_CR3]: tables }));
  // MOV ESI, CPUIDS; 1: XOR EAX, EAX; CPUID; DEC ESI; JNZ 1b; its number to memory; VMCALL
  put(
    AT.guest,
    new Code()
      .add(0xbe, CPUIDS & 0xff, CPUIDS >> 8, 0, 0, 0x31, 0xc0, 0x0f, 0xa2, 0xff, 0xce, 0x75, 0xf8)
      .mov(0, 100 + cpu)
      .store(AT.results + 16)
      .vmcall(),
  );
  const count = AT.results + 24;
  put(
    AT.handler,
    new Code()
      .vmread(F.EXIT_REASON, AT.results + 8)
      .add(0x48, 0x83, 0xfa, 10, 0x74, 0x01, 0xf4) // CMP RDX, CPUID; JE +1; HLT
      .load(count)
      .add(0x48, 0xff, 0xc0) // INC RAX
      .store(count)
      .skipInstruction()
      .vmresume()
      .flags(AT.results)
      .halt(),
  );
}

it('nest at the same time, each on its own', async () => {
  const start = (vcpu: Vcpu): void =>
    vcpu.setInitialState({
      mode: 'long64',
      rip: BigInt(AT.code),
      rsp: BigInt(AT.stack),
      cr3: BigInt(vcpu.index * EACH + AT.tables),
      segments: { tr: { selector: 24, base: 0n, limit: 0x67, accessRights: 0x8b } },
    });
  /** Nothing but the start-up IPI of the second one. */
  let startup = 8;
  const silent: InterruptSource = { pending: () => false, acknowledge: () => 0 };
  const second: InterruptSource = {
    ...silent,
    takeStartup: () => {
      const vector = startup;
      startup = -1;
      return vector;
    },
  };
  let both = 0;
  const plugin = definePlugin({
    name: 'two',
    uses: { memory: GuestMemoryToken, nested: NestedVmxToken },
    provides: [
      {
        token: InterruptSourceToken,
        make: (): InterruptSource => ({ ...silent, forVcpu: (index) => (index === 0 ? silent : second) }),
      },
    ],
    apply({ hooks, vcpus }, { memory, nested }) {
      hooks.load.tap(() => {
        for (const { index } of vcpus) prepare(memory, index);
        start(vcpus[0]);
      });
      hooks.vcpuState.tap((vcpu, state) => {
        if (state === 'startup') start(vcpu);
      });
      nested.hooks.vmcsSwitch.tap((_to, { index }) => {
        if (nested.inGuest(vcpus[1 - index])) both++;
      });
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: 2 * EACH,
    cpus: 2,
    time: 'virtual',
    plugins: [plugin, nestedVmx(), ...exits()],
  });
  const { reason } = await vmm.run({ maxInstructions: 10_000_000 });
  expect(reason).toBe('halted');
  for (const cpu of [0, 1]) {
    const result = (n: number): bigint => vmm.memory.readU64(cpu * EACH + AT.results + n * 8);
    expect([result(1), result(2), result(3)]).toEqual([VMCALL, BigInt(100 + cpu), BigInt(CPUIDS)]);
  }
  // a turn has ended within the one's guest, and the other has gone in and out meanwhile
  expect(both).toBeGreaterThan(0);
});
