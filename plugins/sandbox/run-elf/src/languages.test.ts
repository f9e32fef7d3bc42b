/** Static programs of other compilers, the same as natively; those whose compiler is missing are skipped, and said so. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import { BACKENDS } from './test-backends.js';

const guest = join(import.meta.dirname, '../guest');
const home = mkdtempSync(join(tmpdir(), 'visorkit-languages-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const LANGUAGES: readonly { name: string; compiler: string; version: string; args: (target: string) => string[] }[] = [
  {
    name: 'Rust',
    compiler: 'rustc',
    version: '--version',
    args: (target) => ['-O', '-C', 'target-feature=+crt-static', '-o', target, join(guest, 'program.rs')],
  },
  {
    name: 'Go',
    compiler: 'go',
    version: 'version',
    args: (target) => ['build', '-o', target, join(guest, 'program.go')],
  },
];

describe.each(LANGUAGES)('$name', ({ name, compiler, version, args }) => {
  const missing = spawnSync(compiler, [version]).status !== 0;
  if (missing) process.stderr.write(`Programs in ${name} are not tested in the sandbox: ${compiler} is missing.\n`);
  const program = join(home, name);
  let expected: { status: number | null; stdout: string } | undefined;

  beforeAll(() => {
    if (missing) return;
    const env = {
      ...process.env,
      CGO_ENABLED: '0',
      GO111MODULE: 'off',
      GOCACHE: join(home, 'go-cache'),
      GOPATH: join(home, 'go'),
    };
    const { status, stderr } = spawnSync(compiler, args(program), { encoding: 'utf8', env });
    if (status !== 0) throw new Error(`${compiler}: ${stderr}`);
    mkdirSync(`${program}-native`);
    expected = spawnSync(program, ['a', 'b'], {
      cwd: `${program}-native`,
      env: { GREETING: 'hello' },
      input: 'some input\n',
      encoding: 'latin1',
      timeout: 50_000,
    });
  }, 120_000);

  it.skipIf(missing).each(BACKENDS)(
    'does the same on %s as natively',
    async (_backend, options) => {
      const result = await runElf({
        ...options,
        file: program,
        args: ['a', 'b'],
        env: { GREETING: 'hello' },
        stdin: 'some input\n',
        cwd: '/tmp',
      });
      expect({ status: result.status, stdout: Buffer.from(result.stdout).toString('latin1') }).toEqual({
        status: expected!.status,
        stdout: expected!.stdout,
      });
      expect(result.unknownCalls).toEqual([]);
    },
    60_000,
  );
});
