/** Boots ELF kernels, by their PVH note or at their entry point. */
import { fail } from '@visorkit/core';
import type { InitialState } from '@visorkit/core';
import {
  describeImage,
  elfLoadChunks,
  ElfMachine,
  elfPhysicalEntry,
  ElfSegmentType,
  hex,
  isElf,
  parseElf,
  pvhEntry,
} from '@visorkit/formats';
import type { ElfFile, LoadChunk } from '@visorkit/formats';
import {
  BootLayout,
  bootMemoryMap,
  ControlBits,
  FLAT_GDT_SIZE,
  flatSegments,
  IDENTITY_MAP_SIZE,
  KernelSelector,
  writeFlatGdt,
  writeIdentityMap,
} from '@visorkit/machine';
import type { BootContext, BootLoader } from '@visorkit/machine';
import { writeStartInfo } from './start-info.js';

/** Options of the loader in `BootContext.options`. */
export interface ElfLoaderOptions {
  /** "elf" enters a kernel at its own entry point even when it has a PVH note. */
  readonly protocol?: 'pvh' | 'elf';
}

const EXECUTABLE = 2;
/** ET_DYN: a kernel only if it has a PVH note; otherwise a program or a library. */
const POSITION_INDEPENDENT = 3;
const STACK_SIZE = 0x4000;
const LOW_START = 0x1000;
const ADDRESS_END = 0x100000000;

/**
 * Loads ELF kernels for i386 and x86-64 at the physical addresses of their segments, position-independent ones too, which QEMU does not move either.
 *
 * - With a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) it starts the kernel as Xen's PVH boot ABI says: 32-bit protected mode
 *   without paging, flat segments, EBX pointing at hvm_start_info.
 * - Without one it starts at e_entry: an ELF32 file in protected mode without paging, an ELF64 file in long mode with the
 *   first 4 GiB mapped onto themselves. There is a stack of 16 KiB, interrupts are off, and RBX and RDI point at the
 *   same hvm_start_info, where the kernel finds the memory map.
 */
export class ElfLoader implements BootLoader {
  readonly name = 'elf';
  readonly takes = ['protocol'];
  readonly describe = describeImage;

  recognises(image: Uint8Array): boolean {
    if (!isElf(image) || image.length < 52 || image[5] !== 1) return false;
    const type = image[16] | (image[17] << 8);
    const machine = image[18] | (image[19] << 8);
    if (machine !== ElfMachine.X86_64 && machine !== ElfMachine.I386 && machine !== ElfMachine.IAMCU) return false;
    return type === EXECUTABLE || (type === POSITION_INDEPENDENT && hasPvhNote(image));
  }

  /** @throws VisorkitError ELF_MALFORMED, BOOT_ELF_PROGRAM, BOOT_OUTSIDE_MEMORY, BOOT_OVERLAP, BOOT_NO_SPACE, BOOT_PROTOCOL */
  load(context: BootContext): void {
    const { memory } = context;
    const elf = parseElf(context.image);
    refusePrograms(elf, context.imageName);
    const protocol = chooseProtocol(elf, context);
    const chunks = elfLoadChunks(elf);
    const entry = protocol === 'pvh' ? pvhEntryWithin(elf, chunks, context) : elfPhysicalEntry(elf);
    const memoryMap = bootMemoryMap(context);
    const layout = new BootLayout(memory, memoryMap);
    chunks.forEach(({ address, data, memorySize }, index) => {
      layout.place(address, data, memorySize, `segment ${index} of "${context.imageName}"`);
    });

    const bits = protocol === 'elf' ? elf.bits : 32;
    const gdt = layout.takeLow(FLAT_GDT_SIZE, 16, 'the GDT', LOW_START, ADDRESS_END);
    writeFlatGdt(memory, gdt, bits, KernelSelector);
    const stack = layout.takeLow(STACK_SIZE, 4096, 'the stack', LOW_START, ADDRESS_END) + STACK_SIZE;
    const startInfo = BigInt(writeStartInfo(context, layout, memoryMap));

    const state: InitialState = {
      mode: 'protected32',
      rip: BigInt(entry),
      rsp: BigInt(stack),
      rflags: 2n,
      registers: { rbx: startInfo, rdi: protocol === 'pvh' ? 0n : startInfo },
      segments: flatSegments(bits, KernelSelector),
      gdtr: { base: BigInt(gdt), limit: FLAT_GDT_SIZE - 1 },
      idtr: { base: 0n, limit: 0 },
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET,
      cr4: 0n,
    };
    if (bits === 32) {
      context.vcpu.setInitialState(state);
      return;
    }
    const pageTables = layout.takeLow(IDENTITY_MAP_SIZE, 4096, 'the page tables', LOW_START, ADDRESS_END);
    writeIdentityMap(memory, pageTables);
    context.vcpu.setInitialState({
      ...state,
      mode: 'long64',
      cr0: ControlBits.CR0_PE | ControlBits.CR0_ET | ControlBits.CR0_PG,
      cr3: BigInt(pageTables),
      cr4: ControlBits.CR4_PAE,
      efer: ControlBits.EFER_LME | ControlBits.EFER_LMA,
    });
  }
}

function hasPvhNote(image: Uint8Array): boolean {
  try {
    return pvhEntry(parseElf(image)) !== undefined;
  } catch {
    return false; // damaged
  }
}

/**
 * A program for an operating system would load and then fault at its first system call. This error explains it earlier.
 */
function refusePrograms(elf: ElfFile, imageName: string): void {
  const interpreter = elf.segments.find(({ type }) => type === ElfSegmentType.INTERP);
  if (!interpreter) return;
  const path = new TextDecoder()
    .decode(elf.segmentBytes(interpreter))
    .replace(/\0.*$/s, '')
    .replace(/[^\x20-\x7e]/g, '?');
  fail(
    'BOOT_ELF_PROGRAM',
    `"${imageName}" is a program for an operating system (it asks for the interpreter "${path}"); a kernel, which runs on the bare machine, is right.`,
  );
}

function chooseProtocol(elf: ElfFile, context: BootContext): 'pvh' | 'elf' {
  const asked = context.options.protocol;
  if (asked !== undefined && asked !== 'pvh' && asked !== 'elf') {
    fail('BOOT_PROTOCOL', `The option "protocol" of the ELF loader is "${String(asked)}"; "pvh" or "elf" is right.`);
  }
  const hasNote = pvhEntry(elf) !== undefined;
  if (asked === 'pvh' && !hasNote) {
    fail(
      'BOOT_PROTOCOL',
      `"${context.imageName}" has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY); a kernel built with CONFIG_PVH has one.`,
    );
  }
  return asked ?? (hasNote ? 'pvh' : 'elf');
}

function pvhEntryWithin(elf: ElfFile, chunks: readonly LoadChunk[], context: BootContext): number {
  const entry = pvhEntry(elf) ?? 0;
  const inside = chunks.some(({ address, memorySize }) => entry >= address && entry < address + memorySize);
  if (!inside)
    fail(
      'ELF_MALFORMED',
      `The PVH note of "${context.imageName}" gives the entry ${hex(entry)}, which lies in no segment that is loaded.`,
    );
  return entry;
}
