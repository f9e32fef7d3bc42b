/** Bochs' port 0x8900. */
import { DeviceListToken, PortBusToken, SystemControlToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { SHUTDOWN_PORT, ShutdownPort } from '../shutdown-port.js';
import { addPortDevice } from './device-host.js';

export class ShutdownPlugin implements Plugin {
  readonly name = 'shutdown-port';
  readonly requires = { services: [PortBusToken, DeviceListToken, SystemControlToken] };

  apply(host: PluginHost): void {
    const system = host.services.get(SystemControlToken);
    addPortDevice(
      host,
      this.name,
      new ShutdownPort(() => system.powerOff('the guest wrote "Shutdown" to port 0x8900')),
      [[SHUTDOWN_PORT, 1]],
    );
  }
}
