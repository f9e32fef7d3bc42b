/** States of devices are checked before anything is restored, and sinks of interrupt lines are not told meanwhile. */
import { expect, it } from 'vitest';
import * as v from 'valibot';
import { VisorkitError } from '@visorkit/core';
import { Alarm, DeviceList, InterruptLines, ManualClock, Oscillator, TimerQueue, unsigned } from './index.js';
import type { Device, InterruptLine } from './index.js';

interface BellState {
  level: boolean;
  tone: number;
}

/** A device that holds a line. */
class Bell implements Device<BellState> {
  readonly schema = v.strictObject({ level: v.boolean(), tone: unsigned(8) });
  #state: BellState = { level: false, tone: 0 };

  constructor(
    readonly name: string,
    private readonly line: InterruptLine,
  ) {}

  ring(tone: number): void {
    this.#state = { level: true, tone };
    this.line.set(true);
  }
  reset(): void {
    this.restore({ level: false, tone: 0 });
  }
  save(): BellState {
    return { ...this.#state };
  }
  restore(state: BellState): void {
    this.#state = { ...state };
    this.line.set(state.level);
  }
}

function machine(...names: string[]): { devices: DeviceList; bells: Bell[]; heard: string[]; lines: InterruptLines } {
  const lines = new InterruptLines();
  const heard: string[] = [];
  lines.connect((gsi, level) => heard.push(`${level ? '+' : '-'}${gsi}`));
  const devices = new DeviceList(lines);
  const bells = names.map((name, index) => new Bell(name, lines.line(index)));
  for (const bell of bells) devices.add(bell);
  return { devices, bells, heard, lines };
}

it('restores each device, and tells no sink of a line', () => {
  const first = machine('a', 'b');
  first.bells[1].ring(7);
  const second = machine('a', 'b');
  second.bells[0].ring(3);
  second.heard.length = 0;
  second.devices.restore(JSON.parse(JSON.stringify(first.devices.save())));
  expect(second.devices.save()).toEqual(first.devices.save());
  expect([second.lines.level(0), second.lines.level(1), second.heard]).toEqual([false, true, []]);
});

it.each([
  [
    { a: { level: true, tone: 1 }, b: { level: true, tone: 256 } },
    'The state of device "b" cannot be restored: "tone" is 256; it must be a whole number from 0 to 255.',
  ],
  [
    { a: { level: true, tone: 1 }, b: { level: 'high', tone: 2 } },
    'The state of device "b" cannot be restored: "level" is "high"; it must be true or false.',
  ],
  [
    { a: { level: true, tone: 1 }, b: { level: true } },
    'The state of device "b" cannot be restored: "tone" is missing.',
  ],
  [
    { a: { level: true, tone: 1 }, b: { level: true, tone: 1, pitch: 2 } },
    'The state of device "b" cannot be restored: "pitch" is not a known field.',
  ],
  [
    { a: { level: true, tone: 1 }, b: null },
    'The state of device "b" cannot be restored: it is null; it must be an object.',
  ],
  [
    { a: { level: true, tone: 1 } },
    'There is no state of device "b", which this machine has; leave the device out, because the saved machine did not have it.',
  ],
  [
    { a: { level: true, tone: 1 }, b: { level: true, tone: 1 }, clock: 1 },
    'There is a state of device "clock", which this machine does not have; there is a, b. Compose this machine as the saved one was.',
  ],
  [[], "The states of devices are []; they must be an object with each state under its device's name."],
])('refuses %j and changes nothing', (states, message) => {
  const { devices, heard } = machine('a', 'b');
  const before = devices.save();
  let thrown: unknown;
  try {
    devices.restore(states);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(VisorkitError);
  expect([(thrown as VisorkitError).code, (thrown as VisorkitError).message]).toEqual(['DEVICE_STATE', message]);
  expect([devices.save(), heard]).toEqual([before, []]);
});

it('keeps an oscillator in phase and an alarm as far away, at another time of the clock', () => {
  const [early, late] = [new ManualClock(), new ManualClock()];
  early.advance(1_234_567);
  late.advance(9_000_000_001);
  const [saved, restored] = [early, late].map((clock) => {
    const timers = new TimerQueue(clock);
    return { clock, timers, oscillator: new Oscillator(1_193_182, clock), alarm: new Alarm(timers, () => {}) };
  });
  saved.alarm.set(early.now() + 500);
  restored.oscillator.restore(saved.oscillator.save());
  restored.alarm.restore(saved.alarm.save());
  for (let step = 0; step < 3000; step++) {
    expect(restored.oscillator.ticks()).toBe(saved.oscillator.ticks());
    expect(restored.alarm.save()).toBe(saved.alarm.save());
    early.advance(97);
    late.advance(97);
  }
  expect(saved.alarm.save()).toBeLessThan(0);
  expect(restored.oscillator.timeOf(5000) - late.now()).toBe(saved.oscillator.timeOf(5000) - early.now());
});
