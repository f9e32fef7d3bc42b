/** Runs the hypervisor with the lab's plugin beside it. */
import { vmx } from '@visorkit/backend-vmx';
import { definePlugin } from '@visorkit/core';
import type { StopReport } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { GuestMemoryToken, MsrBusToken, compose } from '@visorkit/machine';
import { nestedVmx } from '@visorkit/nested-vmx';
import { Msr } from '@visorkit/x86';
import { guestCr0 } from './guest-cr0.js';
import { AT, hypervisor } from './hypervisor.js';

export async function lab(print: (line: string) => void): Promise<StopReport> {
  const loader = definePlugin({
    name: 'loader',
    uses: { memory: GuestMemoryToken, msrs: MsrBusToken },
    apply({ hooks, vcpus: [vcpu] }, { memory, msrs }) {
      hooks.load.tap(() => {
        const basic = msrs.find(Msr.IA32_VMX_BASIC)?.readMsr(Msr.IA32_VMX_BASIC, 0) ?? 0n;
        for (const [address, bytes] of hypervisor(Number(basic & 0x7fff_ffffn)))
          memory.write(address, Uint8Array.from(bytes));
        vcpu.setInitialState({ mode: 'long64', rip: BigInt(AT.code), rsp: BigInt(AT.stack), cr3: BigInt(AT.tables) });
      });
    },
  });
  await using vmm = compose({
    backend: vmx(),
    memory: '2M',
    time: 'virtual',
    plugins: [loader, nestedVmx(), guestCr0(print), ...exits()],
  });
  return await vmm.run({ maxInstructions: 100_000 });
}

if (process.argv[1] === import.meta.filename) await lab((line) => console.log(line));
