/** ELF notes of a dump: what they say of processors and of the kernel. */
import { GENERAL_REGISTERS, SEGMENTS } from './format.js';
import type { DumpCpu, DumpHints, DumpRegister } from './format.js';
import type { DumpReader } from './reader.js';
import { textOf } from './reader.js';

const NT_PRSTATUS = 1;
/** Notes that are looked at, in bytes, and the processors among them. */
const MOST_BYTES = 16 << 20;
const MOST_CPUS = 4096;
const MOST_TEXT = 1 << 20;

type Cpu = { -readonly [Name in keyof DumpCpu]: DumpCpu[Name] };

/** `user_regs_struct` of Linux in `elf_prstatus`, for 64 and 32 bits: place of it, width, names in order; '' for what is no register. */
const PRSTATUS: readonly { size: number; at: number; width: 4 | 8; names: readonly (DumpRegister | '')[] }[] = [
  {
    size: 336,
    at: 112,
    width: 8,
    names: [
      ...(['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi'] as const),
      ...(['rdi', '', 'rip', 'cs', 'rflags', 'rsp', 'ss', 'fsBase', 'gsBase', 'ds', 'es', 'fs', 'gs'] as const),
    ],
  },
  {
    size: 144,
    at: 72,
    width: 4,
    names: [
      ...(['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rax', 'ds', 'es', 'fs', 'gs', '', 'rip', 'cs'] as const),
      ...(['rflags', 'rsp', 'ss'] as const),
    ],
  },
];

/** The hints in `length` bytes of notes at `at`. Notes that are cut or make no sense end the search; nothing is thrown for them. */
export function readNotes(file: DumpReader, parts: readonly { at: number; length: number }[]): DumpHints {
  const prstatus: Cpu[] = [],
    qemu: Cpu[] = [];
  let vmcoreinfo: string | undefined;
  for (const { at, length } of parts) {
    const end = Math.min(at + Math.min(length, MOST_BYTES), file.length);
    for (let note = at; note + 12 <= end; ) {
      const nameSize = file.u32(note),
        size = file.u32(note + 4),
        type = file.u32(note + 8);
      const name = note + 12,
        content = name + up4(nameSize);
      if (content + size > end) break;
      note = content + up4(size);
      const owner = nameSize <= 16 ? textOf(file.bytes(name, nameSize)) : '';
      if (owner === 'VMCOREINFO' && size <= MOST_TEXT) vmcoreinfo ??= textOf(file.bytes(content, size));
      else if (owner === 'QEMU' && type === 0 && qemu.length < MOST_CPUS) {
        const cpu = qemuCpu(file, content, size);
        if (cpu !== undefined) qemu.push(cpu);
      } else if (owner === 'CORE' && type === NT_PRSTATUS && prstatus.length < MOST_CPUS) {
        const cpu = prstatusCpu(file, content, size);
        if (cpu !== undefined) prstatus.push(cpu);
      }
    }
  }
  const cpus = Array.from({ length: Math.max(prstatus.length, qemu.length) }, (_, index) => ({
    ...prstatus[index],
    ...qemu[index],
  }));
  return { ...(cpus.length > 0 ? { cpus } : {}), ...(vmcoreinfo === undefined ? {} : { vmcoreinfo }) };
}

function prstatusCpu(file: DumpReader, at: number, size: number): Cpu | undefined {
  const layout = PRSTATUS.find((one) => one.size === size);
  if (layout === undefined) return undefined;
  const cpu: Cpu = {};
  layout.names.forEach((name, index) => {
    if (name !== '') cpu[name] = file.word(at + layout.at + index * layout.width, layout.width === 8);
  });
  return cpu;
}

/** `QEMUCPUState` version 1 of QEMU's target/i386/arch_dump.c; its base of GS for the kernel came later. */
function qemuCpu(file: DumpReader, at: number, size: number): Cpu | undefined {
  const least = 432;
  if (size < least || file.u32(at) !== 1) return undefined;
  const cpu: Cpu = {};
  let place = at + 8;
  for (const name of GENERAL_REGISTERS) {
    cpu[name] = file.big(place);
    place += 8;
  }
  for (const name of [...SEGMENTS, 'ldt', 'tr', 'gdt', 'idt'] as const) {
    if (name !== 'ldt' && name !== 'tr' && name !== 'gdt' && name !== 'idt') cpu[name] = BigInt(file.u32(place));
    if (name !== 'cs' && name !== 'ds' && name !== 'es' && name !== 'ss') cpu[`${name}Base`] = file.big(place + 16);
    place += 24;
  }
  for (const index of [0, 2, 3, 4] as const) cpu[`cr${index}`] = file.big(place + 8 * index);
  if (size >= least + 8) cpu.kernelGsBase = file.big(place + 40);
  return cpu;
}

const up4 = (value: number): number => Math.ceil(value / 4) * 4;
