/** Those who watch what the guest does to devices: the kernel's hook `deviceAccess`, as the buses see it. */
import type { DeviceAccess } from '@visorkit/core';

/** A tapable hook is one. Its taps are looked at rather than `isUsed()`, which also counts the kernel's own interceptors. */
export interface AccessObservers {
  readonly taps: readonly unknown[];
  call(access: DeviceAccess): void;
}

export const NO_OBSERVERS: AccessObservers = Object.freeze({ taps: [], call() {} });
