/** The test devices in a machine. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import {
  AddDeviceToken,
  ConsoleToken,
  PortBusToken,
  checkPluginOptions,
  objectWith,
  wholeNumber,
} from '@visorkit/machine';
import type { CharOutput, PortDevice } from '@visorkit/machine';
import {
  FLUSH_PORT,
  FLUSH_PORTS,
  LINE_COUNT,
  LINE_PORT,
  MMIO_BASE,
  MMIO_SIZE,
  PcTestDevice,
  SCRATCH_PORT,
  SCRATCH_PORTS,
} from './pc-testdev.js';
import { PciTestDevice, PciTestSettingsToken } from './pci-testdev.js';

/** Where test programs print when they were built without a serial port. */
export const PRINT_PORT = 0xf1;

export interface PcTestdevOptions {
  /** Where port 0xf1 prints: the machine's console unless given. */
  readonly output?: CharOutput;
}

/** pc-testdev, and the printing port of kvm-unit-tests. */
export function pcTestdev(options: PcTestdevOptions = {}): Plugin {
  checkPluginOptions('pcTestdev', options, { output: [objectWith('write'), 'an output with write(byte)'] });
  return definePlugin({
    name: 'pc-testdev',
    uses: { addDevice: AddDeviceToken, ports: PortBusToken, console: ConsoleToken },
    apply(host, { addDevice, ports, console }) {
      addDevice(host.make(PcTestDevice), {
        ports: [
          [SCRATCH_PORT, SCRATCH_PORTS],
          [FLUSH_PORT, FLUSH_PORTS],
          [LINE_PORT, LINE_COUNT],
        ],
        mmio: [[MMIO_BASE, MMIO_SIZE]],
      });
      const output = options.output ?? console.output;
      const printer: PortDevice = {
        readPort: () => 0xff,
        writePort: (_port, size, value) => {
          for (let byte = 0; byte < size; byte++) output.write((value >>> (8 * byte)) & 0xff);
        },
      };
      host.onDispose(ports.register(PRINT_PORT, 1, printer, host.name));
    },
  });
}

export interface PciTestdevOptions {
  /** PCI slot; the first free one unless given. */
  readonly slot?: number;
  /** Where the BARs are before software moves them, as a firmware would have placed them. */
  readonly memoryAddress?: number;
  readonly ioAddress?: number;
}

/** pci-testdev on the machine's PCI bus. */
export function pciTestdev(options: PciTestdevOptions = {}): Plugin {
  checkPluginOptions('pciTestdev', options, {
    slot: [wholeNumber(0, 31), 'a PCI slot from 0 to 31'],
    memoryAddress: [wholeNumber(0, 0xffff_ffff), 'a guest-physical address below 4 GiB'],
    ioAddress: [wholeNumber(0, 0xffff), 'a port from 0 to 0xffff'],
  });
  const { slot, memoryAddress = 0xfeb0_0000, ioAddress = 0xc000 } = options;
  return definePlugin({
    name: 'pci-testdev',
    uses: { addDevice: AddDeviceToken },
    provides: [{ token: PciTestSettingsToken, scope: 'private', make: () => ({ slot, memoryAddress, ioAddress }) }],
    apply: (host, { addDevice }) => addDevice(host.make(PciTestDevice)),
  });
}
