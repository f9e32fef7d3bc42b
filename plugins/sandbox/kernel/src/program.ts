/** What a program file must be to run here, checked before anything starts, and where its parts go. */
import { fail } from '@visorkit/core';
import { ElfMachine, ElfSegmentType, elfMachineName, isElf, parseElf } from '@visorkit/formats';
import type { ElfFile, ElfSegment } from '@visorkit/formats';
import { INTERPRETER_BASE, MAX_SEGMENTS, MMAP_LOWEST, MMAP_TOP, PIE_BASE, Prot } from './abi.js';

const EI_CLASS = 4;
const ELFCLASS32 = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const PAGE = 4096n;
/** Size of a program header; AT_PHENT says so. */
export const HEADER_SIZE = 56;
/** The stack, and room for mappings, lie above. */
const PROGRAM_END = BigInt(MMAP_TOP) - (1n << 30n);
/** p_flags. */
const PF_X = 1,
  PF_W = 2,
  PF_R = 4;

/**
 * Checks that an ELF file is an x86-64 program of Linux. Its section table is not looked at: Linux does not either.
 * @throws VisorkitError ELF_MALFORMED, PROGRAM_FORMAT
 */
export function checkProgram(image: Uint8Array, name: string): ElfFile {
  const wrong = (what: string): never => fail('PROGRAM_FORMAT', `${name} cannot be run: ${what}.`, { name });
  if (image.length === 0) wrong('it is empty; an x86-64 ELF program is right');
  if (!isElf(image)) {
    wrong(
      image[0] === 0x23 && image[1] === 0x21
        ? `it is a script; run its interpreter (${firstLine(image)}) with the script as argument`
        : 'it is not an ELF file; an x86-64 ELF program is right',
    );
  }
  if (image[EI_CLASS] === ELFCLASS32) wrong('it is a 32-bit program; one for x86-64 is right');
  const file = parseElf(image, { sections: false });
  if (file.machine !== ElfMachine.X86_64) wrong(`it is for ${elfMachineName(file.machine)}; x86-64 is right`);
  if (file.type !== ET_EXEC && file.type !== ET_DYN)
    wrong(`its type is ${file.type}; 2 (executable) or 3 (position-independent) is right`);
  const headerSize = image[54] | (image[55] << 8);
  if (headerSize !== HEADER_SIZE) wrong(`its program headers have ${headerSize} bytes; ${HEADER_SIZE} is right`);
  checkSegments(file, wrong);
  return file;
}

/** The interpreter that a dynamic program asks for; undefined: it is static. */
export function interpreterOf(file: ElfFile): string | undefined {
  const segment = file.segments.find(({ type }) => type === ElfSegmentType.INTERP);
  return segment === undefined ? undefined : text(file.segmentBytes(segment));
}

/** @throws VisorkitError PROGRAM_DYNAMIC */
export function noInterpreter(name: string, interpreter: string): never {
  return fail(
    'PROGRAM_DYNAMIC',
    `${name} cannot be run: it is linked dynamically and asks for ${interpreter.replace(/[^\x20-\x7e]/g, '?') || 'an interpreter without a name'}, which is no program in the sandbox. Link it with -static or -static-pie, or give it the folder with its libraries by --mount.`,
    { name, interpreter },
  );
}

const loadsOf = (file: ElfFile): ElfSegment[] =>
  file.segments.filter(({ type, memorySize }) => type === ElfSegmentType.LOAD && memorySize > 0n);

function checkSegments(file: ElfFile, wrong: (what: string) => never): void {
  const base = file.type === ET_DYN ? BigInt(PIE_BASE) : 0n;
  const loads = loadsOf(file);
  if (loads.length === 0) wrong('it has nothing to load (no PT_LOAD segment)');
  if (loads.length > MAX_SEGMENTS / 2)
    wrong(`it has ${loads.length} segments to load; at most ${MAX_SEGMENTS / 2} are right`);
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

// ---- where the parts go

/** A part of a file in the program's memory; zeros from `fileEnd` on. */
export interface PlannedSegment {
  readonly start: bigint;
  readonly fileEnd: bigint;
  readonly end: bigint;
  /** In the file, of the page of `start`. */
  readonly offset: number;
  readonly handle: number;
  /** PROT_*. */
  readonly prot: number;
}

/** A program and, where it asks for one, its interpreter, as they are loaded. */
export interface ProgramPlan {
  /** Where it starts: in the interpreter when there is one. */
  readonly entry: bigint;
  /** The first brk. */
  readonly end: bigint;
  readonly executableStack: boolean;
  readonly segments: readonly PlannedSegment[];
  /** For the auxiliary vector. */
  readonly headers: bigint;
  readonly headerCount: number;
  readonly programEntry: bigint;
  readonly interpreterBase: bigint;
}

/** A checked file and what the guest kernel knows it by. */
export interface PlannedFile {
  readonly elf: ElfFile;
  /** e_phoff and e_phnum. */
  readonly headerOffset: number;
  readonly headerCount: number;
  readonly handle: number;
}

/** e_phoff and e_phnum of an image with a whole ELF header. */
export function headersOf(image: Uint8Array): Pick<PlannedFile, 'headerOffset' | 'headerCount'> {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  return { headerOffset: Number(view.getBigUint64(32, true)), headerCount: view.getUint16(56, true) };
}

/** @throws VisorkitError PROGRAM_FORMAT when the interpreter does not fit where it is to lie */
export function planProgram(program: PlannedFile, interpreter?: PlannedFile): ProgramPlan {
  const { elf, headerOffset, headerCount } = program;
  const base = elf.type === ET_DYN ? BigInt(PIE_BASE) : 0n;
  const interpreterBase =
    interpreter === undefined ? 0n : interpreter.elf.type === ET_DYN ? BigInt(INTERPRETER_BASE) : 0n;
  const segments = place(program, base),
    above = interpreter === undefined ? [] : place(interpreter, interpreterBase);
  if (interpreter !== undefined) checkInterpreter(above, interpreterBase + interpreter.elf.entry);
  const programEntry = base + elf.entry;
  const stack = elf.segments.find(({ type }) => type === ElfSegmentType.GNU_STACK);
  return {
    entry: interpreter === undefined ? programEntry : interpreterBase + interpreter.elf.entry,
    end: pageUp(segments.reduce((most, { end }) => (end > most ? end : most), 0n)),
    executableStack: stack !== undefined && (stack.flags & PF_X) !== 0,
    segments: [...segments, ...above],
    headers: headerAddress(elf, base, headerOffset),
    headerCount,
    programEntry,
    interpreterBase,
  };
}

/** It is loaded higher than programs are: that it would be right as a program says nothing. */
function checkInterpreter(segments: readonly PlannedSegment[], entry: bigint): void {
  const end = segments.reduce((most, segment) => (segment.end > most ? segment.end : most), entry);
  if (end > BigInt(MMAP_TOP))
    fail(
      'PROGRAM_FORMAT',
      `The interpreter of the program would reach to 0x${end.toString(16)}; below 0x${MMAP_TOP.toString(16)} is right.`,
    );
}

const pageUp = (value: bigint): bigint => ((value + PAGE - 1n) / PAGE) * PAGE;

function place({ elf, handle }: PlannedFile, base: bigint): PlannedSegment[] {
  return loadsOf(elf).map(({ virtualAddress, fileSize, memorySize, offset, flags }) => ({
    start: base + virtualAddress,
    fileEnd: base + virtualAddress + BigInt(fileSize),
    end: base + virtualAddress + memorySize,
    offset: offset - (offset % Number(PAGE)),
    handle,
    prot:
      ((flags & PF_R) !== 0 ? Prot.READ : 0) |
      ((flags & PF_W) !== 0 ? Prot.WRITE : 0) |
      ((flags & PF_X) !== 0 ? Prot.EXEC : 0),
  }));
}

/** Where the program headers lie in memory: PT_PHDR, else the segment that holds them; 0: nowhere. */
function headerAddress(elf: ElfFile, base: bigint, offset: number): bigint {
  const own = elf.segments.find(({ type }) => type === ElfSegmentType.PHDR);
  if (own !== undefined) return base + own.virtualAddress;
  const holder = loadsOf(elf).find((segment) => offset >= segment.offset && offset < segment.offset + segment.fileSize);
  return holder === undefined ? 0n : base + holder.virtualAddress + BigInt(offset - holder.offset);
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1');
}

function firstLine(image: Uint8Array): string {
  return Buffer.from(image.subarray(2, 80))
    .toString('latin1')
    .split('\n')[0]
    .trim()
    .replace(/[^\x20-\x7e]/g, '?');
}
