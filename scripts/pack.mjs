/**
 * Packs every public package as npm would publish it, into .cache/packages, so that projects outside can install them.
 * Usage: npm run pack
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PNPM, setup } from './setup.mjs';
import { root, run } from './steps.mjs';

await setup();
const target = join(root, '.cache', 'packages');
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
run(
  'Packing',
  'npx',
  [
    '-y',
    PNPM,
    '--recursive',
    '--filter',
    './packages/**',
    '--filter',
    './plugins/**',
    '--filter',
    'visorkit',
    'pack',
    '--pack-destination',
    target,
  ],
  { stdio: ['ignore', 'ignore', 2], shell: process.platform === 'win32' },
);
process.stdout.write(`${readdirSync(target).length} packages in .cache/packages\n`);
