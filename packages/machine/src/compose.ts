/** Composes a whole machine: the kernel's VM with buses, lines, timers, console and boot loaders in it. */
import {
  BackendToken,
  ClockToken,
  GuestMemoryToken,
  Stage,
  VMM_FIELDS,
  WakeupToken,
  checkVmmOptions,
  composeVmm,
  definePlugin,
  optional,
  parseSize,
} from '@visorkit/core';
import type { Fields, Plugin, PluginHost, Vmm, VmmOptions, Wakeup } from '@visorkit/core';
import * as v from 'valibot';
import { AddDeviceToken, addDeviceTo } from './add-device.js';
import { BootLoaders } from './boot.js';
import { bootImage } from './boot-image.js';
import type { BootOptions } from './boot-image.js';
import { PushInput, nullOutput } from './console.js';
import type { CharInput, CharOutput } from './console.js';
import { CpuidTable } from './cpuid-table.js';
import { DeviceList } from './device-list.js';
import { InterruptLines } from './interrupts.js';
import { MemoryMap } from './memory-map.js';
import { MmioBus } from './mmio-bus.js';
import { MsrBus } from './msr-bus.js';
import { PortBus } from './port-bus.js';
import { objectWith } from './schemas.js';
import { TimerQueue } from './timers.js';
import {
  BootLoadersToken,
  ConsoleToken,
  CpuidTableToken,
  DeviceListToken,
  InterruptLinesToken,
  MemoryMapToken,
  MmioBusToken,
  MsrBusToken,
  PortBusToken,
  TimerQueueToken,
  FirmwareTablesToken,
} from './tokens.js';

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

const COMPOSE_FIELDS: Fields = {
  ...VMM_FIELDS,
  memory: [v.union([v.number(), v.string()]), 'a number of bytes, or a size such as "256M"'],
  console: [
    v.strictObject({ output: v.optional(objectWith('write')), input: v.optional(objectWith('onByte')) }),
    '{ output, input }: an object with write(byte), one with onByte(callback)',
  ],
  boot: [
    v.strictObject({
      image: v.instance(Uint8Array),
      imageName: v.optional(v.string()),
      commandLine: v.optional(v.string()),
      modules: v.optional(v.array(v.object({ name: v.string(), data: v.instance(Uint8Array) }))),
      loader: v.optional(v.string()),
      options: v.optional(v.record(v.string(), v.unknown())),
    }),
    '{ image, imageName, commandLine, modules, loader, options }, the image a Uint8Array',
  ],
};

/** Composes a VM from a backend and plugins. Throws when they do not fit together. */
export function compose(options: ComposeOptions): Vmm {
  checkVmmOptions(options, COMPOSE_FIELDS);
  const { memory, console: { output, input } = {}, boot, plugins = [], ...rest } = options;
  return composeVmm({
    ...rest,
    memory: parseSize(memory, 'memory'),
    plugins: [machine({ output, input, boot }), ...plugins],
  });
}

/** The plugin that makes the parts every machine has. `compose` puts it first. */
export function machine(options: MachineOptions = {}): Plugin {
  const { boot } = options;
  return definePlugin({
    name: 'machine',
    uses: {
      backend: BackendToken,
      clock: ClockToken,
      memory: GuestMemoryToken,
      wakeup: WakeupToken,
      ports: PortBusToken,
      mmio: MmioBusToken,
      msrs: MsrBusToken,
      devices: DeviceListToken,
      lines: InterruptLinesToken,
      loaders: BootLoadersToken,
      memoryMap: MemoryMapToken,
      firmwareTables: optional(FirmwareTablesToken),
    },
    provides: [
      { token: PortBusToken, make: (_used, { hooks }) => new PortBus(hooks.deviceAccess) },
      {
        token: MmioBusToken,
        make: ({ backend, memory: { regions } }, { hooks }) =>
          new MmioBus(hooks.deviceAccess, { regions, cover: backend.coverRam?.bind(backend) }),
      },
      { token: MsrBusToken, make: () => new MsrBus() },
      { token: CpuidTableToken, make: ({ backend }) => new CpuidTable(backend.cpuid) },
      { token: InterruptLinesToken, make: () => new InterruptLines() },
      { token: TimerQueueToken, make: ({ clock }) => new TimerQueue(clock) },
      { token: DeviceListToken, make: ({ lines }) => new DeviceList(lines) },
      { token: AddDeviceToken, scope: 'plugin', make: (buses, host) => addDeviceTo(buses, host) },
      { token: BootLoadersToken, make: () => new BootLoaders() },
      { token: MemoryMapToken, make: ({ memory }) => new MemoryMap(memory.regions) },
      {
        token: ConsoleToken,
        make: ({ wakeup }, host) => ({
          output: options.output ?? nullOutput,
          input: options.input === undefined ? new PushInput() : wakingInput(options.input, wakeup, host),
        }),
      },
    ],
    apply(host, used) {
      host.onSave(used.devices);
      host.hooks.reset.tap(() => used.devices.reset());
      host.hooks.load.tap({ stage: Stage.Machine }, () =>
        boot === undefined ? used.devices.setUp() : bootImage(boot, used, host),
      );
    },
  });
}

/**
 * An input of which every byte wakes a halted guest. Bytes that come before the guest first runs are kept until then, because a VM
 * that is being restored would lose them.
 */
function wakingInput(input: CharInput, wakeup: Wakeup, host: PluginHost): CharInput {
  const removeSource = wakeup.addSource('console');
  host.onDispose(removeSource);
  input.onEnd?.(removeSource);
  let running = false;
  const begin: (() => void)[] = [];
  const run = (): void => {
    running = true;
    for (const deliver of begin.splice(0)) deliver();
  };
  host.hooks.started.tap(run);
  host.hooks.resumed.tap(run);
  return {
    onByte: (callback) => {
      const deliver = (byte: number): void => {
        callback(byte);
        wakeup.notify();
      };
      const end = input.onByte((byte) => {
        if (running) deliver(byte);
        else begin.push(() => deliver(byte));
      });
      host.onDispose(end);
      return end;
    },
  };
}
