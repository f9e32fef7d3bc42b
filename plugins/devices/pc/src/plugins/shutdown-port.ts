/** Bochs' port 0x8900. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken } from '@visorkit/machine';
import { SHUTDOWN_PORT, ShutdownPort } from '../shutdown-port.js';

export function shutdownPort(): Plugin {
  return definePlugin({
    name: 'shutdown-port',
    uses: { addDevice: AddDeviceToken },
    apply: (host, { addDevice }) => addDevice(host.make(ShutdownPort), { ports: [[SHUTDOWN_PORT, 1]] }),
  });
}
