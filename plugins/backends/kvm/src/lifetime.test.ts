/** A guest that never leaves by itself is got out of, and nothing of a VM is left behind. */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { ExitReason } from '@visorkit/core';
import { HLT, kvmUsable, machineOf, runGuest } from './test-machine.js';
import type { KickTarget } from './index.js';

const usable = kvmUsable();
const SPIN = [0xeb, 0xfe];
const TGKILL = 234;

/** A thread that kicks once, some time after it was made; it notes when in `times[0]`, in ms of `Date`-independent CLOCK_MONOTONIC. */
async function kicker(
  target: KickTarget,
  delay: number,
  times: Float64Array,
): Promise<{ worker: Worker; ended: Promise<unknown> }> {
  const code = `
    const { workerData } = require('node:worker_threads');
    const koffi = require(workerData.koffi);
    const syscall = koffi.load(null).func('syscall', 'long', ['long', 'long', 'long', 'long']);
    const cell = new Int32Array(new SharedArrayBuffer(4));
    require('node:worker_threads').parentPort.postMessage('ready');
    Atomics.wait(cell, 0, 0, workerData.delay);
    workerData.times[0] = Number(process.hrtime.bigint()) / 1e6;
    syscall(${TGKILL}, workerData.target.process, workerData.target.thread, workerData.target.signal);`;
  const worker = new Worker(code, {
    eval: true,
    workerData: { koffi: createRequire(import.meta.url).resolve('koffi'), target, delay, times },
  });
  // It may have ended by the time its message is seen: both are listened for from the start
  const ended = new Promise((resolve) => {
    worker.once('exit', resolve);
  });
  await new Promise((resolve) => {
    worker.once('message', resolve);
  });
  return { worker, ended };
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;
const descriptors = (): number => readdirSync('/proc/self/fd').length;
const threads = (): number => readdirSync('/proc/self/task').length;

describe.skipIf(!usable)('a kick from another thread', () => {
  it('ends a run before its deadline', async () => {
    const { vmm, backend, vcpu } = await machineOf(SPIN);
    await vmm.load();
    vcpu.setDeadline(backend.clock.now() + 20e6);
    vcpu.run(); // the first entry is slow
    const delays: number[] = [];
    for (let turn = 0; turn < 9; turn++) {
      const times = new Float64Array(new SharedArrayBuffer(8)),
        { worker } = await kicker(backend.kickTarget, 20, times);
      vcpu.setDeadline(backend.clock.now() + 5000e6);
      const exit = vcpu.run();
      delays.push(now() - times[0]);
      expect(exit.reason).toBe(ExitReason.PREEMPTION_TIMER);
      await worker.terminate();
    }
    // The deadline is 5 s away; a kick that was lost would leave the run going until then
    delays.sort((a, b) => a - b);
    expect(delays[8]).toBeLessThan(4000);
    expect(delays[0]).toBeGreaterThanOrEqual(0);
    await vmm.dispose();
  });

  it('that comes before the run is not lost', async () => {
    const { vmm, backend, vcpu } = await machineOf(SPIN);
    await vmm.load();
    const { ended } = await kicker(backend.kickTarget, 0, new Float64Array(new SharedArrayBuffer(8)));
    await ended;
    const began = now();
    vcpu.setDeadline(backend.clock.now() + 5000e6);
    expect(vcpu.run().reason).toBe(ExitReason.PREEMPTION_TIMER);
    expect(now() - began).toBeLessThan(4000);
    await vmm.dispose();
  });
});

describe.skipIf(!usable)('a guest that spins', () => {
  it('is paused, goes on, is stopped and disposed', async () => {
    const { vmm } = await machineOf(SPIN);
    const first = vmm.run({ timeout: 20 });
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
    await vmm.pause();
    expect((await first).reason).toBe('paused');
    const second = vmm.run({ timeout: 20 });
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
    await vmm.stop();
    expect((await second).reason).toBe('stopped');
    await vmm.dispose();
  });

  it('is disposed of while it runs', async () => {
    const { vmm } = await machineOf(SPIN);
    const run = vmm.run({ timeout: 20 });
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
    await vmm.dispose();
    expect((await run).reason).toBe('stopped');
  });

  it('is aborted', async () => {
    const { vmm } = await machineOf(SPIN);
    const report = await vmm.run({ signal: AbortSignal.timeout(30), timeout: 20 });
    expect(report.reason).toBe('aborted');
    await vmm.dispose();
  });
});

describe.skipIf(!usable)('what a VM holds', () => {
  it('is given back: descriptors, threads', async () => {
    await (await runGuest([HLT])).vmm.dispose();
    const before = { descriptors: descriptors(), threads: threads() };
    for (let turn = 0; turn < 8; turn++) {
      const run = await runGuest([HLT], { cpus: turn % 2 === 0 ? 1 : 2 });
      run.backend.mapRom(0xf000_0000, new Uint8Array(4096));
      await run.vmm.dispose();
    }
    expect({ descriptors: descriptors(), threads: threads() }).toEqual(before);
  });

  it('is given back when a plugin fails', async () => {
    const before = descriptors();
    await expect(
      machineOf([HLT], {
        plugin: {
          apply() {
            throw new Error('no');
          },
        },
      }),
    ).rejects.toThrow(/Plugin guest failed while it was applied/);
    const run = await runGuest([HLT], {
      plugin: {
        apply({ hooks }) {
          hooks.exit.for('hlt').tap(() => {
            throw new Error('no');
          });
        },
      },
    });
    expect(run.report.reason).toBe('plugin-error');
    await run.vmm.dispose();
    expect(descriptors()).toBe(before);
  });

  it('serves two VMs of one thread in turn', async () => {
    const machines = await Promise.all([machineOf(SPIN), machineOf(SPIN)]);
    const reports = await Promise.all(machines.map(({ vmm }) => vmm.run({ timeout: 0.1 })));
    expect(reports.map(({ reason }) => reason)).toEqual(['timeout', 'timeout']);
    await Promise.all(machines.map(({ vmm }) => vmm.dispose()));
  });
});
