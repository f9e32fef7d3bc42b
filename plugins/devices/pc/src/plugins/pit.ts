/** The 8254 on IRQ 0, with port 0x61. */
import { ClockToken, DeviceListToken, InterruptLinesToken, PortBusToken, TimerQueueToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { Pit8254 } from '../pit8254.js';
import { addPortDevice } from './device-host.js';

export class PitPlugin implements Plugin {
  readonly name = 'pit';
  readonly requires = { services: [PortBusToken, DeviceListToken, InterruptLinesToken, ClockToken, TimerQueueToken] };

  apply(host: PluginHost): void {
    const { services } = host;
    const pit = new Pit8254({
      irq: services.get(InterruptLinesToken).line(0),
      clock: services.get(ClockToken),
      timers: services.get(TimerQueueToken),
    });
    addPortDevice(host, this.name, pit, [
      [0x40, 4],
      [0x61, 1],
    ]);
  }
}
