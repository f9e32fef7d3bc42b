/** The files a sandboxed program sees. */
export * from './errno.js';
export * from './types.js';
export { addDevices } from './devices.js';
export { hostFileHandle, openHostFile, openHostFolder, statOf } from './host-fs.js';
export { LiveSymlink, MemoryDirectory, MemoryFs, SpecialNode, bytesFile, textHandle } from './memory-fs.js';
export type { MemoryFsOptions } from './memory-fs.js';
export { WriteQuota } from './quota.js';
export { fillRandom } from './random.js';
export type { WriteLimits } from './quota.js';
export { Namespace } from './namespace.js';
export type { Base, Resolved, ResolveOptions } from './namespace.js';
