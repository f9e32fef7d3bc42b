/** The 8254 on IRQ 0, with port 0x61. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken } from '@visorkit/machine';
import { Pit8254 } from '../pit8254.js';

export function pit(): Plugin {
  return definePlugin({
    name: 'pit',
    uses: { addDevice: AddDeviceToken },
    apply: (host, { addDevice }) =>
      addDevice(host.make(Pit8254), {
        ports: [
          [0x40, 4],
          [0x61, 1],
        ],
      }),
  });
}
