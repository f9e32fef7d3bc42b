/** ELF core files: gABI chapters 4 and 5; QEMU's dump-guest-memory, libvirt, VirtualBox, Linux's /proc/vmcore. */
import { FileMemory } from '../stored-memory.js';
import type { FileRange } from '../stored-memory.js';
import { MOST_RANGES, damaged } from './format.js';
import type { DumpFormat } from './format.js';
import { readNotes } from './notes.js';
import type { DumpReader } from './reader.js';

const ELF = 0x464c_457f;
const ELF_CORE = 4;
const LOAD = 1;
const NOTE = 4;
/** e_phnum of a file with more program headers than fit: section header 0 has their count in sh_info. */
const MANY_SEGMENTS = 0xffff;

/** Memory by the physical addresses of its segments. */
export const elfCore: DumpFormat = {
  name: 'elf-core',
  recognises: (file) => file.length >= 64 && file.u32(0) === ELF,
  open(file) {
    const { loads, notes } = segmentsOf(file);
    return { memory: new FileMemory(file, loads), hints: readNotes(file, notes) };
  },
};

function segmentsOf(file: DumpReader): { loads: FileRange[]; notes: { at: number; length: number }[] } {
  const wide = file.u8(4) === 2;
  if (!wide && file.u8(4) !== 1) damaged(`its ELF class is ${file.u8(4)}; 1 (32-bit) or 2 (64-bit) is right`);
  if (file.u8(5) !== 1) damaged(`its ELF data encoding is ${file.u8(5)}; 1 (little endian) is right`);
  const type = file.u16(16);
  if (type !== ELF_CORE) damaged(`it is an ELF file of type ${type}; a dump is a core file, type ${ELF_CORE}`);
  const headers = wide ? file.u64(32) : file.u32(28);
  const size = file.u16(wide ? 54 : 42);
  let count = file.u16(wide ? 56 : 44);
  if (count === MANY_SEGMENTS) count = file.u32((wide ? file.u64(40) : file.u32(32)) + (wide ? 44 : 28));
  const least = wide ? 56 : 32;
  if (size < least) damaged(`its program headers have ${size} bytes each; ${least} at least are right`);
  if (count > MOST_RANGES) damaged(`it has ${count} program headers; more than ${MOST_RANGES} make no sense`);
  const loads: FileRange[] = [];
  const notes: { at: number; length: number }[] = [];
  for (let index = 0; index < count; index++) {
    const at = headers + index * size;
    const kind = file.u32(at);
    if (kind !== LOAD && kind !== NOTE) continue;
    const [offset, physical, length] = wide
      ? [file.u64(at + 8), file.u64(at + 24), file.u64(at + 32)]
      : [file.u32(at + 4), file.u32(at + 12), file.u32(at + 16)];
    if (kind === NOTE) {
      if (notes.length < MOST_NOTES) notes.push({ at: offset, length });
    } else if (physical + length <= Number.MAX_SAFE_INTEGER) loads.push({ start: physical, length, offset });
  }
  if (loads.length === 0) damaged('it is an ELF core file without memory (PT_LOAD) in it');
  return { loads, notes };
}

/** Segments of notes that are read; one is usual. */
const MOST_NOTES = 16;
