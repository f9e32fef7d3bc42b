/** The plugin of the ELF loader. */
import type { PluginHost } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { ElfLoader } from './elf-loader.js';

export { ElfLoader, type ElfLoaderOptions } from './elf-loader.js';
export { HVM_START_MAGIC } from './start-info.js';

/** Adds the loader of ELF kernels, PVH or plain, to the machine's boot loaders. */
export class BootElfPlugin {
  readonly name = 'boot-elf';
  readonly requires = { services: [BootLoadersToken] };

  apply(host: PluginHost): void {
    host.onDispose(host.services.get(BootLoadersToken).add(new ElfLoader(), 0));
  }
}
