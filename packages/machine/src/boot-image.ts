/** Starts a machine: finds the loader that recognises the image, and has it load it. */
import { fail } from '@visorkit/core';
import type { Backend, GuestMemory, PluginHost } from '@visorkit/core';
import type { BootContext, BootLoaders, BootModule, FirmwareTables } from './boot.js';
import type { DeviceList } from './device-list.js';
import type { MemoryMap } from './memory-map.js';
import type { PortBus } from './port-bus.js';

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

/** The parts of a machine that booting needs. */
export interface BootParts {
  readonly backend: Backend;
  readonly memory: GuestMemory;
  readonly memoryMap: MemoryMap;
  readonly loaders: BootLoaders;
  readonly devices: DeviceList;
  readonly firmwareTables: FirmwareTables | undefined;
  readonly ports: Pick<PortBus, 'ownerOf'>;
}

/** A VGA's CRT controller. */
const TEXT_SCREEN_PORT = 0x3d4;

/** Puts the image in memory and sets vCPU 0's first state. */
export async function bootImage(boot: BootOptions, parts: BootParts, { logger, vcpus }: PluginHost): Promise<void> {
  const { image, imageName = 'the image', commandLine = '', modules = [], options = {} } = boot;
  const { loaders } = parts;
  const loader = boot.loader === undefined ? loaders.find(image) : loaders.named(boot.loader);
  if (image.length === 0)
    fail('BOOT_IMAGE_EMPTY', `${imageName} is empty; it must hold a kernel or a program.`, { imageName });
  if (loader === undefined) {
    const known = loaders.names.length === 0 ? 'this machine has none' : `the machine has ${loaders.names.join(', ')}`;
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
      `${imageName} is of no known format: ${assumption}. If that is intended, name the loader "${loader.name}".`,
    );
  const { backend, firmwareTables } = parts;
  const context: BootContext = {
    image,
    imageName,
    commandLine,
    modules,
    memory: parts.memory,
    vcpu: { setInitialState: (state) => vcpus[0].setInitialState(state) },
    memoryMap: parts.memoryMap.entries(),
    ...(firmwareTables === undefined ? {} : { firmwareTables }),
    ...(backend.mapRom === undefined
      ? {}
      : { mapRom: (gpa: number, bytes: Uint8Array) => backend.mapRom!(gpa, bytes) }),
    textScreen: parts.ports.ownerOf(TEXT_SCREEN_PORT) !== undefined,
    warn: (sentence) => logger.warn(sentence),
    options,
  };
  if (loader.startsFirmware !== true) parts.devices.setUp();
  await loader.load(context);
}
