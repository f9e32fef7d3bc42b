/** Programs that take what they can get: each ends in the errors that Linux gives, and neither hangs nor harms the host. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import type { RunElfOptions } from './run-elf.js';
import { canCompile, compile } from './test-programs.js';

const home = mkdtempSync(join(tmpdir(), 'visorkit-hostile-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const HEADERS = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
`;
let programs = 0;
async function run(body: string, options: Partial<RunElfOptions> = {}, outside = ''): Promise<[number, string[]]> {
  const file = compile(
    home,
    `hostile-${++programs}`,
    `${HEADERS}${outside}\nint main(void) { setvbuf(stdout, 0, _IOLBF, 0); ${body} }`,
    '-w',
  );
  const result = await runElf({ file, time: 'virtual', timeout: 60, memory: '32M', ...options });
  expect(result.timedOut).toBe(false);
  return [result.status, Buffer.from(result.stdout).toString().trim().split('\n')];
}

describe.skipIf(!canCompile)('a program that', { timeout: 60_000 }, () => {
  it('forks for ever gets EAGAIN at the limit, and can go on when children have ended', async () => {
    const [status, lines] = await run(
      `int n = 0; pid_t p;
       while ((p = fork()) > 0) n++;
       if (p == 0) { pause(); _exit(0); }
       printf("%d %s\\n", n, strerrorname_np(errno));
       kill(0, SIGCONT); signal(SIGTERM, SIG_IGN); kill(0, SIGTERM);
       for (int i = 0; i < n; i++) wait(0);
       p = fork(); if (p == 0) _exit(7);
       int s; wait(&s); printf("%d\\n", WEXITSTATUS(s)); return 0;`,
      { maxProcesses: 20 },
    );
    expect([status, lines]).toEqual([0, ['19 EAGAIN', '7']]);
  });

  it('is a fork bomb ends with its first process', async () => {
    const [status, lines] = await run(
      `pid_t first = getpid();
       for (int i = 0; i < 200; i++) fork();
       if (getpid() != first) for (;;) fork();
       puts("over"); return 3;`,
      { maxProcesses: 64 },
    );
    expect([status, lines.includes('over')]).toEqual([3, true]);
  });

  it('makes threads for ever gets EAGAIN', async () => {
    const [status, lines] = await run(
      `pthread_t t; int n = 0, e; pthread_attr_t a; pthread_attr_init(&a); pthread_attr_setstacksize(&a, 16384);
       while ((e = pthread_create(&t, &a, wait_for_ever, 0)) == 0) n++;
       printf("%d %s\\n", n > 100, strerrorname_np(e)); return 0;`,
      {},
      'static void *wait_for_ever(void *x) { for (;;) pause(); }',
    );
    expect([status, lines]).toEqual([0, ['1 EAGAIN']]);
  });

  it('maps for ever gets ENOMEM', async () => {
    const [status, lines] = await run(
      `int n = 0; while (mmap(0, 4096, n & 1 ? PROT_READ : PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) n++;
       printf("%d %s\\n", n > 30000, strerrorname_np(errno)); return 0;`,
    );
    expect([status, lines]).toEqual([0, ['1 ENOMEM']]);
  });

  it('uses all memory in a child loses the child, not the machine', async () => {
    const [status, lines] = await run(
      `int s; pid_t p = fork();
       if (p == 0) for (;;) { char *m = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (m != MAP_FAILED) memset(m, 1, 1 << 20); }
       waitpid(p, &s, 0); printf("signal %d\\n", WTERMSIG(s));
       char *m = malloc(8 << 20); memset(m, 1, 8 << 20); puts("memory is back"); return 0;`,
    );
    expect([status, lines]).toEqual([0, ['signal 9', 'memory is back']]);
  });

  it('writes all copied memory at once in many children loses some of them', async () => {
    const [status, lines] = await run(
      `m = malloc(4 << 20); memset(m, 1, 4 << 20); int killed = 0, s;
       for (int i = 0; i < 12; i++) if (fork() == 0) { memset(m, i, 4 << 20); sleep(1); _exit(0); }
       while (wait(&s) > 0) killed += WIFSIGNALED(s); printf("%d %d\\n", killed > 0, killed < 12); return 0;`,
      {},
      'char *m; /* the compiler is not to see that nobody reads it */',
    );
    expect([status, lines]).toEqual([0, ['1 1']]);
  });

  it('has its children end for want of memory while they are made knows them by their numbers', async () => {
    const [status, lines] = await run(
      `char *m = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); int killed = 0, wrong = 0, s;
       for (long at = 0; at < 64 << 20; at += 4096) {
         m[at] = 1;
         if (at < 28 << 20) continue;
         long p = syscall(SYS_clone, SIGCHLD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, 0, &ids[0], &ids[1], 0);
         if (p == 0) _exit(0);
         if (p < 0) break;
         wrong += waitpid(p, &s, 0) != p;
         killed += WIFSIGNALED(s);
       }
       printf("%d %d\\n", killed > 0, wrong); return 0;`,
      {},
      'static int ids[2] = { 1, 1 };',
    );
    expect([status, lines]).toEqual([0, ['1 0']]);
  });

  it('opens pipes and sockets for ever in all its children gets EMFILE, and small pipes', async () => {
    const [status, lines] = await run(
      `int p[2], n = 0; while (pipe2(p, O_NONBLOCK) == 0) n++;
       printf("%d %s\\n", n > 500, strerrorname_np(errno));
       for (int i = 0; i < 10; i++) close(i + 3);
       printf("%d\\n", socketpair(AF_UNIX, SOCK_STREAM, 0, p)); return 0;`,
    );
    expect([status, lines]).toEqual([0, ['1 EMFILE', '0']]);
  });

  it('sends signals for ever gets EAGAIN', async () => {
    const [status, lines] = await run(
      `sigset_t set; sigfillset(&set); sigprocmask(SIG_BLOCK, &set, 0); int n = 0;
       while (sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 }) == 0) n++;
       printf("%d %s\\n", n > 100, strerrorname_np(errno)); return 0;`,
    );
    expect([status, lines]).toEqual([0, ['1 EAGAIN']]);
  });

  it('executes itself for ever goes on until its time is over, without a leak', async () => {
    const [status, lines] = await run(
      `int n = getenv("N") ? atoi(getenv("N")) : 0; char text[20]; sprintf(text, "N=%d", n + 1);
       if (n == 300) { puts("enough"); return 0; }
       execle("/proc/self/exe", "again", (char *)0, (char *[]){ text, 0 }); return 1;`,
    );
    expect([status, lines]).toEqual([0, ['enough']]);
  });

  it('has arguments without end gets E2BIG', async () => {
    const [status, lines] = await run(
      `char **a = calloc(300001, 8); for (int i = 0; i < 300000; i++) a[i] = "0123456789";
       execv("/proc/self/exe", a); puts(strerrorname_np(errno)); return 0;`,
    );
    expect([status, lines]).toEqual([0, ['E2BIG']]);
  });

  it('shares memory with very many mappings of one page gets ENOMEM at last', async () => {
    const [status, lines] = await run(
      `int f = memfd_create("x", 0), n = 0; ftruncate(f, 4096); volatile char *m;
       while ((m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0)) != MAP_FAILED) { m[0]++; n++; }
       printf("%d %s\\n", n > 1000, strerrorname_np(errno)); return 0;`,
      { memory: '64M' },
    );
    expect([status, lines]).toEqual([0, ['1 ENOMEM']]);
  });
});
