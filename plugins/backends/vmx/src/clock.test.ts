/** The real clock beside a host whose time the test tells. */
import { host } from '@visorkit/core';
import type { MergedControls } from '@visorkit/core';
import type { Engine } from '@visorkit/engine';
import * as layout from '@visorkit/engine/layout';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VmxBackend } from './backend.js';
import { RealClock } from './clock.js';

const MS = 1e6;

let hostMs: number;
let retired: number;
const words = new Uint32Array((layout.RETIRED >>> 2) + 1);
const engine = {
  words,
  get retired() {
    return retired;
  },
  setTsc: () => {},
} as unknown as Engine;

beforeEach(() => {
  hostMs = 1000;
  retired = 0;
  vi.spyOn(host, 'now').mockImplementation(() => hostMs);
});
afterEach(() => void vi.restoreAllMocks());

/** The guest runs for so long, at 100 instructions a microsecond, in entries of a microsecond each; returns the clock after each reading. */
function work(clock: RealClock, ms: number): number[] {
  const seen: number[] = [];
  for (let done = 0; done < ms * 1000; done++) {
    clock.beforeEntry();
    hostMs += 0.001;
    retired += 100;
    words[layout.RETIRED >>> 2] = retired;
    if (clock.refresh()) seen.push(clock.last);
  }
  return seen;
}

describe('the real clock', () => {
  it("goes with the host's while the guest works", () => {
    const clock = new RealClock(engine);
    clock.slept();
    const start = clock.now();
    work(clock, 20);
    expect(clock.now() - start).toBeCloseTo(20 * MS, -3);
  });

  it('gives in steps what the host has taken in the middle of its work, and is right again soon', () => {
    const clock = new RealClock(engine);
    clock.now();
    work(clock, 5);
    const before = clock.now();
    hostMs += 40; // other processes
    const seen = work(clock, 10);
    const steps = seen.map((at, index) => at - (seen[index - 1] ?? before));
    expect(Math.max(...steps)).toBeLessThan(0.6 * MS);
    // A kernel that waits for 40 ms of this clock meanwhile sees each tick of 4 ms
    expect(new Set(seen.map((at) => Math.floor(at / (4 * MS)))).size).toBeGreaterThan(10);
    expect(clock.now() - before).toBeCloseTo(50 * MS, -3);
  });

  it('gives all of it at once to a guest that has slept, or when the host itself was asleep', () => {
    const clock = new RealClock(engine);
    const start = clock.now();
    hostMs += 300;
    clock.slept();
    expect(clock.now() - start).toBeCloseTo(300 * MS, -3);
    hostMs += 3600_000;
    expect(clock.now() - start).toBeCloseTo(3600_300 * MS, -3);
  });

  it('is told by way of the backend that the guest has slept', async () => {
    const backend = new VmxBackend();
    await backend.open({ memory: 1 << 20, cpus: 1, time: 'real', controls: {} as MergedControls });
    backend.createMemory(1 << 20);
    const start = backend.clock.now();
    hostMs += 300;
    backend.clock.slept!();
    expect(backend.clock.now() - start).toBeCloseTo(300 * MS, -3);
    await backend.dispose();
  });

  it('goes on from the time that was saved, or from where the counter was if that was later', () => {
    for (const saved of [
      { now: 5000 * MS, tsc: 0 },
      { now: 4000 * MS, tsc: 5000 * MS },
    ]) {
      const clock = new RealClock(engine);
      clock.restore(saved);
      hostMs += 100;
      expect(clock.now()).toBeCloseTo(5100 * MS, -3);
    }
  });

  it('keeps the counter beside it, however many instructions the guest runs in a nanosecond', () => {
    for (const rate of [0.3, 1, 3, 20]) {
      retired = words[layout.RETIRED >>> 2] = 0;
      const clock = new RealClock(engine);
      clock.slept();
      clock.now();
      const entries = 500;
      let seen = 0;
      for (let entry = 0; entry < entries; entry++) {
        clock.beforeEntry();
        expect(clock.counter).toBeGreaterThanOrEqual(seen); // it never goes back
        hostMs += 4;
        retired += 4 * MS * rate;
        words[layout.RETIRED >>> 2] = retired;
        seen = clock.counter;
        if (entry > entries / 2) expect(seen - clock.now(), String(rate)).toBeLessThan(2 * MS);
      }
      clock.beforeEntry();
      expect(clock.counter - clock.now()).toBeGreaterThanOrEqual(-1);
    }
  });
});
