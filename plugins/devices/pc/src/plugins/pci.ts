/** PCI bus 0 with the bridge to the ISA devices, and the reset control register that shares its ports. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, PciBusToken } from '@visorkit/machine';
import { ISA_BRIDGE_SLOT, isaBridge } from '../isa-bridge.js';
import { PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_PORTS, PciHost, ResetControlToken } from '../pci.js';
import { ResetControl } from '../reset-control.js';

export function pci(): Plugin {
  return definePlugin({
    name: 'pci',
    uses: { addDevice: AddDeviceToken, bus: PciBusToken, resetControl: ResetControlToken },
    provides: [
      { token: ResetControlToken, scope: 'private', type: ResetControl },
      { token: PciBusToken, type: PciHost },
    ],
    apply(_host, { addDevice, bus, resetControl }) {
      addDevice(resetControl);
      addDevice(bus as PciHost, { ports: [[PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_PORTS]] });
      const bridge = isaBridge();
      bus.attach(bridge, ISA_BRIDGE_SLOT);
      addDevice(bridge);
    },
  });
}
