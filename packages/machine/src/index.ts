/** What any machine has. */
export * from './memory.js';
export * from './memory-map.js';
export * from './port-bus.js';
export * from './mmio-bus.js';
export * from './interrupts.js';
export * from './timers.js';
export * from './clocks.js';
export * from './device.js';
export * from './console.js';
export * from './boot.js';
export * from './alarm.js';
export * from './tick-rate.js';
export * from './msr-bus.js';
export * from './local-apic.js';
export * from './pci.js';
export * from './firmware.js';
export * from './tokens.js';
export type { MachineConfig, SystemControl, Wakeup } from '@visorkit/core';
