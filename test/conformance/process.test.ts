/** A process that ends while its guest spins, ends: by Ctrl-C, by an error that nobody catches, by process.exit. Needs a build. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BACKENDS } from './backends.js';

const root = join(import.meta.dirname, '../..');
const dist = (folder: string): string => join(root, folder, 'dist/index.js');
const BUILT = [
  'packages/machine',
  'plugins/exits/basic',
  'plugins/boot/flat',
  'plugins/backends/vmx',
  'plugins/backends/kvm',
  'apps/visorkit',
].every((folder) => existsSync(dist(folder)));
if (!BUILT) process.stderr.write('SKIPPED: ending of processes. Build the workspace first: node scripts/build.mjs\n');
/** A process that takes longer, ms, does not end by itself; a busy machine needs several seconds to start one. */
const PATIENCE = 60_000;
const TEST_LIMIT = PATIENCE + 30_000;
/** The guest spins so long, s. */
const SPINS = 300;

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stderr: string;
  readonly hung: boolean;
}

/** Runs node; once it says `ready` (or at once, some time later) it is given the signal. */
function ended(args: readonly string[], signal?: NodeJS.Signals): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let stderr = '',
      hung = false,
      asked = false;
    const killer = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, PATIENCE);
    child.stdout.on('data', () => {
      if (signal !== undefined && !asked) child.kill(signal);
      asked = true;
    });
    child.stderr.on('data', (text: Buffer) => {
      stderr += text.toString();
    });
    child.on('error', reject);
    child.on('close', (status, by) => {
      clearTimeout(killer);
      resolve({ status, signal: by, stderr, hung });
    });
  });
}

/** A program that runs a spinning guest and does `body` a little later. */
const program = (backend: string, body: string): string[] => [
  '--input-type=module',
  '-e',
  `
  const [{ compose }, { exits }, { bootFlat }, { ${backend} }] = await Promise.all(${JSON.stringify(['packages/machine', 'plugins/exits/basic', 'plugins/boot/flat', `plugins/backends/${backend}`].map((folder) => pathToFileURL(dist(folder)).href))}.map((url) => import(url)));
  const vmm = compose({ backend: ${backend}(), memory: '1M', plugins: [...exits(), bootFlat()], boot: { image: Uint8Array.of(0xeb, 0xfe), loader: 'flat', options: { address: 0x1000, mode: 'real16' } } });
  setTimeout(() => { ${body} }, 100);
  await vmm.run({ timeout: ${SPINS} });`,
];

const names = [...new Set(BACKENDS.map(({ factory }) => factory))];
describe.skipIf(!BUILT).each(names)('a process with a spinning guest on %s ends', (name) => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'conformance-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it(
    'with Ctrl-C, in the command line',
    async () => {
      const image = join(folder, 'spin.bin');
      // again: MOV AL, '.'; OUT E9H, AL; MOV CX, 0; 1: LOOP 1b; JMP again
      writeFileSync(image, Uint8Array.of(0xb0, 0x2e, 0xe6, 0xe9, 0xb9, 0, 0, 0xe2, 0xfe, 0xeb, 0xf5));
      const run = await ended(
        [
          'apps/visorkit/bin/visorkit.js',
          'run',
          '--backend',
          name,
          '--kernel',
          image,
          '--loader',
          'flat',
          '--mode',
          'real16',
          '--address',
          '0x1000',
          '--serial',
          'none',
          '--debugcon',
          'stdio',
          '--memory',
          '1M',
          '--timeout',
          String(SPINS),
        ],
        'SIGINT',
      );
      expect(run).toMatchObject({ status: 130, hung: false });
    },
    TEST_LIMIT,
  );

  it(
    'with an error that nobody catches',
    async () => {
      const run = await ended(program(name, 'throw new Error("uncaught")'));
      expect(run).toMatchObject({ status: 1, hung: false });
      expect(run.stderr).toContain('uncaught');
    },
    TEST_LIMIT,
  );

  it(
    'with process.exit',
    async () => {
      expect(await ended(program(name, 'process.exit(7)'))).toMatchObject({ status: 7, hung: false });
    },
    TEST_LIMIT,
  );

  it(
    'with SIGTERM',
    async () => {
      expect(await ended(program(name, 'console.log("ready")'), 'SIGTERM')).toMatchObject({
        signal: 'SIGTERM',
        hung: false,
      });
    },
    TEST_LIMIT,
  );
});
