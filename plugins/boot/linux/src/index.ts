/** The boot loader for Linux bzImages. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { LinuxLoader } from './linux-loader.js';

export { BOOT_PARAMS_SIZE, type BootParams, makeBootParams } from './boot-params.js';
export { LinuxLoader, type LinuxLoaderOptions } from './linux-loader.js';

/** Adds the Linux loader to the machine's boot loaders. */
export function bootLinux(): Plugin {
  return definePlugin({
    name: 'boot-linux',
    uses: { loaders: BootLoadersToken },
    apply(host, { loaders }) {
      // before Multiboot, whose header may lie anywhere in the first 8 KiB: GRUB's lnxboot image has one too
      host.onDispose(loaders.add(new LinuxLoader(), 30));
    },
  });
}
