/** Runs the command line with a guest that resets the machine, and lists the tools; keeps what V8 has compiled then. Part of the build. */
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { keep, main } = require('./command.cjs');

/** mov al, 0xfe; out 0x64, al; hlt */
const GUEST = Uint8Array.of(0xb0, 0xfe, 0xe6, 0x64, 0xf4);
const folder = mkdtempSync(join(tmpdir(), 'visorkit-'));
const image = join(folder, 'guest');
writeFileSync(image, GUEST);
const run = ['run', '--kernel', image, '--mode', 'real16', '--serial', 'none', '--time', 'virtual'];
const command = (...words) => main([process.execPath, 'visorkit', ...words]);
command(...run)
  .then(() => command('vmi'))
  .then(keep)
  .finally(() => rmSync(folder, { recursive: true }));
