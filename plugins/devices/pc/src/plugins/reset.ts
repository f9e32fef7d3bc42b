/** Fast reset through ports 0x92 and 0xcf9. */
import { DeviceListToken, PortBusToken, SystemControlToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { RESET_CONTROL_PORT, ResetControl, SYSTEM_CONTROL_A_PORT, SystemControlPortA } from '../reset-control.js';
import { addPortDevice } from './device-host.js';

export interface ResetPluginOptions {
  /** Whether to answer at 0xcf9. A PCI host bridge does that itself, between its own ports; true unless given. */
  resetControl?: boolean;
}

export class ResetPlugin implements Plugin {
  readonly name = 'reset';
  readonly requires = { services: [PortBusToken, DeviceListToken, SystemControlToken] };

  constructor(private readonly options: ResetPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const system = host.services.get(SystemControlToken);
    addPortDevice(
      host,
      this.name,
      new SystemControlPortA({ reset: () => system.reset('the guest wrote the fast-reset bit of port 0x92') }),
      [[SYSTEM_CONTROL_A_PORT, 1]],
    );
    if (this.options.resetControl === false) return;
    addPortDevice(
      host,
      this.name,
      new ResetControl(() => system.reset('the guest wrote the reset control register (port 0xcf9)')),
      [[RESET_CONTROL_PORT, 1]],
    );
  }
}
