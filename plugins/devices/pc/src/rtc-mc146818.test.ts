/** The real-time clock: calendar, registers, interrupts, CMOS cells. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { fromCalendar, toCalendar } from './calendar.js';
import { cmosCells } from './cmos.js';
import { RtcMc146818 } from './rtc-mc146818.js';
import { TestLine, TestTime } from './test-machine.js';

/** 2024-02-28 23:59:58 UTC. */
const START = Date.UTC(2024, 1, 28, 23, 59, 58) / 1000;
let time: TestTime;
let irq: TestLine;
let rtc: RtcMc146818;
const make = (): RtcMc146818 => new RtcMc146818({ irq, clock: time.clock, timers: time.timers }, { startTime: START });
const read = (index: number): number => {
  rtc.writePort(0x70, 1, index);
  return rtc.readPort(0x71, 1);
};
const write = (index: number, value: number): void => {
  rtc.writePort(0x70, 1, index);
  rtc.writePort(0x71, 1, value);
};
const now = (): number[] => [0x32, 9, 8, 7, 4, 2, 0].map(read);
beforeEach(() => {
  time = new TestTime();
  irq = new TestLine();
  rtc = make();
});

describe('calendar', () => {
  it('agrees with the Gregorian calendar', () => {
    fc.assert(
      fc.property(fc.integer({ min: -60_000_000_000, max: 250_000_000_000 }), (seconds) => {
        const calendar = toCalendar(seconds);
        const date = new Date(seconds * 1000);
        expect([
          calendar.year,
          calendar.month,
          calendar.day,
          calendar.hour,
          calendar.minute,
          calendar.second,
          calendar.dayOfWeek,
        ]).toEqual([
          date.getUTCFullYear(),
          date.getUTCMonth() + 1,
          date.getUTCDate(),
          date.getUTCHours(),
          date.getUTCMinutes(),
          date.getUTCSeconds(),
          date.getUTCDay() + 1,
        ]);
        expect(fromCalendar(calendar)).toBe(seconds);
      }),
    );
  });
});

describe('MC146818 (Motorola data sheet)', () => {
  it('shows the time in BCD and carries into the leap day', () => {
    expect(now()).toEqual([0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x58]);
    time.advance(2e9);
    expect(now()).toEqual([0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x00]);
    expect(read(6)).toBe(5); // a Thursday
  });

  it('shows binary and twelve hours as register B selects', () => {
    write(0x0b, 0x06);
    expect(now()).toEqual([20, 24, 2, 28, 23, 59, 58]);
    write(0x0b, 0x04);
    expect(read(4)).toBe(0x80 | 11);
    write(0x0b, 0x00);
    expect(read(4)).toBe(0x91);
    time.advance(2e9);
    expect(read(4)).toBe(0x12); // midnight is 12 AM
  });

  it('says valid, and answers the index port with ones', () => {
    expect(read(0x0d)).toBe(0x80);
    expect(rtc.readPort(0x70, 1)).toBe(0xff);
    rtc.writePort(0x70, 1, 0x8d);
    expect(rtc.readPort(0x71, 1)).toBe(0x80);
    expect(rtc.nmiMasked).toBe(true);
  });

  it('raises update-in-progress 244 µs before the second', () => {
    time.advance(1e9 - 244_001);
    expect(read(0x0a) & 0x80).toBe(0);
    time.advance(1);
    expect(read(0x0a) & 0x80).toBe(0x80);
    time.advance(244_000);
    expect(read(0x0a) & 0x80).toBe(0);
    expect(read(0)).toBe(0x59);
  });

  it('takes a new time while SET is on', () => {
    write(0x0b, 0x82);
    time.advance(5e9);
    expect(read(0)).toBe(0x58);
    for (const [index, value] of [
      [0, 0x30],
      [2, 0x15],
      [4, 0x10],
      [7, 0x01],
      [8, 0x03],
      [9, 0x99],
      [0x32, 0x19],
    ])
      write(index, value);
    write(0x0b, 0x02);
    expect(now()).toEqual([0x19, 0x99, 0x03, 0x01, 0x10, 0x15, 0x30]);
    time.advance(30e9);
    expect(now()).toEqual([0x19, 0x99, 0x03, 0x01, 0x10, 0x16, 0x00]);
  });

  it('starts half a second before the first update when the divider leaves reset', () => {
    write(0x0a, 0x76);
    time.advance(3.3e9);
    write(0x0a, 0x26);
    time.advance(0.5e9 - 1);
    expect(read(0)).toBe(0x58);
    time.advance(1);
    expect(read(0)).toBe(0x59);
  });

  it('interrupts periodically at the selected rate', () => {
    write(0x0a, 0x26); // 1024 Hz
    write(0x0b, 0x42);
    for (let interrupt = 0; interrupt < 1024; interrupt++) {
      time.advance(Math.ceil(((interrupt + 1) * 1e9) / 1024) - time.clock.now());
      expect(irq.level).toBe(true);
      expect(read(0x0c) & 0xc0).toBe(0xc0);
      expect(irq.level).toBe(false);
    }
  });

  it('interrupts once a second after the update', () => {
    write(0x0b, 0x12);
    time.advance(1e9);
    expect(irq.level).toBe(true);
    expect(read(0x0c)).toBe(0x90 | 0x40);
    expect(read(0x0c)).toBe(0);
    expect(irq.level).toBe(false);
  });

  it('rings the alarm, also with bytes that match everything', () => {
    let rung = 0;
    rtc.onAlarm = () => rung++;
    for (const [index, value] of [
      [1, 0x05],
      [3, 0x00],
      [5, 0x00],
    ])
      write(index, value);
    write(0x0b, 0x22);
    time.advance(6.9e9);
    expect(irq.level).toBe(false);
    time.advance(0.1e9);
    expect(irq.level).toBe(true);
    expect(read(0x0c) & 0xa0).toBe(0xa0);
    expect(rung).toBe(1);
    for (const index of [1, 3, 5]) write(index, 0xff);
    time.advance(1e9);
    expect(irq.level).toBe(true);
  });

  it('finds flags nobody waited for when register C is read', () => {
    for (const index of [1, 3, 5]) write(index, 0xc0);
    time.advance(3e9);
    expect(time.timers.nextDeadline()).toBe(Infinity);
    expect(read(0x0c)).toBe(0x70);
    expect(irq.edges).toBe(0);
  });

  it('keeps CMOS memory, and the time through a reset', () => {
    write(0x40, 0x5a);
    write(0x0b, 0x72);
    time.advance(1e9);
    rtc.reset();
    expect(read(0x40)).toBe(0x5a);
    expect(read(0x0b)).toBe(0x02);
    expect(irq.level).toBe(false);
    expect(read(0)).toBe(0x59);
  });

  it('takes any programming, and its state survives saving', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(0x81), fc.nat(255)), { maxLength: 60 }), (actions) => {
        time = new TestTime();
        rtc = make();
        for (const [index, value] of actions) {
          if (index > 0x7f) time.advance(value * 7_000_000);
          else write(index, value);
          expect(read(index & 0x0f)).toBeLessThan(256);
        }
        const original = rtc;
        const copy = make();
        copy.restore(JSON.parse(JSON.stringify(original.save())));
        expect(copy.save()).toEqual(original.save());
        rtc = copy;
        const theirs = now();
        rtc = original;
        expect(now()).toEqual(theirs);
      }),
    );
  });
});

describe('CMOS cells', () => {
  const MIB = 0x10_0000;
  const cells = (regions: { gpa: number; size: number }[]): Map<number, number> =>
    new Map(cmosCells({ regions: regions.map((region) => ({ ...region, hostOffset: 0 })), cpus: 2 }));

  it('hold the memory sizes that firmware reads', () => {
    const small = cells([{ gpa: 0, size: 256 * MIB }]);
    expect((small.get(0x16)! << 8) | small.get(0x15)!).toBe(640);
    expect((small.get(0x18)! << 8) | small.get(0x17)!).toBe(0xffff);
    expect(((small.get(0x35)! << 8) | small.get(0x34)!) * 0x10000 + 16 * MIB).toBe(256 * MIB);
    expect(small.get(0x5f)).toBe(1);
    const large = cells([
      { gpa: 0, size: 0xc000_0000 },
      { gpa: 0x1_0000_0000, size: 0x4000_0000 },
    ]);
    expect(((large.get(0x35)! << 8) | large.get(0x34)!) * 0x10000 + 16 * MIB).toBe(0xc000_0000);
    expect(((large.get(0x5d)! << 16) | (large.get(0x5c)! << 8) | large.get(0x5b)!) * 0x10000).toBe(0x4000_0000);
  });
});
