/** The 8254 timer in all of its modes. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { TickRate } from '@visorkit/machine';
import { PIT_FREQUENCY, Pit8254 } from './pit8254.js';
import { TestLine, TestTime, bytes } from './test-machine.js';

const rate = new TickRate(PIT_FREQUENCY);
let time: TestTime;
let irq: TestLine;
let pit: Pit8254;
let port: ReturnType<typeof bytes>;
const make = (): Pit8254 => new Pit8254({ irq, clock: time.clock, timers: time.timers });
beforeEach(() => {
  time = new TestTime();
  irq = new TestLine();
  pit = make();
  port = bytes(pit);
});
const ticks = (count: number): void =>
  time.advance(rate.timeOf(rate.ticksAt(time.clock.now()) + count) - time.clock.now());
const program = (counter: number, mode: number, count: number, bcd = 0): void => {
  port.write(0x43, (counter << 6) | 0x30 | (mode << 1) | bcd);
  port.write(0x40 + counter, count & 0xff);
  port.write(0x40 + counter, count >> 8);
};
const latched = (counter: number): number => {
  port.write(0x43, counter << 6);
  return port.read(0x40 + counter) | (port.read(0x40 + counter) << 8);
};
const out2 = (): boolean => (port.read(0x61) & 0x20) !== 0;

describe('8254 (Intel 231164)', () => {
  it('mode 0: output goes high when the count ends and stays', () => {
    program(0, 0, 1000);
    expect(irq.level).toBe(false);
    ticks(400);
    expect(latched(0)).toBe(600);
    ticks(599);
    expect(irq.level).toBe(false);
    ticks(1);
    expect(irq.level).toBe(true);
    ticks(10);
    expect(latched(0)).toBe(0x10000 - 10);
    expect(irq.edges).toBe(1);
  });

  it('mode 2: one edge in each period', () => {
    program(0, 2, 11932);
    const edges = irq.edges;
    ticks(11932 * 10);
    expect(irq.edges - edges).toBe(10);
    ticks(5000);
    expect(latched(0)).toBe(11932 - 5000);
  });

  it('mode 3: counts by two, one edge in each period', () => {
    program(0, 3, 1000);
    const edges = irq.edges;
    ticks(100);
    expect(latched(0)).toBe(800);
    ticks(500);
    expect(latched(0)).toBe(800);
    ticks(400 + 4000);
    expect(irq.edges - edges).toBe(5);
  });

  it('a count of 0 is 65536', () => {
    program(0, 2, 0);
    const edges = irq.edges;
    ticks(65535);
    expect(irq.edges).toBe(edges);
    ticks(1);
    expect(irq.edges).toBe(edges + 1);
  });

  it('a new count in mode 2 begins with the next period', () => {
    program(0, 2, 1000);
    const edges = irq.edges;
    ticks(500);
    port.write(0x40, 100);
    port.write(0x40, 0);
    ticks(499);
    expect(irq.edges).toBe(edges);
    ticks(1);
    expect(irq.edges).toBe(edges + 1);
    ticks(100);
    expect(irq.edges).toBe(edges + 2);
  });

  it('mode 4 strobes once, mode 1 and 5 wait for the gate', () => {
    port.write(0x61, 0x01);
    program(2, 4, 100);
    expect(out2()).toBe(true);
    ticks(100);
    expect(out2()).toBe(false);
    ticks(1);
    expect(out2()).toBe(true);
    port.write(0x61, 0x00);
    program(2, 1, 100);
    ticks(1000);
    expect(out2()).toBe(true);
    port.write(0x61, 0x01);
    expect(out2()).toBe(false);
    ticks(99);
    expect(out2()).toBe(false);
    ticks(1);
    expect(out2()).toBe(true);
    port.write(0x61, 0x00);
    program(2, 5, 50);
    port.write(0x61, 0x01);
    ticks(50);
    expect(out2()).toBe(false);
    ticks(1);
    expect(out2()).toBe(true);
  });

  it('the gate of counter 2 holds mode 0 and restarts mode 2', () => {
    port.write(0x61, 0x01);
    program(2, 0, 1000);
    ticks(300);
    port.write(0x61, 0x00);
    ticks(5000);
    expect(latched(2)).toBe(700);
    port.write(0x61, 0x01);
    ticks(699);
    expect(out2()).toBe(false);
    ticks(1);
    expect(out2()).toBe(true);
    program(2, 2, 1000);
    ticks(300);
    port.write(0x61, 0x00);
    port.write(0x61, 0x01);
    expect(latched(2)).toBe(1000);
  });

  it('counts in BCD', () => {
    program(0, 2, 0x1234, 1);
    ticks(34);
    expect(latched(0)).toBe(0x1200);
    program(0, 0, 0x0000, 1);
    ticks(1);
    expect(latched(0)).toBe(0x9999);
  });

  it('latches count and status together with the read-back command', () => {
    program(0, 2, 1000);
    port.write(0x43, 0xc2); // counter 0, both
    ticks(10);
    expect(port.read(0x40)).toBe(0xb4); // OUT high, count loaded, LSB/MSB, mode 2
    expect(port.read(0x40) | (port.read(0x40) << 8)).toBe(1000);
    port.write(0x43, 0x34);
    port.write(0x43, 0xe2); // status only
    expect(port.read(0x40) & 0x40).toBe(0x40); // null count
  });

  it('reads the low or the high byte alone', () => {
    port.write(0x43, 0x20); // counter 0, high byte, mode 0
    port.write(0x40, 0x12);
    ticks(0x100);
    expect(port.read(0x40)).toBe(0x11);
  });

  it('keeps the first latched count until it is read', () => {
    program(0, 2, 1000);
    port.write(0x43, 0x00);
    ticks(10);
    port.write(0x43, 0x00);
    expect(port.read(0x40) | (port.read(0x40) << 8)).toBe(1000);
  });

  it('toggles the refresh bit of port 0x61', () => {
    const first = port.read(0x61) & 0x10;
    ticks(18);
    expect(port.read(0x61) & 0x10).not.toBe(first);
  });

  it('does not gain or lose time', () => {
    program(0, 2, 1193);
    const edges = irq.edges;
    time.advance(10e9);
    expect(irq.edges - edges).toBe(Math.floor((10 * PIT_FREQUENCY) / 1193));
  });

  it('takes any programming, and its state survives saving', () => {
    const action = fc.tuple(fc.constantFrom(0x40, 0x41, 0x42, 0x43, 0x61, -1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        time = new TestTime();
        pit = make();
        for (const [at, value] of actions) {
          if (at < 0) time.advance(value * 300);
          else {
            pit.writePort(at, 1, value);
            expect(pit.readPort(at, 1)).toBeLessThan(256);
          }
        }
        const copy = make();
        copy.restore(JSON.parse(JSON.stringify(pit.save())));
        expect(copy.save()).toEqual(pit.save());
        for (const at of [0x40, 0x41, 0x42, 0x61]) expect(copy.readPort(at, 1)).toBe(pit.readPort(at, 1));
      }),
    );
  });
});
