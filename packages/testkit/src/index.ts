/** What a plugin author needs to test a plugin. */
export * from './fake-vcpu.js';
export * from './script.js';
export * from './fake-backend.js';
export * from './test-device.js';
export * from './guest-code.js';
export { providing } from './providing.js';
