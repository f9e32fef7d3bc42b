/**
 * Adds a device that a plugin made to the buses and to the machine's list of devices, and removes it again at disposal.
 */
import type { PluginHost } from '@visorkit/core';
import type { Device } from './device.js';
import type { MmioDevice } from './mmio-bus.js';
import type { MsrDevice } from './msr-bus.js';
import type { PortDevice } from './port-bus.js';
import { DeviceListToken, MmioBusToken, MsrBusToken, PortBusToken } from './tokens.js';

/** Where a device answers. Only the kinds of places that its class implements may be named. */
export interface DevicePlaces<D> {
  /** I/O ports: first port and number of ports. */
  readonly ports?: D extends PortDevice ? readonly (readonly [first: number, count: number])[] : never;
  /** Guest-physical addresses: first address and length in bytes. */
  readonly mmio?: D extends MmioDevice ? readonly (readonly [gpa: number, length: number])[] : never;
  /** MSRs: first register and number of registers. */
  readonly msrs?: D extends MsrDevice ? readonly (readonly [first: number, count: number])[] : never;
}

/**
 * Adds `device` to the machine under its name: at `places` on the buses, and on the list that resets and saves devices.
 * The plugin must require the services of the buses it names and `DeviceListToken`. Throws PORT_CONFLICT, MMIO_CONFLICT
 * or MSR_CONFLICT when another device already has one of the places.
 */
export function addDevice<D extends Device>(
  host: Pick<PluginHost, 'services' | 'onDispose'>,
  device: D,
  places: DevicePlaces<D>,
): void {
  const { services } = host;
  const is = device as unknown as PortDevice & MmioDevice & MsrDevice;
  for (const [first, count] of places.ports ?? [])
    host.onDispose(services.get(PortBusToken).register(first, count, is, device.name));
  for (const [gpa, length] of places.mmio ?? [])
    host.onDispose(services.get(MmioBusToken).register(gpa, length, is, device.name));
  for (const [first, count] of places.msrs ?? [])
    host.onDispose(services.get(MsrBusToken).register(first, count, is, device.name));
  host.onDispose(services.get(DeviceListToken).add(device));
}
