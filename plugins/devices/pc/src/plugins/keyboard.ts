/** The keyboard controller with its keyboard on IRQ 1 and its mouse on IRQ 12. */
import { definePlugin, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ProcessorPinsToken } from '@visorkit/machine';
import { a20Gate } from '../a20-gate.js';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from '../i8042.js';

export function keyboard(): Plugin {
  return definePlugin({
    name: 'keyboard',
    uses: { addDevice: AddDeviceToken, pins: optional(ProcessorPinsToken) },
    apply(host, { addDevice, pins }) {
      const controller = host.make(I8042);
      controller.onA20 = a20Gate(pins, host);
      addDevice(controller, {
        ports: [
          [I8042_DATA_PORT, 1],
          [I8042_COMMAND_PORT, 1],
        ],
      });
    },
  });
}
