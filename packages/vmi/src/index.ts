/** Introspection: memory of running and dumped guests, by physical address and through their page tables; symbols, types, OS profiles. */
export { AddressSpace } from './address-space.js';
export type { AbsentEntry, Lookup, MappedRange, PageMode, Rights, TableEntry } from './address-space.js';
export { openDump } from './dump.js';
export type { Dump, DumpFormat } from './dump.js';
export { LiveMemory } from './live-memory.js';
export { NestedMemory } from './nested-memory.js';
export { PhysicalMemory } from './physical-memory.js';
export type { MemoryWindow, PhysicalRange } from './physical-memory.js';
export type { Place } from './place.js';
export { OsProfilesToken, VmiToken, introspection, registersOf } from './plugin.js';
export type { OsProfiles } from './plugin.js';
export { defineOsProfile } from './profile.js';
export type {
  Cell,
  Column,
  GuestKernel,
  GuestModule,
  GuestProcess,
  KnownOfGuest,
  KnownRegisters,
  OsProfile,
  Report,
  ReportOptions,
} from './profile.js';
export { FileMemory, SavedVmMemory } from './stored-memory.js';
export type { ByteSource, FileRange } from './stored-memory.js';
export { SymbolList } from './symbols/symbol-table.js';
export type { GuestSymbol, NearSymbol, SymbolTable } from './symbols/symbol-table.js';
export { Btf } from './types/btf.js';
export { StructView, requireField } from './types/struct-view.js';
export { fieldOf } from './types/type.js';
export type { Field, Member, Type, TypeKind, TypeTable } from './types/type.js';
export { readText16, readUnicodeString } from './text.js';
export { Vmi } from './vmi.js';
export type { VmiOptions } from './vmi.js';
export { GENERAL_REPORTS, addressOf } from './tools/general.js';
export { toolList, toolOf } from './tools/tools.js';
export type { Tool } from './tools/tools.js';
