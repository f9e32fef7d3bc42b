/** fw_cfg with its description of the machine: memory, processors, the e820 map, the boot order. */
import { Stage } from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import {
  DeviceListToken,
  FirmwareConfigToken,
  GuestMemoryToken,
  MachineConfigToken,
  MemoryMapToken,
  PortBusToken,
} from '@visorkit/machine';
import type { MemoryMapEntry } from '@visorkit/machine';
import { FW_CFG_PORTS, FW_CFG_SELECTOR_PORT, FwCfg, FwCfgItem, number } from './fw-cfg.js';
import { linuxItems } from './linux-items.js';
import type { FirmwareKernel } from './linux-items.js';

export interface FwCfgPluginOptions {
  /** More files by name. */
  files?: Readonly<Record<string, Uint8Array>>;
  /** A Linux kernel for firmware to start; SeaBIOS needs an option ROM for that, which is not part of it. */
  linux?: FirmwareKernel;
  /** Whether firmware offers its boot menu; true unless given. */
  bootMenu?: boolean;
}

const E820_ENTRY_SIZE = 20;

export class FwCfgPlugin implements Plugin {
  readonly name = 'fw-cfg';
  readonly requires = {
    services: [PortBusToken, DeviceListToken, GuestMemoryToken, MachineConfigToken, MemoryMapToken],
  };
  readonly provides = [FirmwareConfigToken];

  constructor(private readonly options: FwCfgPluginOptions = {}) {}

  apply(host: PluginHost): void {
    const { services } = host;
    const { memory, cpus } = services.get(MachineConfigToken);
    const fwCfg = new FwCfg(services.get(GuestMemoryToken));
    fwCfg.setItem(FwCfgItem.uuid, new Uint8Array(16));
    fwCfg.setItem(FwCfgItem.ramSize, number(memory, 8));
    fwCfg.setItem(FwCfgItem.noGraphics, number(1, 2));
    fwCfg.setItem(FwCfgItem.cpuCount, number(cpus, 2));
    fwCfg.setItem(FwCfgItem.maxCpus, number(cpus, 2));
    fwCfg.setItem(FwCfgItem.bootMenu, number(this.options.bootMenu === false ? 0 : 1, 2));
    fwCfg.setItem(FwCfgItem.numa, number(0, 8));
    fwCfg.setItem(FwCfgItem.irq0Override, number(1, 1));
    if (this.options.linux !== undefined)
      for (const [selector, data] of linuxItems(this.options.linux)) fwCfg.setItem(selector, data);
    for (const [name, data] of Object.entries(this.options.files ?? {})) fwCfg.addFile(name, data);
    host.onDispose(services.get(PortBusToken).register(FW_CFG_SELECTOR_PORT, FW_CFG_PORTS, fwCfg, this.name));
    host.onDispose(services.get(DeviceListToken).add(fwCfg));
    services.provide(FirmwareConfigToken, fwCfg);
    // The map is complete only when every plugin has reserved what it needs.
    const map = services.get(MemoryMapToken);
    const regions = services.get(GuestMemoryToken).regions;
    host.hooks.load.tap({ name: this.name, stage: Stage.Architecture }, () => {
      // Firmware makes the map of the first megabyte itself: it is told of RAM as it is, and of what lies above.
      const above = map.entries().filter(({ gpa, type }) => gpa >= 0x10_0000 && type !== 1);
      fwCfg.addFile('etc/e820', e820File([...regions.map(({ gpa, size }) => ({ gpa, size, type: 1 })), ...above]));
    });
  }
}

/** Address, size and type of each entry: 8, 8 and 4 bytes, little endian. */
export function e820File(entries: readonly MemoryMapEntry[]): Uint8Array {
  const file = new Uint8Array(entries.length * E820_ENTRY_SIZE);
  entries.forEach(({ gpa, size, type }, index) => {
    file.set(number(gpa, 8), index * E820_ENTRY_SIZE);
    file.set(number(size, 8), index * E820_ENTRY_SIZE + 8);
    file.set(number(type, 4), index * E820_ENTRY_SIZE + 16);
  });
  return file;
}
