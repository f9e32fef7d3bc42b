/** The machine that the command line runs: a PC on the chosen backend, with whatever plugins the user adds. */
import { VMX_CAPABILITIES, VmxBackend } from '@visorkit/backend-vmx';
import { BootElfPlugin } from '@visorkit/boot-elf';
import { BootFirmwarePlugin } from '@visorkit/boot-firmware';
import { BootFlatPlugin } from '@visorkit/boot-flat';
import { BootLinuxPlugin } from '@visorkit/boot-linux';
import { BootMultibootPlugin } from '@visorkit/boot-multiboot';
import { fail, isVisorkitError } from '@visorkit/core';
import type { Backend, LogSink, PluginEntry, Vmm } from '@visorkit/core';
import { disassembler } from '@visorkit/disassembler';
import { exits } from '@visorkit/exits';
import type { FirmwareKernel } from '@visorkit/fw-cfg';
import { KvmHypercallsPlugin } from '@visorkit/hypercalls';
import { compose, nullOutput } from '@visorkit/machine';
import type { BootOptions, CharOutput, ComposeOptions } from '@visorkit/machine';
import { pcPlatform } from '@visorkit/pc';
import { PcTestPlugin, PciTestPlugin } from '@visorkit/pc-testdev';
import type { Processor } from './processor.js';

export interface AssembleOptions {
  readonly backend: string;
  readonly memory: number;
  readonly cpus: number;
  /** The processor the guest sees; all that the backend has unless given. */
  readonly processor?: Processor;
  readonly time: 'real' | 'virtual';
  readonly boot?: BootOptions;
  /** The kernel that firmware is to start; only with firmware as the boot image. */
  readonly firmwareKernel?: FirmwareKernel;
  readonly console: ComposeOptions['console'];
  /** Where ports 0xe9 and 0x402 print; nowhere by default. */
  readonly debugConsole?: CharOutput;
  /** isa-debug-exit at port 0xf4. */
  readonly debugExit: boolean;
  /** The test devices of kvm-unit-tests, and the hypercalls of KVM that its programs make; none by default. */
  readonly testDevices?: boolean;
  readonly plugins: readonly PluginEntry[];
  readonly onReset?: 'stop' | 'restart';
  /** What the machine and its plugins say; nothing by default. */
  readonly log?: LogSink;
}

export const BACKENDS = ['vmx', 'kvm'] as const;

/** Makes a backend by name. What kvm needs is loaded only for kvm. */
export async function makeBackend(name: string, processor?: Processor): Promise<Backend> {
  if (name === 'vmx') return new VmxBackend(processor);
  if (name === 'kvm') {
    if (processor !== undefined)
      fail(
        'OPTION_VALUE',
        "--cpu chooses the software processor's features; with kvm the guest has this machine's processor. Leave it out.",
        { option: '--cpu' },
      );
    return (await import('@visorkit/backend-kvm')).kvm();
  }
  return fail('BACKEND_UNAVAILABLE', `Backend "${name}" is not part of this build; vmx and kvm are.`, {
    backend: name,
  });
}

export async function assemble(options: AssembleOptions): Promise<Vmm> {
  const debugOutput = options.debugConsole ?? nullOutput;
  const composition: ComposeOptions = {
    backend: await makeBackend(options.backend, options.processor),
    memory: options.memory,
    cpus: options.cpus,
    time: options.time,
    console: options.console,
    onReset: options.onReset ?? 'stop',
    alternatives: [{ name: 'vmx', capabilities: VMX_CAPABILITIES }],
    ...(options.log === undefined ? {} : { log: options.log }),
    ...(options.boot === undefined ? {} : { boot: options.boot }),
    plugins: [
      disassembler(),
      ...exits(),
      ...pcPlatform({
        debugExit: options.debugExit,
        firmwareDebug: debugOutput,
        debugConsole: debugOutput,
        fwCfg: options.firmwareKernel === undefined ? {} : { linux: options.firmwareKernel },
      }),
      ...(options.testDevices === true ? [new PcTestPlugin(), new PciTestPlugin(), new KvmHypercallsPlugin()] : []),
      new BootLinuxPlugin(),
      new BootElfPlugin(),
      new BootMultibootPlugin(),
      new BootFirmwarePlugin(),
      new BootFlatPlugin(),
      ...options.plugins,
    ],
  };
  try {
    return compose(composition);
  } catch (error) {
    if (!isVisorkitError(error) || error.code !== 'CAPABILITY_MISSING') throw error;
    // The other backend is created only to find out whether it has the missing capability
    const others = await Promise.allSettled(
      BACKENDS.filter((name) => name !== options.backend).map((name) => makeBackend(name)),
    );
    return compose({
      ...composition,
      alternatives: others.filter((made) => made.status === 'fulfilled').map(({ value }) => value),
    });
  }
}
