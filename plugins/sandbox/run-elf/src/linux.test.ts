/**
 * Programs in C that do what Linux is for: processes, memory and files that are shared, events, signals and timers. Each prints line by line what
 * came of it, and the lines are the same on the machine's own Linux and in the sandbox.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runElf } from './run-elf.js';
import { BACKENDS } from './test-backends.js';
import { canCompile, compile } from './test-programs.js';

const home = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'visorkit-linux-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** A KVM without help of the processor takes minutes for these: they make processes by the hundred, or measure time. */
const HEAVY = new Set(['processes', 'signals', 'locks']);
const slowKvm = existsSync('/sys/module/kvm_pvm') && BACKENDS.some(([name]) => name === 'kvm');
if (slowKvm)
  process.stderr.write(`SKIPPED: ${[...HEAVY].join(', ')} on kvm. This machine's (module kvm_pvm) emulates ring 0.\n`);

/** INT1 natively: some hypervisors leave RIP at it, so that it is raised for ever. */
const INT1 = `
#include <signal.h>
#include <unistd.h>
static int traps;
static void trap(int signal) { if (++traps > 1) _exit(1); }
int main(void) {
  signal(SIGTRAP, trap);
  __asm__ volatile(".byte 0xf1");
  return 0;
}
`;
const hasInt1 = !canCompile || spawnSync(compile(home, 'int1', INT1)).status === 0;
if (!hasInt1)
  process.stderr.write("SKIPPED: INT1 in programs. This machine's own Linux comes back to the instruction for ever.\n");
const environment: Record<string, string> = hasInt1 ? {} : { WITHOUT_INT1: 'yes' };

const folder = (name: string): string => {
  mkdirSync(join(home, name));
  return join(home, name);
};

describe
  .skipIf(!canCompile)
  .each([
    'processes',
    'sharing',
    'edges',
    'readiness',
    'signals',
    'sockets',
    'rights',
    'locks',
    'terminals',
    'watches',
  ])('%s', (name) => {
  let program = '',
    expected: string[] = [];

  it('has a measure', { timeout: 60_000 }, () => {
    program = compile(home, name, join(import.meta.dirname, `../guest/${name}.c`), '-w');
    const native = spawnSync(program, [], {
      cwd: folder(`${name}-native`),
      env: environment,
      encoding: 'latin1',
      timeout: 30_000,
    });
    expect(native.status, native.stdout.slice(-300)).toBe(42);
    expected = native.stdout.split('\n');
  });

  describe.each(BACKENDS)('on %s', (backend, options) => {
    it.skipIf(backend === 'kvm' && slowKvm && HEAVY.has(name))('is the same', { timeout: 60_000 }, async () => {
      const host = folder(`${name}-${backend}`);
      const result = await runElf({
        ...options,
        file: program,
        env: { ...environment, SANDBOXED: 'yes' },
        cwd: '/work',
        mounts: [{ host, guest: '/work' }],
      });
      expect(Buffer.from(result.stdout).toString('latin1').split('\n')).toEqual(expected);
      expect(result).toMatchObject({ status: 42, message: [], unknownCalls: [] });
    });
  });

  it('is the same in memory, twice to the instruction', { timeout: 60_000 }, async () => {
    const run = () =>
      runElf({
        file: program,
        env: { ...environment, SANDBOXED: 'yes' },
        cwd: '/tmp',
        time: 'virtual',
        epoch: 1_700_000_000_000_000_000n,
        fillRandom: (bytes) => bytes.fill(7),
        timeout: 60,
      });
    const first = await run(),
      second = await run();
    expect(Buffer.from(first.stdout).toString('latin1').split('\n')).toEqual(expected);
    expect(second.report.guestInstructions).toBe(first.report.guestInstructions);
    expect(second.systemCalls).toBe(first.systemCalls);
  });
});

it.skipIf(!canCompile)(
  'threads that pass something on do not wait for one that calculates',
  { timeout: 60_000 },
  async () => {
    const program = compile(
      home,
      'passing',
      `
#include <pthread.h>
static volatile int stop;
static void *calculate(void *x) { while (!stop) {} return 0; }
static void *nothing(void *x) { return 0; }
int main(void) {
  pthread_t busy, thread;
  pthread_create(&busy, 0, calculate, 0);
  for (int i = 0; i < 100; i++) { pthread_create(&thread, 0, nothing, 0); pthread_join(thread, 0); }
  stop = 1;
  pthread_join(busy, 0);
  return 6;
}
`,
      '-lpthread',
    );
    // A turn is 20 ms, which is some twenty million instructions: a hundred of them would be two thousand million
    const { status, report } = await runElf({ file: program, time: 'virtual', timeout: 60 });
    expect(status).toBe(6);
    expect(report.guestInstructions).toBeLessThan(30_000_000);
  },
);
