/** isa-debug-exit: the guest ends the run with a status of its choice. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, checkPluginOptions, wholeNumber } from '@visorkit/machine';
import { DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, IsaDebugExit, IsaDebugExitSettingsToken } from '../isa-debug-exit.js';

export interface DebugExitOptions {
  /** First of four ports, 0xf4 unless given. */
  readonly port?: number;
}

export function debugExit(options: DebugExitOptions = {}): Plugin {
  checkPluginOptions('debugExit', options, { port: [wholeNumber(0, 0xfffc), 'a port from 0 to 0xfffc'] });
  const { port = DEBUG_EXIT_PORT } = options;
  return definePlugin({
    name: 'isa-debug-exit',
    uses: { addDevice: AddDeviceToken },
    provides: [{ token: IsaDebugExitSettingsToken, scope: 'private', make: () => ({ port }) }],
    apply: (host, { addDevice }) => addDevice(host.make(IsaDebugExit), { ports: [[port, DEBUG_EXIT_PORTS]] }),
  });
}
