/** Configuration files, loading of plugins, backends, OS profiles and subcommands, files of saved VMs and dumps, introspection over a socket. */
export * from './commands.js';
export * from './config.js';
export { askIntrospector, introspector, runTool } from './introspector.js';
export type { ToolAnswer, ToolRequest, ToolRow } from './introspector.js';
export * from './load-backend.js';
export * from './load-plugin.js';
export { loadProfile, profileOf, profilePackage } from './load-profile.js';
export { importFile, resolveModule } from './modules.js';
export type { SharedModules } from './modules.js';
export { openDumpFile } from './open-dump.js';
export type { OpenDump } from './open-dump.js';
export { readSavedVm, writeSavedVm } from './saved-file.js';
