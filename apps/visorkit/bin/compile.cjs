/** Runs the command line once, with a guest that resets the machine, and keeps what V8 has compiled then. Part of the build. */
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { load } = require('./command.cjs');

/** mov al, 0xfe; out 0x64, al; hlt */
const GUEST = Uint8Array.of(0xb0, 0xfe, 0xe6, 0x64, 0xf4);
const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
const image = join(folder, 'guest');
writeFileSync(image, GUEST);
const { main, keep } = load();
const words = ['run', '--kernel', image, '--mode', 'real16', '--serial', 'none', '--time', 'virtual'];
main([process.execPath, 'visorkit', ...words])
  .then(keep)
  .finally(() => rmSync(folder, { recursive: true }));
