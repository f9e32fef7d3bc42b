/** The test devices in a machine. */
import { isVisorkitError } from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import {
  ConsoleToken,
  DeviceListToken,
  InterruptLinesToken,
  MmioBusToken,
  PciBusToken,
  PortBusToken,
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
import { IO_BAR, MEMORY_BAR, PciTestDevice } from './pci-testdev.js';

/** Where test programs print when they were built without a serial port. */
export const PRINT_PORT = 0xf1;

export interface PcTestPluginOptions {
  /** Where port 0xf1 prints: the machine's console unless given. */
  output?: CharOutput;
}

/** pc-testdev, and the printing port of kvm-unit-tests. */
export class PcTestPlugin implements Plugin {
  readonly name = 'pc-testdev';
  readonly requires = { services: [PortBusToken, MmioBusToken, DeviceListToken, InterruptLinesToken, ConsoleToken] };

  constructor(private readonly options: PcTestPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const { services } = host;
    const ports = services.get(PortBusToken);
    const lines = services.get(InterruptLinesToken);
    const device = new PcTestDevice(Array.from({ length: LINE_COUNT }, (_, line) => lines.line(line)));
    for (const [first, count] of [
      [SCRATCH_PORT, SCRATCH_PORTS],
      [FLUSH_PORT, FLUSH_PORTS],
      [LINE_PORT, LINE_COUNT],
    ]) {
      host.onDispose(ports.register(first, count, device, this.name));
    }
    host.onDispose(services.get(MmioBusToken).register(MMIO_BASE, MMIO_SIZE, device, this.name));
    host.onDispose(services.get(DeviceListToken).add(device));
    const output = this.options.output ?? services.get(ConsoleToken).output;
    const printer: PortDevice = {
      readPort: () => 0xff,
      writePort: (_port, size, value) => {
        for (let byte = 0; byte < size; byte++) output.write((value >>> (8 * byte)) & 0xff);
      },
    };
    host.onDispose(ports.register(PRINT_PORT, 1, printer, this.name));
  }
}

export interface PciTestPluginOptions {
  /** PCI slot; the first free one unless given. */
  slot?: number;
  /** Where the BARs are before software moves them, as a firmware would have placed them. */
  memoryAddress?: number;
  ioAddress?: number;
}

/** pci-testdev on the machine's PCI bus. */
export class PciTestPlugin implements Plugin {
  readonly name = 'pci-testdev';
  readonly requires = { services: [PortBusToken, MmioBusToken, DeviceListToken, PciBusToken] };

  constructor(private readonly options: PciTestPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const { services } = host;
    const placed: Partial<Record<'mmio' | 'portio', () => void>> = {};
    const device = new PciTestDevice({
      place: (kind, address) => {
        placed[kind]?.();
        delete placed[kind];
        if (address === undefined) return;
        try {
          placed[kind] =
            kind === 'mmio'
              ? services.get(MmioBusToken).register(address, MEMORY_BAR.size, device.memory, this.name)
              : services.get(PortBusToken).register(address, IO_BAR.size, device.portsAt(address), this.name);
        } catch (error) {
          // The guest chose this address. If another device has it, the machine must go on.
          if (!isVisorkitError(error)) throw error;
          host.logger.warn(`the guest placed a BAR where it cannot be reached: ${error.message}`);
        }
      },
    });
    host.onDispose(() => Object.values(placed).forEach((remove) => remove()));
    host.onDispose(services.get(DeviceListToken).add(device));
    host.onDispose(services.get(PciBusToken).attach(device.config, this.options.slot).detach);
    const { memoryAddress = 0xfeb0_0000, ioAddress = 0xc000 } = this.options;
    device.config.set(0x10 + 4 * MEMORY_BAR.index, 4, memoryAddress);
    device.config.set(0x10 + 4 * IO_BAR.index, 4, ioAddress | 1);
    device.config.set(0x04, 2, 0x0003);
    device.config.reset();
  }
}
