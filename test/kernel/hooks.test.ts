/** Taps: in which order, under which name, and how they are taken back, at any time. */
import { describe, expect, it } from 'vitest';
import { HALT, RESUME, Stage } from '@visorkit/core';
import type { Plugin, PluginHost, Undo } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { cpuidExit, fakeBackend } from '@visorkit/testkit';

const memory = 4096;
const halting: Plugin = {
  name: 'halting',
  apply: ({ hooks }) => void hooks.exit.for('hlt').tap({ stage: Stage.Architecture }, () => HALT),
};

/** Plays `count` CPUID exits. */
async function play(count: number, apply: (host: PluginHost) => void, more: readonly Plugin[] = []): Promise<void> {
  const carrier: Plugin = {
    name: 'carrier',
    apply: ({ hooks }) => void hooks.exit.for('cpuid').tap({ stage: Stage.Fallback }, () => RESUME),
  };
  await using vmm = compose({
    backend: fakeBackend(Array.from({ length: count }, (_unused, n) => cpuidExit(n))),
    memory,
    time: 'virtual',
    plugins: [halting, { name: 'tapper', apply }, carrier, ...more],
  });
  await vmm.run();
}

describe('taps', () => {
  it('carry the name of their plugin unless another is given, also when they are made later', async () => {
    let names: string[] = [];
    await play(2, ({ hooks }) => {
      hooks.exit.for('cpuid').tap(() => {});
      hooks.exit.for('cpuid').tap('other', () => {});
      hooks.exit.for('cpuid').tap({ stage: 5 }, () => {});
      hooks.started.tap(() => void hooks.exit.for('cpuid').tap(() => {}));
      hooks.afterExit.tap(() => {
        names = hooks.exit.for('cpuid').taps.map(({ name, plugin, stage }) => `${name} ${plugin} ${stage}`);
      });
    });
    expect(names).toEqual([
      'tapper tapper 0',
      'other tapper 0',
      'tapper tapper 0',
      'tapper tapper 5',
      `carrier carrier ${Stage.Fallback}`,
    ]);
  });

  it('are taken back by what they return, once, from the next exit on', async () => {
    const told: string[] = [];
    await play(3, ({ hooks }) => {
      const undo: Undo[] = [];
      const cpuid = hooks.exit.for('cpuid');
      undo.push(
        cpuid.tap('first', (_exit, vcpu) => {
          told.push(`first ${vcpu.rax}`);
          if (vcpu.rax === 1n) for (const take of [...undo, ...undo]) take();
        }),
      );
      undo.push(cpuid.tap('second', (_exit, vcpu) => void told.push(`second ${vcpu.rax}`)));
    });
    expect(told).toEqual(['first 0', 'second 0', 'first 1', 'second 1']);
  });

  it('hold from the next exit on when they are made in a handler', async () => {
    const told: bigint[] = [];
    await play(3, ({ hooks }) => {
      let tapped = false;
      hooks.exit.for('cpuid').tap(() => {
        if (!tapped) hooks.exit.for('cpuid').tap((_exit, vcpu) => void told.push(vcpu.rax));
        tapped = true;
      });
    });
    expect(told).toEqual([1n, 2n]);
  });

  it('of beforeEntry and afterExit come and go in the same way', async () => {
    let entries = 0;
    let exits = 0;
    await play(4, ({ hooks }) => {
      const before = hooks.beforeEntry.tap(() => {
        if (++entries === 2) before();
      });
      const after = hooks.afterExit.tap(() => {
        if (++exits === 3) after();
      });
    });
    expect([entries, exits]).toEqual([2, 3]);
  });

  it('can be the same function twice, and each goes by itself', async () => {
    let calls = 0;
    await play(1, ({ hooks }) => {
      const count = (): void => void calls++;
      const first = hooks.exit.for('cpuid').tap(count);
      hooks.exit.for('cpuid').tap(count);
      first();
      first();
    });
    expect(calls).toBe(1);
  });

  it('are refused without a handler', async () => {
    await play(0, ({ hooks }) => {
      expect(() => hooks.started.tap('nothing', undefined as never)).toThrow(
        expect.objectContaining({ code: 'HOOK_TAP' }),
      );
    });
  });
});

describe('tapable', () => {
  it('says truly whether a hook is used', async () => {
    await play(0, ({ hooks }) => {
      expect(hooks.deviceAccess.isUsed()).toBe(false);
      const undo = hooks.deviceAccess.tap(() => {});
      expect(hooks.deviceAccess.isUsed()).toBe(true);
      undo();
      expect(hooks.deviceAccess.isUsed()).toBe(false);
      const stop = hooks.deviceAccess.intercept({ call: () => {} });
      expect(hooks.deviceAccess.isUsed()).toBe(true);
      stop();
      expect(hooks.deviceAccess.isUsed()).toBe(false);
    });
  });

  it('runs interceptors of exit hooks, and of those around them', async () => {
    const told: string[] = [];
    await play(2, ({ hooks }) => {
      const cpuid = hooks.exit.for('cpuid');
      const stop = cpuid.intercept({
        call: () => void told.push('call'),
        tap: ({ name }) => void told.push(`tap ${name}`),
        result: (outcome: unknown) => void told.push(`result ${outcome === RESUME}`),
      });
      hooks.afterExit.intercept({
        call: () => {
          told.push('after');
          stop();
        },
      });
    });
    expect(told).toEqual(['call', 'tap carrier', 'result true', 'after', 'after', 'after']);
  });
});
