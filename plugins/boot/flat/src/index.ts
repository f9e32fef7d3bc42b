/** The boot loader for machine code without any header. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { BootLoadersToken, checkPluginOptions } from '@visorkit/machine';
import * as v from 'valibot';
import { FLAT_MODES, FlatLoader } from './flat-loader.js';
import type { FlatLoaderOptions } from './flat-loader.js';

export { FlatLoader, type FlatLoaderOptions, type FlatMode } from './flat-loader.js';

const ADDRESS = v.union([v.number(), v.string()]);

/** Adds the loader of flat binaries, asked after all others, to the machine's boot loaders. */
export function bootFlat(options: FlatLoaderOptions = {}): Plugin {
  check(options);
  return definePlugin({
    name: 'boot-flat',
    uses: { loaders: BootLoadersToken },
    apply(host, { loaders }) {
      check(host.options);
      host.onDispose(loaders.add(new FlatLoader({ ...options, ...host.options }), -100));
    },
  });
}

const check = (options: object): void =>
  checkPluginOptions('bootFlat', options, {
    address: [ADDRESS, 'a guest-physical address, a number or text such as "0x7c00"'],
    mode: [v.picklist(FLAT_MODES), '"real16", "protected32" or "long64"'],
    entry: [ADDRESS, 'a guest-physical address, a number or text such as "0x7c00"'],
    registers: [
      v.record(v.string(), v.union([v.number(), v.bigint(), v.string()])),
      'values of general registers by name, such as { rax: 2 }',
    ],
  });
