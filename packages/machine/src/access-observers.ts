/** Observers of the guest's accesses to devices: the kernel's hook `deviceAccess`, as the buses see it. */
import type { DeviceAccess } from '@visorkit/core';

/** A hook is one. */
export interface AccessObservers {
  isUsed(): boolean;
  call(access: DeviceAccess): void;
}

export const NO_OBSERVERS: AccessObservers = Object.freeze({ isUsed: () => false, call() {} });
