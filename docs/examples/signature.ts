import { definePlugin } from '@visorkit/core';
import { CpuidTableToken, ECX } from '@visorkit/machine';

const HYPERVISOR_PRESENT = 1 << 31;

/** Tells the guest that it runs under a hypervisor, and which: CPUID leaf 40000000H. */
export const signature = definePlugin({
  name: 'signature',
  uses: { table: CpuidTableToken },
  apply({ onDispose }, { table }) {
    const [ebx, ecx, edx] = new Uint32Array(new TextEncoder().encode('MyHypervisor').buffer);
    table.set({ leaf: 0x4000_0000, subleaf: 0, indexed: false, eax: 0x4000_0000, ebx, ecx, edx });
    table.patch(1, 0, (leaf) => ({ ecx: leaf.ecx | HYPERVISOR_PRESENT }));
    // What depends on the moment is put in when the guest executes CPUID: here, no AES in user mode
    onDispose(
      table.atExecution(1, (result, vcpu) => {
        if (vcpu.cpl === 3) result[ECX] &= ~(1 << 25);
      }),
    );
  },
});
