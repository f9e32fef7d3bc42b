/** Windows in memory, XP to 11: processes, threads, drivers, handles, mapped memory, DLLs, system calls. */
export type { Kdbg } from './find/kdbg.js';
export type { WindowsHandle } from './handles.js';
export { KernelBase } from './kernel.js';
export { builtInTypes } from './layouts/layouts.js';
export type { WindowsBuild } from './layouts/layouts.js';
export type { WindowsDll, WindowsModule } from './modules.js';
export { Objects } from './objects.js';
export { osWindows, profile } from './plugin.js';
export type { WindowsProcess, WindowsThread } from './processes.js';
export { WINDOWS_REPORTS } from './reports.js';
export { SharedData, timeText } from './shared-data.js';
export type { SystemCall } from './system-calls.js';
export type { WindowsMapping } from './vads.js';
export { guidOf } from './win-guid.js';
export type { KernelGuid } from './win-guid.js';
export { WindowsKernel } from './windows-kernel.js';
