/** The run loop: limits, timers, halts, time. On a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import { DisassemblerToken, ExitReason, InterruptSourceToken, RESUME, fail } from '@visorkit/core';
import { PushInput, compose } from '@visorkit/machine';
import { anExit, busyFor, cpuidExit, fakeBackend, hltExit, providing } from '@visorkit/testkit';
import { does, halting, memory, ticker } from './test-run.js';

describe('limits', () => {
  it('stops exactly at maxInstructions', async () => {
    await using vmm = compose({ backend: fakeBackend([busyFor(1e9)]), memory, time: 'virtual' });
    const report = await vmm.run({ maxInstructions: 12_345_678 });
    expect(report).toMatchObject({
      reason: 'max-instructions',
      exitStatus: 122,
      guestInstructions: 12_345_678,
      guestNanoseconds: 12_345_678,
    });
  });

  it('stops after the timeout, and when aborted', async () => {
    await using slow = compose({ backend: fakeBackend([busyFor(1e15)]), memory, time: 'virtual' });
    expect(await slow.run({ timeout: 0.02 })).toMatchObject({ reason: 'timeout', exitStatus: 124 });
    await using aborted = compose({ backend: fakeBackend([busyFor(1e15)]), memory, time: 'virtual' });
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 5);
    expect(await aborted.run({ signal: abort.signal })).toMatchObject({ reason: 'aborted', exitStatus: 130 });
  });

  it('refuses limits that are none', async () => {
    await using vmm = compose({ backend: fakeBackend(), memory });
    await expect(vmm.run({ maxInstructions: 0 })).rejects.toMatchObject({ code: 'RUN_LIMIT' });
    await expect(vmm.run({ timeout: NaN })).rejects.toMatchObject({ code: 'RUN_LIMIT' });
  });
});

describe('a backend that fails', () => {
  it('may say which guest code it is about: the report shows that', async () => {
    const details = { guestCode: [{ rip: '0x1000', bits: 64, bytes: '90f4' }] };
    const failing = anExit(ExitReason.CPUID, () => fail('BROKEN', 'It is broken.', details));
    const told: string[] = [];
    const disassembler = {
      disassemble(bytes: Uint8Array, rip: bigint, bits: number, count: number): string[] {
        told.push(`${[...bytes].join(' ')} at ${rip}, ${bits} bits, ${count}`);
        return ['nop', 'hlt'];
      },
    };
    for (const [plugins, code] of [
      [[], ['0x1000: 90 f4']],
      [[providing(DisassemblerToken, disassembler)], ['nop', 'hlt']],
    ] as const) {
      await using vmm = compose({ backend: fakeBackend([failing]), memory, plugins: [...plugins] });
      expect(await vmm.run()).toMatchObject({
        reason: 'backend-error',
        error: { code: 'BROKEN', details },
        failure: { code },
      });
    }
    expect(told).toEqual(['144 244 at 4096, 64 bits, 2']);
  });
});

describe('time', () => {
  it('fires timers at their deadline, to the instruction', async () => {
    const log: string[] = [];
    await using vmm = compose({
      backend: fakeBackend([busyFor(1e7)]),
      memory,
      time: 'virtual',
      plugins: [ticker(1000, 3, log)],
    });
    await vmm.run({ maxInstructions: 5000 });
    expect(log).toEqual(['tick 1000', 'tick 2000', 'tick 3000']);
  });

  it('skips virtual time while the guest is halted and wakes it with the interrupt', async () => {
    const backend = fakeBackend([hltExit(), hltExit(), hltExit(false)]);
    await using vmm = compose({ backend, memory, time: 'virtual', plugins: [halting, ticker(1_000_000_000, 2)] });
    const report = await vmm.run();
    expect(report.reason).toBe('halted');
    expect(report.guestNanoseconds).toBe(2_000_000_001);
    expect(report.guestInstructions).toBe(3);
    expect(report.wallSeconds).toBeLessThan(1);
    expect(backend.vcpus[0].log).toEqual(['complete', 'interrupt 32', 'complete', 'interrupt 32', 'complete']);
  });

  it('gives the same run every time', async () => {
    const once = async () => {
      const log: string[] = [];
      const backend = fakeBackend([busyFor(7_654_321), hltExit(), cpuidExit(1, 0, 999), hltExit(), hltExit(false)]);
      await using vmm = compose({
        backend,
        memory,
        time: 'virtual',
        plugins: [
          halting,
          ticker(3_333_333, 4, log),
          does('c', ({ hooks }) => {
            hooks.exit.for('cpuid').tap('c', () => RESUME);
          }),
        ],
      });
      const { wallSeconds: _w, mips: _m, ...report } = await vmm.run();
      return { report, log, vcpu: backend.vcpus[0].log };
    };
    expect(await once()).toEqual(await once());
  });

  it('sleeps in real time until the deadline', async () => {
    let deadline = 0;
    let raised = false;
    await using vmm = compose({
      backend: fakeBackend([hltExit(), hltExit(false)]),
      memory,
      time: 'real',
      plugins: [
        halting,
        providing(InterruptSourceToken, {
          pending: () => raised,
          acknowledge: () => {
            raised = false;
            return 32;
          },
        }),
        does('alarm', ({ hooks }, { timers }) => {
          hooks.started.tap('alarm', () => {
            deadline = timers.clock.now() + 60_000_000;
            timers.schedule(deadline, () => {
              raised = true;
            });
          });
        }),
      ],
    });
    const report = await vmm.run();
    expect(report.reason).toBe('halted');
    expect(report.guestNanoseconds).toBeGreaterThanOrEqual(deadline);
    expect(report.idleSeconds).toBeGreaterThan(0);
  });

  it('stops when nothing can wake the guest, and says why', async () => {
    await using off = compose({
      backend: fakeBackend([hltExit(false)]),
      memory,
      time: 'virtual',
      plugins: [halting, ticker(1e9, 1)],
    });
    expect(await off.run()).toMatchObject({
      reason: 'halted',
      exitStatus: 0,
      why: 'The guest halted with interrupts off: nothing can wake it.',
    });
    await using idle = compose({ backend: fakeBackend([hltExit(true)]), memory, time: 'real', plugins: [halting] });
    expect(await idle.run()).toMatchObject({
      reason: 'halted',
      why: 'The guest halted, and no timer or input can wake it.',
    });
  });

  it('waits for console input and is woken by it', async () => {
    for (const time of ['real', 'virtual'] as const) {
      const input = new PushInput();
      let bytes = 0;
      await using vmm = compose({
        backend: fakeBackend([hltExit()]),
        memory,
        time,
        console: { input },
        plugins: [
          halting,
          providing(InterruptSourceToken, {
            pending: () => bytes > 0,
            acknowledge: () => {
              bytes--;
              return 33;
            },
          }),
          does('keyboard', (_host, used) => {
            used.console.input.onByte(() => {
              bytes++;
            });
          }),
        ],
      });
      vmm.hooks.vcpuState.tap('test', (_vcpu, state) => {
        if (state === 'halted' && vmm.instructions === 1) setTimeout(() => input.push([0x41]), 20);
      });
      const report = await vmm.run({ timeout: 10 });
      expect(report.reason).toBe('halted');
      expect(report.idleSeconds).toBeGreaterThan(0);
    }
  });
});
