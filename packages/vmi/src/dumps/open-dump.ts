/** Memory dumps, recognised by what they begin with. */
import type { ByteSource } from '../stored-memory.js';
import { elfCore } from './elf-core.js';
import { FlattenedSource, isFlattened } from './flattened.js';
import { damaged } from './format.js';
import type { Dump, DumpFormat, DumpOptions } from './format.js';
import { kdump } from './kdump.js';
import { avml, lime } from './lime.js';
import { raw } from './raw.js';
import { DumpReader } from './reader.js';
import { vmware } from './vmware.js';
import { windowsCrash } from './windows.js';

/** What makedumpfile and QEMU write for a pipe: the dump of another format within. */
const flattened: DumpFormat = {
  name: 'flattened',
  recognises: isFlattened,
  open(file, options) {
    const inner = new DumpReader(new FlattenedSource(file));
    if (isFlattened(inner)) damaged('it is a flattened file within a flattened file');
    return openDump(inner, options);
  },
};

const SAVED_VM = [0x8956_4953, 0x4f52_0d0a];

/** A file of this project that is more than a dump. */
const savedVm: DumpFormat = {
  name: 'saved-vm',
  recognises: (file) => file.length >= 8 && SAVED_VM.every((word, index) => bigEndian(file.u32(4 * index)) === word),
  open: () => damaged('it is a saved VM of visorkit; openDumpFile and readSavedVm of @visorkit/project read it'),
};

const bigEndian = (word: number): number =>
  (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;

/** All formats that are known, in the order in which a file is tried; "raw" is every file that is nothing else. */
export const DUMP_FORMATS: readonly DumpFormat[] = [
  flattened,
  kdump,
  elfCore,
  lime,
  avml,
  windowsCrash,
  vmware,
  savedVm,
  raw,
];

/**
 * The memory in a dump, and what the dump says besides. The file is read when something of it is needed, and never as a whole. What a truncated file lacks, pages that were left
 * out and pages that are damaged are holes. Throws `VMI_DUMP` for a file whose headers make no sense, and what reading the file throws.
 */
export function openDump(file: ByteSource, options: DumpOptions = {}): Dump {
  const reader = new DumpReader(file);
  for (const format of options.formats ?? DUMP_FORMATS)
    if (format.recognises(reader, options)) return { format: format.name, ...format.open(reader, options) };
  return damaged('it has none of the formats that were asked for');
}
