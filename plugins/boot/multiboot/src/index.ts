/** The boot loader for Multiboot kernels. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { MultibootLoader } from './multiboot-loader.js';

export { MultibootInfoFlags } from './multiboot-info.js';
export { MultibootLoader } from './multiboot-loader.js';

/** Adds the Multiboot 1 loader to the machine's boot loaders. */
export function bootMultiboot(): Plugin {
  return definePlugin({
    name: 'boot-multiboot',
    uses: { loaders: BootLoadersToken },
    apply(host, { loaders }) {
      // Before the ELF loader: most multiboot kernels are ELF files as well.
      host.onDispose(loaders.add(new MultibootLoader(), 20));
    },
  });
}
