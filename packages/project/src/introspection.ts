/** What of introspection needs files or sockets: dumps, files of symbols and types, tools on a running VM. Apart from the rest: who runs a VM does not load it. */
export { DUMP_TOOL, DUMP_TOOL_USAGE, dumpTool } from './dump-tool.js';
export { introspector } from './introspector.js';
export { askIntrospector } from './introspector-client.js';
export { loadOsProfile, osProfileOf, osProfilePackage } from './load-os-profile.js';
export { DumpedGuest, openDump, openDumpFile } from './open-dump.js';
export type { OpenDump, OpenDumpOptions } from './open-dump.js';
export { openSymbolFile } from './symbol-file.js';
export type { SymbolFile, SymbolFileOptions, SymbolFileKind } from './symbol-file.js';
export { runTool, watchTool } from './tool-protocol.js';
export type { ToolAnswer, ToolRequest, ToolRow } from './tool-protocol.js';
export { writeDumpFile } from './write-dump.js';
