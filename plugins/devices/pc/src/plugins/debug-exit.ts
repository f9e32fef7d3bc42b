/** isa-debug-exit: the guest ends the run with a status of its choice. */
import { DeviceListToken, PortBusToken, SystemControlToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, IsaDebugExit } from '../isa-debug-exit.js';
import { addPortDevice } from './device-host.js';

export interface DebugExitPluginOptions {
  /** First of four ports, 0xf4 unless given. */
  port?: number;
}

export class DebugExitPlugin implements Plugin {
  readonly name = 'isa-debug-exit';
  readonly requires = { services: [PortBusToken, DeviceListToken, SystemControlToken] };

  constructor(private readonly options: DebugExitPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const system = host.services.get(SystemControlToken);
    const port = this.options.port ?? DEBUG_EXIT_PORT;
    const device = new IsaDebugExit((status, value) =>
      system.exit(status, `the guest wrote ${value} to the debug exit port 0x${port.toString(16)}`),
    );
    addPortDevice(host, this.name, device, [[port, DEBUG_EXIT_PORTS]]);
  }
}
