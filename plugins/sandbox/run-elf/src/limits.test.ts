/** What a program may not exceed: its output, what it writes to files, the files that it makes. And programs that are no files. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fetchDebianPackage } from '@visorkit/guests';
import { tinyProgram } from '@visorkit/sandbox-kernel/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import type { RunElfOptions } from './run-elf.js';
import { BACKENDS } from './test-backends.js';

const home = mkdtempSync(join(tmpdir(), 'visorkit-limits-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
let busybox = '';
beforeAll(async () => {
  busybox = join((await fetchDebianPackage('busybox-static')).root, 'bin/busybox');
}, 120_000);

describe.each(BACKENDS)('on %s', (_name, backend) => {
  const run = (script: string, options: Partial<RunElfOptions> = {}) =>
    runElf({ ...backend, file: busybox, args: ['sh', '-c', script], ...options });

  describe('maxOutput', () => {
    it('ends a program that writes more, with a sentence and a status, after what it may write', async () => {
      const result = await run('while :; do echo 0123456789; done', { maxOutput: 1000 });
      expect(result).toMatchObject({
        status: 153,
        outputExceeded: true,
        timedOut: false,
        message: ['busybox: it was ended because it wrote more than 1000 bytes of output, its limit'],
      });
      expect(text(result.stdout)).toBe('0123456789\n'.repeat(91).slice(0, 1000));
    });

    it('counts both outputs, and lets a program write exactly as much', async () => {
      const script = 'echo 12345; echo 6789 >&2; exit 3';
      expect(await run(script, { maxOutput: 11 })).toMatchObject({ status: 3, outputExceeded: false, message: [] });
      const cut = await run(script, { maxOutput: 10 });
      expect([cut.status, text(cut.stdout), text(cut.stderr)]).toEqual([153, '12345\n', '6789']);
    });

    it('counts for streams too, whose reader gets what was allowed', async () => {
      const stdout = new PassThrough();
      const read: Buffer[] = [];
      stdout.on('data', (chunk: Buffer) => read.push(chunk));
      const result = await run('while :; do echo 0123456789; done', { maxOutput: 100_000, stdout });
      expect(result.status).toBe(153);
      expect(Buffer.concat(read).length).toBe(100_000);
    });
  });

  describe('maxWritten', () => {
    it('is what it may write to memory and mounts together; then it sees EDQUOT', async () => {
      const script = 'echo 123456789 > /tmp/a; echo 123456789 > /host/b; echo x > /tmp/c; echo $?';
      const result = await run(script, { maxWritten: 15, mounts: [{ host: home, guest: '/host' }] });
      expect(text(result.stdout)).toBe('1\n');
      expect(text(result.stderr)).toMatch(/(Disk q|Q)uota exceeded/);
      expect(readFileSync(join(home, 'b'), 'latin1')).toBe('12345');
      const enough = await run(script, { maxWritten: 22, mounts: [{ host: home, guest: '/host' }] });
      expect([text(enough.stdout), text(enough.stderr)]).toEqual(['0\n', '']);
    });
  });

  describe('maxFiles', () => {
    it('is how many files it may make; then it sees EDQUOT', async () => {
      const script = 'for n in 1 2 3 4 5; do : > /tmp/$n; done; echo /tmp/*';
      const result = await run(script, { maxFiles: 3 });
      expect(text(result.stderr)).toMatch(/can't create \/tmp\/4: (Disk q|Q)uota exceeded/);
      expect(text((await run(script, { maxFiles: 5 })).stdout)).toBe('/tmp/1 /tmp/2 /tmp/3 /tmp/4 /tmp/5\n');
    });
  });

  it('a program given as bytes runs as one that is a file, and is its own /proc/self/exe', async () => {
    expect(await runElf({ ...backend, file: tinyProgram() })).toMatchObject({ status: 7, message: [] });
    const bytes = readFileSync(busybox);
    for (const [args, expected] of [
      [['echo', 'a', 'b'], /^a b\n$/],
      [['sha256sum', '/proc/self/exe'], /^[0-9a-f]{64} {2}/],
      [['readlink', '/proc/self/exe'], /^\/busybox\n$/],
    ] as const) {
      const [given, file] = [bytes, busybox].map((file) => runElf({ ...backend, file, argv0: 'busybox', args }));
      const output = text((await given).stdout);
      expect(output).toMatch(expected);
      expect(output).toBe(text((await file).stdout));
    }
  });
});

it('limits that are no numbers, and bytes that are no program, are refused', async () => {
  const file = tinyProgram();
  for (const name of ['maxOutput', 'maxWritten', 'maxFiles'])
    for (const value of [-1, 1.5, NaN, '1M' as never])
      await expect(runElf({ file, [name]: value })).rejects.toMatchObject({
        code: 'SANDBOX_LIMIT',
        message: `${name} is ${String(value)}; a whole number from 0 is right.`,
      });
  await expect(runElf({ file, maxProcesses: 0 })).rejects.toMatchObject({
    code: 'SANDBOX_LIMIT',
    message: 'maxProcesses is 0; a whole number from 1 is right.',
  });
  await expect(runElf({ file: Uint8Array.of(1, 2, 3) })).rejects.toMatchObject({
    code: 'PROGRAM_FORMAT',
    message: expect.stringMatching(/^program cannot be run: it is not an ELF file/),
  });
});
