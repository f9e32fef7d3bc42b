/** The ports firmware and test programs print through. */
import { ConsoleToken, DeviceListToken, PortBusToken } from '@visorkit/machine';
import type { CharOutput } from '@visorkit/machine';
import type { Plugin, PluginHost } from '@visorkit/core';
import { BOCHS_DEBUG_PORT, DebugConsole, SEABIOS_DEBUG_PORT } from '../debug-console.js';
import { addPortDevice } from './device-host.js';

export interface DebugConsolePluginOptions {
  /** 0xe9 unless given; SeaBIOS and OVMF use 0x402. */
  port?: number;
  /** The machine's console unless given; 'log' makes each line a debug line of the log. */
  output?: CharOutput | 'log';
}

export class DebugConsolePlugin implements Plugin {
  readonly name: string;
  readonly requires = { services: [PortBusToken, DeviceListToken, ConsoleToken] };
  readonly #port: number;

  constructor(private readonly options: DebugConsolePluginOptions = {}) {
    this.#port = options.port ?? BOCHS_DEBUG_PORT;
    this.name =
      this.#port === SEABIOS_DEBUG_PORT
        ? 'firmware-debug'
        : this.#port === BOCHS_DEBUG_PORT
          ? 'debugcon'
          : `debugcon-${this.#port.toString(16)}`;
  }

  apply(host: PluginHost): void {
    const { output: wanted } = this.options;
    const output =
      wanted === 'log'
        ? new LineOutput((line) => host.logger.debug(line))
        : (wanted ?? host.services.get(ConsoleToken).output);
    addPortDevice(host, this.name, new DebugConsole(this.#port, output), [[this.#port, 1]]);
  }
}

/** Gathers bytes into lines. */
class LineOutput implements CharOutput {
  #line = '';

  constructor(private readonly tell: (line: string) => void) {}

  write(byte: number): void {
    if (byte === 0x0a || this.#line.length === LONGEST_LINE) {
      if (this.#line !== '') this.tell(this.#line);
      this.#line = '';
    }
    if (byte >= 0x20 || byte === 0x09) this.#line += String.fromCharCode(byte);
  }
}

/** The longest line in characters: a guest that never ends its line must not fill the host's memory. */
const LONGEST_LINE = 1000;
