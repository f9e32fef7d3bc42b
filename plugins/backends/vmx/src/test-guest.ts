/** For the tests of the backend: code in real mode on a machine of its own. */
import { GuestMemoryToken, definePlugin } from '@visorkit/core';
import type {
  ControlNeeds,
  GuestMemory,
  InitialState,
  Plugin,
  PluginHost,
  SavedVm,
  StopReport,
  Used,
  Vmm,
} from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { MemoryViewsToken, MmioBusToken, PortBusToken, compose } from '@visorkit/machine';
import { type VmxVcpu, vmx } from './index.js';

export const CODE = 0x1000;
export const HLT = 0xf4;

export interface Ran {
  vmm: Vmm;
  report: StopReport;
  vcpu: VmxVcpu;
  output: number[];
  memory: GuestMemory;
}

export const USES = { memory: GuestMemoryToken, ports: PortBusToken, mmio: MmioBusToken, views: MemoryViewsToken };

/** What a test adds to the plugin that is its guest. */
export interface Added {
  needs?: ControlNeeds;
  apply?(host: PluginHost, used: Used<typeof USES>): void;
}

/** Runs real-mode code at 1000H with a port 3F8H that collects bytes. */
export async function run(
  code: readonly number[],
  options: {
    state?: Partial<InitialState>;
    plugin?: Added;
    others?: readonly Plugin[];
    time?: 'virtual' | 'real';
    memory?: number;
    maxInstructions?: number;
    restore?: SavedVm;
  } = {},
): Promise<Ran> {
  const output: number[] = [];
  let vcpu: VmxVcpu | undefined, memory: GuestMemory | undefined;
  const guest = definePlugin({
    name: 'guest',
    uses: USES,
    ...(options.plugin?.needs === undefined ? {} : { needs: options.plugin.needs }),
    apply(host, used) {
      const { hooks, vcpus } = host;
      vcpu = vcpus[0] as VmxVcpu;
      memory = used.memory;
      used.ports.register(
        0x3f8,
        1,
        {
          readPort: () => 0x5a,
          writePort: (_port, _size, value) => {
            output.push(value);
          },
        },
        'guest',
      );
      hooks.load.tap('guest', () => {
        used.memory.write(CODE, Uint8Array.from(code));
        vcpus[0].setInitialState({ mode: 'real16', rip: BigInt(CODE), rsp: 0x8000n, ...options.state });
      });
      options.plugin?.apply?.(host, used);
    },
  });
  const vmm = compose({
    backend: vmx(),
    memory: options.memory ?? 1 << 20,
    time: options.time ?? 'virtual',
    plugins: [guest, ...(options.others ?? []), ...exits()],
  });
  if (options.restore !== undefined) await vmm.restore(options.restore);
  const report = await vmm.run({ maxInstructions: options.maxInstructions ?? 1_000_000 });
  return { vmm, report, vcpu: vcpu!, output, memory: memory! };
}

export const flat32: Partial<InitialState> = { mode: 'protected32' };
