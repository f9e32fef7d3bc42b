/** Configuration files, loading of plugins, backends and subcommands, files of saved VMs, profiles for introspection. */
export * from './commands.js';
export * from './config.js';
export { FileSource } from './file-source.js';
export * from './load-backend.js';
export * from './load-plugin.js';
export { importFile, resolveModule } from './modules.js';
export type { SharedModules } from './modules.js';
export { openProfile } from './open-profile.js';
export type { OpenedProfile, OpenProfileOptions, ProfileKind } from './open-profile.js';
export { readSavedVm, writeSavedVm } from './saved-file.js';
