/** A standard PC as a list of plugins: what Linux, other kernels and firmware expect to find without being told. */
import { acpi } from '@visorkit/acpi';
import { apic } from '@visorkit/apic';
import type { ApicOptions } from '@visorkit/apic';
import type { Plugin } from '@visorkit/core';
import {
  SEABIOS_DEBUG_PORT,
  coprocessorErrors,
  debugConsole,
  debugExit,
  hpet,
  keyboard,
  pcMemoryMap,
  pci,
  pic,
  pit,
  postPort,
  resetPorts,
  rtc,
  serial,
  shutdownPort,
} from '@visorkit/devices-pc';
import type { DebugExitOptions, RtcOptions, SerialOptions } from '@visorkit/devices-pc';
import { fwCfg } from '@visorkit/fw-cfg';
import type { FwCfgOptions } from '@visorkit/fw-cfg';
import { PushInput, checkPluginOptions, objectWith } from '@visorkit/machine';
import type { CharOutput } from '@visorkit/machine';
import * as v from 'valibot';

export interface PcPlatformOptions {
  /** Serial ports; COM1 on the machine's console unless given. */
  readonly serial?: readonly SerialOptions[];
  readonly rtc?: RtcOptions;
  /** Where the machine's console input is typed: on the serial ports, or on the keyboard, for systems with a screen. The serial ports unless given. */
  readonly input?: 'serial' | 'keyboard';
  /** false leaves the APICs out: a PC with the 8259s alone, for one processor. */
  readonly apic?: ApicOptions | false;
  /** false leaves ACPI out. */
  readonly acpi?: boolean;
  /** false leaves the HPET out. */
  readonly hpet?: boolean;
  /** false leaves the PCI host bridge out. */
  readonly pci?: boolean;
  /** false leaves fw_cfg out. */
  readonly fwCfg?: FwCfgOptions | false;
  /** Lets the guest end the run through port 0xf4; off unless given. */
  readonly debugExit?: boolean | DebugExitOptions;
  /** Where port 0xe9 prints: the machine's console unless given, nowhere with false. */
  readonly debugConsole?: CharOutput | 'log' | false;
  /**
   * Where port 0x402 prints, on which SeaBIOS and OVMF say what they do: the log unless given, nowhere with false. SeaBIOS
   * shows its screen on the serial port.
   */
  readonly firmwareDebug?: CharOutput | 'log' | false;
}

/** The plugins of a standard PC. Their order does not matter. */
export function pcPlatform(options: PcPlatformOptions = {}): Plugin[] {
  checkPluginOptions('pcPlatform', options, {
    serial: [v.array(OPTIONS), "a list of serial()'s options"],
    rtc: [OPTIONS, "rtc()'s options"],
    input: [v.picklist(['serial', 'keyboard']), '"serial" or "keyboard"'],
    apic: [v.union([v.literal(false), OPTIONS]), "apic()'s options, or false"],
    acpi: [v.boolean(), 'true or false'],
    hpet: [v.boolean(), 'true or false'],
    pci: [v.boolean(), 'true or false'],
    fwCfg: [v.union([v.literal(false), OPTIONS]), "fwCfg()'s options, or false"],
    debugExit: [v.union([v.boolean(), OPTIONS]), "true, false, or debugExit()'s options"],
    debugConsole: OUTPUT,
    firmwareDebug: OUTPUT,
  });
  const { debugConsole: console, firmwareDebug = 'log' } = options;
  const plugins = [
    pcMemoryMap(),
    pic(),
    pit(),
    rtc(options.rtc),
    keyboard(options.input === 'keyboard' ? { typed: 'console' } : {}),
    resetPorts({ resetControl: options.pci === false }),
    coprocessorErrors(),
    postPort(),
    shutdownPort(),
    ...(options.serial ?? [{}]).map((port) =>
      serial(options.input === 'keyboard' ? { input: new PushInput(), ...port } : port),
    ),
  ];
  if (options.apic !== false) plugins.push(apic(options.apic));
  if (options.pci !== false) plugins.push(pci());
  if (options.hpet !== false) plugins.push(hpet());
  if (options.fwCfg !== false) plugins.push(fwCfg(options.fwCfg));
  if (options.acpi !== false) plugins.push(acpi());
  if (options.debugExit) plugins.push(debugExit(options.debugExit === true ? {} : options.debugExit));
  if (console !== false) plugins.push(debugConsole({ output: console }));
  if (firmwareDebug !== false) plugins.push(debugConsole({ port: SEABIOS_DEBUG_PORT, output: firmwareDebug }));
  return plugins;
}

/** What is in them, the plugins look at themselves. */
const OPTIONS = v.custom<object>((value) => typeof value === 'object' && value !== null);
const OUTPUT = [
  v.union([v.literal(false), v.literal('log'), objectWith('write')]),
  '"log", false, or an output with write(byte)',
] as const;
