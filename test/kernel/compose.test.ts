/** How a VM is put together: what fits, what does not, and what the error says. */
import { describe, expect, it } from 'vitest';
import {
  PluginHostToken,
  Stage,
  VisorkitError,
  definePlugin,
  inject,
  injectable,
  optional,
  stop,
  token,
} from '@visorkit/core';
import type { Plugin, PluginHost } from '@visorkit/core';
import { PortBusToken, compose } from '@visorkit/machine';
import type { PortBus } from '@visorkit/machine';
import { FakeBackend } from '@visorkit/testkit';

const memory = 4096;

function plugin(name: string, rest: Partial<Plugin> = {}): Plugin {
  return { name, apply() {}, ...rest };
}

function errorOf(run: () => unknown): VisorkitError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(VisorkitError);
    return error as VisorkitError;
  }
  throw new Error('nothing was thrown');
}

describe('composition', () => {
  it('lists every missing capability, who asked, and which backend has it', () => {
    const backend = new FakeBackend({ name: 'soft', without: ['exit.cpuid'] });
    const error = errorOf(() =>
      compose({
        backend,
        memory,
        alternatives: [new FakeBackend({ name: 'hard', capabilities: ['ept.execute-only'] })],
        plugins: [
          plugin('a', { capabilities: ['exit.cpuid', 'mtf'] }),
          plugin('b', { capabilities: ['exit.cpuid', 'ept.execute-only'] }),
        ],
      }),
    );
    expect(error.code).toBe('CAPABILITY_MISSING');
    expect(error.message).toContain('"exit.cpuid" (asked for by a, b; backend hard has it)');
    expect(error.message).toContain('"mtf" (asked for by a; no other known backend has it)');
    expect(error.message).toContain('"ept.execute-only" (asked for by b; backend hard has it)');
  });

  it('merges control bits and gives them to the backend', async () => {
    const backend = new FakeBackend();
    await using vmm = compose({
      backend,
      memory,
      plugins: [
        plugin('a', {
          needs: { primary: ['rdtsc-exiting'], exceptions: [1, 14], ports: [0x80], msrs: { read: [[0x800, 0x8ff]] } },
        }),
        plugin('b', { needs: { primary: ['rdtsc-exiting', 'hlt-exiting'], exceptions: [3] } }),
      ],
    });
    await vmm.create();
    const { controls } = backend.opened!;
    expect([...controls.primary].sort()).toEqual(['hlt-exiting', 'rdtsc-exiting']);
    expect(controls.exceptionBitmap).toBe((1 << 1) | (1 << 3) | (1 << 14));
    expect(controls.msrRead).toEqual([[0x800, 0x8ff]]);
    expect(controls.ports).toEqual([[0x80, 0x80]]);
  });

  it('reports conflicts over control bits by plugin', () => {
    const error = errorOf(() =>
      compose({
        backend: new FakeBackend(),
        memory,
        plugins: [
          plugin('steps', { needs: { primary: ['hlt-exiting', 'monitor-trap-flag'] } }),
          plugin('fast', { needs: { clear: { primary: ['hlt-exiting'] }, exceptions: [40] } }),
        ],
      }),
    );
    expect(error.code).toBe('CONTROL_CONFLICT');
    expect(error.details?.conflicts).toEqual([
      'steps needs the primary control "monitor-trap-flag", which backend fake does not have',
      'fast asks for exits of exception vector 40; vectors are 0 to 31',
      'steps needs the primary control "hlt-exiting" set, fast needs it clear',
    ]);
  });

  it('makes services when they are first used, whatever the order of the plugins', async () => {
    const Shared = token<string>('test-shared');
    const Nobody = token<number>('test-nobody-has-this');
    const order: string[] = [];
    await using vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        definePlugin({
          name: 'user',
          uses: { shared: Shared },
          apply: (_host, { shared }) => void order.push(`user of ${shared}`),
        }),
        definePlugin({
          name: 'maybe',
          uses: { shared: optional(Shared), nobody: optional(Nobody) },
          apply: (_host, { shared, nobody }) => void order.push(`maybe ${shared} ${nobody}`),
        }),
        definePlugin({
          name: 'maker',
          provides: [
            {
              token: Shared,
              make() {
                order.push('made');
                return 'it';
              },
            },
            {
              token: Nobody,
              scope: 'private',
              make() {
                order.push('never');
                return 1;
              },
            },
          ],
          apply: () => void order.push('maker'),
        }),
      ],
    });
    await vmm.create();
    expect(order).toEqual(['made', 'user of it', 'maybe it undefined', 'maker']);
    expect(vmm.services.get(Shared)).toBe('it');
  });

  it('refuses a missing service, a name used twice, a service provided twice', () => {
    const A = token<number>('test-a');
    const B = token<number>('test-b', '@somebody/b');
    const composed = (...plugins: Plugin[]) => errorOf(() => compose({ backend: new FakeBackend(), memory, plugins }));
    const a = { token: A, make: () => 1 };
    expect(composed(plugin('x', { uses: { a: A } }))).toMatchObject({
      code: 'SERVICE_MISSING',
      details: { service: 'test-a' },
      message:
        'Plugin x uses the service "test-a", which no plugin of this VM provides. Add a plugin that provides it.',
    });
    expect(composed(plugin('x', { uses: { b: B } })).message).toContain(
      'The package @somebody/b has it: add its plugin.',
    );
    expect(composed(plugin('x'), plugin('x'))).toMatchObject({ code: 'PLUGIN_DUPLICATE' });
    expect(composed(plugin('x', { provides: [a] }), plugin('y', { provides: [a] }))).toMatchObject({
      code: 'SERVICE_CONFLICT',
      details: { plugins: ['x', 'y'] },
    });
  });

  it('shows the path of a circle of services', async () => {
    const A = token<{ b: unknown }>('test-a');
    const B = token<{ a: unknown }>('test-b');
    const vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        definePlugin({ name: 'x', uses: { b: B }, provides: [{ token: A, make: ({ b }) => ({ b }) }] }),
        definePlugin({ name: 'y', uses: { a: A }, provides: [{ token: B, make: ({ a }) => ({ a }) }] }),
        definePlugin({ name: 'z', uses: { a: A }, apply: (_host, { a }) => void a }),
      ],
    });
    await expect(vmm.create()).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      cause: { code: 'SERVICE_CYCLE', details: { cycle: ['test-a', 'test-b', 'test-a'] } },
      message: expect.stringContaining('"test-a" (x) needs "test-b" (y) needs "test-a" (x)'),
    });
  });

  it('gives a plugin what it declares, and nothing else', async () => {
    let given: object = {};
    await using vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [plugin('x', { uses: { ports: PortBusToken }, apply: (_host, used) => void (given = used) })],
    });
    await vmm.create();
    expect(Object.keys(given)).toEqual(['ports']);
    expect(Object.isFrozen(given)).toBe(true);
    expect((given as { mmio?: unknown }).mmio).toBeUndefined();
  });

  it('disposes of services in reverse order of creation, so that what they use is still there', async () => {
    const Inner = token<object>('test-inner');
    const Outer = token<object>('test-outer');
    const gone: string[] = [];
    const service = (name: string) => ({ dispose: () => void gone.push(name) });
    const vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        definePlugin({ name: 'inner', provides: [{ token: Inner, make: () => service('inner') }] }),
        definePlugin({
          name: 'outer',
          uses: { inner: Inner },
          provides: [{ token: Outer, make: ({ inner }) => ({ inner, ...service('outer') }) }],
        }),
        definePlugin({
          name: 'user',
          uses: { outer: Outer },
          apply: (host, { outer }) => host.onDispose(() => void gone.push(outer === undefined ? '' : 'user')),
        }),
      ],
    });
    await vmm.create();
    await vmm.dispose();
    expect(gone).toEqual(['user', 'outer', 'inner']);
  });

  it('gives each plugin its own of a service of scope "plugin", made with the host of whoever asks', async () => {
    const Name = token<string>('test-name');
    const told: string[] = [];
    const user = (name: string) =>
      definePlugin({ name, uses: { mine: Name }, apply: (_host, { mine }) => void told.push(mine) });
    await using vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        definePlugin({
          name: 'namer',
          provides: [{ token: Name, scope: 'plugin', make: (_used, host) => `for ${host.name}` }],
        }),
        user('one'),
        user('two'),
      ],
    });
    await vmm.create();
    expect(told).toEqual(['for one', 'for two']);
    expect(() => vmm.services.get(Name)).toThrow(expect.objectContaining({ code: 'SERVICE_SCOPE' }));
  });

  it('refuses unknown keys and wrong values with a suggestion, wherever they stand', () => {
    const backend = new FakeBackend();
    const said = (options: object): string =>
      errorOf(() => compose({ backend, memory, ...options } as Parameters<typeof compose>[0])).message;
    expect(said({ plugin: [] })).toBe('In compose(): "plugin" is not an option of compose; did you mean "plugins"?');
    expect(said({ time: 'vrtual' })).toBe('In compose(): "time" is "vrtual"; it must be "virtual" or "real".');
    expect(said({ boot: { image: 'kernel' } })).toMatch(/"boot.image" is "kernel"; "boot" must be \{ image, /);
    const withPlugin = (rest: object): string => said({ plugins: [{ name: 'x', apply() {}, ...rest }] });
    expect(withPlugin({ needs: { primry: [] } })).toBe(
      'In plugin x, needs: "primry" is not a field of needs; did you mean "primary"?',
    );
    expect(withPlugin({ needs: { primary: ['rdtsc-exitng'] } })).toContain(
      'x needs the primary control "rdtsc-exitng", which does not exist; did you mean "rdtsc-exiting"',
    );
    expect(withPlugin({ needs: { primary: ['nmi-exiting'] } })).toContain('it is one of the pin controls');
    expect(withPlugin({ capabilities: ['ept.execute-olny'] })).toContain('did you mean "ept.execute-only"?');
    expect(withPlugin({ handles: ['cpuidd'] })).toContain('did you mean "cpuid"?');
    expect(withPlugin({ requires: {} })).toContain('"requires" is not a field of a plugin');
    expect(withPlugin({ provides: [{ token: PortBusToken }] })).toContain('it provides "port-bus" by nothing');
    expect(errorOf(() => compose({ backend } as never)).message).toContain('"memory" is missing');
  });

  it('refuses what is no plugin, and a kernel version that does not fit', () => {
    const composed = (entry: unknown) =>
      errorOf(() => compose({ backend: new FakeBackend(), memory, plugins: [entry as Plugin] }));
    expect(composed({ name: 'x' }).code).toBe('PLUGIN_SHAPE');
    expect(composed(null).code).toBe('PLUGIN_SHAPE');
    expect(composed(function factory() {}).message).toContain('factory()');
    expect(composed(plugin('old', { kernel: '>=99' })).message).toMatch(
      /Plugin old works with kernel >=99, but this kernel is \d/,
    );
    expect(composed(plugin('odd', { kernel: 'newest' })).message).toContain('no semver range');
  });

  it('checks memory and CPUs', () => {
    expect(errorOf(() => compose({ backend: new FakeBackend(), memory: 'lots' })).message).toContain('256M');
    expect(errorOf(() => compose({ backend: new FakeBackend(), memory: 5000 })).code).toBe('MEMORY_SIZE');
    expect(errorOf(() => compose({ backend: new FakeBackend(), memory, cpus: 0 })).code).toBe('CPU_COUNT');
  });

  it('makes classes with injected services: those a plugin provides, and its own', async () => {
    const Counter = token<Injected>('test-counter');
    const Settings = token<{ first: number }>('test-settings');
    @injectable()
    class Injected {
      constructor(
        @inject(PortBusToken) readonly ports: PortBus,
        @inject(Settings) readonly settings: { first: number },
        @inject(PluginHostToken) readonly host: PluginHost,
        @inject(token('test-nobody-has-this'), { isOptional: true }) readonly nothing?: unknown,
      ) {}
    }
    const made: Injected[] = [];
    const maker = (name: string, first: number) =>
      definePlugin({
        name,
        provides: [{ token: Settings, scope: 'private', make: () => ({ first }) }],
        apply: ({ make }) => void made.push(make(Injected)),
      });
    const provider = definePlugin({
      name: 'provider',
      provides: [
        { token: Settings, scope: 'private', make: () => ({ first: 3 }) },
        { token: Counter, type: Injected },
      ],
    });
    await using vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [maker('one', 1), maker('two', 2), provider],
    });
    await vmm.create();
    const counter = vmm.services.get(Counter);
    expect([...made, counter].map(({ settings, host }) => [host.name, settings.first])).toEqual([
      ['one', 1],
      ['two', 2],
      ['provider', 3],
    ]);
    expect(counter.ports).toBe(vmm.services.get(PortBusToken));
    expect(counter.nothing).toBeUndefined();
    expect(vmm.services.get(Counter)).toBe(counter);
    const without = { ...provider, name: 'lacking', provides: [{ token: Counter, type: Injected }] };
    expect(errorOf(() => compose({ backend: new FakeBackend(), memory, plugins: [without] }))).toMatchObject({
      code: 'SERVICE_MISSING',
      message: expect.stringContaining('Plugin lacking uses the service "test-settings"'),
    });
  });

  it('names a plugin that throws while it is applied, and undoes the rest', async () => {
    const backend = new FakeBackend();
    const undone: string[] = [];
    const vmm = compose({
      backend,
      memory,
      plugins: [
        plugin('first', { apply: (host) => host.onDispose(() => void undone.push('first')) }),
        plugin('bad', {
          apply() {
            throw new Error('boom');
          },
        }),
      ],
    });
    await expect(vmm.create()).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      details: { plugin: 'bad' },
      message: expect.stringContaining('boom'),
    });
    expect(undone).toEqual(['first']);
    expect(backend.disposals).toBe(1);
    expect(vmm.state).toBe('disposed');
  });

  it('refuses an apply that is asynchronous, and takes what it rejects with', async () => {
    const vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        plugin('slow', {
          apply: async () => {
            throw new Error('later');
          },
        }),
      ],
    });
    await expect(vmm.create()).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: expect.stringMatching(/Plugin slow failed .*its apply is asynchronous/),
    });
  });

  it('keeps two VMs of one process apart', async () => {
    const Counter = token<{ n: number }>('test-counter');
    const seen: string[] = [];
    const make = (name: string) =>
      compose({
        backend: new FakeBackend(),
        memory,
        time: 'virtual',
        plugins: [
          definePlugin({
            name: 'same-name',
            uses: { ports: PortBusToken, counter: Counter },
            provides: [{ token: Counter, make: () => ({ n: 0 }) }],
            apply({ hooks }, { ports, counter }) {
              ports.register(0x80, 1, { readPort: () => counter.n, writePort: () => counter.n++ }, name);
              hooks.exit.for('hlt').tap({ name: 'halt', stage: Stage.Fallback }, () => {
                seen.push(name);
                return stop(name);
              });
            },
          }),
        ],
      });
    await using one = make('one');
    await using two = make('two');
    await one.create();
    await two.create();
    one.memory.writeU32(0, 0x1111);
    one.services.get(PortBusToken).write(0x80, 1, 0);
    expect(two.memory.readU32(0)).toBe(0);
    expect(two.services.get(PortBusToken).read(0x80, 1)).toBe(0);
    expect(two.services.get(PortBusToken).ownerOf(0x80)).toBe('two');
    expect(one.services.get(Counter)).not.toBe(two.services.get(Counter));
    expect(one.services.get(Counter).n).toBe(1);
    const reports = await Promise.all([one.run(), two.run()]);
    expect(reports.map((report) => report.why)).toEqual(['one', 'two']);
    expect(seen.sort()).toEqual(['one', 'two']);
    await one.dispose();
    expect(two.services.get(Counter).n).toBe(0);
    expect(two.state).toBe('paused');
  });

  it('gives one backend object to one VM only', async () => {
    const backend = new FakeBackend();
    await using first = compose({ backend, memory });
    await first.create();
    const second = compose({ backend, memory });
    await expect(second.create()).rejects.toMatchObject({ code: 'BACKEND_IN_USE' });
    expect(backend.disposals).toBe(0);
  });
});
