/** Power management registers: buttons, timer, sleep states. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { ManualClock, TimerQueue } from '@visorkit/machine';
import { PM1_CONTROL, PM1_EVENT, PM_BASE, PM_TIMER, PmRegisters } from './pm-registers.js';

const PM1_EVENT_PORT = PM_BASE + PM1_EVENT,
  PM1_CONTROL_PORT = PM_BASE + PM1_CONTROL,
  PM_TIMER_PORT = PM_BASE + PM_TIMER;

let clock: ManualClock;
let timers: TimerQueue;
let sci: boolean;
let slept: number[];
let pm: PmRegisters;
const make = (): PmRegisters =>
  new PmRegisters({
    sci: { set: (level) => void (sci = level) },
    clock,
    timers,
    sleep: (type) => void slept.push(type),
  });
beforeEach(() => {
  clock = new ManualClock();
  timers = new TimerQueue(clock);
  sci = false;
  slept = [];
  pm = make();
});

describe('ACPI fixed hardware (ACPI 6.4, 4.8)', () => {
  it('counts 3579545 ticks a second in 32 bits', () => {
    clock.skipTo(1e9);
    expect(pm.readPort(PM_TIMER_PORT, 4)).toBe(3_579_545);
    clock.skipTo(1_200e9);
    expect(pm.readPort(PM_TIMER_PORT, 4)).toBe((3_579_545 * 1200) % 2 ** 32);
  });

  it('sets the timer status when the highest bit changes, and interrupts when enabled', () => {
    pm.writePort(PM1_EVENT_PORT + 2, 2, 1);
    clock.skipTo(timers.nextDeadline() - 1);
    timers.runDue();
    expect(sci).toBe(false);
    clock.advance(1);
    timers.runDue();
    expect(sci).toBe(true);
    expect(pm.readPort(PM_TIMER_PORT, 4)).toBe(2 ** 31);
    pm.writePort(PM1_EVENT_PORT, 2, 1);
    expect(sci).toBe(false);
  });

  it('keeps the power button in the status until it is written with a one', () => {
    pm.pressPowerButton();
    expect(sci).toBe(false);
    pm.writePort(PM1_EVENT_PORT + 2, 2, 0x100);
    expect(sci).toBe(true);
    expect(pm.readPort(PM1_EVENT_PORT, 2)).toBe(0x100);
    pm.writePort(PM1_EVENT_PORT, 2, 0xfeff);
    expect(sci).toBe(true);
    pm.writePort(PM1_EVENT_PORT + 1, 1, 1);
    expect(sci).toBe(false);
  });

  it('reports the sleep type of a write with SLP_EN, and reads SCI_EN as 1', () => {
    expect(pm.readPort(PM1_CONTROL_PORT, 2)).toBe(1);
    pm.writePort(PM1_CONTROL_PORT, 2, 0x0400);
    expect(slept).toEqual([]);
    pm.writePort(PM1_CONTROL_PORT, 2, 0x2400);
    pm.writePort(PM1_CONTROL_PORT, 2, 0x2000);
    expect(slept).toEqual([1, 0]);
    expect(pm.readPort(PM1_CONTROL_PORT, 2)).toBe(1);
  });

  it('takes any programming, and its state survives saving', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.nat(11), fc.constantFrom(1 as const, 2 as const, 4 as const), fc.nat(0xffff_ffff), fc.nat(1e9)),
          { maxLength: 40 },
        ),
        (writes) => {
          for (const [at, size, value, wait] of writes) {
            pm.writePort(PM_BASE + at, size, value);
            expect(pm.readPort(PM_BASE + at, size)).toBeLessThan(2 ** (8 * size));
            clock.advance(wait);
            timers.runDue();
          }
          const copy = make();
          copy.restore(JSON.parse(JSON.stringify(pm.save())));
          expect(copy.save()).toEqual(pm.save());
        },
      ),
    );
  });
});
