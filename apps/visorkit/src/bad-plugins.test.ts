/** Plugins and configurations that are no good, or that throw: a sentence, a stable code, a status other than 0, and never a crash. */
import { accessSync, constants } from 'node:fs';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Scratch, cli, refused } from './test-cli.js';

vi.mock('node:fs', async (original) =>
  (await import('./test-writes.js')).catchWrites(await original<typeof import('node:fs')>()),
);

const scratch = new Scratch();
afterAll(() => scratch.remove());

let kvmMissing = true;
try {
  accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  kvmMissing = false;
} catch {
  console.warn('bad-plugins.test.ts: /dev/kvm cannot be used; what needs it is skipped');
}

const loop = scratch.file('loop.bin', [0xeb, 0xfe]);
const common = ['--serial', 'none', '--time', 'virtual', '--max-instructions', '1000'];

describe('plugins and configurations', () => {
  const plugin = (name: string, apply: string, more = ''): string =>
    scratch.file(`${name}.mjs`, `export default { name: '${name}', ${more} apply(host) { ${apply} } };\n`);

  it('unknown, broken and shapeless plugins', async () => {
    await refused(
      'PLUGIN_NOT_FOUND',
      /there is no package "nobody-has-this"/i,
      '--kernel',
      loop,
      '--plugin',
      'nobody-has-this',
    );
    await refused('PLUGIN_NOT_FOUND', /was not found/, '--kernel', loop, '--plugin', './nowhere.mjs');
    await refused(
      'PLUGIN_LOAD',
      /could not be loaded/,
      '--kernel',
      loop,
      '--plugin',
      scratch.file('syntax.mjs', 'export default { name: "x", apply( { }'),
    );
    await refused(
      'PLUGIN_LOAD',
      /could not be loaded/,
      '--kernel',
      loop,
      '--plugin',
      scratch.file('syntax.ts', 'export default { name: "x", apply(: } '),
    );
    await refused(
      'PLUGIN_LOAD',
      /top of the file/,
      '--kernel',
      loop,
      '--plugin',
      scratch.file('throws.mjs', 'throw new Error("top of the file");'),
    );
    await refused(
      'PLUGIN_SHAPE',
      /exports something that is no plugin/,
      '--kernel',
      loop,
      '--plugin',
      scratch.file('shape.mjs', 'export default 42;'),
    );
    await refused(
      'PLUGIN_SHAPE',
      /exports neither/,
      '--kernel',
      loop,
      '--plugin',
      scratch.file('none.mjs', 'export const a = 1;'),
    );
    await refused('PLUGIN_ENTRY', /no package.json/, '--kernel', loop, '--plugin', scratch.folder);
  });

  it('a capability that no backend has', async () => {
    await refused(
      'CAPABILITY_UNKNOWN',
      /Plugin wants-much names the capability "teleport", which no known backend has/,
      '--kernel',
      loop,
      '--serial',
      'none',
      '--plugin',
      plugin('wants-much', '', 'capabilities: ["teleport"],'),
    );
  });

  it.skipIf(kvmMissing)('a capability that another backend has (needs /dev/kvm)', async () => {
    await refused(
      'CAPABILITY_MISSING',
      /Backend kvm lacks "ept\.execute-only" \(asked for by wants-views; backend vmx has it\)/,
      '--kernel',
      loop,
      '--serial',
      'none',
      '--backend',
      'kvm',
      '--plugin',
      plugin('wants-views', '', 'capabilities: ["ept.execute-only"],'),
    );
  });

  it('two plugins with one name, or that claim one port', async () => {
    const first = plugin('twin', '');
    await refused(
      'PLUGIN_DUPLICATE',
      /Two plugins are called "twin"/,
      '--kernel',
      loop,
      '--serial',
      'none',
      '--plugin',
      first,
      '--plugin',
      first,
    );
    for (const [name, port] of [
      ['left', 0x700],
      ['right', 0x710],
    ] as const) {
      scratch.file(
        `${name}.ts`,
        `import { PortBusToken } from '@visorkit/machine';
export default { name: '${name}', uses: { ports: PortBusToken }, apply: (host, { ports }) => void ports.register(${port}, 32, { readPort: () => 0, writePort() {} }, '${name}') };`,
      );
    }
    const { status, err } = await cli(
      'run',
      '--kernel',
      loop,
      '--serial',
      'none',
      '--plugin',
      scratch.path('left.ts'),
      '--plugin',
      scratch.path('right.ts'),
    );
    expect(err).toMatch(/right claims ports .*, but left already has .*PORT_CONFLICT/s);
    expect(status).toBe(2);
  });

  it('that throw when applied, and in an exit handler', async () => {
    const applied = await cli(
      'run',
      '--kernel',
      loop,
      '--serial',
      'none',
      '--plugin',
      plugin('bad-apply', 'throw new TypeError("no good");'),
    );
    expect(applied.err).toMatch(/Plugin bad-apply failed while it was applied: no good/);
    expect(applied).toMatchObject({ status: 2 });
    const cpuid = scratch.file('cpuid.bin', [0x0f, 0xa2, 0xeb, 0xfc]);
    const handled = await cli(
      'run',
      '--kernel',
      cpuid,
      ...common,
      '--plugin',
      plugin(
        'bad-handler',
        'host.hooks.exit.for("cpuid").tap("bad-handler", () => { throw new RangeError("too far"); });',
      ),
    );
    expect(handled.err).toMatch(/Plugin bad-handler failed while it handled the exit cpuid: too far/);
    expect(handled.err).toMatch(/cpuid/);
    expect(handled.status).toBe(74);
    const answer = await cli(
      'run',
      '--kernel',
      cpuid,
      ...common,
      '--plugin',
      plugin('bad-answer', 'host.hooks.exit.for("cpuid").tap("bad-answer", () => 77);'),
    );
    expect(answer.err).toMatch(/bad-answer returned 77; it must return RESUME/);
    expect(answer.status).toBe(74);
  });

  it('configurations that cannot be read or hold nonsense', async () => {
    await refused('CONFIG_NOT_FOUND', /There is no configuration file/, '--config', scratch.path('nowhere.ts'));
    await refused(
      'CONFIG_LOAD',
      /could not be read/,
      '--config',
      scratch.file('broken.config.ts', 'export default defineVmm({ memory: "256M", '),
    );
    await refused(
      'CONFIG_LOAD',
      /could not be read/,
      '--config',
      scratch.file('broken.config.mjs', 'export default { memory: "256M", '),
    );
    await refused(
      'CONFIG_LOAD',
      /no default export/,
      '--config',
      scratch.file('empty.config.mjs', 'export const x = 1;'),
    );
    await refused(
      'CONFIG_INVALID',
      /"memroy" is no key of a configuration; did you mean "memory"\?/,
      '--config',
      scratch.file('typo.config.mjs', 'export default { memroy: "256M" };'),
    );
    await refused(
      'CONFIG_INVALID',
      /"cpus" is 0; it must be a whole number from 1 to 255/,
      '--config',
      scratch.file('cpus.config.ts', 'export default { cpus: 0 };'),
    );
  });
});
