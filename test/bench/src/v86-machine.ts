/**
 * Runs a guest in v86, with what it writes on its first serial line on standard output. The one argument is a {@link V86Run} in JSON.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface V86Run {
  /** Folder of v86's package. */
  readonly folder: string;
  /** Images of the BIOS and of the VGA card's. */
  readonly bios: string;
  readonly vgaBios: string;
  readonly memoryMiB: number;
  /** The guest: a multiboot image, or a Linux kernel with its initramfs and command line. */
  readonly multiboot?: string;
  readonly kernel?: string;
  readonly initramfs?: string;
  readonly commandLine?: string;
  /** The run ends behind a line that has this text. */
  readonly last: string;
}

/** What is used of the package. */
interface Package {
  readonly V86: new (options: object) => { add_listener(event: string, listener: (byte: number) => void): void };
}

const run = JSON.parse(process.argv[2]) as V86Run;

const file = (path: string | undefined): { buffer: ArrayBuffer } | undefined =>
  path === undefined ? undefined : { buffer: new Uint8Array(readFileSync(path)).buffer };

const { V86 } = (await import(pathToFileURL(join(run.folder, 'build/libv86.mjs')).href)) as Package;
const machine = new V86({
  wasm_path: join(run.folder, 'build/v86.wasm'),
  memory_size: run.memoryMiB << 20,
  bios: file(run.bios),
  vga_bios: file(run.vgaBios),
  multiboot: file(run.multiboot),
  bzimage: file(run.kernel),
  initrd: file(run.initramfs),
  cmdline: run.commandLine,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});
let line = '';
machine.add_listener('serial0-output-byte', (byte) => {
  line += String.fromCharCode(byte);
  if (!line.endsWith('\n')) return;
  process.stdout.write(line);
  if (line.includes(run.last)) process.exit();
  line = '';
});
