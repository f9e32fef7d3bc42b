/** Fast reset through ports 0x92 and 0xcf9, and the A20 gate of port 0x92. */
import { definePlugin, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ProcessorPinsToken, checkPluginOptions } from '@visorkit/machine';
import * as v from 'valibot';
import { a20Gate } from '../a20-gate.js';
import { RESET_CONTROL_PORT, ResetControl, SYSTEM_CONTROL_A_PORT, SystemControlPortA } from '../reset-control.js';

export interface ResetPortsOptions {
  /** Whether to answer at 0xcf9. A PCI host bridge does that itself, between its own ports; true unless given. */
  readonly resetControl?: boolean;
}

export function resetPorts(options: ResetPortsOptions = {}): Plugin {
  checkPluginOptions('resetPorts', options, { resetControl: [v.boolean(), 'true or false'] });
  return definePlugin({
    name: 'reset',
    uses: { addDevice: AddDeviceToken, pins: optional(ProcessorPinsToken) },
    apply(host, { addDevice, pins }) {
      const portA = host.make(SystemControlPortA);
      portA.onA20 = a20Gate(pins, host);
      addDevice(portA, { ports: [[SYSTEM_CONTROL_A_PORT, 1]] });
      if (options.resetControl === false) return;
      addDevice(host.make(ResetControl), { ports: [[RESET_CONTROL_PORT, 1]] });
    },
  });
}
