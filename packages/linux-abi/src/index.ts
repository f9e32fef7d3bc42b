/** Linux system calls as a host serves them. */
export * from './call.js';
export * from './files.js';
export * as formats from './formats.js';
export { callText, flagText, resultText } from './formats.js';
export * from './memory.js';
export { systemCallName, systemCallNumber } from './numbers.js';
export * from './pages.js';
export * from './process.js';
export * from './signals.js';
export * from './table.js';
export * from './time.js';
