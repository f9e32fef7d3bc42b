/** Pieces from outside the workspace, by path and by package: a backend, a boot loader, subcommands. */
import { mkdirSync } from 'node:fs';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Scratch, cli } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());
const workingDirectory = process.cwd();
beforeEach(() => process.chdir(scratch.folder));
afterEach(() => process.chdir(workingDirectory));

/** CPUID; HLT */
scratch.file('cpuid.bin', [0x0f, 0xa2, 0xf4]);
const run = ['run', '--kernel', 'cpuid.bin', '--mode', 'real16', '--serial', 'none', '--time', 'virtual'];

/** The software processor under another name, with one leaf of CPUID changed. */
const BACKEND = `import { defineBackend } from '@visorkit/core';
import { VmxBackend } from '@visorkit/backend-vmx';
export default defineBackend({
  name: 'mine',
  describe: 'a backend from outside',
  create(options) {
    const backend = new VmxBackend();
    const cpuid = backend.cpuid.map((row) => (row.leaf === 0 ? { ...row, ebx: options.word ?? 0x4d494e45 } : row));
    return Object.create(backend, {
      name: { value: 'mine' },
      cpuid: { value: cpuid },
      clock: { value: backend.clock },
      ...Object.fromEntries(['open', 'createMemory', 'createVcpu', 'provideServices', 'saveState', 'restoreState', 'mapRom', 'coverRam', 'statistics', 'dispose']
        .filter((name) => typeof backend[name] === 'function')
        .map((name) => [name, { value: (...given) => backend[name](...given) }])),
    });
  },
});
`;
/** Tells what CPUID gave. */
const WATCH = `export default { name: 'watch', apply({ hooks, logger }) {
  hooks.afterExit.tap(({ reason }, vcpu) => { if (reason === 10) logger.info('ebx ' + vcpu.rbx.toString(16)); });
} };
`;

describe('a backend', () => {
  it.each([
    ['by path', './backend.ts', 'backend.ts', BACKEND],
    ['by path, in JavaScript', './backend.mjs', 'backend.mjs', BACKEND],
    ['by the name of a package', 'visorkit-backend-mine', 'node_modules/visorkit-backend-mine/index.mjs', BACKEND],
    ['by its own name', 'mine', 'node_modules/visorkit-backend-mine/index.mjs', BACKEND],
  ])('%s', async (_how, specifier, file, text) => {
    scratch.file(file, text);
    scratch.file('watch.mjs', WATCH);
    const { err, status } = await cli(
      ...run,
      '--backend',
      specifier,
      '--plugin',
      './watch.mjs',
      '--report',
      'report.json',
    );
    expect(err).toContain('watch: ebx 4d494e45');
    expect(status).toBe(68);
  });

  it('with options, from a configuration', async () => {
    scratch.file('own/backend.ts', BACKEND);
    scratch.file('watch.mjs', WATCH);
    const config = scratch.file(
      'own/visorkit.config.ts',
      `export default { kernel: '../cpuid.bin', loader: 'flat', serial: 'none', time: 'virtual', plugins: ['../watch.mjs'],
  backend: { backend: './backend.ts', options: { word: 0x1234 } } };`,
    );
    const { err, status } = await cli('run', '--config', config);
    expect(err).toContain('watch: ebx 1234');
    expect(status).toBe(68);
  });

  it.each([
    [
      'xen',
      'OPTION_VALUE',
      /--backend takes one of vmx, kvm, or the path or package of another; there is no package "xen"/,
    ],
    ['./nowhere.ts', 'PLUGIN_NOT_FOUND', /Backend \.\/nowhere\.ts was not found/],
    ['./throws.mjs', 'PLUGIN_LOAD', /Backend \.\/throws\.mjs could not be loaded from .*: on import/],
    ['./plain.mjs', 'BACKEND_SHAPE', /exports a default that is no backend; export default defineBackend/],
    ['./nothing.mjs', 'BACKEND_SHAPE', /exports no default/],
  ])('that is none: %s', async (specifier, code, sentence) => {
    scratch.file('throws.mjs', 'throw new Error("on import");');
    scratch.file('plain.mjs', 'export default { name: "plain" };');
    scratch.file('nothing.mjs', 'export const a = 1;');
    const { err, status } = await cli(...run, '--backend', specifier);
    expect(err).toMatch(sentence);
    expect(err).toContain(`[${code}]`);
    expect(status).toBe(2);
  });

  it('refuses options that it does not have', async () => {
    const config = scratch.file(
      'wrong/visorkit.config.mjs',
      `export default { kernel: '../cpuid.bin', backend: { backend: 'vmx', options: { vender: 'amd' } } };`,
    );
    const { err } = await cli('run', '--config', config);
    expect(err).toMatch(/"vender" is not an option of the backend vmx; did you mean "vendor"\? \[BACKEND_OPTION\]/);
  });
});

describe('a boot loader', () => {
  it('in a plugin takes its own format', async () => {
    scratch.file(
      'loader.ts',
      `import { definePlugin } from '@visorkit/core';
import { BootLoadersToken } from '@visorkit/machine';
import type { BootLoader } from '@visorkit/machine';
const loader: BootLoader = {
  name: 'greeting',
  recognises: (image) => image[0] === 0x48 && image[1] === 0x69,
  load({ image, memory, vcpu }) {
    memory.write(0x2000, image.subarray(2));
    vcpu.setInitialState({ mode: 'real16', rip: 0x2000n, registers: { rbx: 7n } });
  },
};
export default definePlugin({
  name: 'boot-greeting',
  uses: { loaders: BootLoadersToken },
  apply: (host, { loaders }) => host.onDispose(loaders.add(loader)),
});`,
    );
    // "Hi", then MOV EAX, EBX; ADD AL, '0'; OUT E9H, AL; HLT
    scratch.file('greeting.bin', [0x48, 0x69, 0x88, 0xd8, 0x04, 0x30, 0xe6, 0xe9, 0xf4]);
    const guest = ['run', '--kernel', 'greeting.bin', '--serial', 'none', '--debugcon', 'stdio', '--time', 'virtual'];
    const { out, err, status } = await cli(...guest, '--plugin', './loader.ts');
    expect([out, status]).toEqual(['7', 68]);
    expect(err).not.toContain('is of no known format');
    expect((await cli(...guest, '--loader', 'greeting')).err).toMatch(/There is no boot loader "greeting"/);
  });
});

describe('subcommands', () => {
  const HELLO = `import { defineCommand } from '@visorkit/project';
export const commands = [defineCommand({
  name: 'greet',
  describe: 'greet somebody, and run the guest',
  arguments: [{ form: '<who>', describe: 'whom' }, { form: '[more...]', describe: 'who else' }],
  options: [{ form: '--loud', describe: 'in capitals' }, { form: '--sign <text>', describe: 'what comes at the end' }],
  async run({ arguments: names, options, run }) {
    const text = 'hello ' + names.join(' and ') + (options.sign ?? '');
    process.stderr.write((options.loud ? text.toUpperCase() : text) + '\\n');
    return run({ kernel: 'cpuid.bin', mode: 'real16', serial: 'none', time: 'virtual' }, [
      { name: 'counter', apply: ({ hooks, logger }) => void hooks.exit.for('cpuid').tap(() => logger.info('seen')) },
    ]);
  },
})];
`;

  it('are run by name, with --plugin before them', async () => {
    scratch.file('greet.mjs', HELLO);
    const { err, status } = await cli('--plugin', './greet.mjs', 'greet', 'Ann', 'Bob', '--loud', '--sign', '!');
    expect(err).toMatch(/HELLO ANN AND BOB!\ncounter: seen\n/);
    expect(status).toBe(68);
  });

  it('come from the configuration, from its plugins and from itself, and are listed by help', async () => {
    const folder = scratch.path('project');
    mkdirSync(folder, { recursive: true });
    process.chdir(folder);
    scratch.file('project/greet.mjs', HELLO);
    scratch.file(
      'project/visorkit.config.ts',
      `import { defineCommand, defineVmm } from '@visorkit/project';
export const commands = [defineCommand({ name: 'status', describe: 'end with a status', run: () => 7 })];
export default defineVmm({ kernel: '../cpuid.bin', plugins: ['./greet.mjs'] });`,
    );
    expect(await cli('status')).toMatchObject({ status: 7, err: '' });
    const help = await cli('--help');
    expect(help.out).toMatch(/^ {2}greet \[options\] <who> \[more\.\.\.\] +greet somebody/m);
    expect(help.out).toMatch(/^ {2}status +end with a status/m);
    expect(help.out).toMatch(/^ {2}run \[options\]/m);
    const own = await cli('greet', '--help');
    expect(own.out).toMatch(/--sign <text> +what comes at the end/);
    // A module that has commands alone is no plugin, and does not hinder a run
    expect((await cli('run', '--mode', 'real16', '--serial', 'none', '--time', 'virtual')).status).toBe(68);
  });

  it('are not looked for when the command is one of ours, and help is given although they are broken', async () => {
    const folder = scratch.path('broken');
    mkdirSync(folder, { recursive: true });
    process.chdir(folder);
    scratch.file('broken/visorkit.config.mjs', 'throw new Error("in the configuration");');
    expect((await cli('doctor', '--json')).err).toBe('');
    const help = await cli('--help');
    expect(help.out).toContain('run [options]');
    expect(help.err).toContain('in the configuration');
    const { status, err } = await cli('greet');
    expect(err).toMatch(/visorkit\.config\.mjs could not be read: in the configuration \[CONFIG_LOAD\]/);
    expect(status).toBe(2);
  });

  it.each([
    [
      '{ name: "Bad Name", describe: "x", run() {} }',
      'SUBCOMMAND_SHAPE',
      /"name" is "Bad Name"; it must be a word of small letters/,
    ],
    ['{ name: "x", describe: "x" }', 'SUBCOMMAND_SHAPE', /"run" is missing/],
    ['{ name: "x", describe: "x", run() {}, optoins: [] }', 'SUBCOMMAND_SHAPE', /did you mean "options"/],
    [
      '{ name: "x", describe: "x", run() {}, options: [{ form: "count", describe: "" }] }',
      'SUBCOMMAND_SHAPE',
      /x has an argument or option of a wrong form/,
    ],
    ['{ name: "run", describe: "x", run() {} }', 'SUBCOMMAND_CONFLICT', /two commands called "run"/],
    [
      '{ name: "x", describe: "x", run() { throw new TypeError("too bad"); } }',
      'SUBCOMMAND_FAILED',
      /The command x failed: too bad/,
    ],
    ['{ name: "x", describe: "x", run: () => 1000 }', 'SUBCOMMAND_FAILED', /returned 1000 as its exit status/],
  ])('that are wrong: %s', async (command, code, sentence) => {
    const file = scratch.file(`wrong-${code}-${command.length}.mjs`, `export const commands = [${command}];`);
    const { err, status } = await cli('--plugin', file, 'x');
    expect(err).toMatch(sentence);
    expect(err).toContain(`[${code}]`);
    expect(status).toBe(2);
  });

  it('cannot run with an option that run does not have', async () => {
    const file = scratch.file(
      'kernal.mjs',
      `export const commands = [{ name: 'x', describe: 'x', run: ({ run }) => run({ kernal: 'cpuid.bin' }) }];`,
    );
    const { err, status } = await cli('--plugin', file, 'x');
    expect(err).toMatch(/"kernal" is no option of run; did you mean "kernel"\? \[COMMAND_LINE\]/);
    expect(status).toBe(2);
  });

  it('that do not exist are told from those that do', async () => {
    scratch.file('greet.mjs', HELLO);
    const { err, status } = await cli('--plugin', './greet.mjs', 'gret');
    expect(err).toMatch(/Unknown command 'gret'\. Did you mean greet\?/);
    expect(status).toBe(2);
  });
});
