/** The sandbox's kernel as a plugin: the services around it, its loader, and the doorbell where the backend lets the guest ring. */
import { BackendToken, ExternalInterruptSourceToken, RESUME, WakeupToken, definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { GuestKernelToken, SystemCallTable, SystemCallTableToken, UserMemoryToken } from '@visorkit/linux-abi';
import { BootLoadersToken, PortBusToken } from '@visorkit/machine';
import { DOORBELL_PORT } from './abi.js';
import { SandboxLoader } from './loader.js';
import { PagedMemoryToken, SandboxKernel, SandboxKernelOptionsToken, SandboxKernelToken } from './sandbox-kernel.js';
import type { SandboxKernelOptions } from './sandbox-kernel.js';
import { PagedMemory } from './user-memory.js';
import { WakeSource } from './wake.js';

export function sandboxKernel(options: SandboxKernelOptions): Plugin {
  return definePlugin({
    name: 'sandbox-kernel',
    uses: {
      backend: BackendToken,
      kernel: SandboxKernelToken,
      memory: PagedMemoryToken,
      loaders: BootLoadersToken,
      ports: PortBusToken,
      wakeup: WakeupToken,
    },
    provides: [
      { token: SandboxKernelOptionsToken, scope: 'private', make: () => options },
      { token: PagedMemoryToken, scope: 'private', type: PagedMemory },
      { token: UserMemoryToken, make: ({ memory }) => memory },
      { token: SystemCallTableToken, make: () => new SystemCallTable() },
      { token: ExternalInterruptSourceToken, type: WakeSource },
      { token: SandboxKernelToken, type: SandboxKernel },
      { token: GuestKernelToken, make: ({ kernel }) => kernel },
    ],
    apply(host, { backend, kernel, loaders, ports, wakeup }) {
      host.onDispose(wakeup.addSource('sandbox'));
      const { doorbell = 'auto', trace, start } = options;
      const wanted = doorbell === 'auto' ? (backend.capabilities.has('exit.vmcall') ? 'vmcall' : 'port') : doorbell;
      if (wanted === 'vmcall') {
        // A VMCALL of the program itself is none of ours: it gets #UD, as without a hypervisor.
        host.hooks.exit.for('vmcall').tap((_exit, vcpu) => {
          if (vcpu.cpl !== 0) return undefined;
          kernel.rung();
          return RESUME;
        });
      } else {
        const device = { readPort: () => 0, writePort: () => kernel.rung() };
        host.onDispose(ports.register(DOORBELL_PORT, 4, device, host.name));
      }
      const port = wanted === 'vmcall' ? 0 : DOORBELL_PORT;
      const loader = new SandboxLoader({ ...start, port, trace: trace !== undefined }, (image, name, where) =>
        kernel.plan(image, name, where),
      );
      host.onDispose(loaders.add(loader, 1));
    },
  });
}
