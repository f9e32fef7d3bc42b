/** Introspection: memory of running and dumped guests, by physical address and through their page tables. */
export { AddressSpace } from './address-space.js';
export type { Lookup, MappedRange, PageMode, Rights, TableEntry } from './address-space.js';
export { DUMP_FORMATS, openDump } from './dumps/open-dump.js';
export type { Dump, DumpCpu, DumpFormat, DumpHints, DumpOptions, DumpRegister, WindowsHints } from './dumps/format.js';
export { DumpReader } from './dumps/reader.js';
export { LiveMemory } from './live-memory.js';
export { PhysicalMemory } from './physical-memory.js';
export type { MemoryWindow, PhysicalRange } from './physical-memory.js';
export { FileMemory, SavedVmMemory } from './stored-memory.js';
export type { ByteSource, FileRange } from './stored-memory.js';
export { WRITTEN_FORMATS, writeDump } from './dumps/write-dump.js';
export type { DumpPiece, WrittenFormat } from './dumps/write-dump.js';
