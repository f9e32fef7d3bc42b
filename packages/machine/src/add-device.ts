/** What a plugin does with a device it made: puts it on the buses and on the machine's list, and has that undone at disposal. */
import { token } from '@visorkit/core';
import type { PluginHost, Token } from '@visorkit/core';
import type { DeviceList } from './device-list.js';
import type { Device } from './device.js';
import type { MmioBus, MmioDevice } from './mmio-bus.js';
import type { MsrBus, MsrDevice } from './msr-bus.js';
import type { PortBus, PortDevice } from './port-bus.js';

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
 * Adds a device to the machine under its name: at its places on the buses, and on the list that resets and saves devices.
 * Throws PORT_CONFLICT, MMIO_CONFLICT or MSR_CONFLICT where a place is taken already.
 */
export type AddDevice = <D extends Device>(device: D, places?: DevicePlaces<D>) => void;

/** Each plugin has its own; the devices added through it are removed with the plugin. */
export const AddDeviceToken: Token<AddDevice> = token('add-device', '@visorkit/machine');

/** The buses of a machine. */
export interface Buses {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly msrs: MsrBus;
  readonly devices: DeviceList;
}

export function addDeviceTo(buses: Buses, host: Pick<PluginHost, 'onDispose'>): AddDevice {
  return (device, places = {}) => {
    const is = device as unknown as PortDevice & MmioDevice & MsrDevice;
    const { name } = device;
    for (const [first, count] of places.ports ?? []) host.onDispose(buses.ports.register(first, count, is, name));
    for (const [gpa, length] of places.mmio ?? []) host.onDispose(buses.mmio.register(gpa, length, is, name));
    for (const [first, count] of places.msrs ?? []) host.onDispose(buses.msrs.register(first, count, is, name));
    host.onDispose(buses.devices.add(device));
  };
}
