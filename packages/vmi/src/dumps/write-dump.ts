/** Dumps, written: as pieces with their places, so that nobody needs a copy of the whole. */
import { fail } from '@visorkit/core';
import type { PhysicalMemory, PhysicalRange } from '../physical-memory.js';
import { GENERAL_REGISTERS, SEGMENTS } from './format.js';
import type { DumpCpu, DumpHints } from './format.js';

/** Formats that can be written. */
export const WRITTEN_FORMATS = ['raw', 'elf-core', 'lime'] as const;
export type WrittenFormat = (typeof WRITTEN_FORMATS)[number];

/** Bytes of a file. What no piece covers is to be zeros, or left sparse. */
export interface DumpPiece {
  readonly at: number;
  /** They hold until the next piece is asked for. */
  readonly bytes: Uint8Array;
}

/** Bytes of memory in a piece. */
const PIECE = 1 << 20;
const PAGE = 4096;

/**
 * The pieces of a file, with rising places; the last one ends where the file ends. `raw` has each byte at its physical address; `elf-core` (64-bit) also has what `hints` says of processors and
 * VMCOREINFO, as QEMU and Linux write it; `lime` is of version 1. Pages that `memory` shows in its ranges but cannot read become zeros. Throws `VMI_FORMAT` for another format.
 */
export function writeDump(
  memory: PhysicalMemory,
  format: WrittenFormat,
  hints: Pick<DumpHints, 'cpus' | 'vmcoreinfo'> = {},
): Generator<DumpPiece, void, undefined> {
  if (!Object.hasOwn(WRITERS, format))
    fail('VMI_FORMAT', `Dumps of format "${format}" cannot be written; ${WRITTEN_FORMATS.join(', ')} can.`, { format });
  return WRITERS[format](memory, hints);
}

type Writer = (memory: PhysicalMemory, hints: Pick<DumpHints, 'cpus' | 'vmcoreinfo'>) => Generator<DumpPiece>;

const WRITERS: Readonly<Record<WrittenFormat, Writer>> = {
  *raw(memory) {
    for (const range of memory.ranges) yield* contentOf(memory, range, range.start);
  },

  *lime(memory) {
    let at = 0;
    for (const range of memory.ranges) {
      const header = new DataView(new ArrayBuffer(32));
      header.setUint32(0, 0x4c69_4d45, true);
      header.setUint32(4, 1, true);
      header.setBigUint64(8, BigInt(range.start), true);
      header.setBigUint64(16, BigInt(range.end - 1), true);
      yield { at, bytes: new Uint8Array(header.buffer) };
      yield* contentOf(memory, range, at + 32);
      at += 32 + range.end - range.start;
    }
  },

  *'elf-core'(memory, hints) {
    const notes = notesOf(hints);
    const segments = memory.ranges.length + 1;
    const many = segments >= MANY_SEGMENTS;
    const headersEnd = EHDR + PHDR * segments + (many ? SHDR : 0);
    const notesEnd = headersEnd + notes.length;
    const headers = new DataView(new ArrayBuffer(headersEnd));
    const word = (at: number, value: number): void => headers.setBigUint64(at, BigInt(value), true);
    [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1].forEach((byte, index) => headers.setUint8(index, byte));
    headers.setUint16(16, 4, true); // ET_CORE
    headers.setUint16(18, 62, true); // EM_X86_64
    headers.setUint32(20, 1, true);
    word(32, EHDR);
    headers.setUint16(52, EHDR, true);
    headers.setUint16(54, PHDR, true);
    headers.setUint16(56, many ? MANY_SEGMENTS : segments, true);
    if (many) {
      // Section header 0 has their number
      const section = EHDR + PHDR * segments;
      word(40, section);
      headers.setUint16(58, SHDR, true);
      headers.setUint16(60, 1, true);
      headers.setUint32(section + 44, segments, true);
    }
    let content = Math.ceil(notesEnd / PAGE) * PAGE;
    const segment = (index: number, type: number, offset: number, physical: number, length: number): void => {
      const at = EHDR + PHDR * index;
      headers.setUint32(at, type, true);
      word(at + 8, offset);
      word(at + 24, physical);
      word(at + 32, length);
      word(at + 40, length);
    };
    segment(0, 4, headersEnd, 0, notes.length);
    memory.ranges.forEach(({ start, end }, index) => {
      segment(index + 1, 1, content, start, end - start);
      content += end - start;
    });
    yield { at: 0, bytes: new Uint8Array(headers.buffer) };
    if (notes.length > 0) yield { at: headersEnd, bytes: notes };
    content = Math.ceil(notesEnd / PAGE) * PAGE;
    for (const range of memory.ranges) {
      yield* contentOf(memory, range, content);
      content += range.end - range.start;
    }
  },
};

/** Sizes of the headers of an ELF file of 64 bits, and e_phnum of one with more segments than fit. */
const EHDR = 64,
  PHDR = 56,
  SHDR = 64,
  MANY_SEGMENTS = 0xffff;

function* contentOf(memory: PhysicalMemory, { start, end }: PhysicalRange, at: number): Generator<DumpPiece> {
  const piece = new Uint8Array(Math.min(PIECE, end - start));
  for (let address = start; address < end; address += PIECE) {
    const bytes = piece.subarray(0, Math.min(PIECE, end - address));
    for (let done = 0; done < bytes.length; ) {
      done += memory.read(address + done, bytes.subarray(done));
      if (done === bytes.length) break;
      // A page that is damaged
      const next = Math.min(bytes.length, done + PAGE - ((address + done) % PAGE));
      bytes.fill(0, done, next);
      done = next;
    }
    yield { at: at + address - start, bytes };
  }
}

/** Notes of ELF: CORE's NT_PRSTATUS and QEMU's CPU state of each processor, and VMCOREINFO. */
function notesOf({ cpus = [], vmcoreinfo }: Pick<DumpHints, 'cpus' | 'vmcoreinfo'>): Uint8Array {
  const notes = [
    ...cpus.map((cpu, index) => note('CORE', 1, prstatus(cpu, index))),
    ...cpus.map((cpu) => note('QEMU', 0, qemuState(cpu))),
    ...(vmcoreinfo === undefined
      ? []
      : [
          note(
            'VMCOREINFO',
            0,
            Uint8Array.from(vmcoreinfo, (character) => character.charCodeAt(0)),
          ),
        ]),
  ];
  const all = new Uint8Array(notes.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const one of notes) {
    all.set(one, at);
    at += one.length;
  }
  return all;
}

function note(name: string, type: number, content: Uint8Array): Uint8Array {
  const nameRoom = Math.ceil((name.length + 1) / 4) * 4;
  const bytes = new Uint8Array(12 + nameRoom + Math.ceil(content.length / 4) * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length + 1, true);
  view.setUint32(4, content.length, true);
  view.setUint32(8, type, true);
  for (let index = 0; index < name.length; index++) bytes[12 + index] = name.charCodeAt(index);
  bytes.set(content, 12 + nameRoom);
  return bytes;
}

/** Order of `user_regs_struct`; the 16th is orig_rax. */
const USER_REGISTERS = [
  ...(['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi'] as const),
  ...(['rdi', undefined, 'rip', 'cs', 'rflags', 'rsp', 'ss', 'fsBase', 'gsBase', 'ds', 'es', 'fs', 'gs'] as const),
] as const;

function prstatus(cpu: DumpCpu, index: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(336));
  view.setUint32(32, index + 1, true);
  USER_REGISTERS.forEach((name, place) => {
    if (name !== undefined) view.setBigUint64(112 + 8 * place, cpu[name] ?? 0n, true);
  });
  return new Uint8Array(view.buffer);
}

/** `QEMUCPUState` of QEMU's target/i386/arch_dump.c, version 1. */
function qemuState(cpu: DumpCpu): Uint8Array {
  const view = new DataView(new ArrayBuffer(440));
  view.setUint32(0, 1, true);
  view.setUint32(4, 440, true);
  GENERAL_REGISTERS.forEach((name, index) => {
    view.setBigUint64(8 + 8 * index, cpu[name] ?? 0n, true);
  });
  const selectors = 8 + 8 * GENERAL_REGISTERS.length;
  SEGMENTS.forEach((name, index) => {
    view.setUint32(selectors + 24 * index, Number(cpu[name] ?? 0n), true);
  });
  ([undefined, undefined, undefined, 'fs', 'gs', undefined, 'ldt', 'tr', 'gdt', 'idt'] as const).forEach(
    (name, index) => {
      if (name !== undefined) view.setBigUint64(selectors + 24 * index + 16, cpu[`${name}Base`] ?? 0n, true);
    },
  );
  const control = selectors + 240;
  for (const index of [0, 2, 3, 4] as const) view.setBigUint64(control + 8 * index, cpu[`cr${index}`] ?? 0n, true);
  view.setBigUint64(control + 40, cpu.kernelGsBase ?? 0n, true);
  return new Uint8Array(view.buffer);
}
