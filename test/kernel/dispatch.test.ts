/** Exits and who answers them, on a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import { DisassemblerToken, ExitReason, HALT, RESUME, RETRY, Stage, stop } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { anExit, busyFor, cpuidExit, fakeBackend, outExit, providing } from '@visorkit/testkit';
import { does, halting, memory } from './test-run.js';

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

  it('takes taps made before an entry for the exit that ends it, and calls none that was taken back there', async () => {
    const told: string[] = [];
    await using vmm = compose({
      backend: fakeBackend([cpuidExit(1), cpuidExit(2)]),
      memory,
      time: 'virtual',
      plugins: [
        halting,
        does('careful', ({ hooks }) => {
          let undo: (() => void) | undefined;
          hooks.beforeEntry.tap(() => {
            if (undo === undefined)
              undo = hooks.exit.for('cpuid').tap('first', () => {
                told.push('first');
                return RESUME;
              });
            else if (told.length === 1) {
              undo();
              hooks.exit.for('cpuid').tap('second', () => {
                told.push('second');
                return RESUME;
              });
            }
          });
        }),
      ],
    });
    expect(await vmm.run()).toMatchObject({ reason: 'halted' });
    expect(told).toEqual(['first', 'second']);
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
