/** fw_cfg with what it says of the machine: memory, processors, the e820 map, the boot order. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { isBzImage } from '@visorkit/formats';
import {
  AddDeviceToken,
  FirmwareConfigToken,
  GuestMemoryToken,
  LOW_RAM_END,
  MachineConfigToken,
  MemoryMapToken,
  MemoryType,
  checkPluginOptions,
  e820Entries,
} from '@visorkit/machine';
import type { MachineConfig } from '@visorkit/machine';
import * as v from 'valibot';
import { FW_CFG_PORTS, FW_CFG_SELECTOR_PORT, FwCfg, FwCfgItem, number } from './fw-cfg.js';
import { linuxItems } from './linux-items.js';
import { BOOT_ORDER, BOOT_ORDER_FILE, LINUX_ROM_FILE, linuxRom } from './linux-rom.js';
import type { FirmwareKernel } from './linux-items.js';

export interface FwCfgOptions {
  /** More files by name. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** A Linux kernel for firmware to start: UEFI firmware and qboot by themselves, a BIOS by an option ROM that is added for it. */
  readonly linux?: FirmwareKernel;
  /** Whether firmware offers its boot menu; true unless given. */
  readonly bootMenu?: boolean;
}

const ONE_MIB = 0x10_0000;
const BYTES = v.instance(Uint8Array);

export function fwCfg(options: FwCfgOptions = {}): Plugin {
  checkPluginOptions('fwCfg', options, {
    files: [v.record(v.string(), BYTES), 'an object of Uint8Arrays by file name'],
    linux: [
      v.strictObject({ kernel: BYTES, initrd: v.optional(BYTES), commandLine: v.optional(v.string()) }),
      '{ kernel, initrd, commandLine }, the first two Uint8Arrays',
    ],
    bootMenu: [v.boolean(), 'true or false'],
  });
  return definePlugin({
    name: 'fw-cfg',
    uses: {
      addDevice: AddDeviceToken,
      firmware: FirmwareConfigToken,
      memory: GuestMemoryToken,
      config: MachineConfigToken,
      map: MemoryMapToken,
    },
    provides: [{ token: FirmwareConfigToken, type: FwCfg }],
    apply(_host, { addDevice, firmware, memory: { regions }, config, map }) {
      const device = firmware as FwCfg;
      for (const [selector, data] of itemsOf(config, options)) device.setItem(selector, data);
      if (options.linux !== undefined && isBzImage(options.linux.kernel)) {
        device.addFile(LINUX_ROM_FILE, linuxRom());
        device.addFile(BOOT_ORDER_FILE, new TextEncoder().encode(BOOT_ORDER));
      }
      for (const [name, data] of Object.entries(options.files ?? {})) device.addFile(name, data);
      addDevice(device, { ports: [[FW_CFG_SELECTOR_PORT, FW_CFG_PORTS]] });
      // When firmware asks, every plugin has reserved what it needs
      device.addFile('etc/e820', () => {
        // Firmware makes the map of the first megabyte itself: it is told of RAM as it is, and of what lies above.
        const above = map.entries().filter(({ gpa, type }) => gpa >= ONE_MIB && type !== MemoryType.RAM);
        const ram = regions.map(({ gpa, size }) => ({ gpa, size, type: MemoryType.RAM }));
        return e820Entries([...ram, ...above]);
      });
    },
  });
}

function itemsOf({ memory, cpus }: MachineConfig, { bootMenu = true, linux }: FwCfgOptions): [number, Uint8Array][] {
  return [
    [FwCfgItem.uuid, new Uint8Array(16)],
    [FwCfgItem.ramSize, number(memory, 8)],
    [FwCfgItem.noGraphics, number(1, 2)],
    [FwCfgItem.cpuCount, number(cpus, 2)],
    [FwCfgItem.maxCpus, number(cpus, 2)],
    [FwCfgItem.bootMenu, number(bootMenu ? 1 : 0, 2)],
    [FwCfgItem.numa, number(0, 8)],
    [FwCfgItem.irq0Override, number(1, 1)],
    ...(linux === undefined ? [] : linuxItems(linux, Math.min(memory, LOW_RAM_END))),
  ];
}
