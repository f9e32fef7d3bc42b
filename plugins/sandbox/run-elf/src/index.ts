/** runElf: an unmodified Linux program in a virtual machine of its own. */
export { describeKilled } from './describe.js';
export { ElfPool } from './pool.js';
export type { ElfPoolOptions } from './pool.js';
export type { ElfJob } from './pool-messages.js';
export { runElf } from './run-elf.js';
export type { OutputOption, RunElfOptions, RunElfResult } from './run-elf.js';
