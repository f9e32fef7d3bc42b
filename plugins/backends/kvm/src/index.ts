/** The kvm backend. */
export { default } from './definition.js';
export * from './backend.js';
export type { IrqchipMode } from './capabilities.js';
export { EventDescriptor, Irqchip, attachDoorbell, attachLine, kvmIrqchip } from './irqchip.js';
export type { Doorbell } from './irqchip.js';
export type { MemorySlots } from './memory-slots.js';
export { kick } from './run-thread.js';
export type { KickTarget } from './run-thread.js';
export { checkKvm } from './support.js';
export type { KvmProblem, KvmSupport } from './support.js';
export { KvmVcpu } from './vcpu.js';
export type { KvmVcpuState } from './vcpu-state.js';
