/** PCI bus 0 with the bridge to the ISA devices, and the reset control register that shares its ports. */
import { definePlugin, optional, token } from '@visorkit/core';
import type { Plugin, Token } from '@visorkit/core';
import {
  AddDeviceToken,
  InterruptLinesToken,
  LocalApicsToken,
  MmioBusToken,
  PciBusToken,
  PciEndpoint,
  PciEndpointsToken,
  PortBusToken,
} from '@visorkit/machine';
import type { PciConfigSpace } from '@visorkit/machine';
import { ISA_BRIDGE_SLOT, isaBridge } from '../isa-bridge.js';
import { PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_PORTS, PciHost, ResetControlToken } from '../pci.js';
import { ResetControl } from '../reset-control.js';

const PciHostToken: Token<PciHost> = token('pci-host');
const IsaBridgeToken: Token<PciConfigSpace> = token('isa-bridge');

export function pci(): Plugin {
  return definePlugin({
    name: 'pci',
    uses: {
      addDevice: AddDeviceToken,
      bus: PciBusToken,
      host: PciHostToken,
      isaBridge: IsaBridgeToken,
      resetControl: ResetControlToken,
      ports: PortBusToken,
      mmio: MmioBusToken,
      lines: InterruptLinesToken,
      apics: optional(LocalApicsToken),
    },
    provides: [
      { token: ResetControlToken, scope: 'private', type: ResetControl },
      { token: PciHostToken, scope: 'private', type: PciHost },
      { token: IsaBridgeToken, scope: 'private', make: () => isaBridge() },
      {
        token: PciBusToken,
        // With the bridge from the start, so that nobody gets its slot for a free one
        make: ({ host, isaBridge }) => {
          host.attach(isaBridge, ISA_BRIDGE_SLOT);
          return host;
        },
      },
      {
        token: PciEndpointsToken,
        scope: 'plugin',
        make: ({ bus, ports, mmio, lines, apics }, { logger, onDispose }) => ({
          make: (options) =>
            new PciEndpoint(options, { bus, ports, mmio, lines, apics, logger, onDispose: (undo) => onDispose(undo) }),
        }),
      },
    ],
    apply(_host, { addDevice, bus, isaBridge, resetControl }) {
      addDevice(resetControl);
      addDevice(bus as PciHost, { ports: [[PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_PORTS]] });
      addDevice(isaBridge);
    },
  });
}
