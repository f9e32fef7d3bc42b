/** Linux in memory, without any profile file: symbols, types and all that the kernel knows, out of the kernel itself. */
export type { PatchedCode, SystemCallCheck, TableEntryCheck } from './checks.js';
export type { LinuxFile, LinuxMount } from './files.js';
export { Kallsyms } from './kallsyms.js';
export { KernelBase } from './kernel.js';
export { LinuxKernel } from './linux-kernel.js';
export type { LogRecord } from './log.js';
export type { LinuxMapping } from './memory-maps.js';
export type { HiddenModule, LinuxModule } from './modules.js';
export { osLinux, profile } from './plugin.js';
export { LINUX_REPORTS } from './reports.js';
export type { LinuxSocket } from './sockets.js';
export type { LinuxResource } from './system.js';
export type { LinuxTask } from './tasks.js';
export { VmCoreInfo, findVmCoreInfo } from './vmcoreinfo.js';
