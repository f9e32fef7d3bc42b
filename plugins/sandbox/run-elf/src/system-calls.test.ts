/** A C program that makes every system call that is served: its output is the same as on the machine's own Linux. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemCallTable, SystemCallTableToken, systemCallName } from '@visorkit/linux-abi';
import { linuxSystemCalls } from '@visorkit/linux-syscalls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import { BACKENDS } from './test-backends.js';
import { canCompile, compile } from './test-programs.js';

const source = join(import.meta.dirname, '../guest/system-calls.c');
/** In memory where that can be: the program waits until its file is on the disk, which others may keep busy. */
const home = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'visorkit-calls-'));
let program = '',
  expected: string | undefined;

/** Calls that the sandbox refuses where Linux would not, or that only the program's end makes. */
const REFUSED = new Set([
  'socket',
  'clone3',
  'rseq',
  'membarrier',
  'mount',
  'umount2',
  'chroot',
  'pivot_root',
  'reboot',
  'sethostname',
  'setdomainname',
  'swapon',
  'swapoff',
  'syslog',
  'ptrace',
  'unshare',
  'setns',
  'init_module',
  'finit_module',
  'delete_module',
  'bpf',
  'perf_event_open',
  'iopl',
  'ioperm',
  'inotify_init',
  'inotify_init1',
  'io_uring_setup',
  'seccomp',
  'userfaultfd',
  'exit',
  'rt_sigreturn',
  'clock_settime',
  'settimeofday',
  'adjtimex',
  'clock_adjtime',
  'setgroups',
  'capset',
  'setpriority',
  'sched_setscheduler',
  'sched_setaffinity',
  'setxattr',
  'lsetxattr',
  'fsetxattr',
  'removexattr',
  'lremovexattr',
  'fremovexattr',
  'fgetxattr',
]);

function servedCalls(): string[] {
  const table = new SystemCallTable();
  for (const plugin of linuxSystemCalls()) {
    expect(Object.values(plugin.uses ?? {})).toEqual([SystemCallTableToken]);
    plugin.apply?.({ onDispose() {} } as never, { table } as never);
  }
  return Array.from({ length: 500 }, (_, number) => number)
    .filter((number) => table.get(number) !== undefined)
    .map(systemCallName);
}

/** The programs of linux.test.ts make calls too. */
const sources = [
  'system-calls',
  'processes',
  'sharing',
  'edges',
  'signals',
  'sockets',
  'rights',
  'locks',
  'terminals',
  'watches',
].map((name) => join(import.meta.dirname, `../guest/${name}.c`));

it('the programs make every call that is served', () => {
  const text = sources.map((file) => readFileSync(file, 'utf8')).join('');
  const made = (name: string): boolean =>
    new RegExp(`\\b(T|J|A|D)\\("[^"]*", ${name}\\b|\\bSYS_${name}\\b|\\b${name}\\(|"${name} `).test(text) ||
    (name === 'clone' && text.includes('pthread_create'));
  expect(servedCalls().filter((name) => !REFUSED.has(name) && !made(name))).toEqual([]);
});

describe.skipIf(!canCompile)('system calls', () => {
  beforeAll(() => {
    program = compile(home, 'system-calls', source, '-w');
    // A machine on which the program is never done is no measure for the sandbox: that is said, and the comparisons are skipped
    for (let attempt = 0; attempt < 3 && expected === undefined; attempt++) {
      const native = spawnSync(program, ['argument'], {
        cwd: mkdtempSync(join(home, 'native-')),
        env: { GREETING: 'hello' },
        encoding: 'latin1',
        timeout: 15_000,
      });
      const end = `On this machine itself the program ended with ${native.signal ?? native.status} after: ${native.stdout.slice(-300)}`;
      if (native.error !== undefined) {
        process.stderr.write(`${native.error.message}. ${end}\n`);
        continue;
      }
      expect(native.status, end).toBe(42);
      expected = native.stdout;
    }
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  const NO_MEASURE = 'the program is never done on this machine itself: its last words are above';

  it.for(BACKENDS)('are the same on %s', { timeout: 60_000 }, async ([name, options], { skip }) => {
    const folder = join(home, name);
    mkdirSync(folder);
    const result = await runElf({
      ...options,
      file: program,
      args: ['argument'],
      env: { GREETING: 'hello', SANDBOXED: 'yes' },
      cwd: '/work',
      mounts: [{ host: folder, guest: '/work' }],
    });
    expect(result.message).toEqual([]);
    expect(result.status).toBe(42);
    const output = Buffer.from(result.stdout).toString('latin1');
    expect(output).not.toContain('IS WRONG');
    if (expected === undefined) skip(NO_MEASURE);
    expect(output.split('\n')).toEqual(expected!.split('\n'));
    expect(expected).not.toContain('IS WRONG');
  });

  it('are the same in memory', async ({ skip }) => {
    const result = await runElf({
      file: program,
      args: ['argument'],
      env: { GREETING: 'hello', SANDBOXED: 'yes' },
      cwd: '/tmp',
      time: 'virtual',
    });
    expect(result.status).toBe(42);
    if (expected === undefined) skip(NO_MEASURE);
    // Names of the working folder and of what the host's file system does are the host's
    const differs = /^getcwd current/;
    const clean = (text: string): string[] => text.split('\n').filter((line) => !differs.test(line));
    expect(clean(Buffer.from(result.stdout).toString('latin1'))).toEqual(clean(expected!));
  });

  it('are refused where they lead outside', async () => {
    const file = compile(
      home,
      'refused',
      `
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#define R(name) do { long r = syscall(SYS_##name, 2, 1, 0, 0, 0, 0); printf(#name " %ld %s\\n", r, strerrorname_np(errno)); } while (0)
int main(void) { R(socket); R(mount); R(ptrace); R(unshare); R(bpf); R(io_uring_setup); R(clone3); printf("%ld %s\\n", syscall(9999), strerrorname_np(errno)); syscall(9999); }
`,
    );
    const result = await runElf({ file, time: 'virtual' });
    expect(Buffer.from(result.stdout).toString().trim().split('\n')).toEqual([
      'socket -1 EAFNOSUPPORT',
      'mount -1 EPERM',
      'ptrace -1 EPERM',
      'unshare -1 EPERM',
      'bpf -1 EPERM',
      'io_uring_setup -1 EPERM',
      'clone3 -1 ENOSYS',
      '-1 ENOSYS',
    ]);
    expect(result.unknownCalls).toEqual([{ name: 'syscall_9999', count: 2 }]);
  });
});
