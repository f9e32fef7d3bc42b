/** Observers of the guest's accesses to devices: the kernel's hook `deviceAccess`, as the buses see it. */
import type { DeviceAccess } from '@visorkit/core';

/**
 * A hook of tapable has this shape. The length of `taps` is read and not `isUsed()`, because that also counts the
 * kernel's own interceptors.
 */
export interface AccessObservers {
  readonly taps: readonly unknown[];
  call(access: DeviceAccess): void;
}

export const NO_OBSERVERS: AccessObservers = Object.freeze({ taps: [], call() {} });
