/** Local APIC and I/O APIC. */
export * from './apic-bus.js';
export * from './apic-timer.js';
export * from './io-apic.js';
export * from './local-apic.js';
export * from './machine-apics.js';
export * from './plugin.js';
export { ApicRegister, DeliveryMode } from './registers.js';
