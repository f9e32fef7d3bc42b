/** The states of a VM, and what disposal undoes. */
import { describe, expect, it } from 'vitest';
import { HALT, RESUME, SystemControlToken, definePlugin, stop } from '@visorkit/core';
import type { Plugin } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { anExit, busyFor, fakeBackend, hltExit } from '@visorkit/testkit';

const memory = 4096;
const halting: Plugin = {
  name: 'halting',
  apply: ({ hooks }) => {
    hooks.exit.for('hlt').tap('halting', () => HALT);
  },
};

describe('lifecycle', () => {
  it('goes through its states and tells the hooks', async () => {
    const told: string[] = [];
    const vmm = compose({
      backend: fakeBackend(),
      memory,
      time: 'virtual',
      plugins: [
        halting,
        {
          name: 'listener',
          apply({ hooks }) {
            for (const name of ['created', 'load', 'loaded'] as const)
              hooks[name].tap(async () => void told.push(name));
            hooks.started.tap('listener', () => void told.push('started'));
            hooks.resumed.tap('listener', () => void told.push('resumed'));
            hooks.paused.tap('listener', (report) => void told.push(`paused: ${report.reason}`));
            hooks.disposed.tap('listener', () => void told.push('disposed'));
          },
        },
      ],
    });
    expect(vmm.state).toBe('composed');
    await vmm.create();
    expect(vmm.state).toBe('created');
    await vmm.load();
    expect(vmm.state).toBe('loaded');
    const running = vmm.run();
    expect(vmm.state).toBe('running');
    await running;
    expect(vmm.state).toBe('paused');
    await vmm.run();
    await vmm.dispose();
    expect(vmm.state).toBe('disposed');
    expect(told).toEqual([
      'created',
      'load',
      'loaded',
      'started',
      'paused: halted',
      'resumed',
      'paused: halted',
      'disposed',
    ]);
  });

  it('refuses illegal moves with the state and the move', async () => {
    const vmm = compose({ backend: fakeBackend(), memory, time: 'virtual', plugins: [halting] });
    await expect(vmm.pause()).rejects.toMatchObject({
      code: 'LIFECYCLE_MOVE',
      message: 'Cannot pause a VM that is composed; pause is for one that is running.',
    });
    await vmm.create();
    await expect(vmm.create()).rejects.toMatchObject({ details: { state: 'created', move: 'create' } });
    await vmm.run();
    await expect(vmm.stop()).rejects.toMatchObject({
      message: 'Cannot stop a VM that is paused; stop is for one that is running.',
    });
    await vmm.dispose();
    await expect(vmm.run()).rejects.toMatchObject({ details: { state: 'disposed', move: 'run' } });
  });

  it('undoes everything in reverse order, once, whatever throws', async () => {
    const undone: string[] = [];
    const backend = fakeBackend();
    const undoing = (name: string, fails = false): Plugin => ({
      name,
      apply: (host) =>
        host.onDispose(() => {
          undone.push(name);
          if (fails) throw new Error(`${name} failed`);
        }),
    });
    const vmm = compose({ backend, memory, plugins: [undoing('a'), undoing('b', true), undoing('c')] });
    await vmm.create();
    await expect(vmm.dispose()).rejects.toMatchObject({
      code: 'DISPOSE_FAILED',
      message: expect.stringContaining('b failed'),
    });
    await vmm.dispose().catch(() => {});
    expect(undone).toEqual(['c', 'b', 'a']);
    expect(backend.disposals).toBe(1);
  });

  it('pauses between instructions and goes on', async () => {
    const vmm = compose({
      backend: fakeBackend([busyFor(50_000_000), hltExit(false)]),
      memory,
      time: 'virtual',
      plugins: [halting],
    });
    const first = vmm.run();
    await new Promise((resolve) => setImmediate(resolve));
    await vmm.pause();
    expect((await first).reason).toBe('paused');
    expect(vmm.state).toBe('paused');
    expect(vmm.instructions).toBeLessThan(50_000_000);
    const report = await vmm.run();
    expect(report.reason).toBe('halted');
    expect(report.guestInstructions).toBe(50_000_001);
    await vmm.dispose();
  });

  it('disposes of a running VM after it has stopped', async () => {
    const vmm = compose({ backend: fakeBackend([busyFor(1e12)]), memory, time: 'virtual' });
    const run = vmm.run();
    await new Promise((resolve) => setImmediate(resolve));
    await vmm.dispose();
    expect((await run).why).toBe('The VM was disposed of.');
    expect(vmm.state).toBe('disposed');
  });

  it('starts the machine again on reset when asked to', async () => {
    let loads = 0;
    let resets = 0;
    const vmm = compose({
      backend: fakeBackend([anExit(10), anExit(10)]),
      memory,
      time: 'virtual',
      onReset: 'restart',
      plugins: [
        definePlugin({
          name: 'resetting',
          uses: { system: SystemControlToken },
          apply({ hooks }, { system }) {
            hooks.load.tap('resetting', () => void loads++);
            hooks.reset.tap('resetting', () => void resets++);
            hooks.exit.for('cpuid').tap('resetting', () => {
              system.reset('again');
              return RESUME;
            });
            hooks.exit.for('hlt').tap('resetting', () => stop('end'));
          },
        }),
      ],
    });
    expect((await vmm.run()).why).toBe('end');
    expect([loads, resets]).toEqual([3, 2]);
    await vmm.dispose();
  });
});
