/** The plugin of the firmware loader. */
import type { PluginHost } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { FirmwareLoader } from './firmware-loader.js';

export { FirmwareLoader } from './firmware-loader.js';

/** Adds the loader of firmware images to the machine's boot loaders. */
export class BootFirmwarePlugin {
  readonly name = 'boot-firmware';
  readonly requires = { services: [BootLoadersToken] };

  apply(host: PluginHost): void {
    host.onDispose(host.services.get(BootLoadersToken).add(new FirmwareLoader(), -10));
  }
}
