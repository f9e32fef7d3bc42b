/** A standard PC as a list of plugins: what Linux, other kernels and firmware expect to find without being told. */
import { AcpiPlugin } from '@visorkit/acpi';
import { ApicPlugin } from '@visorkit/apic';
import type { ApicPluginOptions } from '@visorkit/apic';
import type { Plugin } from '@visorkit/core';
import {
  DebugConsolePlugin,
  DebugExitPlugin,
  HpetPlugin,
  KeyboardPlugin,
  PcMemoryMapPlugin,
  PciPlugin,
  PicPlugin,
  PitPlugin,
  PostPlugin,
  ResetPlugin,
  RtcPlugin,
  SEABIOS_DEBUG_PORT,
  SerialPlugin,
  ShutdownPlugin,
} from '@visorkit/devices-pc';
import type { RtcPluginOptions, SerialPluginOptions } from '@visorkit/devices-pc';
import { FwCfgPlugin } from '@visorkit/fw-cfg';
import type { FwCfgPluginOptions } from '@visorkit/fw-cfg';
import type { CharOutput } from '@visorkit/machine';

export interface PcPlatformOptions {
  /** Serial ports; COM1 on the machine's console unless given. */
  serial?: readonly SerialPluginOptions[];
  rtc?: RtcPluginOptions;
  /** false leaves the APICs out: a PC with the 8259s alone, for one processor. */
  apic?: ApicPluginOptions | false;
  /** false leaves ACPI out. */
  acpi?: boolean;
  /** false leaves the HPET out. */
  hpet?: boolean;
  /** false leaves the PCI host bridge out. */
  pci?: boolean;
  /** false leaves fw_cfg out. */
  fwCfg?: FwCfgPluginOptions | false;
  /** Lets the guest end the run through port 0xf4; off unless given. */
  debugExit?: boolean | { port?: number };
  /** Where port 0xe9 prints: the machine's console unless given, nowhere with false. */
  debugConsole?: CharOutput | 'log' | false;
  /**
   * Where port 0x402 prints, on which SeaBIOS and OVMF say what they do: the log unless given, nowhere with false. SeaBIOS
   * shows its screen on the serial port.
   */
  firmwareDebug?: CharOutput | 'log' | false;
}

/** The plugins of a standard PC, in no particular order: the kernel applies each after what it needs. */
export function pcPlatform(options: PcPlatformOptions = {}): Plugin[] {
  const {
    serial = [{}],
    rtc = {},
    apic = {},
    acpi = true,
    hpet = true,
    pci = true,
    fwCfg = {},
    debugExit = false,
    debugConsole,
    firmwareDebug = 'log',
  } = options;
  const plugins: Plugin[] = [
    new PcMemoryMapPlugin(),
    new PicPlugin(),
    new PitPlugin(),
    new RtcPlugin(rtc),
    new KeyboardPlugin(),
    new ResetPlugin({ resetControl: !pci }),
    new PostPlugin(),
    new ShutdownPlugin(),
    ...serial.map((port) => new SerialPlugin(port)),
  ];
  if (apic !== false) plugins.push(new ApicPlugin(apic));
  if (pci) plugins.push(new PciPlugin());
  if (hpet) plugins.push(new HpetPlugin());
  if (fwCfg !== false) plugins.push(new FwCfgPlugin(fwCfg));
  if (acpi) plugins.push(new AcpiPlugin());
  if (debugExit !== false) plugins.push(new DebugExitPlugin(debugExit === true ? {} : debugExit));
  if (debugConsole !== false)
    plugins.push(new DebugConsolePlugin(debugConsole === undefined ? {} : { output: debugConsole }));
  if (firmwareDebug !== false)
    plugins.push(new DebugConsolePlugin({ port: SEABIOS_DEBUG_PORT, output: firmwareDebug }));
  return plugins;
}
