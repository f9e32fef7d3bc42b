/** The test kit's own parts: tiny guests, the scripted vCPU, the device bench. */
import { describe, expect, it } from 'vitest';
import { ExitReason } from '@visorkit/core';
import { FakeVcpu, GuestCode, additionGuest, busyFor, cpuidExit, endlessGuest, inExit, testDevice } from './index.js';

describe('GuestCode', () => {
  it('is the twelve bytes of the KVM API example', () => {
    expect(Buffer.from(additionGuest()).toString('hex')).toBe('baf80300d80430eeb00aeef4');
  });

  it('resolves labels in both directions, and refuses ones that are missing or too far', () => {
    expect([...endlessGuest()]).toEqual([0xeb, 0xfe]);
    expect([...new GuestCode().jmp('on').nop(3).label('on').hlt().build()]).toEqual([0xeb, 3, 0x90, 0x90, 0x90, 0xf4]);
    expect(() => new GuestCode().jmp('nowhere').build()).toThrow('nowhere');
    expect(() => new GuestCode().jnz('far').nop(200).label('far').build()).toThrow('127');
  });

  it('prints a text', () => {
    expect([...new GuestCode().print('A', 0x80).build()]).toEqual([0xba, 0x80, 0, 0xb0, 0x41, 0xee]);
  });
});

describe('FakeVcpu', () => {
  it('plays its script by retired instructions and honours limits', () => {
    let now = 0;
    const vcpu: FakeVcpu = new FakeVcpu(0, () => now + vcpu.instructions).play(
      cpuidExit(5, 0, 100),
      inExit(0x10, 2),
      busyFor(50),
    );
    vcpu.setDeadline(40);
    expect([vcpu.run().reason, vcpu.instructions]).toEqual([ExitReason.PREEMPTION_TIMER, 40]);
    vcpu.setDeadline(Infinity);
    vcpu.setInstructionLimit(70);
    expect([vcpu.run().reason, vcpu.instructions]).toEqual([ExitReason.PREEMPTION_TIMER, 70]);
    vcpu.setInstructionLimit(Infinity);
    expect([vcpu.run().reason, vcpu.instructions, vcpu.rax]).toEqual([ExitReason.CPUID, 100, 5n]);
    vcpu.completeInstruction();
    vcpu.rax = 0xaaaa_bbbb_cccc_ddddn;
    const exit = vcpu.run();
    expect(exit.reason).toBe(ExitReason.IO);
    exit.io.value = 0x1234;
    vcpu.completeInstruction();
    expect([vcpu.rax, vcpu.instructions]).toEqual([0xaaaa_bbbb_cccc_1234n, 102]);
    now = 0;
  });
});

describe('testDevice', () => {
  it('fires timers at their own time while the clock moves, and records lines and requests', () => {
    const fired: number[] = [];
    const { bench } = testDevice(({ timers, clock, lines, system }) => {
      const line = lines.line(4);
      const timer = timers.schedule(10, () => {
        fired.push(clock.now());
        line.set(true);
        line.set(false);
        if (fired.length < 3) timer.reschedule(clock.now() + 10);
        else system.powerOff('enough');
      });
      return timer;
    });
    bench.advance(25);
    expect(fired).toEqual([10, 20]);
    bench.advance(100);
    expect([fired, bench.clock.now()]).toEqual([[10, 20, 30], 125]);
    expect(bench.lineChanges).toEqual(['+4', '-4', '+4', '-4', '+4', '-4']);
    expect(bench.requests).toEqual([{ kind: 'power-off', why: 'enough' }]);
  });
});
