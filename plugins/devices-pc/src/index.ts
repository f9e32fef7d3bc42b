/** The devices of a PC. */
export * from './byte-port-device.js';
export * from './uart16550.js';
export * from './pic8259.js';
export * from './pit8254.js';
export * from './rtc-mc146818.js';
export * from './cmos.js';
