/** Interrupts, NMIs, INIT and start-up, and what devices ask of the run loop, on a backend that plays scripts. */
import { describe, expect, it, vi } from 'vitest';
import { InterruptSourceToken, RESUME, RETRY, Stage } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { anExit, busyFor, cpuidExit, fakeBackend, hltExit, outExit, providing } from '@visorkit/testkit';
import { does, halting, memory, ticker } from './test-run.js';

describe('events', () => {
  it('opens an interrupt window when the guest cannot take an interrupt, and closes it after', async () => {
    const backend = fakeBackend([
      {
        after: 10,
        fill: (exit, vcpu) => {
          exit.reason = 10;
          vcpu.rflags |= 0x200n;
        },
      },
      cpuidExit(0, 0, 5),
    ]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        ticker(5, 1),
        does('c', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('c', () => RESUME);
        }),
      ],
    });
    await vmm.run();
    expect(backend.vcpus[0].log).toEqual([
      'window on',
      'complete',
      'interrupt 32',
      'window off',
      'complete',
      'complete',
    ]);
  });

  it('injects NMIs, restarts on INIT', async () => {
    let nmi = 1;
    let init = false;
    const backend = fakeBackend([cpuidExit(0), cpuidExit(0)]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        providing(InterruptSourceToken, {
          pending: () => false,
          acknowledge: () => 0,
          takeNmi: () => nmi-- > 0,
          takeInit: () => {
            const was = init;
            init = false;
            return was;
          },
        }),
        does('signals', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('c', () => {
            init = true;
            return RESUME;
          });
        }),
      ],
    });
    await vmm.run({ maxInstructions: 100 });
    expect(backend.vcpus[0].log.slice(0, 3)).toEqual(['nmi', 'complete', 'init']);
  });

  it('forgets a waiting NMI with INIT, and the window that was asked for', async () => {
    let nmi = 1,
      init = 0;
    const backend = fakeBackend([cpuidExit(0), hltExit(false)]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        providing(InterruptSourceToken, {
          pending: () => false,
          acknowledge: () => 0,
          takeNmi: () => nmi-- > 0,
          takeInit: () => init-- > 0,
        }),
        does('signals', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('c', () => {
            init = 1;
            return RESUME;
          });
        }),
      ],
    });
    await vmm.create();
    backend.vcpus[0].blocked = true;
    await vmm.run({ maxInstructions: 100 });
    expect(backend.vcpus[0].log.slice(0, 4)).toEqual(['nmi-window on', 'complete', 'init', 'nmi-window off']);
  });

  it('delivers an event again whose delivery an exit interrupted', async () => {
    const backend = fakeBackend([
      anExit(48, (exit) => {
        exit.idtVectoringInfo = 0x80000020;
      }),
    ]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        does('ept', ({ hooks }) => {
          hooks.exit.for('ept-violation').tap('e', () => RETRY);
        }),
      ],
    });
    await vmm.run();
    expect(backend.vcpus[0].log[0]).toBe('reinject 0x80000020');
  });

  it('ends the run when a device says so, with its status, after the instruction', async () => {
    const told: string[] = [];
    const backend = fakeBackend([outExit(0xf4, 3)]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        does('exit', ({ hooks }, used) => {
          const system = used.system;
          hooks.guestEvent.tap('t', ({ kind, message }) => {
            told.push(`${kind}: ${message}`);
          });
          hooks.exit.for('io').tap('io', ({ io }) => {
            system.exit((io.value << 1) | 1, 'the guest wrote 3 to port 0xf4');
            return RESUME;
          });
        }),
      ],
    });
    expect(await vmm.run()).toMatchObject({
      reason: 'exit',
      exitStatus: 7,
      why: 'the guest wrote 3 to port 0xf4',
      guestInstructions: 1,
    });
    expect(told).toEqual(['exit: the guest wrote 3 to port 0xf4']);
  });

  it('ends when a plugin does not get ready: at the time limit, or when it is aborted', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const leaving = new AbortController();
      const BUSY = 'The machine was not ready WHEN. Plugin slow was still busy in the hook load.';
      for (const [options, meanwhile, reason, exitStatus, why] of [
        [
          { timeout: 60 },
          () => vi.advanceTimersByTime(60_000),
          'timeout',
          124,
          BUSY.replace('WHEN', 'within the time limit'),
        ],
        [
          { signal: leaving.signal },
          () => leaving.abort(),
          'aborted',
          130,
          BUSY.replace('WHEN', 'when the run was aborted'),
        ],
        [
          { signal: AbortSignal.abort() },
          () => {},
          'aborted',
          130,
          'The machine was not ready when the run was aborted.',
        ],
      ] as const) {
        const slow = does('slow', ({ hooks }) => {
          hooks.load.tap('slow', () => {
            meanwhile();
            return new Promise(() => {});
          });
        });
        await using vmm = compose({ backend: fakeBackend([hltExit(false)]), memory, time: 'virtual', plugins: [slow] });
        const report = await vmm.run(options);
        expect(report).toMatchObject({ reason, exitStatus, guestInstructions: 0, why });
        expect(vmm.report).toBe(report);
        await expect(vmm.load()).rejects.toThrow(/still busy with/);
        expect((await vmm.run({ signal: AbortSignal.abort() })).reason).toBe('aborted'); // it still waits
      }
    } finally {
      vi.useRealTimers();
    }
  });

  it('warns once of a handler whose exit the backend does not have, unless it only stands ready', async () => {
    const warnings: string[] = [];
    const plugins = [
      halting,
      does('deaf', ({ hooks }) => {
        hooks.exit.for('rdpmc').tap('deaf', () => RESUME);
        hooks.exit.for('rdtsc').tap('deaf', () => RESUME);
        hooks.exit.for('preemption-timer').tap('deaf', () => {}); // of the kernel, on every backend
      }),
      does('ready', ({ hooks }) => {
        hooks.exit.for('rdpmc').tap({ name: 'ready', stage: Stage.Machine }, () => RESUME);
      }),
      does('late', ({ hooks }) => {
        hooks.exit.for('cpuid').tap('late', () => {
          hooks.exit.for('rdtsc').tap('late', () => RESUME);
          return RESUME;
        });
      }),
    ];
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(0), hltExit(false)], { without: ['exit.rdpmc'] }),
      memory,
      time: 'virtual',
      plugins,
      alternatives: [{ name: 'other', capabilities: new Set(['exit.rdpmc']) }],
      log: (level, _source, message) => {
        if (level === 'warn') warnings.push(message);
      },
    });
    await vmm.run();
    expect(warnings).toEqual([
      'plugin deaf handles rdpmc exits, which the backend fake does not have: the handler is never called; the backend other has them',
    ]);
  });

  it('tells observers of device accesses, from their tap on', async () => {
    const seen: unknown[] = [];
    await using vmm = compose({
      backend: fakeBackend([outExit(0x80, 0xaa), outExit(0x80, 0xab)]),
      memory,
      time: 'virtual',
      plugins: [
        halting,
        does('io', ({ hooks }, used) => {
          const ports = used.ports;
          hooks.exit.for('io').tap('io', ({ io }) => {
            ports.write(io.port, io.size, io.value);
            if (io.value === 0xaa)
              hooks.deviceAccess.tap('w', (access) => {
                seen.push({ ...access });
              });
            return RESUME;
          });
        }),
      ],
    });
    await vmm.run();
    expect(seen).toEqual([{ kind: 'port', address: 0x80, size: 1, write: true, value: 0xab, owner: undefined }]);
  });

  it('runs several vCPUs in turn and starts them by SIPI', async () => {
    const started: number[] = [];
    const sipi = [-1, 8];
    const source = (index: number) => ({
      pending: () => false,
      acknowledge: () => 0,
      takeStartup: () => {
        const vector = sipi[index];
        sipi[index] = -1;
        return vector;
      },
    });
    const backend = fakeBackend([busyFor(200_000), cpuidExit(0), hltExit(false)], {
      vcpu: (vcpu) => {
        if (vcpu.index === 1) vcpu.play(cpuidExit(0, 0, 10), hltExit(false));
      },
    });
    await using vmm = compose({
      backend,
      memory,
      cpus: 2,
      time: 'virtual',
      plugins: [
        halting,
        providing(InterruptSourceToken, { ...source(0), forVcpu: source }),
        does('apics', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('c', (_exit, vcpu) => {
            started.push(vcpu.index);
            return RESUME;
          });
        }),
      ],
    });
    const report = await vmm.run();
    expect(report.reason).toBe('halted');
    expect(started).toEqual([1, 0]);
    expect(backend.vcpus[1].log[0]).toBe('startup 8');
  });
});
