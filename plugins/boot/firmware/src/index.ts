/** The boot loader for firmware images. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { FirmwareLoader } from './firmware-loader.js';

export { FirmwareLoader } from './firmware-loader.js';

/** Adds the loader of firmware images to the machine's boot loaders. */
export function bootFirmware(): Plugin {
  return definePlugin({
    name: 'boot-firmware',
    uses: { loaders: BootLoadersToken },
    apply(host, { loaders }) {
      host.onDispose(loaders.add(new FirmwareLoader(), -10));
    },
  });
}
