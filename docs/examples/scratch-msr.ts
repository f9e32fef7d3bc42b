import { addDevice, DeviceListToken, MsrBusToken } from '@visorkit/machine';
import type { Device, MsrDevice } from '@visorkit/machine';
import type { Plugin } from '@visorkit/core';

const SCRATCH = 0x4b56_0000;

/** A register of 32 bits: a write of anything wider is #GP(0), as with a real one. */
class ScratchMsr implements Device<string>, MsrDevice {
  readonly name = 'scratch-msr';
  #value = 0n;

  readMsr(): bigint {
    return this.#value;
  }

  writeMsr(_index: number, value: bigint): boolean {
    if (value > 0xffff_ffffn) return false;
    this.#value = value;
    return true;
  }

  reset(): void {
    this.#value = 0n;
  }
  save(): string {
    return String(this.#value);
  }
  restore(state: string): void {
    this.#value = BigInt(state);
  }
}

export const scratchMsr: Plugin = {
  name: 'scratch-msr',
  requires: { services: [MsrBusToken, DeviceListToken] },
  apply: (host) => addDevice(host, new ScratchMsr(), { msrs: [[SCRATCH, 1]] }),
};
