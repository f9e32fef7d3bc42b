/** The plugin of the loader of flat binaries. */
import type { PluginHost } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import { FlatLoader } from './flat-loader.js';

export { FlatLoader, type FlatLoaderOptions, type FlatMode } from './flat-loader.js';

/** Adds the loader of flat binaries, asked after all others, to the machine's boot loaders. */
export class BootFlatPlugin {
  readonly name = 'boot-flat';
  readonly requires = { services: [BootLoadersToken] };

  apply(host: PluginHost): void {
    host.onDispose(host.services.get(BootLoadersToken).add(new FlatLoader(host.options), -100));
  }
}
