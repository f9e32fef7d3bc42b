/** The boot loader for ELF kernels. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { ElfLoader } from './elf-loader.js';

export { ElfLoader, type ElfLoaderOptions } from './elf-loader.js';
export { HVM_START_MAGIC } from './start-info.js';

/** Adds the loader of ELF kernels, PVH or plain, to the machine's boot loaders. */
export function bootElf(): Plugin {
  return definePlugin({
    name: 'boot-elf',
    uses: { loaders: BootLoadersToken },
    apply(host, { loaders }) {
      host.onDispose(loaders.add(new ElfLoader(), 0));
    },
  });
}
