/** Introspection: memory of running and dumped guests, by physical address and through their page tables. */
export { AddressSpace } from './address-space.js';
export type { Lookup, MappedRange, PageMode, Rights, TableEntry } from './address-space.js';
export { openDump } from './dump.js';
export type { Dump, DumpFormat } from './dump.js';
export { LiveMemory } from './live-memory.js';
export { PhysicalMemory } from './physical-memory.js';
export type { MemoryWindow, PhysicalRange } from './physical-memory.js';
export { FileMemory, SavedVmMemory } from './stored-memory.js';
export type { ByteSource, FileRange } from './stored-memory.js';
