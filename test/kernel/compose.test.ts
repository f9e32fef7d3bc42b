/** How a VM is put together: what fits, what does not, and what the error says. */
import { describe, expect, it } from 'vitest';
import { Stage, VisorkitError, inject, injectable, token } from '@visorkit/core';
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
          plugin('a', { requires: { capabilities: ['exit.cpuid', 'mtf'] } }),
          plugin('b', { requires: { capabilities: ['exit.cpuid', 'ept.execute-only'] } }),
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

  it('applies plugins after those that provide what they require', async () => {
    const Shared = token<string>('test-shared');
    const order: string[] = [];
    await using vmm = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        plugin('user', {
          requires: { services: [Shared] },
          apply: ({ services }) => order.push(`user of ${services.get(Shared)}`),
        }),
        plugin('maybe', {
          requires: { optionalServices: [Shared, token('nobody-has-this')] },
          apply: () => order.push('maybe'),
        }),
        plugin('maker', {
          provides: [Shared],
          apply: ({ services }) => {
            order.push('maker');
            services.provide(Shared, 'it');
          },
        }),
      ],
    });
    await vmm.create();
    expect(order).toEqual(['maker', 'user of it', 'maybe']);
  });

  it('refuses a missing service, a circle, a name used twice, a service provided twice', async () => {
    const A = token<number>('test-a');
    const B = token<number>('test-b');
    const composed = (...plugins: Plugin[]) => errorOf(() => compose({ backend: new FakeBackend(), memory, plugins }));
    expect(composed(plugin('x', { requires: { services: [A] } }))).toMatchObject({
      code: 'SERVICE_MISSING',
      details: { service: 'test-a', plugin: 'x' },
    });
    expect(
      composed(
        plugin('x', { requires: { services: [A] }, provides: [B] }),
        plugin('y', { requires: { services: [B] }, provides: [A] }),
      ),
    ).toMatchObject({ code: 'PLUGIN_CYCLE', details: { cycle: ['x', 'y', 'x'] } });
    expect(composed(plugin('x'), plugin('x'))).toMatchObject({ code: 'PLUGIN_DUPLICATE' });
    expect(composed(plugin('x', { provides: [A] }), plugin('y', { provides: [A] }))).toMatchObject({
      code: 'SERVICE_CONFLICT',
      details: { plugins: ['x', 'y'] },
    });
    const twice = compose({
      backend: new FakeBackend(),
      memory,
      plugins: [
        plugin('x', { apply: (host) => host.services.provide(A, 1) }),
        plugin('y', { apply: (host) => host.services.provide(A, 2) }),
      ],
    });
    await expect(twice.create()).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: expect.stringContaining('x already does'),
    });
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

  it('makes plugin classes with injected services', async () => {
    let bus: PortBus | undefined;
    @injectable()
    class Injected {
      static readonly requires = { services: [PortBusToken] };
      constructor(@inject(PortBusToken) private readonly ports: PortBus) {}
      apply(_host: PluginHost): void {
        bus = this.ports;
      }
    }
    await using vmm = compose({ backend: new FakeBackend(), memory, plugins: [Injected] });
    await vmm.create();
    expect(bus).toBe(vmm.services.get(PortBusToken));
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
          plugin('same-name', {
            apply({ services, hooks }) {
              const counter = { n: 0 };
              services.provide(Counter, counter);
              services
                .get(PortBusToken)
                .register(0x80, 1, { readPort: () => counter.n, writePort: () => counter.n++ }, name);
              hooks.exit.for('hlt').tap({ name: 'halt', stage: Stage.Fallback }, () => {
                seen.push(name);
                return { kind: 'stop', why: name, status: 0, reason: 'stopped' };
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
    expect(two.state).toBe('stopped');
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
