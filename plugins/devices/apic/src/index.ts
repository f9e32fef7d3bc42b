/** Local APIC and I/O APIC. */
export * from './apic-bus.js';
export * from './apic-timer.js';
export * from './io-apic.js';
export * from './local-apic.js';
export * from './machine-apics.js';
export { MP_POINTER, type MpContents, mpTable } from './mp-table.js';
export * from './plugin.js';
export { ApicRegister, DeliveryMode } from './registers.js';
