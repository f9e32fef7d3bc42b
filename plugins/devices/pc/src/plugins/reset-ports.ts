/** Fast reset through ports 0x92 and 0xcf9. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, checkPluginOptions } from '@visorkit/machine';
import * as v from 'valibot';
import { RESET_CONTROL_PORT, ResetControl, SYSTEM_CONTROL_A_PORT, SystemControlPortA } from '../reset-control.js';

export interface ResetPortsOptions {
  /** Whether to answer at 0xcf9. A PCI host bridge does that itself, between its own ports; true unless given. */
  readonly resetControl?: boolean;
}

export function resetPorts(options: ResetPortsOptions = {}): Plugin {
  checkPluginOptions('resetPorts', options, { resetControl: [v.boolean(), 'true or false'] });
  return definePlugin({
    name: 'reset',
    uses: { addDevice: AddDeviceToken },
    apply(host, { addDevice }) {
      addDevice(host.make(SystemControlPortA), { ports: [[SYSTEM_CONTROL_A_PORT, 1]] });
      if (options.resetControl === false) return;
      addDevice(host.make(ResetControl), { ports: [[RESET_CONTROL_PORT, 1]] });
    },
  });
}
