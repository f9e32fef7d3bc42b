/** FreeBSD for amd64 in memory, without any profile file: processes, threads, kernel modules. */
export { FreebsdKernel } from './freebsd-kernel.js';
export type { FreebsdModule, FreebsdThread } from './freebsd-kernel.js';
export type { Layout } from './layout.js';
export { FREEBSD_REPORTS, osFreebsd, profile } from './plugin.js';
