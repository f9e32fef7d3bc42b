/**
 * Ports that print: Bochs' 0xe9, SeaBIOS' and OVMF's 0x402. A read answers with the port's number, by which software
 * finds out that somebody listens.
 */
import { inject, injectable, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import type { CharOutput, Device } from '@visorkit/machine';
import * as v from 'valibot';
import { BytePortDevice } from './byte-port-device.js';

export const BOCHS_DEBUG_PORT = 0xe9;
export const SEABIOS_DEBUG_PORT = 0x402;
/** What a read of either port gives. */
const PRESENT = 0xe9;

export interface DebugConsoleSettings {
  readonly name: string;
  readonly output: CharOutput;
}

export const DebugConsoleSettingsToken: Token<DebugConsoleSettings> = token('debug-console-settings');

@injectable()
export class DebugConsole extends BytePortDevice implements Device<null> {
  readonly name: string;
  readonly schema = v.null();

  constructor(@inject(DebugConsoleSettingsToken) private readonly settings: DebugConsoleSettings) {
    super();
    this.name = settings.name;
  }

  reset(): void {}

  save(): null {
    return null;
  }

  restore(): void {}

  protected readByte(): number {
    return PRESENT;
  }

  protected writeByte(_port: number, value: number): void {
    this.settings.output.write(value);
  }
}
