/** The HPET's counter, comparators and interrupts. */
import { beforeEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { Hpet } from './hpet.js';
import { TestLines, TestTime } from './test-machine.js';
import type { TestLine } from './test-machine.js';

const CONFIG = 0x10;
const COUNTER = 0xf0;
const timer = (index: number): { config: number; compare: number } => ({
  config: 0x100 + 0x20 * index,
  compare: 0x108 + 0x20 * index,
});

let time: TestTime;
let lines: TestLines;
let messages: [number, number][];
let hpet: Hpet;
const line = (gsi: number): TestLine => lines.line(gsi);
const make = (): Hpet =>
  new Hpet(lines, time.clock, time.timers, {
    sendMessage: (address, data) => void messages.push([address, data]),
  });
const write = (offset: number, value: number): void => hpet.writeMmio(offset, 4, value);
const read = (offset: number): number => hpet.readMmio(offset, 4);
beforeEach(() => {
  time = new TestTime();
  lines = new TestLines();
  messages = [];
  hpet = make();
});

describe('HPET (IA-PC HPET 1.0a)', () => {
  it('has a 64-bit counter of 10 ns, three comparators and legacy replacement', () => {
    expect(read(0)).toBe(0x8086a201);
    expect(read(4)).toBe(10_000_000);
  });

  it('counts only while enabled, and is written only while stopped', () => {
    time.advance(1000);
    expect(read(COUNTER)).toBe(0);
    write(COUNTER, 500);
    write(CONFIG, 1);
    time.advance(1000);
    expect(read(COUNTER)).toBe(600);
    write(COUNTER, 0);
    expect(read(COUNTER)).toBe(600);
    write(CONFIG, 0);
    time.advance(1000);
    expect(read(COUNTER)).toBe(600);
  });

  it('carries into the high half', () => {
    write(COUNTER, 0xffff_ffff);
    write(COUNTER + 4, 7);
    write(CONFIG, 1);
    time.advance(10);
    expect([read(COUNTER), read(COUNTER + 4)]).toEqual([0, 8]);
  });

  it('wakes nobody for a periodic comparator whose interrupt is off, which goes on all the same', () => {
    write(timer(0).config, 8 | 0x40);
    write(timer(0).compare, 1000);
    write(timer(0).compare + 4, 0);
    write(timer(0).compare, 300);
    write(timer(0).compare + 4, 0);
    write(CONFIG, 1);
    expect(time.timers.nextDeadline()).toBe(Infinity);
    time.advance(10 * 999);
    expect(read(timer(0).compare)).toBe(1000);
    time.advance(10 * 1);
    expect(read(timer(0).compare)).toBe(1300);
    time.advance(10 * 1_000_000);
    expect(read(timer(0).compare)).toBe(1000 + 3334 * 300);
    // Its phase is kept when the interrupt is turned on again
    write(timer(0).config, 8 | 4);
    time.advance(10 * (1000 + 3334 * 300 - 1_001_000 - 1));
    expect(line(0).edges + line(2).edges).toBe(0);
    expect(time.timers.nextDeadline()).toBe(time.clock.now() + 10);
  });

  it('sets the status of a level-triggered comparator whose interrupt is off, once', () => {
    write(timer(1).config, 8 | 2 | 0x40);
    write(timer(1).compare, 100);
    write(timer(1).compare + 4, 0);
    write(CONFIG, 1);
    time.advance(3000);
    expect(read(0x20)).toBe(2);
    expect(time.timers.nextDeadline()).toBe(Infinity);
    write(0x20, 2);
    expect(read(0x20)).toBe(0);
    expect(time.timers.nextDeadline()).not.toBe(Infinity);
  });

  it('interrupts once at a comparator', () => {
    write(timer(2).config, (20 << 9) | 4);
    write(timer(2).compare, 1000);
    write(timer(2).compare + 4, 0);
    write(CONFIG, 1);
    time.advance(9990);
    expect(line(20).edges).toBe(0);
    time.advance(10);
    expect(line(20).edges).toBe(1);
    time.advance(1e9);
    expect(line(20).edges).toBe(1);
  });

  it('holds a level until its status is cleared', () => {
    write(timer(0).config, (21 << 9) | 4 | 2);
    write(timer(0).compare, 100);
    write(timer(0).compare + 4, 0);
    write(CONFIG, 1);
    time.advance(1000);
    expect([line(21).level, read(0x20)]).toEqual([true, 1]);
    write(0x20, 1);
    expect([line(21).level, read(0x20)]).toEqual([false, 0]);
  });

  it('repeats with its period, in 32 bits as Linux programs it', () => {
    write(timer(0).config, 4 | 8 | 0x40 | 0x100); // periodic, set value, 32 bits
    write(timer(0).compare, 1000);
    write(timer(0).compare, 500);
    write(CONFIG, 3); // legacy replacement: line 0
    time.advance(10_000);
    expect(line(0).edges).toBe(1);
    time.advance(50_000);
    expect(line(0).edges).toBe(11);
    write(timer(0).config, 0);
    time.advance(50_000);
    expect(line(0).edges).toBe(11);
  });

  it('cuts the 8254 and the clock off while it replaces them (2.3.5)', () => {
    write(CONFIG, 2);
    expect(lines.legacyReplaced).toBe(true);
    const state = hpet.save();
    hpet.reset();
    expect(lines.legacyReplaced).toBe(false);
    hpet.restore(state);
    expect(lines.legacyReplaced).toBe(true);
    write(CONFIG, 1);
    expect(lines.legacyReplaced).toBe(false);
  });

  it('replaces the clock with comparator 1', () => {
    write(timer(1).config, 4);
    write(timer(1).compare, 50);
    write(timer(1).compare + 4, 0);
    write(CONFIG, 3);
    time.advance(500);
    expect(line(8).edges).toBe(1);
  });

  it('sends messages', () => {
    write(0x110, 0x4041);
    write(0x114, 0xfee0_0000);
    write(timer(0).config, 4 | 0x4000);
    write(timer(0).compare, 50);
    write(timer(0).compare + 4, 0);
    write(CONFIG, 1);
    time.advance(500);
    expect(messages).toEqual([[0xfee0_0000, 0x4041]]);
  });

  it('lets go of a line when its match is routed to another', () => {
    write(CONFIG, 1);
    for (const gsi of [21, 20]) {
      write(timer(0).config, 4 | 2 | (gsi << 9));
      write(timer(0).compare, read(COUNTER) + 10);
      write(timer(0).compare + 4, 0);
      time.advance(200);
    }
    expect([line(20).level, line(21).level]).toEqual([true, false]);
    write(0x20, 1);
    expect(line(20).level).toBe(false);
  });

  it('takes any programming, and its state survives saving', () => {
    const action = fc.tuple(
      fc.nat(0x3ff),
      fc.constantFrom(1 as const, 2 as const, 4 as const, 0 as const),
      fc.oneof(fc.nat(0xffff_ffff), fc.nat(0x7ff)),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        time = new TestTime();
        hpet = make();
        for (const [at, size, value] of actions) {
          if (size === 0) time.advance(value & 0xffff);
          else {
            hpet.writeMmio(at & -size & 0x1ff, size, value);
            expect(hpet.readMmio(at & -size, size)).toBeLessThan(2 ** (8 * size));
          }
        }
        const copy = make();
        copy.restore(JSON.parse(JSON.stringify(hpet.save())));
        expect(copy.save()).toEqual(hpet.save());
        for (const offset of [0x10, 0x20, 0xf0, 0xf4, 0x100, 0x108])
          expect(copy.readMmio(offset, 4)).toBe(read(offset));
      }),
    );
  });
});
