/** The HPET at 0xFED00000. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken } from '@visorkit/machine';
import { HPET_BASE, HPET_SIZE, Hpet } from '../hpet.js';

export function hpet(): Plugin {
  return definePlugin({
    name: 'hpet',
    uses: { addDevice: AddDeviceToken },
    apply: (host, { addDevice }) => addDevice(host.make(Hpet), { mmio: [[HPET_BASE, HPET_SIZE]] }),
  });
}
