/** The 8259A pair as the machine's external interrupt source. */
import {
  DeviceListToken,
  ExternalInterruptSourceToken,
  InterruptLinesToken,
  LocalApicsToken,
  PortBusToken,
} from '@visorkit/machine';
import type { LocalApics } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { Pic8259Pair } from '../pic8259.js';
import { addPortDevice } from './device-host.js';

/** Ports 0x20-0x21, 0xa0-0xa1 and the ELCR at 0x4d0-0x4d1; interrupt lines 0 to 15. */
export class PicPlugin implements Plugin {
  readonly name = 'pic';
  readonly requires = { services: [PortBusToken, DeviceListToken, InterruptLinesToken] };
  readonly provides = [ExternalInterruptSourceToken];

  apply(host: PluginHost): void {
    let apics: LocalApics | undefined;
    const pic = new Pic8259Pair((level) => apics?.setExternal(level));
    addPortDevice(host, this.name, pic, [
      [0x20, 2],
      [0xa0, 2],
      [0x4d0, 2],
    ]);
    host.onDispose(host.services.get(InterruptLinesToken).connect((gsi, level) => pic.setIrq(gsi, level)));
    host.services.provide(ExternalInterruptSourceToken, pic);
    // The local APICs are created after the PIC because they use it; its output is connected to their LINT0 pins once they exist.
    host.hooks.created.tap(this.name, () => void (apics = host.services.find(LocalApicsToken)));
  }
}
