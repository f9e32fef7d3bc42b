/**
 * What every plugin of this package does: put a device on the machine's list and its ports on the bus, undone at disposal.
 */
import { DeviceListToken, PortBusToken } from '@visorkit/machine';
import type { Device, PortDevice } from '@visorkit/machine';
import type { PluginHost } from '@visorkit/core';

/** Ranges of ports: first and count. */
export type PortRanges = readonly (readonly [first: number, count: number])[];

/** Adds `device` to the machine under `owner`'s name, answering at `ports`. */
export function addPortDevice(host: PluginHost, owner: string, device: Device & PortDevice, ports: PortRanges): void {
  const bus = host.services.get(PortBusToken);
  for (const [first, count] of ports) host.onDispose(bus.register(first, count, device, owner));
  host.onDispose(host.services.get(DeviceListToken).add(device));
}
