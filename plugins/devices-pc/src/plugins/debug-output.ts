// The ports firmware and test programs print through.

import { ConsoleToken, DeviceListToken, PortBusToken } from '@visorkit/machine';
import type { CharOutput } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { BOCHS_DEBUG_PORT, DebugConsole, SEABIOS_DEBUG_PORT } from '../debug-console.js';
import { addPortDevice } from './device-host.js';

export interface DebugConsolePluginOptions {
  /** 0xe9 unless given; SeaBIOS and OVMF use 0x402. */
  port?: number;
  /** The machine's console unless given. */
  output?: CharOutput;
}

export class DebugConsolePlugin implements Plugin {
  readonly name: string;
  readonly requires = { services: [PortBusToken, DeviceListToken, ConsoleToken] };
  readonly #port: number;

  constructor(private readonly options: DebugConsolePluginOptions = {}) {
    this.#port = options.port ?? BOCHS_DEBUG_PORT;
    this.name = this.#port === SEABIOS_DEBUG_PORT ? 'firmware-debug' : this.#port === BOCHS_DEBUG_PORT ? 'debugcon' : `debugcon-${this.#port.toString(16)}`;
  }

  apply(host: PluginHost): void {
    const output = this.options.output ?? host.services.get(ConsoleToken).output;
    addPortDevice(host, this.name, new DebugConsole(this.#port, output), [[this.#port, 1]]);
  }
}
