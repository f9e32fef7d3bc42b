/** The machine that the command line runs: a PC on the chosen backend, with whatever plugins the user adds. */
import { bootElf } from '@visorkit/boot-elf';
import { bootFirmware } from '@visorkit/boot-firmware';
import { bootFlat } from '@visorkit/boot-flat';
import { bootLinux } from '@visorkit/boot-linux';
import { bootMultiboot } from '@visorkit/boot-multiboot';
import { isVisorkitError, token } from '@visorkit/core';
import type { Backend, LogSink, Plugin, PluginEntry, Vmm } from '@visorkit/core';
import { disassembler } from '@visorkit/disassembler';
import { exits } from '@visorkit/exits';
import type { FirmwareKernel } from '@visorkit/fw-cfg';
import { kvmHypercalls } from '@visorkit/hypercalls';
import { compose, nullOutput } from '@visorkit/machine';
import type { BootOptions, CharOutput, ComposeOptions } from '@visorkit/machine';
import { pcPlatform } from '@visorkit/pc';
import { pcTestdev, pciTestdev } from '@visorkit/pc-testdev';
import { vgaText } from '@visorkit/vga-text';
import type { VgaTextOptions } from '@visorkit/vga-text';
import { otherBackends } from './backends.js';

export interface AssembleOptions {
  readonly backend: Backend;
  readonly memory: number;
  readonly cpus: number;
  readonly time: 'real' | 'virtual';
  readonly boot?: BootOptions;
  /** The kernel that firmware is to start; only with firmware as the boot image. */
  readonly firmwareKernel?: FirmwareKernel;
  readonly console: ComposeOptions['console'];
  /** Where ports 0xe9 and 0x402 print; nowhere by default. */
  readonly debugConsole?: CharOutput;
  /** Shows a text screen, which the machine has then; what is typed on the console may go to its keyboard. */
  readonly screen?: { readonly show: NonNullable<VgaTextOptions['show']>; readonly keyboard: boolean };
  /** isa-debug-exit at port 0xf4. */
  readonly debugExit: boolean;
  /** The test devices of kvm-unit-tests, and the hypercalls of KVM that its programs make; none by default. */
  readonly testDevices?: boolean;
  readonly plugins: readonly PluginEntry[];
  readonly onReset?: 'stop' | 'restart';
  /** What the machine and its plugins say; nothing by default. */
  readonly log?: LogSink;
}

export async function assemble(options: AssembleOptions): Promise<Vmm> {
  const debugOutput = options.debugConsole ?? nullOutput;
  const events = await eventsFor(options.plugins);
  const composition: ComposeOptions = {
    backend: options.backend,
    memory: options.memory,
    cpus: options.cpus,
    time: options.time,
    console: options.console,
    onReset: options.onReset ?? 'stop',
    ...(options.log === undefined ? {} : { log: options.log }),
    ...(options.boot === undefined ? {} : { boot: options.boot }),
    plugins: [
      disassembler(),
      ...exits(),
      ...pcPlatform({
        debugExit: options.debugExit,
        input: options.screen?.keyboard === true ? 'keyboard' : 'serial',
        firmwareDebug: debugOutput,
        debugConsole: debugOutput,
        fwCfg: options.firmwareKernel === undefined ? {} : { linux: options.firmwareKernel },
      }),
      ...(options.screen === undefined ? [] : [vgaText({ show: options.screen.show })]),
      ...(options.testDevices === true ? [pcTestdev(), pciTestdev(), kvmHypercalls()] : []),
      bootLinux(),
      bootElf(),
      bootMultiboot(),
      bootFirmware(),
      bootFlat(),
      ...events,
      ...options.plugins,
    ],
    // Which events a backend has is seen only when somebody subscribes
    ...(events.length === 0 ? {} : { alternatives: await otherBackends(options.backend.name) }),
  };
  try {
    return compose(composition);
  } catch (error) {
    if (!isVisorkitError(error) || error.code !== 'CAPABILITY_MISSING') throw error;
    // The other backends are made only now, so that the error can say which of them has what is missing
    return compose({ ...composition, alternatives: await otherBackends(options.backend.name) });
  }
}

const EVENTS = token('vmi-events', '@visorkit/vmi');

/** The plugin of introspection's events, where a plugin uses them and none brings it. Loaded only then: most runs do without. */
async function eventsFor(entries: readonly PluginEntry[]): Promise<Plugin[]> {
  const plugins = entries.map((entry) => ('plugin' in entry ? entry.plugin : entry));
  const used = plugins.some(({ uses = {} }) =>
    Object.values(uses).some((entry) => (typeof entry === 'object' ? entry.optional : entry) === EVENTS),
  );
  if (!used || plugins.some(({ provides = [] }) => provides.some((provider) => provider.token === EVENTS))) return [];
  const { introspectionEvents } = await import('@visorkit/vmi');
  return [introspectionEvents()];
}
