/** Configurations: what is accepted, what is refused and with which sentence, and where the file is looked for. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { VisorkitError } from '@visorkit/core';
import { findConfig, loadConfig, loadProject, validateConfig } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'visorkit-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('validateConfig', () => {
  it('takes a whole configuration as it is', async () => {
    const config = {
      backend: 'vmx',
      memory: '256M',
      cpus: 1,
      kernel: 'vmlinuz',
      initrd: 'initrd',
      modules: ['a', 'b'],
      append: '',
      loader: 'flat',
      loaderOptions: { mode: 'real16' },
      plugins: ['./p.mjs', { plugin: 'pkg', options: { a: 1 } }, { name: 'own', apply() {} }],
      serial: 'file:log',
      debugcon: 'stdio',
      debugExit: true,
      testdev: true,
      time: 'virtual',
      maxInstructions: 5,
      timeout: 0.5,
      report: '-',
      onReset: 'restart',
    };
    expect(await validateConfig(config)).toBe(config);
    expect(await validateConfig({ memory: 4096 * 3 })).toEqual({ memory: 12288 });
  });

  it.each([
    [{ memory: 'lots' }, '"memory" is "lots"; it must be a size such as "256M"'],
    [{ memory: 5000 }, '"memory" is 5000; it must be a size'],
    [{ cpus: 1.5 }, '"cpus" is 1.5; it must be a whole number from 1 to 255'],
    [{ backend: 3 }, '"backend" is 3; it must be the name of a backend such as "vmx" or "kvm"'],
    [{ memroy: 1 }, '"memroy" is no key of a configuration; did you mean "memory"?'],
    [{ colour: 1 }, '"colour" is no key of a configuration; the keys are backend, memory,'],
    [{ serial: 'tcp' }, '"serial" is "tcp"; it must be "stdio", "none" or "file:PATH"'],
    [{ modules: ['a', 3] }, '"modules[1]" is 3; "modules" must be a list of paths'],
    [{ plugins: 'p' }, '"plugins" is "p"; it must be a list'],
    [{ timeout: 0 }, '"timeout" is 0; it must be a positive number of seconds'],
    [{ debugcon: 'file:' }, '"debugcon" is "file:"; it must be "stdio", "none" or "file:PATH"'],
    [{ debugExit: 'yes' }, '"debugExit" is "yes"; it must be true or false'],
    ['text', 'a configuration is an object, not "text"'],
  ])('names the key, the value and what would be right: %j', async (config, message) => {
    await expect(validateConfig(config, 'x.ts')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(message),
    });
  });

  it('reports every fault at once', async () => {
    const error = await validateConfig({ memory: -1, cpus: 0, tme: 'real' }).catch((e: unknown) => e as VisorkitError);
    expect((error as VisorkitError).details?.faults).toHaveLength(3);
  });

  it('gives a configuration or a VisorkitError for anything', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom('memory', 'cpus', 'plugins', 'serial', 'modules', 'timeout', 'x'), fc.anything()),
        async (config) => {
          try {
            await validateConfig(config);
          } catch (error) {
            expect(error).toBeInstanceOf(VisorkitError);
          }
        },
      ),
    );
  });
});

describe('loadConfig', () => {
  it('reads TypeScript and JavaScript', async () => {
    const ts = file(
      'visorkit.config.ts',
      `import { defineVmm } from '@visorkit/project';\nconst memory: string = '64M';\nexport default defineVmm({ memory, time: 'virtual' });\n`,
    );
    expect(await loadConfig(ts)).toEqual({ memory: '64M', time: 'virtual' });
    expect(await loadConfig(file('other.mjs', `export default { kernel: 'k' };`))).toEqual({ kernel: 'k' });
    expect(findConfig(folder)).toBe(ts);
  });

  it('says what is wrong with a file', async () => {
    await expect(loadConfig(join(folder, 'none.ts'))).rejects.toMatchObject({ code: 'CONFIG_NOT_FOUND' });
    await expect(loadConfig(file('a.json', '{}'))).rejects.toMatchObject({ code: 'CONFIG_LOAD' });
    await expect(loadConfig(file('broken.mjs', 'export default {'))).rejects.toMatchObject({
      code: 'CONFIG_LOAD',
      message: expect.stringContaining('broken.mjs could not be read'),
    });
    await expect(loadConfig(file('broken.ts', 'export default {'))).rejects.toMatchObject({ code: 'CONFIG_LOAD' });
    await expect(loadConfig(file('empty.mjs', 'export const x = 1;'))).rejects.toMatchObject({
      message: expect.stringContaining('no default export'),
    });
    await expect(loadConfig(file('wrong.mjs', 'export default { memory: "x" };'))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('wrong.mjs: "memory" is "x"'),
    });
  });
});

describe('loadProject', () => {
  it('finds the configuration, makes paths absolute and loads the plugins', async () => {
    file('named.mjs', `export default (options) => ({ name: 'named', apply() {}, version: options.version ?? '0' });`);
    const path = file(
      'project.mjs',
      `export default { kernel: 'k', modules: ['m1 a b', '/m2'], serial: 'file:log', debugcon: 'file:debug', plugins: ['./named.mjs', { plugin: './named.mjs', options: { version: '2' } }, { name: 'own', apply() {} }] };`,
    );
    const project = await loadProject(folder, 'project.mjs');
    expect(project).toMatchObject({
      file: path,
      config: {
        kernel: join(folder, 'k'),
        modules: [`${join(folder, 'm1')} a b`, '/m2'],
        serial: `file:${join(folder, 'log')}`,
        debugcon: `file:${join(folder, 'debug')}`,
      },
    });
    expect(project!.plugins).toMatchObject([
      { name: 'named', version: '0' },
      { plugin: { version: '2' }, options: { version: '2' } },
      { name: 'own' },
    ]);
    expect(await loadProject(join(folder, 'nowhere'))).toBeUndefined();
    await expect(loadProject(folder, 'missing.mjs')).rejects.toMatchObject({ code: 'CONFIG_NOT_FOUND' });
  });
});
