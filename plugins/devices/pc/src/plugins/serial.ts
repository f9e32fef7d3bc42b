/** A serial port on the machine's console, or on an output of its own. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ConsoleToken, checkPluginOptions, objectWith } from '@visorkit/machine';
import type { CharInput, CharOutput } from '@visorkit/machine';
import * as v from 'valibot';
import { Uart16550, Uart16550SettingsToken } from '../uart16550.js';

/** Where a PC has its serial ports. */
export const SERIAL_PORTS = {
  com1: { base: 0x3f8, irq: 4 },
  com2: { base: 0x2f8, irq: 3 },
  com3: { base: 0x3e8, irq: 4 },
  com4: { base: 0x2e8, irq: 3 },
} as const;

export interface SerialOptions {
  /** com1 unless given. */
  readonly port?: keyof typeof SERIAL_PORTS;
  /** The machine's console unless given. */
  readonly output?: CharOutput;
  /** The machine's console unless this or an output is given. */
  readonly input?: CharInput;
}

/** A 16550A at one of the four usual places. */
export function serial(options: SerialOptions = {}): Plugin {
  checkPluginOptions('serial', options, {
    port: [v.picklist(['com1', 'com2', 'com3', 'com4']), '"com1", "com2", "com3" or "com4"'],
    output: [objectWith('write'), 'an output with write(byte)'],
    input: [objectWith('onByte'), 'an input with onByte(callback)'],
  });
  const { port = 'com1', output, input } = options;
  const { base, irq } = SERIAL_PORTS[port];
  return definePlugin({
    name: `serial-${port}`,
    uses: { addDevice: AddDeviceToken, console: ConsoleToken },
    provides: [
      {
        token: Uart16550SettingsToken,
        scope: 'private',
        make: ({ console }) => ({ name: port, base, irq, output: output ?? console.output }),
      },
    ],
    apply(host, { addDevice, console }) {
      const uart = host.make(Uart16550);
      addDevice(uart, { ports: [[base, 8]] });
      const from = input ?? (output === undefined ? console.input : undefined);
      if (from !== undefined) host.onDispose(from.onByte((byte) => uart.receive(byte)));
    },
  });
}
