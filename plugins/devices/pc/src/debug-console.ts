/**
 * Ports that print: Bochs' 0xe9, SeaBIOS' and OVMF's 0x402. A read answers with the port's number, by which software
 * finds out that somebody listens.
 */
import type { CharOutput, Device } from '@visorkit/machine';
import { BytePortDevice } from './byte-port-device.js';

export const BOCHS_DEBUG_PORT = 0xe9;
export const SEABIOS_DEBUG_PORT = 0x402;
/** What a read of either port gives. */
const PRESENT = 0xe9;

export class DebugConsole extends BytePortDevice implements Device<null> {
  readonly name: string;

  constructor(
    readonly port: number,
    private readonly output: CharOutput,
  ) {
    super();
    this.name = `debug-console@${port.toString(16)}`;
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
    this.output.write(value);
  }
}
