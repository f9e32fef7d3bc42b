/** The kernel of visorkit. */
export * from './errors.js';
export * from './token.js';
export * from './logger.js';
export * from './exit-reasons.js';
export * from './exit.js';
export * from './platform.js';
export * from './vcpu.js';
export * from './controls.js';
export * from './backend.js';
export * from './hooks.js';
export * from './plugin.js';
export * from './report.js';
