/** A group of system calls as a plugin. */
import type { Plugin } from '@visorkit/core';
import { SystemCallTableToken } from '@visorkit/linux-abi';
import type { SystemCallDefinition } from '@visorkit/linux-abi';

/** Makes the plugin `linux/NAME` that adds rows to the table. */
export function group(name: string, definitions: readonly SystemCallDefinition[]): Plugin {
  return {
    name: `linux/${name}`,
    requires: { services: [SystemCallTableToken] },
    apply({ services, onDispose }) {
      const table = services.get(SystemCallTableToken);
      for (const definition of definitions) onDispose(table.define(definition));
    },
  };
}
