/** The keyboard controller with its keyboard on IRQ 1 and its mouse on IRQ 12. */
import { definePlugin, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ConsoleToken, ProcessorPinsToken, checkPluginOptions, objectWith } from '@visorkit/machine';
import type { CharInput } from '@visorkit/machine';
import * as v from 'valibot';
import { a20Gate } from '../a20-gate.js';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from '../i8042.js';
import { typing } from '../typing.js';

export interface KeyboardOptions {
  /** What is typed on it, or `console`: what comes from the machine's console. Nothing unless given. */
  readonly typed?: CharInput | 'console';
}

export function keyboard(options: KeyboardOptions = {}): Plugin {
  checkPluginOptions('keyboard', options, {
    typed: [v.union([v.literal('console'), objectWith('onByte')]), '"console", or an input with onByte(callback)'],
  });
  const { typed } = options;
  return definePlugin({
    name: 'keyboard',
    uses: { addDevice: AddDeviceToken, console: ConsoleToken, pins: optional(ProcessorPinsToken) },
    apply(host, { addDevice, console, pins }) {
      const controller = host.make(I8042);
      controller.onA20 = a20Gate(pins, host);
      addDevice(controller, {
        ports: [
          [I8042_DATA_PORT, 1],
          [I8042_COMMAND_PORT, 1],
        ],
      });
      if (typed === undefined) return;
      const input = typed === 'console' ? console.input : typed;
      host.onDispose(input.onByte(typing((scancodes) => controller.pressKeys(scancodes))));
    },
  });
}
