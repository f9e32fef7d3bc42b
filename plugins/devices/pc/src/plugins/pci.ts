/** PCI bus 0 with the bridge to the ISA devices, and the reset control register that shares its ports. */
import { DeviceListToken, PciBusToken, PortBusToken, SystemControlToken } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { ISA_BRIDGE_SLOT, isaBridge } from '../isa-bridge.js';
import { PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_PORTS, PciHost } from '../pci.js';
import { ResetControl } from '../reset-control.js';
import { addPortDevice } from './device-host.js';

export class PciPlugin implements Plugin {
  readonly name = 'pci';
  readonly requires = { services: [PortBusToken, DeviceListToken, SystemControlToken] };
  readonly provides = [PciBusToken];

  apply(host: PluginHost): void {
    const system = host.services.get(SystemControlToken);
    const resetControl = new ResetControl(() =>
      system.reset('the guest wrote the reset control register (port 0xcf9)'),
    );
    host.onDispose(host.services.get(DeviceListToken).add(resetControl));
    const pci = new PciHost(resetControl);
    addPortDevice(host, this.name, pci, [[PCI_CONFIG_ADDRESS_PORT, PCI_CONFIG_PORTS]]);
    const bridge = isaBridge();
    pci.attach(bridge, ISA_BRIDGE_SLOT);
    host.onDispose(host.services.get(DeviceListToken).add(bridge));
    host.services.provide(PciBusToken, pci);
  }
}
