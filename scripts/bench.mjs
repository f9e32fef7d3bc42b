/**
 * Measures the processor beside Bochs and QEMU: installs and builds what is missing, then runs test/bench.
 * Usage: npm run bench -- [--rounds 3] [--peers bochs,qemu] [--only names] [--linux] [--out FILE]
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { root } from './steps.mjs';

await setup();
const { status } = spawnSync(process.execPath, [join(root, 'test/bench/dist/main.js'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
