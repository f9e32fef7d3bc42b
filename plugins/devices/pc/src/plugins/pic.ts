/** The 8259A pair as the machine's external interrupt source. */
import { definePlugin, optional } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ExternalInterruptSourceToken, InterruptLinesToken, LocalApicsToken } from '@visorkit/machine';
import { Pic8259Pair } from '../pic8259.js';

/** Ports 0x20-0x21, 0xa0-0xa1 and the ELCR at 0x4d0-0x4d1; interrupt lines 0 to 15. */
export function pic(): Plugin {
  return definePlugin({
    name: 'pic',
    uses: {
      addDevice: AddDeviceToken,
      source: ExternalInterruptSourceToken,
      lines: InterruptLinesToken,
      apics: optional(LocalApicsToken),
    },
    provides: [{ token: ExternalInterruptSourceToken, type: Pic8259Pair }],
    apply(host, { addDevice, source, lines, apics }) {
      const pair = source as Pic8259Pair;
      addDevice(pair, {
        ports: [
          [0x20, 2],
          [0xa0, 2],
          [0x4d0, 2],
        ],
      });
      host.onDispose(lines.connect((gsi, level) => pair.setIrq(gsi, level)));
      // The wire to the LINT0 pins
      if (apics !== undefined) pair.onOutput = (level) => apics.setExternal(level);
    },
  });
}
