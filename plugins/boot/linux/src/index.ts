/** The plugin of the Linux loader. */
import type { PluginHost } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { LinuxLoader } from './linux-loader.js';

export { BOOT_PARAMS_SIZE, type BootParams, makeBootParams } from './boot-params.js';
export { LinuxLoader, type LinuxLoaderOptions } from './linux-loader.js';

/** Adds the Linux loader to the machine's boot loaders. */
export class BootLinuxPlugin {
  readonly name = 'boot-linux';
  readonly requires = { services: [BootLoadersToken] };

  apply(host: PluginHost): void {
    host.onDispose(host.services.get(BootLoadersToken).add(new LinuxLoader(), 10));
  }
}
