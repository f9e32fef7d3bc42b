/** `visorkit exec`: what it passes on, what it shows, what it refuses. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetchDebianPackage } from '@visorkit/guests';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseEnvironment, parseMount } from './exec-command.js';
import { Scratch } from './test-cli.js';

const BIN = new URL('../bin/visorkit.js', import.meta.url).pathname;
const unbuilt = !existsSync(new URL('../dist/exec-command.js', import.meta.url));
if (unbuilt) console.warn('exec-command.test.ts: skipped in part, since there is no build');
const scratch = new Scratch();
afterAll(() => scratch.remove());

describe('options', () => {
  it('mounts are HOST:GUEST[:ro]', () => {
    expect(parseMount('a:/b')).toEqual({ host: 'a', guest: '/b', readOnly: false });
    expect(parseMount('/x:y:/b/c:ro')).toEqual({ host: '/x:y', guest: '/b/c', readOnly: true });
    expect(parseMount('a:/b:rw').readOnly).toBe(false);
    for (const wrong of ['a', 'a:b', ':/b', 'a:/b:rx', ''])
      expect(() => parseMount(wrong)).toThrow(expect.objectContaining({ code: 'OPTION_VALUE' }));
  });

  it('an environment is what is named', () => {
    expect(parseEnvironment(['A=1', 'B', 'C=x=y', 'MISSING', 'D='], { B: '2', SECRET: 's' })).toEqual({
      A: '1',
      B: '2',
      C: 'x=y',
      D: '',
    });
    expect(() => parseEnvironment(['=x'], {})).toThrow(expect.objectContaining({ code: 'OPTION_VALUE' }));
  });
});

describe.skipIf(unbuilt)('as a process (needs a build)', { timeout: 60_000 }, () => {
  let busybox = '';
  beforeAll(async () => {
    busybox = join((await fetchDebianPackage('busybox-static')).root, 'bin/busybox');
  }, 120_000);
  const exec = (args: readonly string[], input = '') =>
    spawnSync(process.execPath, [BIN, 'exec', ...args], {
      encoding: 'latin1',
      input,
      timeout: 60_000,
      env: { ...process.env, HIDDEN: 'hidden', SHOWN: 'shown' },
    });
  const shell = (command: string) =>
    spawnSync(
      'sh',
      ['-c', command.replaceAll('EXEC', `${process.execPath} ${BIN} exec`).replaceAll('BUSYBOX', busybox)],
      { encoding: 'latin1', timeout: 60_000 },
    );

  it('passes input, output, arguments and status on', () => {
    expect(exec([busybox, 'sort', '-r'], 'a\nc\nb\n')).toMatchObject({ status: 0, stdout: 'c\nb\na\n', stderr: '' });
    expect(exec([busybox, 'sh', '-c', 'exit 33']).status).toBe(33);
    expect(exec([busybox, 'printf', '%s|', '--memory', '-v', '--', '']).stdout).toBe('--memory|-v|--||');
    const loop = 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo $i';
    expect(exec(['--translate', '20', '--verbose', busybox, 'sh', '-c', loop])).toMatchObject({
      stdout: '3000\n',
      stderr: expect.stringMatching(/regions translated/),
    });
    const shorter = loop.replace('3000', '300');
    expect(exec(['--translate', 'verify:300', '--verbose', busybox, 'sh', '-c', shorter])).toMatchObject({
      stdout: '300\n',
      stderr: expect.stringMatching(/[1-9]\d* instructions verified/),
    });
    expect(exec(['--translate', 'never', busybox, 'true'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('OPTION_VALUE'),
    });
    expect(shell('echo from a pipe | EXEC BUSYBOX cat | tr a-z A-Z').stdout).toBe('FROM A PIPE\n');
  });

  it('reads and writes redirected files', () => {
    const file = scratch.file('input', 'one\ntwo\nthree\n');
    expect(shell(`EXEC BUSYBOX wc -l < ${file}`).stdout.trim()).toBe('3');
    expect(shell(`(read first; EXEC BUSYBOX cat) < ${file}`).stdout).toMatch(/^(two\nthree\n)?$/);
    shell(
      `EXEC BUSYBOX seq 3 > ${scratch.path('output')}; EXEC BUSYBOX seq 4 5 >> ${scratch.path('output')}; EXEC BUSYBOX ls missing 2> ${scratch.path('errors')}`,
    );
    expect(readFileSync(scratch.path('output'), 'utf8')).toBe('1\n2\n3\n4\n5\n');
    expect(readFileSync(scratch.path('errors'), 'utf8')).toBe('ls: missing: No such file or directory\n');
  });

  it('shows nothing that was not given', () => {
    expect(exec(['--env', 'SHOWN', '--env', 'X=1', busybox, 'env']).stdout).toBe('SHOWN=shown\nX=1\n');
    expect(exec([busybox, 'ls', '/']).stdout).toBe('busybox\ndev\nproc\ntmp\n'); // the program itself too
    mkdirSync(scratch.path('given'));
    expect(
      exec([
        '--mount',
        `${scratch.path('given')}:/given`,
        '--cwd',
        '/given',
        busybox,
        'sh',
        '-c',
        'pwd; echo made > file; read line < file; echo $line /*',
      ]).stdout,
    ).toBe('/given\nmade /busybox /dev /given /proc /tmp\n');
    expect(readdirSync(scratch.path('given'))).toEqual(['file']);
    expect(exec(['--mount', `${scratch.path('given')}:/given:ro`, busybox, 'rm', '/given/file'])).toMatchObject({
      status: 1,
      stderr: "rm: can't remove '/given/file': Read-only file system\n",
    });
  });

  it('shows system calls, the start and the exits when it is asked to', () => {
    const { stderr } = exec(['--strace', '--verbose', busybox, 'echo', 'hi']);
    expect(stderr).toMatch(
      /^program:\n( {2}[0-9a-f]{16} {2}[0-9a-f]+ +\S.*\n){5}memory:\n( {2}[0-9a-f]{12}-[0-9a-f]{12} [r-][w-][x-] +\d+ KiB {2}\w+\n)+/,
    );
    expect(stderr).toContain('write(1, "hi\\n", 3) = 3\n');
    expect(stderr).toContain('rseq(');
    expect(stderr).toMatch(/arch_prctl\(ARCH_SET_FS, 0x[0-9a-f]+\) = 0\n/);
    expect(stderr).toMatch(/exit_group\(0\) = \?\nstatus 0; \d+ system calls for the host; \d+ instructions in /);
    expect(stderr).toMatch(/exits:\n( +\d+ [\w-]+\n)+/);
  });

  it('ends with 124 after its time, with the signal it is sent, and with a reader that goes away', async () => {
    expect(exec(['--timeout', '1', busybox, 'sleep', '60'])).toMatchObject({
      status: 124,
      stderr: 'busybox: the time limit is over\n',
    });
    expect(exec(['--timeout', '1', busybox, 'cat'], '').status).toBe(0);
    expect(shell('(EXEC BUSYBOX yes; echo "status=$?" >&2) | head -n 2')).toMatchObject({
      stdout: 'y\ny\n',
      stderr: 'status=141\n',
    });
    const child = spawn(process.execPath, [BIN, 'exec', busybox, 'sh', '-c', 'echo ready; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(130);
    const waiting = spawn(process.execPath, [BIN, 'exec', '--timeout', '2', busybox, 'cat'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    expect(await new Promise((resolve) => waiting.once('exit', resolve))).toBe(124); // input that never comes
  }, 60_000);

  it('limits output, bytes written and files made', () => {
    const made = scratch.path('made');
    mkdirSync(made);
    expect(shell(`EXEC --max-output 1k BUSYBOX yes; echo "status=$?"`)).toMatchObject({
      stdout: `${'y\n'.repeat(512)}status=153\n`,
      stderr: 'busybox: it was ended because it wrote more than 1024 bytes of output, its limit\n',
    });
    const touch = exec(['--max-files', '1', '--mount', `${made}:/made`, busybox, 'touch', '/made/a', '/made/b']);
    expect([touch.status, touch.stderr]).toEqual([1, 'touch: /made/b: Disk quota exceeded\n']);
    const fill = ['dd', 'if=/dev/zero', 'of=/made/a', 'bs=1024', 'count=9'];
    expect(exec(['--max-written', '4k', '--mount', `${made}:/made`, busybox, ...fill]).stderr).toMatch(
      /quota exceeded/i,
    );
    expect(readFileSync(join(made, 'a')).length).toBe(4096);
    expect(exec(['--max-files', 'many', busybox, 'true'])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/--max-files takes a whole number from 0/) as string,
    });
  });

  it('says what keeps a program from running', () => {
    expect(exec([scratch.file('text', 'no program')])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(
        /^visorkit: .*text cannot be run: it is not an ELF file; an x86-64 ELF program is right\. \[PROGRAM_FORMAT\]\n/,
      ) as string,
    });
    expect(exec([process.execPath]).stderr).toMatch(/\[PROGRAM_DYNAMIC\]/);
    expect(exec(['--mount', 'x', busybox, 'true']).stderr).toMatch(/--mount takes HOST:GUEST/);
  });

  /**
   * Greatest resident size in kB of a process that writes so many blocks of 64 KiB to a pipe; it says so itself when it ends. V8's optimiser is off: what it takes
   * for the processor's largest function, when a run is long enough for it to begin, says nothing about the output.
   */
  function peak(blocks: number): Promise<number> {
    const telling =
      'data:text/javascript,process.on("exit",()=>process.stderr.write(`PEAK ${process.resourceUsage().maxRSS}`))';
    const child = spawn(
      process.execPath,
      ['--liftoff-only', '--import', telling, BIN, 'exec', busybox, 'dd', 'if=/dev/zero', 'bs=64k', `count=${blocks}`],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let said = '';
    child.stdout.resume();
    child.stderr.on('data', (text) => {
      said += String(text);
    });
    return new Promise((resolve) => child.once('close', () => resolve(Number(/PEAK (\d+)/.exec(said)?.[1]))));
  }

  it('passes 100 MB without loss, and without holding them', async () => {
    const { stdout, stderr } = shell(
      '{ EXEC --time virtual BUSYBOX dd if=/dev/zero bs=64k count=1600; } 2>/dev/null | wc -c; EXEC BUSYBOX seq 100000 | sha256sum; seq 100000 | sha256sum',
    );
    expect(stderr).toBe('');
    const [count, ours, native] = stdout.trim().split('\n');
    expect(Number(count)).toBe(1600 * 65536);
    expect(ours).toBe(native);
    const little = await peak(16);
    expect(little).toBeGreaterThan(20_000);
    expect((await peak(1600)) - little).toBeLessThan(60_000);
    expect((await peak(6400)) - little).toBeLessThan(60_000);
  }, 60_000);
});
