/** Test devices of QEMU that programs of kvm-unit-tests use. */
export { PcTestDevice } from './pc-testdev.js';
export type { PcTestDeviceState } from './pc-testdev.js';
export { PciTestDevice } from './pci-testdev.js';
export type { PciTestDeviceState } from './pci-testdev.js';
export * from './plugin.js';
