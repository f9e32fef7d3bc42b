/**
 * Compares the processor's instructions with this machine's own: installs and builds what is missing, then runs test/fidelity.
 * Usage: npm run fidelity -- [--cases 200000] [--seed 1] [--groups alu,shift] [--show 2]   (needs an x86-64 Linux machine and gcc)
 *        npm run fidelity:record   (writes test/fidelity/data/*.bin.gz anew; `-- recorded-rights` one of them)
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setup } from './setup.mjs';
import { root } from './steps.mjs';

await setup();
const recording = process.argv[2] === '--record';
const file = join(root, 'test/fidelity/dist', recording ? 'record.js' : 'main.js');
const { status } = spawnSync(process.execPath, [file, ...process.argv.slice(recording ? 3 : 2)], { stdio: 'inherit' });
process.exit(status ?? 1);
