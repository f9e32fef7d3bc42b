/** A pool of threads: results as runElf gives them, a bound, ends from outside, and threads that fail. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { spawnSync } from 'node:child_process';
import { fetchDebianPackage } from '@visorkit/guests';
import { tinyProgram } from '@visorkit/sandbox-kernel/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type * as Built from './index.js';

const entry = new URL('../dist/index.js', import.meta.url);
const unbuilt = !existsSync(entry);
if (unbuilt) console.warn('pool.test.ts: skipped, since there is no build: a thread needs JavaScript');

const home = mkdtempSync(join(tmpdir(), 'visorkit-pool-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const LOOP = tinyProgram([0xeb, 0xfe]);
const SEVEN = tinyProgram();

describe.skipIf(unbuilt)('ElfPool (needs a build)', () => {
  let built: typeof Built;
  let busybox = '';
  beforeAll(async () => {
    built = (await import(/* @vite-ignore */ entry.href)) as typeof Built;
    busybox = join((await fetchDebianPackage('busybox-static')).root, 'bin/busybox');
  }, 120_000);
  const open = (options: Built.ElfPoolOptions = {}): Built.ElfPool =>
    new built.ElfPool({ workers: 2, ...options, defaults: { time: 'virtual', memory: '32M', ...options.defaults } });
  /** A worker that says it is ready, and does what is written here with each message. */
  const script = (name: string, body: string): URL => {
    const file = join(home, `${name}.mjs`);
    writeFileSync(
      file,
      `import { parentPort } from 'node:worker_threads';\nconst say = (message) => parentPort.postMessage(message);\nparentPort.on('message', (message) => { ${body} });\nsay({ kind: 'ready' });\n`,
    );
    return pathToFileURL(file);
  };

  it('gives what runElf gives', async () => {
    await using pool = open();
    const job = {
      file: busybox,
      args: ['sh', '-c', 'read line; echo got $line in $PWD; echo no >&2; exit 3'],
      stdin: 'it\n',
      cwd: '/tmp',
      epoch: 0n,
      time: 'virtual',
      memory: '32M',
    } as const;
    const ours = await pool.run(job);
    const { report, ...rest } = await built.runElf(job);
    expect(ours).toMatchObject(rest);
    expect([text(ours.stdout), text(ours.stderr)]).toEqual(['got it in /tmp\n', 'no\n']);
    expect(ours.report.exits).toEqual(report.exits);
  });

  it('runs many programs in few threads, in the order in which they came', async () => {
    await using pool = open({ workers: 1 });
    const ends: number[] = [];
    const all = Array.from({ length: 12 }, async (_, i) => {
      const { stdout } = await pool.run({ file: busybox, args: ['echo', String(i)] });
      ends.push(i);
      expect(text(stdout)).toBe(`${i}\n`);
    });
    expect(pool.running + pool.waiting).toBe(12);
    await Promise.all(all);
    expect(ends).toEqual([...ends].sort((a, b) => a - b));
    expect([pool.running, pool.waiting]).toEqual([0, 0]);
  });

  it('passes errors on, and goes on', async () => {
    await using pool = open();
    await expect(pool.run({ file: join(home, 'missing') })).rejects.toMatchObject({
      name: 'VisorkitError',
      code: 'PROGRAM_UNREADABLE',
      message: expect.stringMatching(/there is no such file/),
      details: { file: join(home, 'missing') },
    });
    await expect(pool.run({ file: SEVEN, env: { a: (() => {}) as never } })).rejects.toMatchObject({
      code: 'POOL_JOB',
      message: expect.stringMatching(/could not be cloned\. Functions and streams/),
    });
    expect((await pool.run({ file: SEVEN })).status).toBe(7);
  });

  it('refuses what is beyond the bound of its queue', async () => {
    await using pool = open({ workers: 1, maxQueued: 2 });
    const abort = new AbortController();
    const ends = Array.from({ length: 3 }, () => pool.run({ file: LOOP }, abort));
    await expect(pool.run({ file: SEVEN })).rejects.toMatchObject({
      code: 'POOL_FULL',
      message: expect.stringMatching(/made for 2\./),
    });
    abort.abort();
    await Promise.allSettled(ends);
    expect((await pool.run({ file: SEVEN })).status).toBe(7);
  });

  it('ends a program at its time limit, and by its signal; takes one that waits out of the queue', async () => {
    await using pool = open({ workers: 1, defaults: { timeout: 60 } });
    expect(await pool.run({ file: LOOP, timeout: 0.2 })).toMatchObject({ status: 124, timedOut: true });
    const [first, second] = [new AbortController(), new AbortController()];
    const running = pool.run({ file: LOOP }, first);
    const waiting = pool.run({ file: LOOP }, second);
    second.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'POOL_ABORTED' });
    expect([pool.running, pool.waiting]).toEqual([1, 0]);
    first.abort();
    expect(await running).toMatchObject({ status: 130, timedOut: false });
    await expect(pool.run({ file: SEVEN }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'POOL_ABORTED',
    });
  });

  it('bounds output by default, and by the defaults it is given', async () => {
    await using pool = open({ defaults: { maxOutput: 10 } });
    const yes = { file: busybox, args: ['yes'] };
    expect(await pool.run(yes)).toMatchObject({ status: 153, outputExceeded: true });
    expect((await pool.run({ ...yes, maxOutput: 100 })).stdout.length).toBe(100);
    await using plain = open();
    expect((await plain.run({ file: busybox, args: ['dd', 'if=/dev/zero', 'bs=1M', 'count=65'] })).stdout.length).toBe(
      64 << 20,
    );
  }, 60_000);

  it('joins its threads when it is disposed of: what waits is refused, what runs is aborted, nothing stays open', async () => {
    mkdirSync(join(home, 'given'), { recursive: true });
    const count = (): number => readdirSync('/proc/self/fd').length;
    await open({ workers: 1 }).dispose();
    const before = count();
    const pool = open({ workers: 1 });
    expect((await pool.run({ file: SEVEN })).status).toBe(7);
    const running = pool.run({ file: LOOP, mounts: [{ host: join(home, 'given'), guest: '/given' }], cwd: '/given' });
    const waiting = pool.run({ file: SEVEN });
    const refused = expect(waiting).rejects.toMatchObject({ code: 'POOL_CLOSED' });
    await pool.dispose();
    await refused;
    expect(await running).toMatchObject({ status: 130 });
    await expect(pool.run({ file: SEVEN })).rejects.toMatchObject({ code: 'POOL_CLOSED' });
    expect(count()).toBe(before);
  });

  it('replaces a thread that ends or does not answer; only its own program is lost', async () => {
    await using pool = open({
      workers: 1,
      grace: 0.05,
      script: script(
        'fails',
        `if (message.kind !== 'run') return;
        if (message.job.file === 'ends') process.exit(9);
        if (message.job.file === 'throws') throw new Error('worker error');
        if (message.job.file === 'fine') say({ kind: 'result', result: { status: 0 } });`,
      ),
    });
    await expect(pool.run({ file: 'ends' })).rejects.toMatchObject({
      code: 'POOL_WORKER',
      message: 'A thread of the pool failed: it ended with status 9.',
    });
    expect(await pool.run({ file: 'fine' })).toMatchObject({ status: 0 });
    await expect(pool.run({ file: 'throws' })).rejects.toThrow(/worker error/);
    await expect(pool.run({ file: 'hangs', timeout: 0.05 })).rejects.toThrow(/it did not answer in time/);
    const abort = new AbortController();
    const aborted = pool.run({ file: 'hangs' }, abort);
    const behind = pool.run({ file: 'fine' });
    await new Promise((resolve) => setImmediate(resolve));
    while (pool.running === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    abort.abort();
    await expect(aborted).rejects.toThrow(/it did not answer in time/);
    expect(await behind).toMatchObject({ status: 0 });
  });

  it('a thread that can never begin fails a program each time, and not for ever', async () => {
    await using pool = open({ workers: 2, script: pathToFileURL(join(home, 'no-such-file.mjs')) });
    for (let i = 0; i < 3; i++)
      await expect(pool.run({ file: SEVEN })).rejects.toMatchObject({
        code: 'POOL_WORKER',
        message: expect.stringMatching(/no-such-file/),
      });
  });

  it('that is idle does not keep its process alive', () => {
    const code = `import { ElfPool } from ${JSON.stringify(entry.href)};
      const pool = new ElfPool({ workers: 2 });
      const { status } = await pool.run({ file: new Uint8Array(${JSON.stringify([...SEVEN])}), time: 'virtual' });
      console.log(status);`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect([stdout, status]).toEqual(['7\n', 0]);
  });

  it.each([
    ['workers', 0],
    ['workers', 1.5],
    ['maxQueued', -1],
  ])('refuses %s of %s', (name, value) => {
    expect(() => new built.ElfPool({ [name]: value })).toThrow(expect.objectContaining({ code: 'SANDBOX_LIMIT' }));
  });
});
