/** The run loop: exits, timers, interrupts, halts, limits, reports. On a backend that plays scripts. */
import { describe, expect, it, vi } from 'vitest';
import {
  DisassemblerToken,
  ExitReason,
  HALT,
  InterruptSourceToken,
  RESUME,
  RETRY,
  Stage,
  SystemControlToken,
  definePlugin,
  stop,
} from '@visorkit/core';
import type { Plugin, PluginHost, Used } from '@visorkit/core';
import { ConsoleToken, PortBusToken, PushInput, TimerQueueToken, compose } from '@visorkit/machine';
import { anExit, busyFor, cpuidExit, fakeBackend, hltExit, outExit, providing } from '@visorkit/testkit';

const memory = 8192;
const USES = { ports: PortBusToken, timers: TimerQueueToken, console: ConsoleToken, system: SystemControlToken };
const does = (name: string, apply: (host: PluginHost, used: Used<typeof USES>) => void): Plugin =>
  definePlugin({ name, uses: USES, apply });
const halting = does('halting', ({ hooks }) => {
  hooks.exit.for('hlt').tap({ name: 'halting', stage: Stage.Architecture }, () => HALT);
});

describe('exit dispatch', () => {
  it('asks handlers by stage until one answers, and counts exits by name', async () => {
    const asked: string[] = [];
    const backend = fakeBackend([cpuidExit(1), cpuidExit(2)]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        does('handlers', ({ hooks }) => {
          hooks.exit.for('cpuid').tap({ name: 'fallback', stage: Stage.Fallback }, () => {
            asked.push('fallback');
            return RESUME;
          });
          hooks.exit.for(ExitReason.CPUID).tap({ name: 'architecture', stage: Stage.Architecture }, (_exit, vcpu) => {
            asked.push('architecture');
            return vcpu.getRegister32(0) === 1 ? RESUME : undefined;
          });
          hooks.exit.for('cpuid').tap('observer', () => {
            asked.push('observer');
          });
          hooks.afterExit.tap('after', (exit, _vcpu, outcome) => {
            asked.push(`after ${exit.reason} ${String(outcome)}`);
          });
        }),
      ],
    });
    const report = await vmm.run();
    expect(asked).toEqual([
      'observer',
      'architecture',
      `after 10 ${RESUME}`,
      'observer',
      'architecture',
      'fallback',
      `after 10 ${RESUME}`,
      `after 12 ${HALT}`,
    ]);
    expect(report.exits).toEqual({ cpuid: 2, hlt: 1 });
    expect(report.totalExits).toBe(3);
    expect(report.guestInstructions).toBe(3);
    expect(backend.vcpus[0].rip).toBe(5n);
  });

  it('enters again at the same RIP on RETRY', async () => {
    const backend = fakeBackend([anExit(14), anExit(14)]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        does('retrying', ({ hooks }) => {
          hooks.exit.for('invlpg').tap('retrying', () => RETRY);
        }),
      ],
    });
    await vmm.run();
    expect(backend.vcpus[0].log).toEqual(['complete']);
  });

  it('stops with a full report at an exit that nobody takes', async () => {
    const backend = fakeBackend([cpuidExit(7)], {
      vcpu: (vcpu) => {
        vcpu.rip = 0x1000n;
        vcpu.rbx = 0xabcn;
      },
    });
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      otherPlugins: [{ name: 'exits/cpuid', handles: ['cpuid'], apply() {} }],
      plugins: [
        providing(DisassemblerToken, {
          disassemble: (bytes: Uint8Array, address: bigint) => [
            `${address.toString(16)}: ${bytes[0].toString(16)} ${bytes[1].toString(16)}`,
          ],
        }),
      ],
    });
    await vmm.create();
    vmm.memory.write(0x1000, Uint8Array.of(0x0f, 0xa2));
    const report = await vmm.run();
    expect(report).toMatchObject({ reason: 'unhandled-exit', exitStatus: 72, exits: { cpuid: 1 } });
    expect(report.why).toContain('Nobody handled the exit cpuid of vCPU 0 at RIP 0x1000');
    expect(report.failure).toMatchObject({
      exit: { reason: 10, name: 'cpuid', title: 'CPUID', instructionLength: 2 },
      vcpu: { index: 0, rip: '0x1000', registers: { rax: '0x7', rbx: '0xabc' } },
      code: ['1000: f a2'],
      suggestion: 'The plugin exits/cpuid takes it, or one of your own that taps hooks.exit.for("cpuid").',
    });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(vmm.state).toBe('paused');
    expect(vmm.memory.readU8(0x1000)).toBe(0x0f);
  });

  it('shows bytes when nobody disassembles, and says when RIP is nowhere', async () => {
    for (const [rip, line] of [
      [0x1000n, /^0x1000: 0f a2( 00)+$/],
      [0x9000_0000n, /no memory is mapped here/],
    ] as const) {
      await using vmm = compose({
        backend: fakeBackend([cpuidExit(0)], {
          vcpu: (vcpu) => {
            vcpu.rip = rip;
          },
        }),
        memory,
        time: 'virtual',
      });
      await vmm.create();
      vmm.memory.write(0x1000, Uint8Array.of(0x0f, 0xa2));
      expect((await vmm.run()).failure!.code[0]).toMatch(line);
    }
  });

  it('names the plugin that throws, with the exit it was handling', async () => {
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(1)]),
      memory,
      time: 'virtual',
      plugins: [
        does('good', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('x', () => undefined);
        }),
        does('clumsy', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('some tap', () => {
            throw new TypeError('no such thing');
          });
        }),
      ],
    });
    const report = await vmm.run();
    expect(report).toMatchObject({
      reason: 'plugin-error',
      exitStatus: 74,
      why: 'Plugin clumsy failed while it handled the exit cpuid: no such thing',
      failure: { plugin: 'clumsy', exit: { name: 'cpuid' } },
      error: { code: 'PLUGIN_THREW', message: 'no such thing' },
    });
  });

  it('names the device that throws beside the plugin that handled the exit', async () => {
    await using vmm = compose({
      backend: fakeBackend([outExit(0x99, 1)]),
      memory,
      time: 'virtual',
      plugins: [
        does('io', ({ hooks }, used) => {
          const ports = used.ports;
          hooks.exit.for('io').tap('io', ({ io }) => {
            ports.write(io.port, io.size, io.value);
            return RESUME;
          });
        }),
        does('gadget', (_host, used) => {
          used.ports.register(
            0x99,
            1,
            {
              readPort: () => 0,
              writePort: () => {
                throw new Error('smoke');
              },
            },
            'gadget0',
          );
        }),
      ],
    });
    const report = await vmm.run();
    expect(report.why).toBe(
      'Plugin io (device gadget0) failed while it handled the exit io: device gadget0 failed at a write of 1 bytes at port 0x99: smoke',
    );
  });

  it.each([null, 1])('refuses an outcome that is none, and names who gave it: %s', async (answer) => {
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(1)]),
      memory,
      time: 'virtual',
      plugins: [
        does('odd', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('odd', () => answer as never);
        }),
      ],
    });
    expect((await vmm.run()).why).toMatch(new RegExp(`Plugin odd failed .* returned ${answer};`));
  });

  it('refuses the promise of an asynchronous handler, and takes what it rejects with', async () => {
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(1)]),
      memory,
      time: 'virtual',
      plugins: [
        does('slow', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('x', (async () => {
            throw new Error('later');
          }) as never);
        }),
      ],
    });
    expect(await vmm.run()).toMatchObject({
      reason: 'plugin-error',
      why: expect.stringMatching(/Plugin slow failed .* is asynchronous: it returned a promise/),
      error: { code: 'EXIT_OUTCOME' },
    });
  });

  it('names the plugin that throws in the hook started', async () => {
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(1)]),
      memory,
      time: 'virtual',
      plugins: [
        does('eager', ({ hooks }) =>
          hooks.started.tap('x', () => {
            throw new Error('too soon');
          }),
        ),
      ],
    });
    expect(await vmm.run()).toMatchObject({
      reason: 'plugin-error',
      exitStatus: 74,
      why: 'Plugin eager failed in the hook started: too soon',
      error: { code: 'PLUGIN_FAILED' },
    });
  });

  it('takes taps made while the guest runs', async () => {
    let late = 0;
    const backend = fakeBackend([cpuidExit(1), busyFor(10_000_000), cpuidExit(2)]);
    await using vmm = compose({
      backend,
      memory,
      time: 'virtual',
      plugins: [
        halting,
        does('growing', ({ hooks }) => {
          hooks.exit.for('cpuid').tap('growing', () => {
            if (late === 0)
              hooks.exit.for('cpuid').tap({ name: 'late', stage: -1 }, () => {
                late++;
              });
            return RESUME;
          });
        }),
      ],
    });
    await vmm.run();
    expect(late).toBe(1);
  });
});

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

/** A timer every `period` ns that raises vector 32. */
function ticker(period: number, times: number, log: string[] = []): Plugin {
  let raised = 0;
  const source = {
    pending: () => raised > 0,
    acknowledge: () => {
      raised--;
      return 32;
    },
  };
  return definePlugin({
    name: 'ticker',
    uses: USES,
    provides: [{ token: InterruptSourceToken, make: () => source }],
    apply(_host, { timers }) {
      let left = times;
      const timer = timers.schedule(period, () => {
        raised++;
        log.push(`tick ${timers.clock.now()}`);
        if (--left > 0) timer.reschedule(period * (times - left + 1));
      });
    },
  });
}

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

it('stop outcomes carry their status', async () => {
  await using vmm = compose({
    backend: fakeBackend([cpuidExit(0)]),
    memory,
    time: 'virtual',
    plugins: [
      does('s', ({ hooks }) => {
        hooks.exit.for('cpuid').tap('s', () => stop('enough', 9));
      }),
    ],
  });
  expect(await vmm.run()).toMatchObject({ reason: 'stopped', why: 'enough', exitStatus: 9 });
});
