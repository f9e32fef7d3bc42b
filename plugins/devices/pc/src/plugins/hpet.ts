/** The HPET at 0xFED00000. */
import {
  ClockToken,
  DeviceListToken,
  InterruptLinesToken,
  LocalApicsToken,
  MmioBusToken,
  TimerQueueToken,
} from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { HPET_BASE, HPET_SIZE, Hpet } from '../hpet.js';

export class HpetPlugin implements Plugin {
  readonly name = 'hpet';
  readonly requires = {
    services: [MmioBusToken, DeviceListToken, InterruptLinesToken, ClockToken, TimerQueueToken],
    optionalServices: [LocalApicsToken],
  };

  apply(host: PluginHost): void {
    const { services } = host;
    const apics = services.find(LocalApicsToken);
    const lines = services.get(InterruptLinesToken);
    const hpet = new Hpet({
      clock: services.get(ClockToken),
      timers: services.get(TimerQueueToken),
      line: (gsi) => lines.line(gsi),
      ...(apics === undefined ? {} : { message: (address: number, data: number) => apics.sendMessage(address, data) }),
    });
    host.onDispose(services.get(MmioBusToken).register(HPET_BASE, HPET_SIZE, hpet, this.name));
    host.onDispose(services.get(DeviceListToken).add(hpet));
  }
}
