/** The benchmark guest's images: as committed, or built anew with gcc where its sources were changed. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const sources = join(import.meta.dirname, '..', 'guest');
const prebuilt = join(sources, 'prebuilt');

const FLAGS = [
  '-O2',
  '-std=gnu11',
  '-Wall',
  '-Wextra',
  '-fno-tree-vectorize',
  '-fno-tree-slp-vectorize',
  '-fno-tree-loop-distribute-patterns',
  '-fno-builtin',
  '-fno-stack-protector',
  '-fno-pic',
  '-fno-asynchronous-unwind-tables',
  '-fcf-protection=none',
];
const INTERRUPTS = 'interrupts.bin';
const KERNEL_FILES = ['integer', 'memory', 'branch', 'float'];

/** Of the processor's mode that the kernels run in. */
export type Bits = 64 | 32;

interface Target {
  readonly flags: readonly string[];
  readonly freestanding: readonly string[];
  readonly entry: string;
  /** Files besides the kernels' own. */
  readonly more: readonly string[];
  readonly emulation: string;
  /** Names of the committed images. */
  readonly multiboot: string;
  readonly disk: string;
}

const TARGETS: Readonly<Record<Bits, Target>> = {
  64: {
    flags: ['-march=x86-64'],
    freestanding: ['-mcmodel=small', '-mno-red-zone', '-ffreestanding'],
    entry: 'entry.S',
    more: [],
    emulation: 'elf_x86_64',
    multiboot: 'guest.elf',
    disk: 'disk.img',
  },
  32: {
    flags: ['-m32', '-march=i686', '-msse2', '-mfpmath=sse'],
    freestanding: ['-ffreestanding'],
    entry: 'entry32.S',
    more: ['divide32'],
    emulation: 'elf_i386',
    multiboot: 'guest32.elf',
    disk: 'disk32.img',
  },
};

export interface GuestImages {
  /** Multiboot 1 ELF32. */
  readonly multiboot: Uint8Array;
  /** Boot sector and what it loads, padded to whole cylinders. */
  readonly disk: Uint8Array;
}

/** Of 16 heads with 63 sectors of 512 bytes. */
export const DISK_CYLINDERS = 2;
const DISK_BYTES = DISK_CYLINDERS * 16 * 63 * 512;

/** One hash over everything the images are made from. */
export function sourceHash(): string {
  const hash = createHash('sha256').update(JSON.stringify([FLAGS, TARGETS]));
  const names = readdirSync(sources)
    .filter((file) => /\.(c|h|S|ld)$/.test(file) && file !== 'host.c')
    .sort();
  for (const name of names) hash.update(`${name}\0`).update(readFileSync(join(sources, name)));
  return hash.digest('hex');
}

function inWorkFolder<Result>(work: (folder: string) => Result): Result {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Compiles the guest. Throws when gcc and binutils for x86-64 are not there. */
export function buildGuest(bits: Bits = 64): GuestImages {
  const { flags, freestanding, entry, more, emulation } = TARGETS[bits];
  const files = ['main', ...KERNEL_FILES, ...more];
  return inWorkFolder((folder) => {
    const run = (program: string, ...args: string[]): void =>
      void execFileSync(program, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    for (const name of files)
      run('gcc', ...FLAGS, ...flags, ...freestanding, '-c', join(sources, `${name}.c`), '-o', `${name}.o`);
    run('gcc', ...flags.filter((flag) => flag === '-m32'), '-c', join(sources, entry), '-o', 'entry.o');
    run(
      'ld',
      '-m',
      emulation,
      '-nostdlib',
      '-static',
      '-z',
      'max-page-size=4096',
      '--build-id=none',
      '-s',
      '-T',
      join(sources, 'guest.ld'),
      '-o',
      'linked.elf',
      'entry.o',
      ...files.map((name) => `${name}.o`),
    );
    run('objcopy', '-O', 'elf32-i386', 'linked.elf', 'guest.elf');
    run('objcopy', '-O', 'binary', 'linked.elf', 'guest.bin');
    const image = readFileSync(join(folder, 'guest.bin')),
      sectors = Math.ceil(image.length / 512);
    run('gcc', '-c', `-DIMAGE_SECTORS=${sectors}`, join(sources, 'boot-sector.S'), '-o', 'boot-sector.o');
    run('ld', '-m', 'elf_x86_64', '-Ttext', '0x7c00', '--entry', 'start', '-o', 'boot-sector.elf', 'boot-sector.o');
    run('objcopy', '-O', 'binary', '-j', '.text', 'boot-sector.elf', 'boot-sector.bin');
    return {
      multiboot: new Uint8Array(readFileSync(join(folder, 'guest.elf'))),
      disk: padded(Buffer.concat([readFileSync(join(folder, 'boot-sector.bin')), image])),
    };
  });
}

/** Compiles the guest of interrupts and page faults: a flat image at 1 MiB. */
export function buildInterrupts(): Uint8Array {
  return inWorkFolder((folder) => {
    const run = (program: string, ...args: string[]): void =>
      void execFileSync(program, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    run('gcc', '-c', join(sources, 'interrupts.S'), '-o', 'interrupts.o');
    run('ld', '-m', 'elf_x86_64', '-Ttext', '0x100000', '--entry', 'start', '-o', 'interrupts.elf', 'interrupts.o');
    run('objcopy', '-O', 'binary', '-j', '.text', 'interrupts.elf', INTERRUPTS);
    return new Uint8Array(readFileSync(join(folder, INTERRUPTS)));
  });
}

function padded(bytes: Uint8Array): Uint8Array {
  const disk = new Uint8Array(DISK_BYTES);
  disk.set(bytes);
  return disk;
}

/** The compiler's own name and version; undefined without one. */
export function compiler(): string | undefined {
  try {
    return execFileSync('gcc', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0];
  } catch {
    return undefined;
  }
}

export interface PrebuiltGuest extends GuestImages {
  /** Hash of the sources and name of the compiler they were built with. */
  readonly sources: string;
  readonly compiler: string;
}

/** The images that are committed. */
export function prebuiltGuest(bits: Bits = 64): PrebuiltGuest {
  const target = TARGETS[bits];
  const [hash, name] = readFileSync(join(prebuilt, 'SOURCES'), 'utf8').split('\n');
  return {
    multiboot: new Uint8Array(readFileSync(join(prebuilt, target.multiboot))),
    disk: padded(readFileSync(join(prebuilt, target.disk))),
    sources: hash,
    compiler: name,
  };
}

/** Writes guest/prebuilt from the sources. */
export function writePrebuilt(): void {
  mkdirSync(prebuilt, { recursive: true });
  for (const bits of [64, 32] as const) {
    const { multiboot, disk } = buildGuest(bits);
    writeFileSync(join(prebuilt, TARGETS[bits].multiboot), multiboot);
    let end = disk.length;
    while (disk.subarray(end - 512, end).every((byte) => byte === 0)) end -= 512;
    writeFileSync(join(prebuilt, TARGETS[bits].disk), disk.subarray(0, end));
  }
  writeFileSync(join(prebuilt, INTERRUPTS), buildInterrupts());
  writeFileSync(join(prebuilt, 'SOURCES'), `${sourceHash()}\n${compiler()}\n`);
  writeFileSync(join(prebuilt, 'CHECKSUMS'), [...nativeChecksums()].map(([name, sum]) => `${name} ${sum}\n`).join(''));
}

const images = new Map<Bits, GuestImages>();

/** The images for the sources as they are. */
export function guestImages(bits: Bits = 64): GuestImages {
  let found = images.get(bits);
  if (found === undefined) {
    const committed = existsSync(join(prebuilt, 'SOURCES')) ? prebuiltGuest(bits) : undefined;
    found = committed?.sources === sourceHash() ? committed : buildGuest(bits);
    images.set(bits, found);
  }
  return found;
}

/** The image of interrupts and page faults, as committed or built anew. */
export function interruptImage(): Uint8Array {
  const committed = prebuiltGuest().sources === sourceHash();
  return committed ? new Uint8Array(readFileSync(join(prebuilt, INTERRUPTS))) : buildInterrupts();
}

const MAGIC = Buffer.from('VKBENCH\x01', 'latin1');

/** A copy of an image with other parameters. */
export function withParameters(image: Uint8Array, passes: number, selected: number): Uint8Array {
  const copy = Buffer.from(image),
    at = copy.indexOf(MAGIC);
  if (at < 0) throw new Error('This is not an image of the benchmark guest: it has no parameter block.');
  copy.writeUInt32LE(passes, at + 8);
  copy.writeUInt32LE(selected >>> 0, at + 12);
  return new Uint8Array(copy);
}

const readChecksums = (text: string): Map<string, string> =>
  new Map(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );

/** What every machine must come to, by kernel: computed by a real processor. */
export function expectedChecksums(): Map<string, string> {
  return readChecksums(readFileSync(join(prebuilt, 'CHECKSUMS'), 'utf8'));
}

/** The same from the kernels compiled for this machine. */
export function nativeChecksums(): Map<string, string> {
  return inWorkFolder((folder) => {
    const program = join(folder, 'host');
    execFileSync(
      'gcc',
      [
        ...FLAGS,
        ...TARGETS[64].flags,
        '-no-pie',
        '-o',
        program,
        join(sources, 'host.c'),
        ...KERNEL_FILES.map((name) => join(sources, `${name}.c`)),
      ],
      { stdio: 'pipe' },
    );
    return readChecksums(execFileSync(program, { encoding: 'utf8' }));
  });
}

if (process.argv[1] === import.meta.filename) writePrebuilt();
