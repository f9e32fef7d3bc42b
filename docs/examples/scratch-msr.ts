import { definePlugin } from '@visorkit/core';
import { AddDeviceToken } from '@visorkit/machine';
import type { Device, MsrDevice } from '@visorkit/machine';
import * as v from 'valibot';

const SCRATCH = 0x4b56_0000;

/** A register of 32 bits: a write of anything wider is #GP(0), as with a real one. */
class ScratchMsr implements Device<string>, MsrDevice {
  readonly name = 'scratch-msr';
  readonly schema = v.pipe(v.string(), v.digits());
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

export const scratchMsr = definePlugin({
  name: 'scratch-msr',
  uses: { addDevice: AddDeviceToken },
  apply: (host, { addDevice }) => addDevice(new ScratchMsr(), { msrs: [[SCRATCH, 1]] }),
});
