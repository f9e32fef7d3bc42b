/** A test file whose thread never comes back is named and ended, and the others count. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
// Inside the repository, so that the files find vitest
mkdirSync(join(root, '.cache'), { recursive: true });
const folder = mkdtempSync(join(root, '.cache/stuck-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.skipIf(process.platform !== 'linux')(
  'ends a file that hangs in a call, with its child, and lets the others finish (needs procfs)',
  () => {
    const head = `import { spawnSync } from 'node:child_process'; import { expect, it } from 'vitest';\n`;
    writeFileSync(
      join(folder, 'hangs.test.ts'),
      `${head} it('waits', () => { spawnSync('sleep', ['1000']); expect(1).toBe(2); });`,
    );
    writeFileSync(join(folder, 'ends.test.ts'), `${head} it('ends', () => { expect(1).toBe(1); });`);
    writeFileSync(join(folder, 'vitest.config.mjs'), 'export default {};');
    const reporter = join(root, 'scripts/stuck-files.mjs'),
      env = { ...process.env, VISORKIT_TEST_FILE_SECONDS: '2', NO_COLOR: '1' };
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [
        join(root, 'node_modules/vitest/vitest.mjs'),
        'run',
        '--root',
        folder,
        '--reporter=default',
        `--reporter=${reporter}`,
      ],
      { encoding: 'utf8', env, timeout: 50_000 },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/STUCK: .*hangs\.test\.ts has not ended/);
    expect(stderr).toContain('sleep 1000');
    expect(stdout).toContain('1 passed');
    expect(stdout + stderr).toContain('Worker exited unexpectedly');
  },
  60_000,
);
