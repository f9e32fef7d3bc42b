/** Configuration files, loading of plugins, backends and subcommands, and files of saved VMs. */
export * from './commands.js';
export * from './config.js';
export * from './load-backend.js';
export * from './load-plugin.js';
export { importFile, resolveModule } from './modules.js';
export type { SharedModules } from './modules.js';
export { readSavedVm, writeSavedVm } from './saved-file.js';
