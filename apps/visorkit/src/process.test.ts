/** The command line as a process of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { GuestCode } from '@visorkit/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { Scratch } from './test-cli.js';

const BIN = new URL('../bin/visorkit.js', import.meta.url).pathname;
const ROOT = new URL('../../../', import.meta.url).pathname;
const unbuilt = !existsSync(new URL('../dist/main.js', import.meta.url));
if (unbuilt) console.warn('process.test.ts: skipped, since there is no build');

describe.skipIf(unbuilt)('as a process (needs a build)', () => {
  const scratch = new Scratch();
  afterAll(() => scratch.remove());
  const hello = scratch.file('hello.bin', new GuestCode().print('hello\n').cli().hlt().build());
  const chatter = scratch.file(
    'chatter.bin',
    new GuestCode().movDx(0x3f8).label('again').movAl(0x0a).outDxAl().jmp('again').build(),
  );
  const shell = (command: string) =>
    spawnSync('sh', ['-c', command], { cwd: ROOT, encoding: 'utf8', timeout: 30_000, input: '' });

  it('npx visorkit runs it from the root of the repository', () => {
    const { stdout, status } = shell(`npx --no-install visorkit run --kernel ${hello} --mode real16`);
    expect(stdout).toBe('hello\n');
    expect(status).toBe(68);
  });

  it('starts with the code that V8 kept when it was built: none of it was kept under other flags', () => {
    const look = scratch.file(
      'look.cjs',
      `const vm = require('node:vm'); const { Script } = vm; let taken = 0, refused = 0, without = 0;
      vm.Script = class extends Script {
        constructor(text, options) {
          super(text, options);
          if (options.cachedData === undefined) without++; else if (this.cachedDataRejected) refused++; else taken++;
        }
      };
      process.on('exit', () => console.log(JSON.stringify({ taken, refused, without })));`,
    );
    const { stdout } = shell(`${process.execPath} --require ${look} ${BIN} run --kernel ${hello} --mode real16`);
    const { taken, ...others } = JSON.parse(stdout.split('\n')[1]) as Record<string, number>;
    expect(others).toEqual({ refused: 0, without: 0 });
    // about a megabyte, in scripts of 128 KiB and more
    expect(taken).toBeGreaterThan(5);
  });

  it('starts with a processor that was compiled when it was built', () => {
    const look = scratch.file(
      'wasm.cjs',
      `let compiled = 0; const { compile, Module } = WebAssembly;
      WebAssembly.compile = (bytes) => (compiled++, compile(bytes));
      WebAssembly.Module = class extends Module { constructor(bytes) { super(bytes); compiled++; } };
      process.on('exit', () => console.log(JSON.stringify({ compiled })));`,
    );
    const { stdout } = shell(`${process.execPath} --require ${look} ${BIN} run --kernel ${hello} --mode real16`);
    expect(stdout).toBe('hello\n{"compiled":0}\n');
  });

  it('a reader that goes away ends a guest that would talk for ever', () => {
    const { stdout, stderr } = shell(
      `(${process.execPath} ${BIN} run --kernel ${chatter} --mode real16; echo "status=$?" >&2) | head -c 10`,
    );
    expect(stdout).toBe('\n'.repeat(10));
    expect(stderr).toMatch(/EPIPE.*\[OUTPUT_FILE\]\nstatus=78\n/);
  });

  const PLUGINS: Readonly<Record<string, string>> = {
    'an asynchronous handler':
      'apply: ({ hooks }) => hooks.exit.for("io").tap("x", async () => { throw new Error("late"); })',
    'a promise of a handler':
      'apply: ({ hooks }) => hooks.exit.for("io").tap("x", () => { Promise.reject(new Error("late")); })',
    'a promise of apply': 'apply: () => { Promise.reject(new Error("late")); }',
  };
  it.each(Object.keys(PLUGINS))('%s that fails is the end of the run, with a report and no stack', (what) => {
    const plugin = scratch.file(
      `${what.replaceAll(' ', '-')}.mjs`,
      `export default { name: "late", ${PLUGINS[what]} };`,
    );
    const { stderr } = shell(
      `${process.execPath} ${BIN} run --kernel ${hello} --mode real16 --plugin ${plugin} --report ${scratch.path('late.json')}; echo "status=$?" >&2`,
    );
    expect(stderr).toMatch(/status=74\n$/);
    expect(stderr).not.toMatch(/^ +at |node:internal/m);
    expect(JSON.parse(readFileSync(scratch.path('late.json'), 'utf8'))).toMatchObject({
      reason: 'plugin-error',
      exitStatus: 74,
    });
  });

  it('ends although a plugin has left a timer running', () => {
    const plugin = scratch.file(
      'ticks.mjs',
      'export default { name: "ticks", apply: () => { setInterval(() => {}, 1000); } };',
    );
    expect(shell(`${process.execPath} ${BIN} run --kernel ${hello} --mode real16 --plugin ${plugin}`)).toMatchObject({
      status: 68,
      signal: null,
    });
  });

  it('calls what a plugin wants done at the end, and leaves Node to write what its own options ask for', () => {
    const plugin = scratch.file(
      'farewell.mjs',
      `import { writeSync } from 'node:fs';
      export default { name: 'farewell', apply: () => { process.on('exit', (status) => writeSync(1, \`bye \${status}\`)); } };`,
    );
    const run = (options: string) =>
      shell(`${process.execPath} ${options} ${BIN} run --kernel ${hello} --mode real16 --plugin ${plugin}`);
    expect(run('')).toMatchObject({ stdout: 'hello\nbye 68', status: 68, signal: null });
    const profiles = scratch.path('profiles');
    expect(run(`--cpu-prof --cpu-prof-dir ${profiles}`)).toMatchObject({ stdout: 'hello\nbye 68', status: 68 });
    expect(readdirSync(profiles)).toHaveLength(1);
  });

  it('says when a plugin or the configuration waits for what never comes', () => {
    const plugin = scratch.file(
      'never.mjs',
      'export default { name: "never", apply: ({ hooks }) => hooks.load.tap(() => new Promise(() => {})) };',
    );
    const config = scratch.file('never.config.mjs', 'await new Promise(() => {}); export default {};');
    for (const option of [`--plugin ${plugin}`, `--config ${config}`]) {
      const { status, stderr } = shell(
        `${process.execPath} ${BIN} run --kernel ${hello} --mode real16 --report ${scratch.path('never.json')} ${option}`,
      );
      expect([status, stderr]).toEqual([2, expect.stringMatching(/promise can never settle: .*\[NEVER_SETTLES\]\n$/)]);
      expect(JSON.parse(readFileSync(scratch.path('never.json'), 'utf8'))).toMatchObject({
        reason: 'not-started',
        error: { code: 'NEVER_SETTLES' },
      });
    }
  });

  it('writes its report when it is ended by SIGTERM', async () => {
    const child = spawn(
      process.execPath,
      [BIN, 'run', '--kernel', chatter, '--mode', 'real16', '--report', scratch.path('term.json')],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.stdout.resume();
    child.kill('SIGTERM');
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(143);
    expect(JSON.parse(readFileSync(scratch.path('term.json'), 'utf8'))).toMatchObject({
      reason: 'aborted',
      exitStatus: 143,
      why: 'The run was ended by SIGTERM.',
    });
  }, 60_000);

  it('input from a pipe reaches the guest; its end lets a guest that waits for nothing else end', () => {
    // Sends back what comes in, in upper case, from its interrupt handler; waits with interrupts on
    const code = new GuestCode()
      .raw(0xc7, 0x06, 0x30, 0, 0, 0x11, 0xc7, 0x06, 0x32, 0, 0, 0) // vector 12 (IRQ 4): 0000:1100
      .raw(
        0xb0,
        0x11,
        0xe6,
        0x20,
        0xb0,
        8,
        0xe6,
        0x21,
        0xb0,
        4,
        0xe6,
        0x21,
        0xb0,
        1,
        0xe6,
        0x21,
        0xb0,
        0xef,
        0xe6,
        0x21,
      ) // 8259: vectors from 8, all but IRQ 4 masked
      .movDx(0x3fc)
      .movAl(0x0b)
      .outDxAl()
      .movDx(0x3f9)
      .movAl(1)
      .outDxAl()
      .sti()
      .label('wait')
      .hlt()
      .jmp('wait')
      .build(); // 16550: OUT2, interrupts for received bytes
    const handler = [0xba, 0xf8, 0x03, 0xec, 0x24, 0xdf, 0xee, 0xb0, 0x20, 0xe6, 0x20, 0xcf]; // in; and al, 0xdf; out; EOI; iret
    const kernel = scratch.file('upper.bin', [
      ...code,
      ...new Array<number>(0x100 - code.length).fill(0x90),
      ...handler,
    ]);
    const { stdout, stderr, status } = shell(
      `printf hello | ${process.execPath} ${BIN} run --kernel ${kernel} --mode real16`,
    );
    expect(stdout).toBe('HELLO');
    expect(stderr).toMatch(/no timer or input can wake it/);
    expect(status).toBe(68);
  });

  it('a host without room for the guest is an error like others', () => {
    const { stderr, status } = shell(
      `ulimit -v 8000000 && ${process.execPath} ${BIN} run --kernel ${hello} --mode real16 --memory 3G`,
    );
    if (status === 68) return; // a machine that does not count address space
    expect(stderr).toMatch(/^visorkit: The host has no room for a guest of 3072 MiB.*\[ENGINE_HOST_MEMORY\]/);
    expect(status).toBe(2);
  });

  it('what is wrong goes to standard error only', () => {
    const { stdout, stderr, status } = shell(`${process.execPath} ${BIN} run --kernel /nowhere`);
    expect([stdout, status]).toEqual(['', 2]);
    expect(stderr).toMatch(/^visorkit: --kernel names "\/nowhere", but there is no such file\. \[FILE_UNREADABLE\]\n$/);
  });
});
