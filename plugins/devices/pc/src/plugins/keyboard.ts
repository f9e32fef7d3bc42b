/** The keyboard controller with its keyboard on IRQ 1 and its mouse on IRQ 12. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken } from '@visorkit/machine';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from '../i8042.js';

export function keyboard(): Plugin {
  return definePlugin({
    name: 'keyboard',
    uses: { addDevice: AddDeviceToken },
    apply: (host, { addDevice }) =>
      addDevice(host.make(I8042), {
        ports: [
          [I8042_DATA_PORT, 1],
          [I8042_COMMAND_PORT, 1],
        ],
      }),
  });
}
