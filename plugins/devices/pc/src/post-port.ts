/**
 * Port 0x80: firmware writes the step of its power-on self test there, and old software writes to it to pass a microsecond.
 */
import type { Device } from '@visorkit/machine';
import { BytePortDevice } from './byte-port-device.js';

export const POST_PORT = 0x80;

/** Keeps the last code; `onCode` is told of each change. */
export class PostPort extends BytePortDevice implements Device<number> {
  readonly name = 'post';
  onCode: ((code: number) => void) | undefined;
  #code = 0;

  get code(): number {
    return this.#code;
  }

  reset(): void {
    this.#code = 0;
  }

  save(): number {
    return this.#code;
  }

  restore(state: number): void {
    this.#code = state;
  }

  protected readByte(): number {
    return this.#code;
  }

  protected writeByte(_port: number, value: number): void {
    if (value === this.#code) return;
    this.#code = value;
    this.onCode?.(value);
  }
}
