/** `visorkit ept`: runs a guest as `run` does, and shows the EPT tables that its memory is translated by when the run ends. */
import { GuestMemoryToken, definePlugin, optional } from '@visorkit/core';
import type { GuestMemory, Plugin } from '@visorkit/core';
import { HypervisorMemoryToken, MemoryViewsToken } from '@visorkit/machine';
import { NestedVmxToken } from '@visorkit/nested-vmx';
import { VmcsField, eptTreeLines } from '@visorkit/x86';
import { runCommand } from './run-command.js';
import type { RunFlags } from './run-flags.js';
import { writeAll } from './serial.js';

/** Resolves with the status the process is to end with. */
export function eptCommand(flags: RunFlags): Promise<number> {
  return runCommand({ serial: 'none', ...flags }, [eptTables((line) => writeAll(1, Buffer.from(`${line}\n`)))]);
}

/** Tells the tables of each EPT pointer that a vCPU has, and who has it. */
function eptTables(print: (line: string) => void): Plugin {
  return definePlugin({
    name: 'ept-tables',
    capabilities: ['vmcs', 'ept.views'],
    uses: {
      memory: HypervisorMemoryToken,
      views: MemoryViewsToken,
      guest: GuestMemoryToken,
      nested: optional(NestedVmxToken),
    },
    apply({ hooks, vcpus }, { memory, views, guest, nested }) {
      hooks.paused.tap(() => {
        const pointers = new Map<bigint, string[]>();
        for (const vcpu of vcpus) {
          const pointer = vcpu.vmcs!.read64(VmcsField.EPT_POINTER);
          pointers.set(pointer, [...(pointers.get(pointer) ?? []), `vCPU ${vcpu.index}`]);
        }
        for (const [pointer, names] of pointers) {
          print(`${names.join(', ')}; ${views.all.length === 1 ? '1 view' : `${views.all.length} views`} of memory`);
          for (const line of eptTreeLines(pointer, (address) => memory.readU64(address))) print(line);
        }
        for (const vcpu of vcpus) {
          const pointer = nested?.read(vcpu, VmcsField.EPT_POINTER);
          if (pointer === undefined || pointer === 0n) continue;
          print(`tables that the hypervisor on vCPU ${vcpu.index} has made for its guest`);
          for (const line of eptTreeLines(pointer, (address) => wordAt(guest, address))) print(line);
        }
      });
    },
  });
}

function wordAt(memory: GuestMemory, address: number): bigint | undefined {
  return memory.contains(address, 8) ? memory.readU64(address) : undefined;
}
