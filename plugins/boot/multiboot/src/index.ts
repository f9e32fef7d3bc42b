/** The boot loaders for Multiboot kernels. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { MultibootLoader } from './multiboot-loader.js';
import { Multiboot2Loader } from './multiboot2-loader.js';

export { MultibootInfoFlags } from './multiboot-info.js';
export { MultibootLoader } from './multiboot-loader.js';
export { Multiboot2InfoTag } from './multiboot2-info.js';
export { Multiboot2Loader } from './multiboot2-loader.js';

/** Adds the loaders of Multiboot 1 and 2 to the machine's boot loaders. */
export function bootMultiboot(): Plugin {
  return definePlugin({
    name: 'boot-multiboot',
    uses: { loaders: BootLoadersToken },
    apply(host, { loaders }) {
      // Before the ELF loader: most multiboot kernels are ELF files as well.
      host.onDispose(loaders.add(new MultibootLoader(), 20));
      // An image with both headers is started by the first, as QEMU starts it
      host.onDispose(loaders.add(new Multiboot2Loader(), 19));
    },
  });
}
