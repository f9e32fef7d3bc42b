/** When Linux is asked, by a clock that the test moves. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { adviseHugePages, spareThisProcessor } from '@visorkit/project';
import { hostTuning } from './host-tuning.js';

vi.mock('@visorkit/project', () => ({
  adviseHugePages: vi.fn(async () => true),
  spareThisProcessor: vi.fn(async () => true),
}));

const memory = {};

/** The plugin with a host of hooks alone: calls them by name. */
function applied(boot?: Parameters<typeof hostTuning>[0]): Record<string, () => unknown> {
  const calls: Record<string, () => unknown> = {};
  const hook = (name: string) => ({ tap: (call: () => unknown) => (calls[name] = call) });
  const host = {
    hooks: { created: hook('created'), started: hook('started'), resumed: hook('resumed') },
    onDispose: (call: () => unknown) => (calls.disposed = call),
  };
  hostTuning(boot).apply!(host as never, { memory } as never);
  return calls;
}

/** How often each was asked. */
const asked = (): number[] => [adviseHugePages, spareThisProcessor].map((ask) => vi.mocked(ask).mock.calls.length);

describe('what Linux is asked for a guest that runs long', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.clearAllMocks();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is asked before an operating system is loaded', async () => {
    const calls = applied({
      image: new Uint8Array(600_000),
      modules: [{ name: 'initrd', data: new Uint8Array(600_000) }],
    });
    await calls.created();
    expect(asked()).toEqual([1, 1]);
    expect(vi.mocked(adviseHugePages)).toHaveBeenCalledWith(memory);
    expect(calls.started).toBeUndefined();
  });

  it('is asked for another guest once it has run for 100 ms, and once only', async () => {
    const calls = applied({ image: new Uint8Array(512) });
    expect(calls.created).toBeUndefined();
    calls.started();
    await vi.advanceTimersByTimeAsync(99);
    expect(asked()).toEqual([0, 0]);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked()).toEqual([1, 1]);
    calls.resumed();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked()).toEqual([1, 1]);
  });

  it('is asked for a restored guest half a second after it goes on', async () => {
    const calls = applied();
    calls.resumed();
    await vi.advanceTimersByTimeAsync(499);
    expect(asked()).toEqual([0, 0]);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked()).toEqual([1, 1]);
  });

  it('is not asked for a guest that has ended', async () => {
    const calls = applied();
    calls.started();
    calls.disposed();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked()).toEqual([0, 0]);
  });
});
