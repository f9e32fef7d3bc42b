/** The ports firmware and test programs print through. */
import { definePlugin } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { AddDeviceToken, ConsoleToken, checkPluginOptions, objectWith, wholeNumber } from '@visorkit/machine';
import type { CharOutput } from '@visorkit/machine';
import * as v from 'valibot';
import { BOCHS_DEBUG_PORT, DebugConsole, DebugConsoleSettingsToken, SEABIOS_DEBUG_PORT } from '../debug-console.js';

export interface DebugConsoleOptions {
  /** 0xe9 unless given; SeaBIOS and OVMF use 0x402. */
  readonly port?: number;
  /** The machine's console unless given; 'log' makes each line a debug line of the log. */
  readonly output?: CharOutput | 'log';
}

export function debugConsole(options: DebugConsoleOptions = {}): Plugin {
  checkPluginOptions('debugConsole', options, {
    port: [wholeNumber(0, 0xffff), 'a port from 0 to 0xffff'],
    output: [v.union([v.literal('log'), objectWith('write')]), '"log" or an output with write(byte)'],
  });
  const { port = BOCHS_DEBUG_PORT, output } = options;
  const name = NAMES[port] ?? `debugcon-${port.toString(16)}`;
  return definePlugin({
    name,
    uses: { addDevice: AddDeviceToken, console: ConsoleToken },
    provides: [
      {
        token: DebugConsoleSettingsToken,
        scope: 'private',
        make: ({ console }, { logger }) => ({
          name,
          output: output === 'log' ? new LineOutput((line) => logger.debug(line)) : (output ?? console.output),
        }),
      },
    ],
    apply: (host, { addDevice }) => addDevice(host.make(DebugConsole), { ports: [[port, 1]] }),
  });
}

const NAMES: Readonly<Record<number, string>> = {
  [BOCHS_DEBUG_PORT]: 'debugcon',
  [SEABIOS_DEBUG_PORT]: 'firmware-debug',
};

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

/** A guest that never ends its line must not fill the host's memory. */
const LONGEST_LINE = 1000;
