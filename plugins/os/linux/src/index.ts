/** Linux in memory, without any profile file: symbols, types and processes out of the kernel itself. */
export { Btf } from './btf.js';
export type { Field } from './btf.js';
export type { KernelSymbol } from './kallsyms.js';
export { LinuxKernel } from './linux.js';
export type { LinuxProcess } from './linux.js';
export { LinuxIntrospectionToken, osLinux } from './plugin.js';
export type { LinuxIntrospection } from './plugin.js';
export { VmCoreInfo, findVmCoreInfo } from './vmcoreinfo.js';
