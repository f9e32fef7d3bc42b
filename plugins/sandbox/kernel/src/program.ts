/** What a program file must be to run here, checked before anything starts. */
import { fail } from '@visorkit/core';
import { ElfMachine, ElfSegmentType, elfMachineName, isElf, parseElf } from '@visorkit/formats';
import type { ElfFile } from '@visorkit/formats';
import { MMAP_LOWEST, MMAP_TOP, PIE_BASE } from './abi.js';

const EI_CLASS = 4;
const ELFCLASS32 = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const PAGE = 4096n;
/** Size of a program header; the guest kernel knows no other. */
const HEADER_SIZE = 56;
/** The stack, and room for mappings, lie above. */
const PROGRAM_END = BigInt(MMAP_TOP) - (1n << 30n);

/**
 * Checks that an ELF file is a static x86-64 program of Linux. Its section table is not looked at: Linux does not either.
 * @throws VisorkitError ELF_MALFORMED, PROGRAM_FORMAT, PROGRAM_DYNAMIC
 */
export function checkProgram(image: Uint8Array, name: string): ElfFile {
  const wrong = (what: string): never => fail('PROGRAM_FORMAT', `${name} cannot be run: ${what}.`, { name });
  if (image.length === 0) wrong('it is empty; a static x86-64 ELF program is right');
  if (!isElf(image)) {
    wrong(
      image[0] === 0x23 && image[1] === 0x21
        ? `it is a script; run its interpreter (${firstLine(image)}) with the script as argument`
        : 'it is not an ELF file; a static x86-64 ELF program is right',
    );
  }
  if (image[EI_CLASS] === ELFCLASS32) wrong('it is a 32-bit program; one for x86-64 is right');
  const file = parseElf(withoutSections(image));
  if (file.machine !== ElfMachine.X86_64) wrong(`it is for ${elfMachineName(file.machine)}; x86-64 is right`);
  if (file.type !== ET_EXEC && file.type !== ET_DYN)
    wrong(`its type is ${file.type}; 2 (executable) or 3 (position-independent) is right`);
  const headerSize = image[54] | (image[55] << 8);
  if (headerSize !== HEADER_SIZE) wrong(`its program headers have ${headerSize} bytes; ${HEADER_SIZE} is right`);
  const interpreter = file.segments.find(({ type }) => type === ElfSegmentType.INTERP);
  if (interpreter !== undefined) {
    fail(
      'PROGRAM_DYNAMIC',
      `${name} cannot be run: it is linked dynamically (it asks for ${text(image, interpreter.offset, interpreter.fileSize)}). Link it with -static or -static-pie.`,
      { name },
    );
  }
  checkSegments(file, wrong);
  return file;
}

function checkSegments(file: ElfFile, wrong: (what: string) => never): void {
  const base = file.type === ET_DYN ? BigInt(PIE_BASE) : 0n;
  const loads = file.segments.filter(({ type, memorySize }) => type === ElfSegmentType.LOAD && memorySize > 0n);
  if (loads.length === 0) wrong('it has nothing to load (no PT_LOAD segment)');
  let reached = 0n;
  for (const { virtualAddress, memorySize, offset } of loads) {
    const at = `its segment at 0x${virtualAddress.toString(16)}`;
    if (virtualAddress % PAGE !== BigInt(offset) % PAGE)
      wrong(`${at} lies at offset 0x${offset.toString(16)} of the file, which differs within the page`);
    const start = base + virtualAddress,
      end = start + memorySize;
    if (start < BigInt(MMAP_LOWEST)) wrong(`${at} is below 0x${MMAP_LOWEST.toString(16)}, where nothing may be mapped`);
    if (end > PROGRAM_END) wrong(`${at} ends at 0x${end.toString(16)}; below 0x${PROGRAM_END.toString(16)} is right`);
    if (start < reached) wrong(`${at} begins before the one ahead of it ends; segments must ascend`);
    reached = end;
  }
  if (base + file.entry >= PROGRAM_END)
    wrong(`its entry point 0x${file.entry.toString(16)} is no address of a program`);
}

/** The file with an empty section table in its header. */
function withoutSections(image: Uint8Array): Uint8Array {
  if (image.length < 64) return image;
  const bare = new Uint8Array(image); // a copy; slice() of a Buffer would share its memory
  bare.fill(0, 40, 48); // e_shoff
  bare.fill(0, 60, 64); // e_shnum, e_shstrndx
  return bare;
}

function text(image: Uint8Array, offset: number, size: number): string {
  const bytes = image.subarray(offset, Math.min(offset + size, offset + 256));
  const end = bytes.indexOf(0);
  return (
    Buffer.from(end < 0 ? bytes : bytes.subarray(0, end))
      .toString('latin1')
      .replace(/[^\x20-\x7e]/g, '?') || 'an interpreter without a name'
  );
}

function firstLine(image: Uint8Array): string {
  return Buffer.from(image.subarray(2, 80))
    .toString('latin1')
    .split('\n')[0]
    .trim()
    .replace(/[^\x20-\x7e]/g, '?');
}
