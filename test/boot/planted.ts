/** A program and modules that are put into a guest, so that what introspection finds can be compared with what is known to be there. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CpioWriter } from '@visorkit/formats';
import type { DebianArchitecture } from '@visorkit/guests';

/** Debian has headers of the kernel in a folder by architecture, where a compiler for another does not look. */
const HEADERS = ['-idirafter', '/usr/include/x86_64-linux-gnu'] as const;
/** How each is compiled. What needs no library is compiled for 32 bits where there is none for them. */
const PROGRAMS = {
  planted: { amd64: ['-m64', '-O1', '-pthread'], i386: ['-m32', '-O1', '-pthread'] },
  sockets: {
    amd64: undefined,
    i386: ['-m32', '-Os', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-no-pie', '-fno-pie', ...HEADERS],
  },
} as const;
const made = new Map<string, Uint8Array>();

/**
 * An archive with the program `/planted`, or with `/sockets`, which is for 32 bits only; empty where it cannot be compiled (Debian: gcc, libc6-dev; `planted` for i386 also
 * gcc-multilib and libc6-dev-i386).
 */
export function planted(
  architecture: DebianArchitecture = 'amd64',
  name: keyof typeof PROGRAMS = 'planted',
): Uint8Array {
  const options = PROGRAMS[name][architecture];
  const key = `${name} ${architecture}`;
  const known = made.get(key);
  if (known !== undefined) return known;
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-planted-'));
  try {
    const program = join(folder, name);
    const source = join(import.meta.dirname, `guest/${name}.c`);
    const isMade =
      options !== undefined && spawnSync('gcc', [...options, '-static', '-s', '-o', program, source]).status === 0;
    const archive = isMade ? new CpioWriter().file(name, readFileSync(program), 0o755).finish() : new Uint8Array();
    made.set(key, archive);
    return archive;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Where a kernel expects what, in its struct module. */
export interface ModuleLayout {
  readonly size: number;
  readonly name: number;
  readonly init: number;
  readonly list: number;
}

/**
 * A module for x86-64 with nothing in it but a function that runs when it is loaded, and that, with `hides`, takes it out of the kernel's list.
 * It claims no version, so that a kernel that may load modules by force takes it.
 */
export function moduleFile(name: string, layout: ModuleLayout, hides: boolean): Uint8Array {
  // MOV RAX, [next]; MOV RDX, [prev]; MOV [RAX+8], RDX; MOV [RDX], RAX; XOR EAX, EAX; RET
  const unlink = [0x48, 0x8b, 0x05, 0, 0, 0, 0, 0x48, 0x8b, 0x15, 0, 0, 0, 0, 0x48, 0x89, 0x50, 8, 0x48, 0x89, 2];
  const text = Uint8Array.from([...(hides ? unlink : []), 0x31, 0xc0, 0xc3]);
  const module = new Uint8Array(layout.size);
  module.set(Buffer.from(name), layout.name);
  // Symbols: 1 the section with struct module, 2 the function
  const MODULE = 1n,
    INIT = 2n;
  const relocation = (at: number, symbol: bigint, type: bigint, addend: number): bigint[] => [
    BigInt(at),
    (symbol << 32n) | type,
    BigInt.asUintN(64, BigInt(addend)),
  ];
  const R_64 = 1n,
    R_PC32 = 2n;
  const textRelocations = hides
    ? [...relocation(3, MODULE, R_PC32, layout.list - 4), ...relocation(10, MODULE, R_PC32, layout.list + 8 - 4)]
    : [];
  const symbolNames = '\0init_module\0';
  const symbols = Buffer.concat([symbol(0, 0, 0), symbol(0, 3, 3), symbol(1, 0x12, 1)]);
  const words = (values: readonly bigint[]): Buffer => Buffer.from(BigUint64Array.from(values).buffer);
  return elf([
    { name: '.text', type: 1, flags: 6, data: text },
    { name: '.rela.text', type: 4, flags: 0x40, data: words(textRelocations), link: 6, info: 1, entry: 24 },
    { name: '.gnu.linkonce.this_module', type: 1, flags: 3, data: module, align: 64 },
    {
      name: '.rela.gnu.linkonce.this_module',
      type: 4,
      flags: 0x40,
      data: words(relocation(layout.init, INIT, R_64, 0)),
      link: 6,
      info: 3,
      entry: 24,
    },
    { name: '.modinfo', type: 1, flags: 2, data: Buffer.from(`license=GPL\0name=${name}\0`) },
    { name: '.symtab', type: 2, flags: 0, data: symbols, link: 7, info: 2, entry: 24 },
    { name: '.strtab', type: 3, flags: 0, data: Buffer.from(symbolNames) },
  ]);
}

function symbol(name: number, info: number, section: number): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(name, 0);
  bytes.writeUInt8(info, 4);
  bytes.writeUInt16LE(section, 6);
  return bytes;
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
  readonly link?: number;
  readonly info?: number;
  readonly entry?: number;
  readonly align?: number;
}

/** A relocatable ELF file for x86-64 with these sections, numbered from 1 on (gABI chapter 4). */
function elf(given: readonly Section[]): Uint8Array {
  const names = ['', ...given.map(({ name }) => name), '.shstrtab'].join('\0') + '\0';
  const sections: Section[] = [...given, { name: '.shstrtab', type: 3, flags: 0, data: Buffer.from(names) }];
  const parts: Buffer[] = [Buffer.alloc(64)];
  const table = Buffer.alloc(64 * (sections.length + 1));
  let at = 64,
    nameAt = 1;
  sections.forEach(({ name, type, flags, data, link = 0, info = 0, entry = 0, align = 8 }, index) => {
    const padding = (align - (at % align)) % align;
    parts.push(Buffer.alloc(padding), Buffer.from(data));
    at += padding;
    const header = table.subarray(64 * (index + 1));
    header.writeUInt32LE(nameAt, 0);
    header.writeUInt32LE(type, 4);
    [flags, 0, at, data.length].forEach((value, word) => header.writeBigUInt64LE(BigInt(value), 8 + 8 * word));
    header.writeUInt32LE(link, 40);
    header.writeUInt32LE(info, 44);
    header.writeBigUInt64LE(BigInt(align), 48);
    header.writeBigUInt64LE(BigInt(entry), 56);
    at += data.length;
    nameAt += name.length + 1;
  });
  const padding = (8 - (at % 8)) % 8;
  const [head] = parts;
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  head.writeUInt16LE(1, 16); // relocatable
  head.writeUInt16LE(62, 18); // x86-64
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BigInt(at + padding), 40);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(64, 58);
  head.writeUInt16LE(sections.length + 1, 60);
  head.writeUInt16LE(sections.length, 62);
  return Buffer.concat([...parts, Buffer.alloc(padding), table]);
}
