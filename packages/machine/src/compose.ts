/** Composes a whole machine: the kernel's VM with buses, lines, timers, console and boot loaders in it. */
import {
  BackendToken,
  ClockToken,
  GuestMemoryToken,
  Stage,
  WakeupToken,
  composeVmm,
  fail,
  parseSize,
} from '@visorkit/core';
import type { Plugin, PluginHost, Vmm, VmmOptions } from '@visorkit/core';
import { BootLoaders } from './boot.js';
import type { BootContext, BootModule } from './boot.js';
import { PushInput, nullOutput } from './console.js';
import type { CharInput, CharOutput } from './console.js';
import { CpuidTable } from './cpuid-table.js';
import { DeviceList } from './device.js';
import { InterruptLines } from './interrupts.js';
import { MemoryMap } from './memory-map.js';
import { MmioBus } from './mmio-bus.js';
import { MsrBus } from './msr-bus.js';
import { PortBus } from './port-bus.js';
import { TimerQueue } from './timers.js';
import {
  BootLoadersToken,
  ConsoleToken,
  CpuidTableToken,
  DeviceListToken,
  FirmwareTablesToken,
  InterruptLinesToken,
  MemoryMapToken,
  MmioBusToken,
  MsrBusToken,
  PortBusToken,
  TimerQueueToken,
} from './tokens.js';

/** What to start. */
export interface BootOptions {
  readonly image: Uint8Array;
  /** For messages; "the image" by default. */
  readonly imageName?: string;
  readonly commandLine?: string;
  readonly modules?: readonly BootModule[];
  /** Name of the loader to use; by default the first that recognises the image. */
  readonly loader?: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface MachineOptions {
  /** Where the guest's console goes; nowhere by default. */
  readonly output?: CharOutput;
  /** Where the console's input comes from. Each byte may wake a halted guest. */
  readonly input?: CharInput;
  readonly boot?: BootOptions;
}

export interface ComposeOptions extends Omit<VmmOptions, 'memory'> {
  /** Bytes, or text such as `256M`. */
  readonly memory: number | string;
  readonly console?: Pick<MachineOptions, 'output' | 'input'>;
  readonly boot?: BootOptions;
}

/** Composes a VM from a backend and plugins. Throws when they do not fit together. */
export function compose(options: ComposeOptions): Vmm {
  const { memory, console: { output, input } = {}, boot, plugins = [], ...rest } = options;
  return composeVmm({
    ...rest,
    memory: parseSize(memory, 'memory'),
    plugins: [machine({ output, input, boot }), ...plugins],
  });
}

/** The plugin that makes the parts every machine has. `compose` puts it first. */
export function machine(options: MachineOptions = {}): Plugin {
  return {
    name: 'machine',
    provides: [
      PortBusToken,
      MmioBusToken,
      MsrBusToken,
      CpuidTableToken,
      InterruptLinesToken,
      TimerQueueToken,
      ConsoleToken,
      DeviceListToken,
      BootLoadersToken,
      MemoryMapToken,
    ],
    apply: (host) => new MachineParts(host, options),
  };
}

class MachineParts {
  constructor(
    private readonly host: PluginHost,
    private readonly options: MachineOptions,
  ) {
    const { services, hooks } = host;
    const ports = new PortBus();
    const mmio = new MmioBus();
    const devices = new DeviceList();
    services.provide(PortBusToken, ports);
    services.provide(MmioBusToken, mmio);
    services.provide(MsrBusToken, new MsrBus());
    services.provide(CpuidTableToken, new CpuidTable(services.get(BackendToken).cpuid));
    services.provide(InterruptLinesToken, new InterruptLines());
    services.provide(TimerQueueToken, new TimerQueue(services.get(ClockToken)));
    services.provide(DeviceListToken, devices);
    services.provide(BootLoadersToken, new BootLoaders());
    services.provide(MemoryMapToken, new MemoryMap(services.get(GuestMemoryToken).regions));
    services.provide(ConsoleToken, { output: options.output ?? nullOutput, input: this.#input() });
    hooks.reset.tap('machine', () => devices.reset());
    ports.observe(hooks.deviceAccess);
    mmio.observe(hooks.deviceAccess);
    const { boot } = options;
    if (boot !== undefined) hooks.load.tapPromise({ name: 'machine', stage: Stage.Machine }, () => this.#load(boot));
    else hooks.load.tap({ name: 'machine', stage: Stage.Machine }, () => devices.setUp());
  }

  /** The given input, wrapped so that each byte wakes a halted guest; without one, an input that never sends a byte. */
  #input(): CharInput {
    const { input } = this.options;
    if (input === undefined) return new PushInput();
    const wakeup = this.host.services.get(WakeupToken);
    const removeSource = wakeup.addSource('console');
    this.host.onDispose(removeSource);
    input.onEnd?.(removeSource);
    return {
      onByte: (callback) => {
        const end = input.onByte((byte) => {
          callback(byte);
          wakeup.notify();
        });
        this.host.onDispose(end);
        return end;
      },
    };
  }

  async #load(boot: BootOptions): Promise<void> {
    const { services, logger } = this.host;
    const { image, imageName = 'the image', commandLine = '', modules = [], options = {} } = boot;
    const loaders = services.get(BootLoadersToken);
    const loader = boot.loader === undefined ? loaders.find(image) : loaders.named(boot.loader);
    if (image.length === 0)
      fail('BOOT_IMAGE_EMPTY', `${imageName} is empty; it must hold a kernel or a program.`, { imageName });
    if (loader === undefined) {
      const known =
        loaders.names.length === 0 ? 'this machine has none' : `the machine has ${loaders.names.join(', ')}`;
      if (boot.loader !== undefined)
        fail('BOOT_LOADER_UNKNOWN', `There is no boot loader "${boot.loader}"; ${known}.`, { loader: boot.loader });
      const start = Array.from(image.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
      const looks = loaders.describe(image);
      const what = looks === undefined ? `${image.length} bytes, starts with ${start}` : `it looks like ${looks}`;
      fail('BOOT_FORMAT_UNKNOWN', `No boot loader recognises ${imageName} (${what}); ${known}.`, { imageName });
    }
    const stray =
      loader.takes === undefined ? undefined : Object.keys(options).find((option) => !loader.takes!.includes(option));
    if (stray !== undefined) {
      fail(
        'BOOT_OPTION_UNKNOWN',
        `The boot loader "${loader.name}", which takes ${imageName}, has no option "${stray}"; ${loader.takes!.length === 0 ? 'it has none' : `it has ${loader.takes!.join(', ')}`}.`,
        { loader: loader.name, option: stray },
      );
    }
    if (commandLine !== '' && loader.takesCommandLine === false) {
      fail(
        'BOOT_COMMAND_LINE_UNUSED',
        `${imageName} was given the command line "${commandLine}", which the boot loader "${loader.name}" has no way to hand over; leave it out.`,
        { loader: loader.name },
      );
    }
    logger.debug(`loading ${imageName} with ${loader.name}`);
    const assumption = boot.loader === undefined ? loader.assumes?.(image) : undefined;
    if (assumption !== undefined)
      logger.warn(
        `${imageName} is of no known format: ${assumption}. If that is meant, name the loader "${loader.name}".`,
      );
    const backend = services.get(BackendToken);
    const firmwareTables = services.find(FirmwareTablesToken);
    const vcpu = this.#bootVcpu();
    const context: BootContext = {
      image,
      imageName,
      commandLine,
      modules,
      memory: services.get(GuestMemoryToken),
      vcpu,
      memoryMap: services.get(MemoryMapToken).entries(),
      ...(firmwareTables === undefined ? {} : { firmwareTables }),
      ...(backend.mapRom === undefined
        ? {}
        : { mapRom: (gpa: number, bytes: Uint8Array) => backend.mapRom!(gpa, bytes) }),
      options,
    };
    if (loader.startsFirmware !== true) services.get(DeviceListToken).setUp();
    await loader.load(context);
  }

  #bootVcpu(): BootContext['vcpu'] {
    const { vcpus } = this.host;
    return { setInitialState: (state) => vcpus[0].setInitialState(state) };
  }
}
