/**
 * Measures an exit on the kvm backend beside a minimal C program: installs and builds what is missing, then runs test/bench-kvm.
 * Usage: npm run bench:kvm -- [--rounds 101] [--turns 1000] [--out FILE]   (needs /dev/kvm and gcc)
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { root } from './steps.mjs';

await setup();
const { status } = spawnSync(process.execPath, [join(root, 'test/bench-kvm/dist/main.js'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
