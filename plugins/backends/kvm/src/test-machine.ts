/** A machine around a few instructions, for the tests of this package. */
import { GuestMemoryToken, Stage, definePlugin } from '@visorkit/core';
import type { GuestMemory, InitialState, Plugin, StopReport, Vmm } from '@visorkit/core';
import { exits } from '@visorkit/exits';
import { PortBusToken, compose } from '@visorkit/machine';
import type { PortBus, PortDevice } from '@visorkit/machine';
import { kvm } from './backend.js';
import type { KvmBackend, KvmBackendOptions } from './backend.js';
import { checkKvm } from './support.js';
import type { KvmVcpu } from './vcpu.js';

export const CODE = 0x1000;
export const HLT = 0xf4;

/** False where KVM cannot be used; says so once, so that nobody takes a skipped test for one that passed. */
export function kvmUsable(): boolean {
  const { usable, message } = checkKvm();
  if (!usable) process.stderr.write(`SKIPPED: every test that needs KVM. ${message}\n`);
  return usable;
}

export interface MachineOptions {
  readonly state?: Partial<InitialState>;
  readonly plugin?: Partial<Plugin>;
  readonly plugins?: readonly Plugin[];
  readonly memory?: number;
  readonly cpus?: number;
  readonly backend?: KvmBackendOptions;
  /** Bytes put in memory before the guest starts. */
  readonly data?: Readonly<Record<number, Uint8Array>>;
}

export interface TestMachine {
  readonly vmm: Vmm;
  readonly backend: KvmBackend;
  readonly vcpu: KvmVcpu;
  readonly memory: GuestMemory;
  /** What the guest wrote to port 3F8H. */
  readonly output: number[];
}

/** Composes and creates: real-mode code at 1000H unless the state says otherwise, port 3F8H that collects bytes and gives 5AH. */
export async function machineOf(code: readonly number[], options: MachineOptions = {}): Promise<TestMachine> {
  const output: number[] = [],
    backend = kvm(options.backend);
  let vcpu: KvmVcpu | undefined;
  const { uses = {}, apply, ...rest } = options.plugin ?? {};
  const guest = definePlugin({
    name: 'guest',
    ...rest,
    uses: { ...uses, ports: PortBusToken, memory: GuestMemoryToken },
    apply(host, used) {
      const { ports, memory } = used as { ports: PortBus; memory: GuestMemory };
      vcpu = host.vcpus[0] as KvmVcpu;
      const collector = {
        readPort: () => 0x5a,
        writePort: (_port: number, _size: number, value: number) => output.push(value),
      };
      ports.register(0x3f8, 4, collector as PortDevice, 'guest');
      host.hooks.load.tap({ stage: Stage.Machine }, () => {
        memory.write(CODE, Uint8Array.from(code));
        for (const [gpa, bytes] of Object.entries(options.data ?? {})) memory.write(Number(gpa), bytes);
        vcpu!.setInitialState({ mode: 'real16', rip: BigInt(CODE), rsp: 0x8000n, ...options.state });
      });
      apply?.(host, used);
    },
  });
  const vmm = compose({
    backend,
    memory: options.memory ?? 1 << 20,
    cpus: options.cpus ?? 1,
    time: 'real',
    plugins: [guest, ...exits(), ...(options.plugins ?? [])],
  });
  await vmm.create();
  return { vmm, backend, vcpu: vcpu!, memory: vmm.memory, output };
}

export interface Ran extends TestMachine {
  readonly report: StopReport;
}

/** Runs to the end, which must come within `timeout` seconds. */
export async function runGuest(code: readonly number[], options: MachineOptions = {}, timeout = 10): Promise<Ran> {
  const machine = await machineOf(code, options);
  return { ...machine, report: await machine.vmm.run({ timeout }) };
}

export const flat32: Partial<InitialState> = { mode: 'protected32' };

/** Runs and disposes; what the test looks at is fetched before. */
export async function ran<T>(code: readonly number[], options: MachineOptions, look: (run: Ran) => T): Promise<T> {
  const run = await runGuest(code, options);
  try {
    return look(run);
  } finally {
    await run.vmm.dispose();
  }
}
