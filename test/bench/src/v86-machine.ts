/** Runs a multiboot image in v86, with the guest's first serial line on standard output. Arguments: the folder of v86's package, the BIOS, that of the VGA card, the image. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** What is used of the package. */
interface Package {
  readonly V86: new (options: object) => { add_listener(event: string, listener: (byte: number) => void): void };
}

const MEMORY = 64 << 20;
const [folder, bios, vgaBios, image] = process.argv.slice(2);

const file = (path: string): { buffer: ArrayBuffer } => ({ buffer: new Uint8Array(readFileSync(path)).buffer });

const { V86 } = (await import(pathToFileURL(join(folder, 'build/libv86.mjs')).href)) as Package;
const machine = new V86({
  wasm_path: join(folder, 'build/v86.wasm'),
  memory_size: MEMORY,
  bios: file(bios),
  vga_bios: file(vgaBios),
  multiboot: file(image),
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
  if (line === 'DONE\n') process.exit();
  line = '';
});
