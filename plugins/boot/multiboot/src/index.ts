/** The plugin of the Multiboot loader. */
import type { PluginHost } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { MultibootLoader } from './multiboot-loader.js';

export { MultibootInfoFlags } from './multiboot-info.js';
export { MultibootLoader } from './multiboot-loader.js';

/** Adds the Multiboot 1 loader to the machine's boot loaders. */
export class BootMultibootPlugin {
  readonly name = 'boot-multiboot';
  readonly requires = { services: [BootLoadersToken] };

  apply(host: PluginHost): void {
    // Before the ELF loader: most multiboot kernels are ELF files as well.
    host.onDispose(host.services.get(BootLoadersToken).add(new MultibootLoader(), 20));
  }
}
