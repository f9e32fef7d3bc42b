/** Running programs: their ends, their streams, their limits. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { definePlugin, isVisorkitError } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { ProcessesToken, SystemCallTableToken } from '@visorkit/linux-abi';
import { tinyProgram } from '@visorkit/sandbox-kernel/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import { BACKENDS } from './test-backends.js';
import { canCompile, compile } from './test-programs.js';

const home = mkdtempSync(join(tmpdir(), 'visorkit-run-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

function program(name: string, code?: readonly number[]): string {
  const file = join(home, name);
  writeFileSync(file, tinyProgram(code));
  return file;
}

describe.each(BACKENDS)('a program without a C library on %s', (name, options) => {
  it('ends with its status', async () => {
    const result = await runElf({ ...options, file: program('seven') });
    expect(result).toMatchObject({ status: 7, timedOut: false, message: [], systemCalls: 1 });
    expect(result.mappings.map(({ start, end, prot }) => [start, end, prot])).toEqual([
      [0x400000, 0x401000, 5],
      [0x600000, 0x601000, 3],
      [0x7fff_f7ff_0000, 0x7fff_f7ff_1000, 5], // the vDSO
      [0x7fff_ff7f_f000, 0x7fff_ffff_f000, 3],
    ]);
  });

  it('cannot ring the doorbell with VMCALL', async () => {
    const result = await runElf({
      ...options,
      file: program('vmcall', [0xb8, 1, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xb8, 231, 0, 0, 0, 0xbf, 9, 0, 0, 0, 0x0f, 0x05]),
    });
    // #UD; KVM may answer hypercalls of ring 3 with an error or #GP instead
    expect(name === 'kvm' ? [132, 139, 9] : [132]).toContain(result.status);
  });

  it.each([
    ['OUT to the doorbell', [0xba, 0xb0, 0x05, 0, 0, 0xef]],
    ['HLT', [0xf4]],
    ['CLI', [0xfa]],
    ['MOV CR3', [0x0f, 0x22, 0xd8]],
    ['RDMSR', [0x0f, 0x32]],
    ['a kernel address', [0x48, 0xb8, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff, 0x8a, 0]],
    ['the direct map', [0x48, 0xb8, 0, 0, 0, 0, 0x80, 0x88, 0xff, 0xff, 0x8a, 0]],
  ])('gets SIGSEGV for %s', async (_what, code) => {
    expect(await runElf({ ...options, file: program('privileged', code) })).toMatchObject({
      status: 139,
      signal: 'SIGSEGV',
    });
  });

  it('has no 32-bit system calls', async () => {
    const result = await runElf({ ...options, file: program('int80', [0xcd, 0x80]) });
    expect(name === 'kvm' ? [139, 132] : [139]).toContain(result.status);
  });

  it('is ended when its time is over', async () => {
    const result = await runElf({ ...options, file: program('loop', [0xeb, 0xfe]), timeout: 0.3 });
    expect(result).toMatchObject({ status: 124, timedOut: true, message: ['loop: the time limit is over'] });
  });

  it('is ended from outside', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 100);
    expect(await runElf({ ...options, file: program('loop', [0xeb, 0xfe]), signal: abort.signal })).toMatchObject({
      status: 130,
    });
  });

  it('is ended by a signal that it is sent', async () => {
    const result = await runElf({
      ...options,
      file: program('loop', [0xeb, 0xfe]),
      control: (send) => setTimeout(() => send(15), 100),
    });
    expect(result).toMatchObject({ status: 143, signal: 'SIGTERM', message: [] });
  });
});

describe.skipIf(!canCompile)('a program in C', () => {
  let ends = '',
    echo = '',
    pie = '',
    spins = '';
  beforeAll(() => {
    ends = compile(
      home,
      'ends',
      `
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int deep(int n) { volatile char room[4096]; room[0] = n; return deep(n + 1) + room[0]; }
int main(int argc, char **argv) {
  printf("before\\n");
  fflush(stdout);
  switch (atoi(argv[1])) {
    case 0: exit(3);
    case 1: *(volatile int *)0x1234 = 1; break;
    case 2: abort();
    case 3: return argc / (argc - 2);
    case 4: return deep(0);
    case 5: __builtin_trap();
    case 6: ((void (*)(void))0x10)(); break;
    case 7: kill(getpid(), SIGTERM); break;
    case 8: raise(SIGKILL); break;
    case 9: for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    case 10: *(volatile int *)main = 1; break;
    case 11: alarm(1); for (;;) pause();
    case 12: return 300;
  }
}`,
      '-w',
    );
    echo = compile(
      home,
      'echo',
      `
#include <unistd.h>
static char buffer[65536];
int main(void) { long n; while ((n = read(0, buffer, sizeof buffer)) > 0) for (long d = 0, w; d < n; d += w) if ((w = write(1, buffer + d, n - d)) < 0) return 1; return 0; }`,
    );
    // Two that sleep wake at once, and each then spins until the other has come, without a call
    spins = compile(
      home,
      'spins',
      `
#include <pthread.h>
#include <time.h>
static volatile int come[2];
static void *sleeper(void *argument) {
  long mine = (long)argument;
  nanosleep(&(struct timespec){ 0, 20000000 }, 0);
  come[mine] = 1;
  while (!come[!mine]);
  return 0;
}
int main(void) {
  pthread_t threads[2];
  for (long i = 0; i < 2; i++) pthread_create(&threads[i], 0, sleeper, (void *)i);
  while (!come[0] || !come[1]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
  return 9;
}`,
      '-pthread',
    );
    pie = compile(
      home,
      'pie',
      '#include <stdio.h>\nstatic int x = 5; int *p = &x;\nint main(void) { printf("%d %d\\n", *p, (unsigned long)main >> 40 == 0x55); return 0; }',
      '-static-pie',
      '-fPIE',
    );
  });

  const SIGNALS: Record<string, number> = {
    SIGABRT: 6,
    SIGFPE: 8,
    SIGILL: 4,
    SIGSEGV: 11,
    SIGTERM: 15,
    SIGKILL: 9,
    SIGALRM: 14,
  };

  describe.each(BACKENDS)('on %s', (_name, options) => {
    it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12])('ends as on Linux: case %i', async (which) => {
      const native = spawnSync(ends, [String(which)], { timeout: 15_000 });
      const result = await runElf({ ...options, file: ends, args: [String(which)] });
      expect({ status: result.status, output: text(result.stdout) }).toEqual({
        status: native.signal === null ? native.status : 128 + SIGNALS[native.signal],
        output: native.stdout.toString(),
      });
      if (native.signal !== null) expect(result.signal).toBe(native.signal);
    });

    it('has threads that spin for one another, and all get their turn', async () => {
      expect(await runElf({ ...options, file: spins, timeout: 15 })).toMatchObject({ status: 9, timedOut: false });
    });

    it('echoes 8 MB from a stream to a stream', async () => {
      const data = Buffer.alloc(
        8 << 20,
        Uint8Array.from({ length: 251 }, (_, i) => i),
      );
      const stdin = new PassThrough(),
        chunks: Buffer[] = [];
      // A reader that is slow to ask for more
      const stdout = new Writable({
        highWaterMark: 4096,
        write(chunk: Buffer, _encoding, done) {
          chunks.push(Buffer.from(chunk));
          setImmediate(done);
        },
      });
      stdin.end(data);
      const result = await runElf({ ...options, file: echo, stdin, stdout });
      expect(result.status).toBe(0);
      expect(Buffer.concat(chunks).equals(data)).toBe(true);
    });

    it('gets SIGPIPE when nobody reads any more', async () => {
      const stdout = new PassThrough();
      stdout.once('data', () => stdout.destroy());
      stdout.on('error', () => {});
      expect(await runElf({ ...options, file: echo, stdin: new Uint8Array(4 << 20), stdout })).toMatchObject({
        status: 141,
        signal: 'SIGPIPE',
        message: [],
      });
    });

    it('runs as static-PIE', async () => {
      expect(text((await runElf({ ...options, file: pie })).stdout)).toBe('5 1\n');
    });
  });

  it('is told with registers and code when it faults', async () => {
    const result = await runElf({ file: ends, args: ['1'], time: 'virtual' });
    expect(result.message[0]).toBe('ends: Segmentation fault (SIGSEGV) at address 0x1234 (address not mapped, write)');
    expect(result.message.some((line) => /^ {2}rip +[0-9a-f]{16}/.test(line))).toBe(true);
    expect(result.message.find((line) => line.startsWith('  > '))).toMatch(/mov dword ptr \[1234h\],1/);
    expect(result.message.filter((line) => /^ {2}[ >] [0-9a-f]{16} {2}/.test(line))).toHaveLength(7);
  });

  it('is killed when its memory is used up, and may have more', async () => {
    const result = await runElf({ file: ends, args: ['9'], time: 'virtual', memory: '32M' });
    expect(result).toMatchObject({ status: 137, signal: 'SIGKILL' });
    expect(result.message).toEqual(['ends: Killed: the memory of the sandbox is used up (--memory gives more)']);
  });

  it('does the same twice in virtual time', async () => {
    const run = async (): Promise<unknown> => {
      const { status, stdout, report } = await runElf({
        file: ends,
        args: ['4'],
        time: 'virtual',
        epoch: 0n,
        fillRandom: (bytes) => bytes.fill(7),
      });
      return [status, text(stdout), report.guestInstructions];
    };
    expect(await run()).toEqual(await run());
  });
});

describe('what keeps a program from running', () => {
  const file = program('fine');
  it.each<[string, Parameters<typeof runElf>[0], string, string]>([
    ['no such file', { file: join(home, 'missing') }, 'PROGRAM_UNREADABLE', 'there is no such file'],
    ['a folder', { file: home }, 'PROGRAM_UNREADABLE', 'it is a folder'],
    ['a script', { file: import.meta.filename }, 'PROGRAM_FORMAT', 'it is not an ELF file'],
    ['a dynamic program', { file: process.execPath }, 'PROGRAM_DYNAMIC', 'Link it with -static'],
    [
      'no such mount',
      { file, mounts: [{ host: join(home, 'missing'), guest: '/x' }] },
      'SANDBOX_MOUNT',
      'there is no such folder',
    ],
    ['no such working directory', { file, cwd: '/missing' }, 'SANDBOX_CWD', '/missing'],
    ['too little memory', { file, memory: '1M' }, 'SANDBOX_MEMORY', 'at least'],
    ['too many arguments', { file, args: ['x'.repeat(3 << 20)] }, 'SANDBOX_ARGUMENTS', 'at most'],
    ['a NUL in an argument', { file, args: ['a\0b'] }, 'SANDBOX_ARGUMENTS', 'NUL'],
    ['no such backend', { file, backend: 'xen' as never }, 'BACKEND_UNAVAILABLE', 'use vmx or kvm'],
  ])('%s', async (_what, options, code, sentence) => {
    await expect(runElf(options)).rejects.toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(sentence) as string }),
    );
  });

  it('leaves no descriptor open, whether it runs or not', async () => {
    mkdirSync(join(home, 'given'));
    const count = (): number => readdirSync('/proc/self/fd').length;
    await runElf({ file, time: 'virtual' });
    const before = count();
    for (let i = 0; i < 3; i++) {
      await runElf({ file, time: 'virtual', mounts: [{ host: join(home, 'given'), guest: '/given' }], cwd: '/given' });
      await runElf({ file, mounts: [{ host: join(home, 'given'), guest: '/given' }], cwd: '/missing' }).catch(() => {});
    }
    expect(count()).toBe(before);
  });
});

describe('system calls of a plugin from outside', () => {
  // MOV EAX, 246 (kexec_load); MOV EDI, 40; SYSCALL; MOV EDI, EAX; MOV EAX, 231; SYSCALL
  const code = [0xb8, 246, 0, 0, 0, 0xbf, 40, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7, 0xb8, 231, 0, 0, 0, 0x0f, 0x05];
  const mine = (name: string): Plugin =>
    definePlugin({
      name: 'my-calls',
      uses: { table: SystemCallTableToken, processes: ProcessesToken },
      apply: (host, { table, processes }) =>
        host.onDispose(table.define({ name, args: [], serve: (call) => call.u32(0) + processes.first.pid })),
    });

  it('are served beside the others', async () => {
    const file = program('kexec', code);
    expect(await runElf({ file, time: 'virtual' })).toMatchObject({
      unknownCalls: [{ name: 'kexec_load', count: 1 }],
    });
    expect(await runElf({ file, time: 'virtual', plugins: [mine('kexec_load')] })).toMatchObject({
      status: 42,
      unknownCalls: [],
    });
  });

  it('are refused where somebody serves them already', async () => {
    await expect(runElf({ file: program('kexec', code), plugins: [mine('read')] })).rejects.toMatchObject({
      code: 'SYSTEM_CALL_CONFLICT',
    });
  });
});

it('damaged programs run, fault, or are refused with a reason; the sandbox stands', async () => {
  const good = tinyProgram();
  const file = join(home, 'damaged');
  const damage = fc.array(
    fc.tuple(
      fc.oneof(fc.nat({ max: 175 }), fc.nat({ max: good.length - 1 })),
      fc.constantFrom(0, 1, 4, 0x40, 0x7f, 0x80, 0xff),
    ),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(damage, async (edits) => {
      const image = good.slice();
      for (const [at, value] of edits) image[at] = value;
      writeFileSync(file, image);
      try {
        const { status } = await runElf({ file, time: 'virtual', maxInstructions: 3_000_000, memory: '16M' });
        expect(status).toBeGreaterThanOrEqual(0);
      } catch (error) {
        if (!isVisorkitError(error)) throw error;
        expect(['ELF_MALFORMED', 'PROGRAM_FORMAT', 'PROGRAM_DYNAMIC', 'SANDBOX_MEMORY']).toContain(error.code);
      }
    }),
    { numRuns: 150 },
  );
  expect(readFileSync(file).length).toBe(good.length);
}, 60_000);
