/** The machines that are compared: how each is started with the benchmark guest or a Linux kernel. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DISK_CYLINDERS, guestImages, withParameters } from './guest.js';
import type { Bits } from './guest.js';
import { runProcess } from './process.js';
import type { ProcessRun } from './process.js';
import type { V86Run } from './v86-machine.js';

/** `translated` is visorkit with `--translate on`, `kept` the same with what an earlier run has translated, for Linux alone; `v86` runs 32-bit guests only. */
export type MachineName = 'visorkit' | 'translated' | 'kept' | 'bochs' | 'qemu' | 'v86';
/** All but ourselves. */
export const PEERS: readonly MachineName[] = ['translated', 'kept', 'bochs', 'qemu', 'v86'];

export interface KernelRun extends ProcessRun {
  /** Stamps of the guest's markers, in ms, where the machine has a better clock for them than the arrival of lines. */
  readonly marks?: readonly number[];
}

const root = join(import.meta.dirname, '..', '..', '..');
const visorkit = join(root, 'apps', 'visorkit', 'bin', 'visorkit.js');
const marker = join(import.meta.dirname, 'marker-plugin.js');
const QEMU = ['-accel', 'tcg', '-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'];

const firstOf = (...paths: string[]): string | undefined => paths.find((path) => existsSync(path));
const bochsBios = (): string | undefined =>
  firstOf('/usr/share/bochs/BIOS-bochs-latest', '/usr/local/share/bochs/BIOS-bochs-latest');
// Debian's package of Bochs links to a VGA BIOS that it does not bring; SeaBIOS's drives the same card.
const vgaBios = (): string | undefined =>
  firstOf(
    '/usr/share/bochs/VGABIOS-lgpl-latest',
    '/usr/share/seabios/vgabios-stdvga.bin',
    '/usr/local/share/bochs/VGABIOS-lgpl-latest',
  );

const pcBios = (): string | undefined => firstOf('/usr/share/seabios/bios.bin', '/usr/local/share/seabios/bios.bin');
const v86 = join(import.meta.dirname, 'v86-machine.js');
/** Folder of the npm package `v86`. */
const v86Folder = (): string | undefined =>
  firstOf(...[process.env.V86 ?? '', join(root, 'node_modules/v86')].filter((folder) => folder !== ''));

/** What of a machine's programs and firmware is not there for kernels of so many bits; '' when it can run. */
export function missing(name: MachineName, bits: Bits): string {
  if (name === 'visorkit' || name === 'translated' || name === 'kept') return '';
  if (name === 'v86') {
    if (bits !== 32) return 'it runs 32-bit code only (--bits 32)';
    if (v86Folder() === undefined) return 'set V86 to the folder of its npm package';
    return pcBios() === undefined || vgaBios() === undefined ? 'no BIOS (package seabios)' : '';
  }
  const program = name === 'bochs' ? 'bochs' : 'qemu-system-x86_64';
  if (!(process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, program))))
    return `${program} is not installed`;
  if (name === 'bochs' && bochsBios() === undefined) return 'no BIOS of Bochs (package bochsbios)';
  if (name === 'bochs' && vgaBios() === undefined) return 'no VGA BIOS (package vgabios or seabios)';
  return '';
}

/** A machine's version, as it says itself. */
export function version(name: MachineName): string {
  if (name === 'translated') return 'translated: the same with --translate on';
  if (name === 'kept') return 'kept: the same, with the --translations of an earlier run';
  if (name === 'visorkit')
    return `visorkit ${(JSON.parse(readFileSync(join(root, 'apps/visorkit/package.json'), 'utf8')) as { version: string }).version} on Node ${process.versions.node}, interpreting`;
  if (name === 'v86')
    return `v86 ${(JSON.parse(readFileSync(join(v86Folder()!, 'package.json'), 'utf8')) as { version: string }).version}`;
  if (name === 'qemu') return execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }).split('\n')[0];
  return (
    /Bochs x86 Emulator [\d.]+/.exec(execFileSync('sh', ['-c', 'bochs --help 2>&1'], { encoding: 'utf8' }))?.[0] ??
    'Bochs'
  );
}

/** Works in a folder of its own, which is gone afterwards. */
export async function inFolder<Result>(work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-bench-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface KernelOptions {
  readonly passes: number;
  readonly selected: number;
  readonly timeoutMs: number;
  readonly bits: Bits;
  /** Virtual time: a tick is an instruction. Only visorkit has it. */
  readonly virtual?: boolean;
}

/** Runs the benchmark guest on a machine. */
export function runKernels(
  name: MachineName,
  { passes, selected, timeoutMs, bits, virtual = false }: KernelOptions,
): Promise<KernelRun> {
  const isLast = (line: string): boolean => line === 'DONE';
  return inFolder(async (folder) => {
    const { multiboot, disk } = guestImages(bits);
    const elf = join(folder, 'guest.elf');
    writeFileSync(elf, withParameters(multiboot, passes, selected));
    if (name === 'qemu') {
      return runProcess({
        command: 'qemu-system-x86_64',
        args: [...QEMU, '-m', '64', '-device', 'isa-debug-exit', '-kernel', elf],
        timeoutMs,
        isLast,
      });
    }
    if (name === 'v86') {
      return runV86({ memoryMiB: 64, multiboot: elf, last: 'DONE' }, timeoutMs);
    }
    if (name === 'visorkit' || name === 'translated') {
      const marks = join(folder, 'marks.json');
      const run = await runProcess({
        command: process.execPath,
        env: { VISORKIT_BENCH_MARKS: marks },
        timeoutMs,
        isLast,
        args: [
          visorkit,
          'run',
          '--kernel',
          elf,
          '--memory',
          '64M',
          '--debug-exit',
          '--plugin',
          marker,
          '--time',
          virtual ? 'virtual' : 'real',
          '--translate',
          name === 'translated' ? 'on' : 'off',
        ],
      });
      return { ...run, marks: existsSync(marks) ? (JSON.parse(readFileSync(marks, 'utf8')) as number[]) : [] };
    }
    const image = join(folder, 'disk.img'),
      fifo = join(folder, 'com1');
    writeFileSync(image, withParameters(disk, passes, selected));
    execFileSync('mkfifo', [fifo]);
    // Debian's Bochs is built with its debugger: "c" goes on from the stop before the first instruction.
    writeFileSync(join(folder, 'debugger'), 'c\nq\n');
    writeFileSync(join(folder, 'bochsrc'), bochsConfiguration(image, fifo, join(folder, 'log')));
    return runProcess({
      command: 'bochs',
      args: ['-q', '-f', join(folder, 'bochsrc'), '-rc', join(folder, 'debugger')],
      cwd: folder,
      env: { TERM: 'xterm' },
      fifo,
      timeoutMs,
      isLast,
    });
  });
}

const runV86 = (guest: Omit<V86Run, 'folder' | 'bios' | 'vgaBios'>, timeoutMs: number): Promise<ProcessRun> => {
  const run: V86Run = { folder: v86Folder()!, bios: pcBios()!, vgaBios: vgaBios()!, ...guest };
  return runProcess({ command: process.execPath, args: [v86, JSON.stringify(run)], timeoutMs });
};

/** One processor, one disk, the console to a FIFO, no sound, nothing on a screen; an instruction is a tick, at its own pace. */
function bochsConfiguration(image: string, fifo: string, log: string): string {
  return [
    'megs: 64',
    'cpu: count=1, ips=50000000, reset_on_triple_fault=0',
    'clock: sync=none',
    `romimage: file=${bochsBios()}`,
    `vgaromimage: file=${vgaBios()}`,
    `ata0-master: type=disk, path=${image}, mode=flat, cylinders=${DISK_CYLINDERS}, heads=16, spt=63`,
    'boot: disk',
    'display_library: term',
    'sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy',
    'speaker: enabled=0',
    `com1: enabled=1, mode=file, dev=${fifo}`,
    `log: ${log}`,
    'panic: action=fatal',
    'error: action=ignore',
    'info: action=ignore',
    '',
  ].join('\n');
}

export interface LinuxOptions {
  readonly kernel: string;
  readonly initramfs: string;
  readonly commandLine: string;
  /** The guest's line that it is up. */
  readonly ready: string;
  readonly timeoutMs: number;
  /** Where `kept` has what an earlier run has translated. */
  readonly translations: string;
}

/**
 * Boots a Linux kernel with 256 MiB to its power-off; in v86 to the line that it is up, since it cannot be powered off. Bochs is not among these machines: it boots
 * from disks only.
 */
export function runLinux(
  name: Exclude<MachineName, 'bochs'>,
  { kernel, initramfs, commandLine, ready, timeoutMs, translations }: LinuxOptions,
): Promise<ProcessRun> {
  if (name === 'v86') return runV86({ memoryMiB: 256, kernel, initramfs, commandLine, last: ready }, timeoutMs);
  if (name === 'qemu') {
    return runProcess({
      command: 'qemu-system-x86_64',
      args: [...QEMU, '-m', '256', '-kernel', kernel, '-initrd', initramfs, '-append', commandLine],
      timeoutMs,
    });
  }
  return runProcess({
    command: process.execPath,
    args: [
      visorkit,
      'run',
      '--kernel',
      kernel,
      '--initrd',
      initramfs,
      '--append',
      commandLine,
      '--memory',
      '256M',
      '--translate',
      name === 'visorkit' ? 'off' : 'on',
      '--translations',
      name === 'kept' ? translations : 'off',
      '--verbose',
    ],
    timeoutMs,
  });
}

/** The smallest application, from start to exit. */
export function runHello(): Promise<ProcessRun> {
  return runProcess({ command: process.execPath, args: [join(root, 'apps/hello/dist/hello.js')], timeoutMs: 30_000 });
}
