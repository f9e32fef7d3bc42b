/** The software VT-x backend. */
export { default } from './definition.js';
export * from './backend.js';
export { VMX_CAPABILITIES, VMX_CONTROLS } from './capabilities.js';
export { EptViewsToken } from './ept-views.js';
export type { EptView, EptViews } from './ept-views.js';
export { VmxVcpu } from './vcpu.js';
export type { VmxVcpuState } from './vcpu.js';
