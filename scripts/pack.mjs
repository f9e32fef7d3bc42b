/**
 * Packs every public package as npm would publish it, into .cache/packages, so that projects outside can install them. pnpm puts the
 * LICENSE of the root into each; what every package must have is checked afterwards.
 * Usage: npm run pack
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PNPM, setup } from './setup.mjs';
import { root, run } from './steps.mjs';
import { faultsOf, filesOf } from './tarballs.mjs';

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
const tarballs = readdirSync(target);
const faults = tarballs.flatMap((name) => faultsOf(filesOf(join(target, name))).map((fault) => `${name}: ${fault}`));
if (faults.length > 0) {
  process.stderr.write(`${faults.join('\n')}\nThe packages are not fit to be published.\n`);
  process.exit(1);
}
process.stdout.write(`${tarballs.length} packages in .cache/packages\n`);
