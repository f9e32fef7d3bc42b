/** Introspection: memory of running and dumped guests, by physical address and through their page tables; symbols, types, OS profiles. */
export { AddressSpace } from './address-space.js';
export type { AbsentEntry, Lookup, MappedRange, PageMode, Rights, TableEntry } from './address-space.js';
export { DUMP_FORMATS, openDump } from './dumps/open-dump.js';
export type { Dump, DumpCpu, DumpFormat, DumpHints, DumpOptions, DumpRegister, WindowsHints } from './dumps/format.js';
export { DumpReader } from './dumps/reader.js';
export { LiveMemory } from './live-memory.js';
export { NestedMemory } from './nested-memory.js';
export { PhysicalMemory } from './physical-memory.js';
export type { MemoryWindow, PhysicalRange } from './physical-memory.js';
export type { Place } from './place.js';
export { OsProfilesToken, VmiToken, dumpCpuOf, introspection, registersOf } from './plugin.js';
export type { OsProfiles } from './plugin.js';
export { defineOsProfile } from './profile.js';
export type {
  Cell,
  CodeFrame,
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
export { configured, configuredOffset, knownValue } from './known-value.js';
export { Bound, searched } from './scans.js';
export type { ScanObserver, SearchedPart } from './scans.js';
export { FileMemory, SavedVmMemory } from './stored-memory.js';
export type { ByteSource, FileRange } from './stored-memory.js';
export { WRITTEN_FORMATS, writeDump } from './dumps/write-dump.js';
export type { DumpPiece, WrittenFormat } from './dumps/write-dump.js';
export { CodeNames } from './symbols/code-names.js';
export { isBtf, isElfFile, openElf, readBtf } from './symbols/elf.js';
export type { ElfSymbolsAndTypes } from './symbols/elf.js';
export { isLibvmiConf, parseLibvmiConf } from './symbols/libvmi-conf.js';
export type { LibvmiDomain, LibvmiFile } from './symbols/libvmi-conf.js';
export { isMsf } from './symbols/msf.js';
export { PdbFile } from './symbols/pdb.js';
export { codeViewOf, guidText, readLoadedPe, readPe } from './symbols/pe.js';
export type { CodeView, PeExport, PeExports, PeImage, PeSection } from './symbols/pe.js';
export { parseProfileJson } from './symbols/profile-file.js';
export type { ProfileFile, ProfileMetadata } from './symbols/profile-file.js';
export { SymbolList, movedSymbols } from './symbols/symbol-table.js';
export type { GuestSymbol, NearSymbol, SymbolTable } from './symbols/symbol-table.js';
export { isSystemMap, readSystemMap } from './symbols/system-map.js';
export { Btf } from './types/btf.js';
export { withFields } from './types/given-fields.js';
export type { GivenField } from './types/given-fields.js';
export { isIsf, readIsf } from './types/isf.js';
export { isRekall, readRekall } from './types/rekall.js';
export { StructView, requireField } from './types/struct-view.js';
export { fieldOf } from './types/type.js';
export type { Field, Member, Type, TypeKind, TypeTable } from './types/type.js';
export { readText16, readUnicodeString } from './text.js';
export { Vmi } from './vmi.js';
export type { VmiOptions } from './vmi.js';
export { GENERAL_REPORTS, addressOf } from './tools/general.js';
export { WATCHES } from './tools/event-tools.js';
export type { Watch } from './tools/event-tools.js';
export { eventToolOf, toolList, toolOf } from './tools/tools.js';
export type { EventTool, Tool } from './tools/tools.js';
export * from './events/index.js';
