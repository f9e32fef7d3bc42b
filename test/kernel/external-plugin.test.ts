/** A plugin from outside the workspace: a folder with a package.json, a file, an npm package. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createLogger } from '@visorkit/core';
import type { LogSink } from '@visorkit/core';
import { loadPlugin } from '@visorkit/project';
import type { SharedModules } from '@visorkit/project';
import { exits } from '@visorkit/exits';
import * as machine from '@visorkit/machine';
import { compose } from '@visorkit/machine';
import { cpuidExit, fakeBackend } from '@visorkit/testkit';

const folder = mkdtempSync(join(tmpdir(), 'visorkit-plugin-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, text: string): string {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

const backend = () =>
  fakeBackend([cpuidExit(0), cpuidExit(0x8000_0001)], {
    controls: { primary: new Set(['hlt-exiting', 'mwait-exiting', 'cr8-load-exiting', 'cr8-store-exiting']) },
  });

async function logOf(
  specifier: string,
  from = folder,
  options?: Record<string, unknown>,
  shared?: SharedModules,
): Promise<string[]> {
  const lines: string[] = [];
  const log: LogSink = (level, source, message) => {
    if (level === 'info') lines.push(`${source}: ${message}`);
  };
  await using vmm = compose({
    backend: backend(),
    memory: 4096,
    time: 'virtual',
    log,
    plugins: [...exits(), ...(await loadPlugin(specifier, from, options, shared))],
  });
  expect((await vmm.run()).reason).toBe('halted');
  return lines;
}

/** The author's own three lines. */
const THREE_LINES = `export default { name: 'log-cpuid', apply({ hooks, logger }) {
  hooks.exit.for('cpuid').tap('log-cpuid', (exit, vcpu) => logger.info(\`CPUID \${vcpu.rax.toString(16)}\`));
} };
`;

describe('a plugin from outside', () => {
  it('logs every CPUID exit with three lines of its own, from a folder with a package.json', async () => {
    write(
      'log-cpuid/package.json',
      JSON.stringify({ name: 'log-cpuid', version: '1.0.0', type: 'module', exports: './index.js' }),
    );
    write('log-cpuid/index.js', THREE_LINES);
    expect(THREE_LINES.trim().split('\n')).toHaveLength(3);
    expect(await logOf('./log-cpuid')).toEqual(['log-cpuid: CPUID 0', 'log-cpuid: CPUID 80000001']);
    expect(await logOf(join(folder, 'log-cpuid'), '/')).toHaveLength(2);
  });

  it('is found as an npm package, through its exports', async () => {
    write(
      'node_modules/@someone/visorkit-log/package.json',
      JSON.stringify({
        name: '@someone/visorkit-log',
        type: 'module',
        exports: { '.': { types: './x.d.ts', import: { default: './lib/main.js' } } },
      }),
    );
    write('node_modules/@someone/visorkit-log/lib/main.js', THREE_LINES);
    expect(await logOf('@someone/visorkit-log', join(folder, 'deep', 'inside'))).toHaveLength(2);
  });

  it('may be TypeScript, import the kernel, take options, and be a list', async () => {
    write(
      'typed.ts',
      `import { ExitReason, RESUME, Stage } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
export default (options: { word?: string }): Plugin[] => [{
  name: 'typed',
  apply({ hooks, logger }) {
    hooks.exit.for(ExitReason.CPUID).tap({ name: 'typed', stage: Stage.Observe }, () => { logger.info(options.word ?? 'none'); return RESUME; });
  },
}];`,
    );
    expect(await logOf('./typed.ts', folder, { word: 'hello' })).toEqual(['typed: hello', 'typed: hello']);
  });

  it('can take an exit with the outcomes it is given', async () => {
    write(
      'take.mjs',
      `export const plugin = { name: 'take', apply({ hooks, outcomes, logger }) { hooks.exit.for('cpuid').tap('take', () => { logger.info('mine'); return outcomes.RESUME; }); } };`,
    );
    expect(await logOf('take.mjs')).toEqual(['take: mine', 'take: mine']);
  });

  it.each(['shared.mts', 'shared.mjs'])('may import what the application shares: %s', async (name) => {
    write(
      name,
      `import { RESUME } from '@visorkit/core';
import { PortBusToken } from '@visorkit/machine';
export default { name: 'shared', requires: { services: [PortBusToken] }, apply({ hooks, logger, services }) {
  hooks.exit.for('cpuid').tap('shared', () => { logger.info(String(services.get(PortBusToken).read(0x80, 1))); return RESUME; });
} };`,
    );
    expect(await logOf(`./${name}`, folder, undefined, { '@visorkit/machine': machine })).toEqual([
      'shared: 255',
      'shared: 255',
    ]);
  });

  it('may be a class in CommonJS', async () => {
    write('old/package.json', JSON.stringify({ name: 'old', main: 'main.js' }));
    write(
      'old/main.js',
      `module.exports = class Old { static pluginName = 'old'; apply({ hooks, logger }) { hooks.exit.for('cpuid').tap('old', () => { logger.info('old'); }); } };`,
    );
    expect(await logOf('./old')).toEqual(['old: old', 'old: old']);
  });
});

describe('a plugin that cannot be loaded', () => {
  it.each([
    ['./nowhere', 'PLUGIN_NOT_FOUND', 'there is no'],
    ['no-such-package', 'PLUGIN_NOT_FOUND', 'npm install no-such-package'],
    ['plain', 'PLUGIN_NOT_FOUND', 'write "./plain" for a path'],
    ['./plain', 'PLUGIN_ENTRY', 'no index.mjs, index.js or index.ts'],
    ['./text.txt', 'PLUGIN_ENTRY', 'a plugin is a .mjs, .js or .ts file'],
    ['./unbuilt', 'PLUGIN_ENTRY', 'Has the plugin been built?'],
    ['./badjson', 'PLUGIN_ENTRY', 'is no JSON'],
    ['./syntax.mjs', 'PLUGIN_LOAD', 'could not be loaded'],
    ['./syntax.ts', 'PLUGIN_LOAD', 'could not be loaded'],
    ['./throws.mjs', 'PLUGIN_LOAD', 'on import'],
    ['./factory.mjs', 'PLUGIN_LOAD', 'in the factory'],
    ['./nothing.mjs', 'PLUGIN_SHAPE', 'neither "default" nor "plugin"'],
    ['./number.mjs', 'PLUGIN_SHAPE', 'something that is no plugin'],
  ])('%s: %s', async (specifier, code, message) => {
    write('plain/readme.md', '');
    write('text.txt', '');
    write('unbuilt/package.json', JSON.stringify({ name: 'unbuilt', exports: './dist/index.js' }));
    write('badjson/package.json', '{');
    write('syntax.mjs', 'export default {');
    write('syntax.ts', 'export default {');
    write('throws.mjs', 'throw new Error("on import");');
    write('factory.mjs', 'export default () => { throw new Error("in the factory"); };');
    write('nothing.mjs', 'export const x = 1;');
    write('number.mjs', 'export default 4;');
    await expect(loadPlugin(specifier, folder)).rejects.toMatchObject({
      name: 'VisorkitError',
      code,
      message: expect.stringContaining(message),
    });
  });
});

it('loggers carry names', () => {
  const lines: string[] = [];
  createLogger((level, source, message) => lines.push(`${level} ${source} ${message}`))
    .child('x')
    .warn('y');
  expect(lines).toEqual(['warn x y']);
});
