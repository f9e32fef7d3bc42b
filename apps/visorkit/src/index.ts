/** The parts of the command line that other programs use: the standard machine, its console and its disassembler. */
export { assemble } from './assemble.js';
export type { AssembleOptions } from './assemble.js';
export { openBackend } from './backends.js';
export type { BackendChoice } from './backends.js';
export { IcedDisassembler } from '@visorkit/disassembler';
export { openSerial } from './serial.js';
export type { SerialConsole } from './serial.js';
export { Terminal } from './terminal.js';
