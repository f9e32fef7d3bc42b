/** Port 0x8900 of Bochs: the bytes of "Shutdown", written one after the other, switch the machine off. */
import type { Device } from '@visorkit/machine';
import { BytePortDevice } from './byte-port-device.js';

export const SHUTDOWN_PORT = 0x8900;
const WORD = 'Shutdown';

export class ShutdownPort extends BytePortDevice implements Device<number> {
  readonly name = 'shutdown-port';
  /** How many characters of the word came so far. */
  #matched = 0;

  constructor(private readonly powerOff: () => void) {
    super();
  }

  reset(): void {
    this.#matched = 0;
  }

  save(): number {
    return this.#matched;
  }

  restore(state: number): void {
    this.#matched = state;
  }

  protected readByte(): number {
    return 0xff;
  }

  protected writeByte(_port: number, value: number): void {
    if (value !== WORD.charCodeAt(this.#matched)) this.#matched = value === WORD.charCodeAt(0) ? 1 : 0;
    else if (++this.#matched === WORD.length) {
      this.#matched = 0;
      this.powerOff();
    }
  }
}
