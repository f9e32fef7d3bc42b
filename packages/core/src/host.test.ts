/** The host interface, as Node and as the web implement it. */
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { host, webHost } from './host.js';

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const DAY = 86_400_000;

describe.each([
  ['Node', host],
  ['the web', webHost()],
])('the host on %s', (_name, host) => {
  it('has a clock that never goes back, and the calendar', () => {
    const first = host.now();
    expect(host.now()).toBeGreaterThanOrEqual(first);
    const before = Date.now();
    expect(host.date()).toBeGreaterThanOrEqual(before);
    expect(host.date()).toBeLessThanOrEqual(Date.now());
  });

  it('defers: in order, after what is ready, and what is deferred meanwhile comes last', async () => {
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      host.defer(() => {
        seen.push('first');
        host.defer(() => {
          seen.push('third');
          resolve();
        });
      });
      host.defer(() => seen.push('second'));
      void Promise.resolve().then(() => seen.push('microtask'));
      seen.push('now');
    });
    expect(seen).toEqual(['now', 'microtask', 'first', 'second', 'third']);
  });

  it('calls back after a time, once, unless it is taken back', () => {
    vi.useFakeTimers();
    const called = vi.fn();
    host.after(50, called);
    const cancel = host.after(60, called);
    vi.advanceTimersByTime(49);
    expect(called).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(called).toHaveBeenCalledOnce();
    cancel();
    vi.advanceTimersByTime(DAY);
    expect(called).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('has a longest time, and one without end that keeps the program alive', () => {
    vi.useFakeTimers();
    const long = vi.fn(),
      never = vi.fn();
    host.after(100 * DAY, long);
    const cancel = host.after(Infinity, never);
    vi.advanceTimersByTime(24 * DAY);
    expect(long).not.toHaveBeenCalled();
    vi.advanceTimersByTime(76 * DAY);
    expect(long).toHaveBeenCalledOnce();
    expect(never).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(1);
    cancel();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('blocks the thread, or says that it may not', () => {
    const before = host.now();
    expect(host.block(3)).toBe(true);
    expect(host.now() - before).toBeGreaterThanOrEqual(2.9);
    vi.spyOn(Atomics, 'wait').mockImplementation(() => {
      throw new TypeError('Atomics.wait cannot be called in this context');
    });
    expect(host.block(3)).toBe(false);
  });
});

describe('files and libraries of the host', () => {
  const here = new URL(import.meta.url);

  it('Node reads files, at once too', async () => {
    const bytes = readFileSync(here);
    expect(Buffer.from(await host.read(here)).equals(bytes)).toBe(true);
    expect(Buffer.from(host.readNow!(here)).equals(bytes)).toBe(true);
    await expect(host.read(new URL('./nothing', here))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('the web fetches them, and refuses what a server does not have', async () => {
    const web = webHost();
    vi.stubGlobal('fetch', async (url: URL) =>
      url.pathname === '/a' ? new Response(Uint8Array.of(1, 2)) : new Response('no', { status: 404 }),
    );
    expect(await web.read(new URL('https://example.com/a'))).toEqual(Uint8Array.of(1, 2));
    expect(await host.read(new URL('https://example.com/a'))).toEqual(Uint8Array.of(1, 2));
    await expect(web.read(new URL('https://example.com/b'))).rejects.toThrow('https://example.com/b: HTTP status 404');
    expect(web.readNow).toBeUndefined();
  });

  it('Node decompresses gzip, and keeps to a limit', () => {
    const packed = gzipSync('text');
    expect(host.gunzip!(packed, 4)).toEqual(new TextEncoder().encode('text'));
    expect(() => host.gunzip!(packed, 3)).toThrow();
    expect(() => host.gunzip!(packed.subarray(0, 9), 4)).toThrow();
    expect(webHost().gunzip).toBeUndefined();
  });

  it('a line for the person goes to standard error on Node, to the console elsewhere', () => {
    const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    host.log('a line');
    expect(written).toHaveBeenCalledWith('a line\n');
    const said = vi.spyOn(console, 'error').mockReturnValue();
    webHost().log('another');
    expect(said).toHaveBeenCalledWith('another');
  });
});
