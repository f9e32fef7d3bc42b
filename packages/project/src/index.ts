/** Configuration files, loading of plugins, backends, OS profiles and subcommands, files of saved VMs, of dumps and of symbols and types, introspection over a socket. */
export * from './commands.js';
export * from './config.js';
export { FileSource } from './file-source.js';
export { introspector } from './introspector.js';
export { askIntrospector } from './introspector-client.js';
export * from './load-backend.js';
export * from './load-plugin.js';
export { loadOsProfile, osProfileOf, osProfilePackage } from './load-os-profile.js';
export { importFile, resolveModule } from './modules.js';
export type { SharedModules } from './modules.js';
export { openDumpFile } from './open-dump.js';
export type { OpenDump } from './open-dump.js';
export { openSymbolFile } from './symbol-file.js';
export type { SymbolFile, SymbolFileOptions, SymbolFileKind } from './symbol-file.js';
export { readSavedVm, writeSavedVm } from './saved-file.js';
export { runTool, watchTool } from './tool-protocol.js';
export type { ToolAnswer, ToolRequest, ToolRow } from './tool-protocol.js';
