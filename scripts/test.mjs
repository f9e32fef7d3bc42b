/**
 * Sets up what is missing, runs every test, and ends with one line that counts them.
 * Usage: node scripts/test.mjs [vitest arguments: file names, -t NAME, …]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './steps.mjs';
import { setup } from './setup.mjs';

await setup();

const results = join(root, '.cache', 'test-results.json');
mkdirSync(join(root, '.cache'), { recursive: true });
rmSync(results, { force: true });
const { status } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--reporter=default',
    `--reporter=${join(root, 'scripts/stuck-files.mjs')}`,
    '--reporter=json',
    `--outputFile.json=${results}`,
    ...process.argv.slice(2),
  ],
  { cwd: root, stdio: 'inherit' },
);

if (!existsSync(results)) {
  process.stdout.write('The tests ended without results.\n0 passed, 1 failed, 0 skipped\n');
  process.exit(status || 1);
}
const { testResults } = JSON.parse(readFileSync(results, 'utf8'));
const counts = { passed: 0, failed: 0, skipped: 0 };
/** Skipped tests by their group, whose name says why where a whole group is skipped. */
const skipped = new Map();
for (const file of testResults) {
  // A file that could not be loaded has no tests, and is one failure.
  if (file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed')) counts.failed++;
  for (const test of file.assertionResults) {
    if (test.status === 'passed') counts.passed++;
    else if (test.status === 'failed') counts.failed++;
    else {
      counts.skipped++;
      const group = file.assertionResults.every(
        (other) => other.ancestorTitles[0] !== test.ancestorTitles[0] || other.status === test.status,
      )
        ? test.ancestorTitles[0]
        : undefined;
      const name = group ?? test.fullName;
      skipped.set(name, (skipped.get(name) ?? 0) + 1);
    }
  }
}
// What vitest counts apart from tests, such as a worker that ended in the middle of a file, is a failure too.
if (status !== 0 && counts.failed === 0) counts.failed = 1;
for (const [name, count] of [...skipped].slice(0, 40))
  process.stdout.write(`skipped: ${name}${count > 1 ? `, ${count} tests` : ''}\n`);
if (skipped.size > 40) process.stdout.write(`skipped: … and ${skipped.size - 40} more\n`);
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exit(counts.failed > 0 ? 1 : 0);
