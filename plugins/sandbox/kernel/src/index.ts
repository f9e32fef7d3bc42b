/** A small guest kernel that runs one static Linux program and passes its system calls to the host. */
export type { Ending, Killed } from './ending.js';
export type { ProgramStart } from './loader.js';
export type { Mapping } from './mappings.js';
export { mappingsText } from './mappings.js';
export { SandboxKernelPlugin } from './plugin.js';
export type { SandboxKernelOptions } from './plugin.js';
export { checkProgram } from './program.js';
