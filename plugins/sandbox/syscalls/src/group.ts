/** A group of system calls as a plugin. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { SystemCallTableToken } from '@visorkit/linux-abi';
import type { SystemCallDefinition } from '@visorkit/linux-abi';

/** Makes the plugin `linux/NAME` that adds rows to the table. */
export function group(name: string, definitions: readonly SystemCallDefinition[]): Plugin {
  return definePlugin({
    name: `linux/${name}`,
    uses: { table: SystemCallTableToken },
    apply(host, { table }) {
      for (const definition of definitions) host.onDispose(table.define(definition));
    },
  });
}
