/** The keyboard controller with its keyboard on IRQ 1 and its mouse on IRQ 12. */
import { DeviceListToken, InterruptLinesToken, PortBusToken, SystemControlToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from '../i8042.js';
import { addPortDevice } from './device-host.js';

export class KeyboardPlugin implements Plugin {
  readonly name = 'keyboard';
  readonly requires = { services: [PortBusToken, DeviceListToken, InterruptLinesToken, SystemControlToken] };

  apply(host: PluginHost): void {
    const lines = host.services.get(InterruptLinesToken);
    const system = host.services.get(SystemControlToken);
    const controller = new I8042({
      keyboardIrq: lines.line(1),
      auxIrq: lines.line(12),
      reset: () => system.reset('the guest pulsed the reset line through the keyboard controller'),
    });
    addPortDevice(host, this.name, controller, [
      [I8042_DATA_PORT, 1],
      [I8042_COMMAND_PORT, 1],
    ]);
  }
}
