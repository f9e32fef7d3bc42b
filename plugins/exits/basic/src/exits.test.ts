/** The other handlers of exits, on a backend that plays scripts. */
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { ExitReason, Gpr, InterruptSourceToken, RESUME, WAIT } from '@visorkit/core';
import { compose } from '@visorkit/machine';
import { anExit, fakeBackend, hltExit, mmioReadExit, mmioWriteExit, outExit, providing } from '@visorkit/testkit';
import type { FakeVcpu, ScriptedExit } from '@visorkit/testkit';
import { exits, isValidXcr0 } from './index.js';
import { injected, play, watch } from './test-play.js';

describe('EPT violations', () => {
  it('sends MMIO to the bus, eight bytes as two accesses', async () => {
    const log: string[] = [];
    const values: number[][] = [];
    await play(
      [
        mmioWriteExit(0xfec0_0010, 0x1234, 2),
        mmioWriteExit(0xfec0_0008, 1, 8, 2),
        mmioReadExit(0xfec0_0000, 8),
        mmioReadExit(0xd000_0000, 4),
        mmioReadExit(0xd000_0000, 8),
      ],
      ({ hooks }, used) => {
        used.mmio.register(
          0xfec0_0000,
          0x100,
          {
            readMmio: (offset, size) => offset * 256 + size,
            writeMmio: (offset, size, value) => log.push(`${offset} ${size} ${value}`),
          },
          'd',
        );
        hooks.afterExit.tap('v', ({ mmio }) => {
          if (mmio.valid && !mmio.write) values.push([mmio.value, mmio.valueHigh]);
        });
      },
    );
    expect(log).toEqual(['16 2 4660', '8 4 1', '12 4 2']);
    expect(values).toEqual([
      [4, 1028],
      [0xffffffff, 0],
      [0xffffffff, 0xffffffff],
    ]);
  });

  it('ends the run with a report when the guest jumps into nothing', async () => {
    const { report } = await play([
      anExit(ExitReason.EPT_VIOLATION, (exit) => {
        exit.gpa = 0x9000_0000;
        exit.guestLinearLow = 0x9000_0000;
        exit.qualification = 4;
      }),
    ]);
    expect(report).toMatchObject({
      reason: 'unhandled-exit',
      exitStatus: 72,
      failure: { exit: { gpa: '0x90000000' } },
    });
    expect(report.why).toContain('jumped to guest-physical 0x90000000');
  });

  it('leaves a violation on RAM to others', async () => {
    const { report } = await play([
      anExit(ExitReason.EPT_VIOLATION, (exit) => {
        exit.gpa = 0x1000;
        exit.qualification = 2;
      }),
    ]);
    expect(report).toMatchObject({ reason: 'unhandled-exit', failure: { suggestion: expect.any(String) } });
  });
});

describe('the rest', () => {
  it('halts', async () => {
    expect((await play([hltExit(false)])).report).toMatchObject({ reason: 'halted', exitStatus: 0 });
  });

  it('stops at a triple fault with the state, or resets', async () => {
    const stopped = await play([anExit(ExitReason.TRIPLE_FAULT)]);
    expect(stopped.report).toMatchObject({
      reason: 'triple-fault',
      exitStatus: 70,
      failure: { exit: { name: 'triple-fault' } },
    });
    const lostState = 'Its registers are lost.';
    const lost = await play(
      [anExit(ExitReason.TRIPLE_FAULT)],
      () => {},
      (vcpu) => Object.assign(vcpu, { lostState }),
    );
    expect(lost.report.why).toMatch(/^The guest triple-faulted: .*\. Its registers are lost\.$/);
    const backend = fakeBackend([anExit(ExitReason.TRIPLE_FAULT)], {
      controls: { primary: new Set(['hlt-exiting', 'mwait-exiting', 'cr8-load-exiting', 'cr8-store-exiting']) },
    });
    await using vmm = compose({
      backend,
      memory: 4096,
      time: 'virtual',
      plugins: exits({ tripleFault: { action: 'reset' } }),
    });
    expect(await vmm.run()).toMatchObject({ reason: 'reset', why: 'the guest triple-faulted' });
  });

  it('gives exceptions back to the guest, with CR2 for page faults', async () => {
    const { vcpu } = await play([
      anExit(ExitReason.EXCEPTION, (exit) => {
        exit.interruptionInfo = 0x8000_0b0e;
        exit.interruptionErrorCode = 6;
        exit.qualification = 0xdead000;
      }),
    ]);
    expect(injected(vcpu)).toEqual(['event 0x80000b0e 6 1']);
    expect(vcpu.controlRegisters.get(2)).toBe(0xdead000n);
  });

  it('checks XSETBV', async () => {
    const xsetbv = (value: number, index = 0) => ({
      fill: (exit: { reason: number }, vcpu: FakeVcpu) => {
        exit.reason = ExitReason.XSETBV;
        vcpu.setRegister32(Gpr.RAX, value);
        vcpu.setRegister32(Gpr.RDX, 0);
        vcpu.setRegister32(Gpr.RCX, index);
      },
    });
    const { vcpu } = await play([xsetbv(7), xsetbv(5), xsetbv(7, 1), xsetbv(0x1f)]);
    expect(vcpu.xcr0).toBe(7n);
    expect(injected(vcpu)).toEqual(['exception 13 0x0', 'exception 13 0x0', 'exception 13 0x0']);
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        (value, supported) => {
          if (isValidXcr0(value, supported)) expect(value & 1n & supported).toBe(1n);
        },
      ),
    );
  });

  it('makes undefined what the guest does not have, unless a plugin takes it', async () => {
    const script = [anExit(ExitReason.VMXON), anExit(ExitReason.VMCALL), anExit(ExitReason.GETSEC)];
    expect(injected((await play(script)).vcpu)).toEqual(['exception 6', 'exception 6', 'exception 6']);
    const taken = await play(script, ({ hooks }) => {
      hooks.exit.for('vmcall').tap('hypercalls', () => RESUME);
    });
    expect(injected(taken.vcpu)).toEqual(['exception 6', 'exception 6']);
  });

  it('does nothing for cache control, and MWAIT waits only with interrupts on', async () => {
    const { vcpu, report } = await play([
      anExit(ExitReason.WBINVD),
      anExit(ExitReason.INVD),
      anExit(ExitReason.MONITOR),
      anExit(ExitReason.MWAIT),
      anExit(ExitReason.PAUSE),
    ]);
    expect(vcpu.log).toEqual(['complete', 'complete', 'complete', 'complete', 'complete', 'complete']);
    expect(report.exits).toMatchObject({ hlt: 1, mwait: 1 });
  });

  it('waits in an armed MWAIT, also for masked interrupts when ECX says so', async () => {
    const mwait = (armed: number, ecx: number) => ({
      fill: (exit: { reason: number; qualification: number }, vcpu: FakeVcpu) => {
        exit.reason = ExitReason.MWAIT;
        exit.qualification = armed;
        vcpu.setRegister32(Gpr.RCX, ecx);
      },
    });
    const after: string[] = [];
    let raised = false;
    const source = {
      pending: () => raised,
      acknowledge: () => {
        raised = false;
        return 32;
      },
    };
    const { vcpu, report } = await play(
      [mwait(0, 1), mwait(1, 1), mwait(1, 0)],
      ({ hooks }, { timers }) => {
        timers.schedule(1_000_000, () => {
          raised = true;
        });
        hooks.afterExit.tap('a', (exit, _vcpu, outcome) => {
          if (exit.reason === ExitReason.MWAIT) after.push(`${String(outcome)} ${timers.clock.now()}`);
        });
      },
      undefined,
      [providing(InterruptSourceToken, source)],
    );
    expect(after).toEqual([`${RESUME} 0`, `${WAIT} 1`, `${RESUME} 1000000`]);
    expect(vcpu.log.filter((line) => line.startsWith('interrupt'))).toEqual([]);
    expect(report.reason).toBe('halted');
  });

  it('gives #GP for reserved bits of ECX in MWAIT, which exits before it looks', async () => {
    const { vcpu } = await play(
      [
        anExit(ExitReason.MWAIT, (exit) => {
          exit.qualification = 1;
        }),
      ],
      undefined,
      (v) => v.setRegister32(Gpr.RCX, 2),
    );
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });

  it('moves debug registers', async () => {
    const mov = (dr: number, from: boolean, gpr: number) =>
      anExit(ExitReason.DEBUG_REGISTER, (exit) => {
        exit.qualification = (gpr << 8) | (from ? 16 : 0) | dr;
      });
    const { vcpu } = await play(
      [mov(0, false, 3), mov(0, true, 1), mov(7, false, 6), mov(5, true, 2)],
      undefined,
      (v) => {
        v.rbx = 0xffff_8000_0000_1000n;
        v.rsi = 1n << 33n;
      },
    );
    expect(vcpu.rcx).toBe(0xffff_8000_0000_1000n);
    expect(vcpu.rdx).toBe(0x400n);
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });

  it('answers RDTSC from the clock, and RDPMC with #GP', async () => {
    const seen: number[][] = [];
    const { vcpu } = await play([anExit(ExitReason.RDTSC, () => {}, 500), anExit(ExitReason.RDPMC)], watch(seen));
    expect(seen[0][0]).toBe(500);
    expect(injected(vcpu)).toEqual(['exception 13 0x0']);
  });
});

it('leaves the system control to devices', async () => {
  const { report } = await play([outExit(0x604, 0x34, 2)], (_host, { ports, system }) => {
    ports.register(0x604, 2, { readPort: () => 0, writePort: () => system.powerOff('S5') }, 'pm');
  });
  expect(report).toMatchObject({ reason: 'power-off', exitStatus: 0, why: 'S5' });
});

it('ends UMWAIT and TPAUSE at once, with their flags, and gives #GP for reserved bits of their operand', async () => {
  const wait = (reason: number, operand: number): ScriptedExit => ({
    fill: (exit, vcpu) => {
      exit.reason = reason;
      exit.instructionInfo = (1 << 11) | (1 << 3); // ECX
      vcpu.setRegister32(1, operand);
      vcpu.rflags = 0x8d7n;
    },
  });
  const { vcpu } = await play([wait(ExitReason.TPAUSE, 1), wait(ExitReason.UMWAIT, 0), wait(ExitReason.TPAUSE, 2)]);
  expect(vcpu.log.filter((line) => line === 'complete' || line.startsWith('exception'))).toEqual([
    'complete',
    'complete',
    'exception 13 0x0',
    'complete',
  ]);
});
