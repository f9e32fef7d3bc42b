/** A small guest kernel that runs a Linux program and its processes and passes their system calls to the host. */
export type { Ending, Killed } from './ending.js';
export type { ProgramStart } from './loader.js';
export type { Mapping } from './mappings.js';
export { mappingName, rightsText } from './mappings.js';
export { sandboxKernel } from './plugin.js';
export { SandboxKernelToken } from './sandbox-kernel.js';
export type { SandboxKernel, SandboxKernelOptions } from './sandbox-kernel.js';
export { checkProgram } from './program.js';
