/** Timers, the clock of retired instructions, and the console. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  Alarm,
  CaptureOutput,
  FURTHEST_DEADLINE,
  ManualClock,
  PushInput,
  RetirementClock,
  TimerQueue,
} from './index.js';
import type { Timer } from './index.js';

describe('TimerQueue', () => {
  it('agrees with a sorted list under any schedule, move, cancel and passing of time', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('move' as const), timer: fc.nat(7), by: fc.nat(50) }),
      fc.record({ kind: fc.constant('cancel' as const), timer: fc.nat(7), by: fc.constant(0) }),
      fc.record({ kind: fc.constant('pass' as const), timer: fc.constant(0), by: fc.nat(30) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const clock = new ManualClock();
        const queue = new TimerQueue(clock);
        let fired: number[] = [];
        const timers: Timer[] = Array.from({ length: 8 }, (_, i) => queue.schedule(Infinity, () => fired.push(i)));
        let model: { timer: number; deadline: number }[] = [];
        for (const { kind, timer, by } of steps) {
          if (kind === 'pass') {
            clock.advance(by);
            fired = [];
            queue.runDue();
            const due = model
              .filter((entry) => entry.deadline <= clock.now())
              .sort((a, b) => a.deadline - b.deadline || a.timer - b.timer);
            expect(fired).toEqual(due.map((entry) => entry.timer));
            model = model.filter((entry) => entry.deadline > clock.now());
          } else {
            model = model.filter((entry) => entry.timer !== timer);
            if (kind === 'cancel') timers[timer].cancel();
            else {
              timers[timer].reschedule(clock.now() + by);
              model.push({ timer, deadline: clock.now() + by });
            }
          }
          expect(queue.nextDeadline()).toBe(Math.min(Infinity, ...model.map((entry) => entry.deadline)));
          for (const [i, t] of timers.entries())
            expect(t.deadline).toBe(model.find((entry) => entry.timer === i)?.deadline ?? Infinity);
        }
      }),
    );
  });

  it('fires equal deadlines in the order of making, whoever was scheduled first', () => {
    const clock = new ManualClock();
    const queue = new TimerQueue(clock);
    const fired: string[] = [];
    const first = new Alarm(queue, () => fired.push('first'));
    const second = new Alarm(queue, () => fired.push('second'));
    second.set(10);
    first.set(10);
    clock.advance(10);
    queue.runDue();
    expect(fired).toEqual(['first', 'second']);
  });

  it('takes an alarm further away than any clock counts for none, and its state can be restored', () => {
    const clock = new ManualClock();
    const queue = new TimerQueue(clock);
    const alarm = new Alarm(queue, () => {});
    for (const now of [0, 1e15]) {
      clock.skipTo(now);
      for (const further of [1, 2 ** 20, 2 ** 64, Infinity]) {
        alarm.set(now + FURTHEST_DEADLINE + further);
        expect([alarm.deadline, alarm.save()]).toEqual([Infinity, null]);
      }
      alarm.set(now + FURTHEST_DEADLINE);
      expect(alarm.save()).toBe(FURTHEST_DEADLINE);
    }
  });

  it('lets a callback schedule, move and cancel timers', () => {
    const clock = new ManualClock();
    const queue = new TimerQueue(clock);
    const log: string[] = [];
    const victim = queue.schedule(20, () => log.push('victim'));
    const periodic = queue.schedule(10, () => {
      log.push(`tick ${clock.now()}`);
      victim.cancel();
      if (log.length < 3) periodic.reschedule(periodic.deadline === Infinity ? log.length * 10 + 10 : 0);
      queue.schedule(15, () => log.push('late'));
    });
    clock.advance(100);
    queue.runDue();
    expect(log).toEqual(['tick 100', 'late', 'tick 100', 'late']);
    expect(queue.nextDeadline()).toBe(Infinity);
  });

  it('does not hang on a timer that is always due, and refuses NaN', () => {
    const queue = new TimerQueue(new ManualClock());
    let count = 0;
    const timer = queue.schedule(0, () => {
      count++;
      timer.reschedule(0);
    });
    queue.runDue();
    expect(count).toBe(1000);
    expect(() => timer.reschedule(NaN)).toThrow('NaN');
  });
});

describe('RetirementClock', () => {
  it('never goes back, follows instructions, and keeps what was skipped', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(1000)), { maxLength: 50 }), (steps) => {
        let retired = 0;
        const clock = new RetirementClock(() => retired);
        let last = 0;
        for (const [skip, by] of steps) {
          const before = clock.now();
          if (skip) {
            clock.skipTo(before + by - 100);
            expect(clock.now()).toBe(Math.max(before, before + by - 100));
          } else {
            retired += by;
            expect(clock.now()).toBe(before + by);
          }
          expect(clock.now()).toBeGreaterThanOrEqual(last);
          last = clock.now();
        }
      }),
    );
  });
});

describe('console', () => {
  it('keeps input until somebody listens, and captures output', () => {
    let woken = 0;
    const input = new PushInput(() => woken++);
    input.push([1, 2]);
    const got: number[] = [];
    const end = input.onByte((byte) => got.push(byte));
    input.push(Uint8Array.of(3));
    end();
    input.push([4]);
    expect([got, woken]).toEqual([[1, 2, 3], 3]);
    const output = new CaptureOutput();
    for (let i = 0; i < 1000; i++) output.write(0x61 + (i % 26));
    expect(output.text.slice(0, 28)).toBe('abcdefghijklmnopqrstuvwxyzab');
    expect(output.bytes).toHaveLength(1000);
  });
});
