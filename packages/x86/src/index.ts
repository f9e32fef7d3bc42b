/** The x86 architecture as data and pure functions. */
export * from './cpuid.js';
export * from './ept.js';
export * from './ept-tree.js';
export * from './exit-qualification.js';
export * from './exit-reasons.js';
export * from './msr.js';
export * from './paging.js';
export * from './registers.js';
export * from './segments.js';
export * from './vmcs-fields.js';
export * from './vmx-controls.js';
export * from './vmx-errors.js';
