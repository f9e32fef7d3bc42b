/** The software VT-x backend. */
export * from './backend.js';
export { VMX_CAPABILITIES, VMX_CONTROLS } from './capabilities.js';
export type { MemoryViewsState } from './memory-views.js';
export { VmxVcpu } from './vcpu.js';
export type { VmxVcpuState } from './vcpu.js';
