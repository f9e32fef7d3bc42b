/**
 * The 8254 programmable interval timer (Intel data sheet 231164) as a PC wires it: counter 0 to IRQ 0, counter 1 once
 * refreshed DRAM, counter 2 gated by port 0x61 and heard through the speaker.
 *
 * Nothing is counted step by step: each counter keeps the tick at which its count began, and calculates the count and
 * its output from the present tick. Only counter 0 sets an alarm, for the next rising edge of its output.
 */
import { inject, injectable } from '@visorkit/core';
import {
  Alarm,
  ClockToken,
  InterruptLinesToken,
  Oscillator,
  TimerQueueToken,
  nanoseconds,
  unsigned,
  wholeNumber,
} from '@visorkit/machine';
import type { Clock, Device, InterruptLine, LineSource, TimerQueue } from '@visorkit/machine';
import * as v from 'valibot';
import { BytePortDevice } from './byte-port-device.js';

/** 14.31818 MHz / 12, in hertz. */
export const PIT_FREQUENCY = 1_193_182;

const CONTROL_PORT = 3;
/** Control word: counter select 7-6, access 5-4, mode 3-1, BCD 0. */
const READ_BACK = 3;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;
const ACCESS_LATCH = 0;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const ACCESS_WORD = 3;
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;

/** Port 0x61, the system control port B of the PC/AT. */
const B_GATE2 = 0x01;
const B_WRITABLE = 0x0f;
const B_REFRESH = 0x10;
const B_OUT2 = 0x20;
/** The refresh request toggles every 15.085 µs: 18 ticks. */
const REFRESH_TICKS = 18;

export interface PitCounterState {
  mode: number;
  bcd: boolean;
  access: number;
  /** The count in use, 1 to 65536 (10000 in BCD), 0 before the first. */
  initial: number;
  /** A count written to a running mode 2 or 3 counter, used from its next cycle; 0 for none. */
  next: number;
  nullCount: boolean;
  /** Tick at which the present count began; for a stopped counter, ticks already counted are in `elapsed`. */
  start: number;
  running: boolean;
  elapsed: number;
  gate: boolean;
  /** Whether modes 1 and 5 were triggered since the mode was set. */
  triggered: boolean;
  lowByte: number;
  writeHigh: boolean;
  readHigh: boolean;
  latchedCount: number | null;
  latchedStatus: number | null;
}

/** Before its first control word a counter's mode is undefined; mode 0 keeps its output low. */
const powerOn = (gate: boolean): PitCounterState => ({
  mode: 0,
  bcd: false,
  access: ACCESS_WORD,
  initial: 0,
  next: 0,
  nullCount: true,
  start: 0,
  running: false,
  elapsed: 0,
  gate,
  triggered: false,
  lowByte: 0,
  writeHigh: false,
  readHigh: false,
  latchedCount: null,
  latchedStatus: null,
});

/** One of the three counters; `now` is always the present tick. */
class Counter {
  state: PitCounterState;

  constructor(gate: boolean) {
    this.state = powerOn(gate);
  }

  control(word: number, now: number): void {
    const access = (word >> 4) & 3;
    if (access === ACCESS_LATCH) return this.latchCount(now);
    const state = this.state;
    const mode = (word >> 1) & 7;
    this.state = {
      ...powerOn(state.gate),
      access,
      mode: mode > 5 ? mode - 4 : mode, // bit 2 is "don't care" for modes 2 and 3
      bcd: (word & 1) !== 0,
    };
  }

  latchCount(now: number): void {
    if (this.state.latchedCount === null) this.state.latchedCount = this.count(now);
  }

  latchStatus(now: number): void {
    const state = this.state;
    if (state.latchedStatus !== null) return;
    state.latchedStatus =
      (this.output(now) ? STATUS_OUT : 0) |
      (state.nullCount ? STATUS_NULL_COUNT : 0) |
      (state.access << 4) |
      (state.mode << 1) |
      (state.bcd ? 1 : 0);
  }

  read(now: number): number {
    const state = this.state;
    if (state.latchedStatus !== null) {
      const status = state.latchedStatus;
      state.latchedStatus = null;
      return status;
    }
    const count = state.latchedCount ?? this.count(now);
    if (state.access === ACCESS_WORD) {
      const high = state.readHigh;
      state.readHigh = !high;
      if (high) state.latchedCount = null;
      return high ? count >> 8 : count & 0xff;
    }
    state.latchedCount = null;
    return state.access === ACCESS_HIGH ? count >> 8 : count & 0xff;
  }

  write(value: number, now: number): void {
    const state = this.state;
    if (state.access === ACCESS_LOW) return this.#load(value, now);
    if (state.access === ACCESS_HIGH) return this.#load(value << 8, now);
    if (!state.writeHigh) {
      state.lowByte = value;
      state.writeHigh = true;
      state.nullCount = true;
      // In mode 0 the first byte of a new count stops the counting and the output goes low.
      if (state.mode === 0) {
        state.initial = 0;
        state.running = false;
      }
      return;
    }
    state.writeHigh = false;
    this.#load(state.lowByte | (value << 8), now);
  }

  setGate(level: boolean, now: number): void {
    const state = this.state;
    if (state.gate === level) return;
    this.settle(now);
    state.gate = level;
    const rising = level;
    switch (state.mode) {
      case 1:
      case 5:
        if (rising && state.initial !== 0) this.#begin(now, true);
        break;
      case 2:
      case 3:
        if (rising && state.initial !== 0) this.#begin(now, false);
        else if (!rising) state.running = false; // output goes high at once, counting stops
        break;
      default:
        if (rising && state.initial !== 0) {
          state.start = now - state.elapsed;
          state.running = true;
        } else if (!rising && state.running) {
          state.elapsed = now - state.start;
          state.running = false;
        }
    }
  }

  /** Brings a periodic counter into its present cycle, taking over a count written during the last one. */
  settle(now: number): void {
    const state = this.state;
    if (!state.running || (state.mode !== 2 && state.mode !== 3)) return;
    if (now - state.start < state.initial) return;
    if (state.next !== 0) {
      state.start += state.initial;
      state.initial = state.next;
      state.next = 0;
      state.nullCount = false;
    }
    state.start += Math.floor((now - state.start) / state.initial) * state.initial;
  }

  /** The level of OUT. */
  output(now: number): boolean {
    const state = this.state;
    this.settle(now);
    const elapsed = this.#elapsed(now);
    switch (state.mode) {
      case 0:
        return state.initial !== 0 && elapsed >= state.initial;
      case 1:
        return !state.triggered || elapsed >= state.initial;
      case 2:
        return !state.running || elapsed !== state.initial - 1;
      case 3:
        return !state.running || elapsed < Math.ceil(state.initial / 2);
      case 4:
        return state.initial === 0 || elapsed !== state.initial;
      default:
        return !state.triggered || elapsed !== state.initial;
    }
  }

  /** The tick of the next rising edge of OUT after `now`, Infinity if none is coming. */
  nextRise(now: number): number {
    const state = this.state;
    this.settle(now);
    if (!state.running || state.initial === 0) return Infinity;
    const end = state.start + state.initial;
    switch (state.mode) {
      case 2:
      case 3:
        return end;
      case 4:
      case 5: // low for one tick when the count reaches zero, then high
        return now <= end ? end + 1 : Infinity;
      default:
        return now < end ? end : Infinity;
    }
  }

  /** The counting element as software reads it. */
  count(now: number): number {
    const state = this.state;
    this.settle(now);
    if (state.initial === 0) return 0;
    const elapsed = this.#elapsed(now);
    const modulus = state.bcd ? 10_000 : 0x10000;
    let count: number;
    if (state.mode === 2) count = state.initial - elapsed;
    else if (state.mode === 3) {
      // Counts down by two; an odd count spends one tick more in its high half.
      const half = Math.ceil(state.initial / 2);
      const even = state.initial & ~1;
      count = elapsed < half ? Math.max(2, even - 2 * elapsed) : Math.max(2, even - 2 * (elapsed - half));
    } else count = (((state.initial - elapsed) % modulus) + modulus) % modulus;
    count %= modulus;
    return state.bcd ? toBcd(count) : count;
  }

  #elapsed(now: number): number {
    return this.state.running ? now - this.state.start : this.state.elapsed;
  }

  #load(value: number, now: number): void {
    const state = this.state;
    const count = (state.bcd ? fromBcd(value) : value) || (state.bcd ? 10_000 : 0x10000);
    this.settle(now);
    if ((state.mode === 2 || state.mode === 3) && state.running) {
      state.next = count;
      state.nullCount = true;
      return;
    }
    if (state.mode === 1 || state.mode === 5) {
      // The count is used at the next trigger; one that runs goes on.
      if (state.running && this.#elapsed(now) < state.initial) state.next = count;
      else state.initial = count;
      state.nullCount = false;
      return;
    }
    state.initial = count;
    state.nullCount = false;
    state.elapsed = 0;
    if (state.gate) this.#begin(now, false);
  }

  #begin(now: number, trigger: boolean): void {
    const state = this.state;
    if (state.next !== 0) {
      state.initial = state.next;
      state.next = 0;
      state.nullCount = false;
    }
    state.start = now;
    state.elapsed = 0;
    state.running = true;
    if (trigger) state.triggered = true;
  }
}

const fromBcd = (value: number): number =>
  ((value >> 12) & 15) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
const toBcd = (value: number): number =>
  (Math.floor(value / 1000) << 12) |
  (Math.floor((value / 100) % 10) << 8) |
  (Math.floor((value / 10) % 10) << 4) |
  (value % 10);

export interface Pit8254State {
  /** ns since the oscillator began. */
  oscillator: number;
  counters: [PitCounterState, PitCounterState, PitCounterState];
  portB: number;
  /** Level of IRQ 0. */
  irq: boolean;
  /** ns until OUT of counter 0 rises. */
  rise: number | null;
}

const COUNTER = v.pipe(
  v.strictObject({
    mode: wholeNumber(0, 5),
    bcd: v.boolean(),
    access: wholeNumber(ACCESS_LOW, ACCESS_WORD),
    initial: wholeNumber(0, 0x10000),
    next: wholeNumber(0, 0x10000),
    nullCount: v.boolean(),
    start: wholeNumber(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    running: v.boolean(),
    elapsed: unsigned(53),
    gate: v.boolean(),
    triggered: v.boolean(),
    lowByte: unsigned(8),
    writeHigh: v.boolean(),
    readHigh: v.boolean(),
    latchedCount: v.nullable(unsigned(16)),
    latchedStatus: v.nullable(unsigned(8)),
  }),
  v.check(({ running, initial }) => !running || initial > 0, 'a counter whose count is not 0 while it runs'),
);

const STATE = v.strictObject({
  oscillator: nanoseconds(),
  counters: v.strictTuple([COUNTER, COUNTER, COUNTER]),
  portB: unsigned(4),
  irq: v.boolean(),
  rise: v.nullable(nanoseconds()),
});

/** The 8254 at ports 0x40-0x43 together with port 0x61, which gates counter 2 and shows its output. */
@injectable()
export class Pit8254 extends BytePortDevice implements Device<Pit8254State> {
  readonly name = 'pit8254';
  readonly schema = STATE;
  readonly #counters = [new Counter(true), new Counter(true), new Counter(false)] as const;
  readonly #oscillator: Oscillator;
  /** OUT of counter 0. */
  readonly #irq: InterruptLine;
  readonly #alarm: Alarm;
  #portB = 0;
  #irqLevel = false;

  constructor(
    @inject(InterruptLinesToken) lines: LineSource,
    @inject(ClockToken) clock: Clock,
    @inject(TimerQueueToken) timers: TimerQueue,
  ) {
    super();
    this.#oscillator = new Oscillator(PIT_FREQUENCY, clock);
    this.#irq = lines.line(0, 'legacy-timer');
    this.#alarm = new Alarm(timers, () => this.#rise());
  }

  /** Whether the speaker's cone is pushed out now: counter 2's output gated by bit 1 of port 0x61. */
  get speaker(): boolean {
    return (this.#portB & 2) !== 0 && this.#counters[2].output(this.#now());
  }

  reset(): void {
    this.#portB = 0;
    this.#counters[0].state = powerOn(true);
    this.#counters[1].state = powerOn(true);
    this.#counters[2].state = powerOn(false);
    this.#schedule();
  }

  save(): Pit8254State {
    const [first, second, third] = this.#counters;
    return {
      oscillator: this.#oscillator.save(),
      counters: [{ ...first.state }, { ...second.state }, { ...third.state }],
      portB: this.#portB,
      irq: this.#irqLevel,
      rise: this.#alarm.save(),
    };
  }

  restore(state: Pit8254State): void {
    this.#oscillator.restore(state.oscillator);
    this.#counters.forEach((counter, index) => (counter.state = { ...state.counters[index] }));
    this.#portB = state.portB;
    this.#drive(state.irq);
    this.#alarm.restore(state.rise);
  }

  protected readByte(port: number): number {
    const now = this.#now();
    if (port === 0x61) return this.#readPortB(now);
    const index = port & 3;
    return index === CONTROL_PORT ? 0xff : this.#counter(index).read(now);
  }

  protected writeByte(port: number, value: number): void {
    const now = this.#now();
    if (port === 0x61) {
      this.#portB = value & B_WRITABLE;
      this.#counters[2].setGate((value & B_GATE2) !== 0, now);
      return;
    }
    const index = port & 3;
    if (index !== CONTROL_PORT) {
      this.#counter(index).write(value, now);
      if (index === 0) this.#schedule();
    } else if (value >> 6 === READ_BACK) this.#readBack(value, now);
    else {
      this.#counter(value >> 6).control(value, now);
      // Latching counter 0 must not disturb an edge that is due.
      if (value >> 4 > ACCESS_LATCH && value >> 6 === 0) this.#schedule();
    }
  }

  #readBack(word: number, now: number): void {
    this.#counters.forEach((counter, index) => {
      if (!(word & (2 << index))) return;
      if (!(word & READ_BACK_NO_COUNT)) counter.latchCount(now);
      if (!(word & READ_BACK_NO_STATUS)) counter.latchStatus(now);
    });
  }

  #readPortB(now: number): number {
    const refresh = Math.floor(now / REFRESH_TICKS) & 1 ? B_REFRESH : 0;
    return this.#portB | refresh | (this.#counters[2].output(now) ? B_OUT2 : 0);
  }

  #counter(index: number): Counter {
    return this.#counters[index as 0 | 1 | 2];
  }

  #now(): number {
    return this.#oscillator.ticks();
  }

  #drive(level: boolean): void {
    this.#irqLevel = level;
    this.#irq.set(level);
  }

  /** After software touched the timer: IRQ 0 follows OUT, and the alarm stands at its next rise. */
  #schedule(): void {
    const now = this.#now();
    const counter = this.#counters[0];
    this.#drive(counter.output(now));
    const rise = counter.nextRise(now);
    this.#alarm.set(this.#oscillator.timeOf(rise));
  }

  /** OUT rose. The low phase before it carries no information on an edge-sensed input, so it is given here. */
  #rise(): void {
    this.#drive(false);
    this.#drive(true);
    const rise = this.#counters[0].nextRise(this.#now());
    this.#alarm.set(this.#oscillator.timeOf(rise));
  }
}
