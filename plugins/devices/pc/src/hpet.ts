/**
 * The high precision event timer (IA-PC HPET specification 1.0a): a 64-bit counter and three comparators, two of whose
 * first can take the place of the PIT and the RTC.
 */
import { inject, injectable } from '@visorkit/core';
import {
  Alarm,
  ClockToken,
  GSI_COUNT,
  InterruptLinesToken,
  LocalApicsToken,
  Oscillator,
  TimerQueueToken,
  listOf,
  nanoseconds,
  unsigned,
  unsigned64,
  wholeNumber,
} from '@visorkit/machine';
import type {
  Clock,
  Device,
  InterruptLine,
  LocalApics,
  MmioDevice,
  ReplacingLineSource,
  TimerQueue,
} from '@visorkit/machine';
import * as v from 'valibot';

export const HPET_BASE = 0xfed0_0000;
export const HPET_SIZE = 0x400;
/** 100 MHz: a period of 10 ns. */
export const HPET_FREQUENCY = 100_000_000;
const PERIOD_FEMTOSECONDS = 10_000_000;
const COMPARATORS = 3;

/** Registers (specification, table 2). */
const CAPABILITIES = 0x000;
const PERIOD = 0x004;
const CONFIGURATION = 0x010;
const STATUS = 0x020;
const COUNTER = 0x0f0;
const COMPARATOR_FIRST = 0x100;
const COMPARATOR_STRIDE = 0x20;

/** Revision 1, three comparators, 64-bit counter, legacy replacement, vendor 8086. */
const CAPABILITY_BITS = 0x8086_0000 | (1 << 15) | (1 << 13) | ((COMPARATORS - 1) << 8) | 1;

const CONFIG_ENABLE = 1;
const CONFIG_LEGACY = 2;

/** Comparator configuration. */
const TIMER_LEVEL = 1 << 1;
const TIMER_INTERRUPT = 1 << 2;
const TIMER_PERIODIC = 1 << 3;
const TIMER_PERIODIC_CAPABLE = 1 << 4;
const TIMER_64_BIT = 1 << 5;
const TIMER_SET_VALUE = 1 << 6;
const TIMER_32_BIT = 1 << 8;
const TIMER_ROUTE_SHIFT = 9;
const TIMER_FSB = 1 << 14;
const TIMER_FSB_CAPABLE = 1 << 15;
const TIMER_WRITABLE =
  TIMER_LEVEL | TIMER_INTERRUPT | TIMER_PERIODIC | TIMER_32_BIT | (31 << TIMER_ROUTE_SHIFT) | TIMER_FSB;
/** Inputs of the I/O APIC that each comparator can drive: 2 and 8 as the legacy timers, 20 to 23. */
const ROUTES = 0x00f0_0104;

const SHORTEST_WAIT = 2_000;
const WORD = 0x1_0000_0000n;
const MASK_64 = WORD * WORD - 1n;

interface Comparator {
  config: number;
  comparator: bigint;
  period: bigint;
  fsbValue: number;
  fsbAddress: number;
  /** The counter when the comparator was last looked at: its matches up to then have been dealt with. */
  since: bigint;
}

export interface HpetComparatorState {
  config: number;
  /** 64-bit registers in decimal. */
  comparator: string;
  period: string;
  fsbValue: number;
  fsbAddress: number;
  since: string;
  /** ns until the match that somebody waits for. */
  match: number | null;
  /** The line it holds, level triggered. */
  held: number | null;
}

export interface HpetState {
  config: number;
  status: number;
  /** ns since the oscillator began. */
  oscillator: number;
  /** Counter value while stopped, or its value at `startTick`; decimal. */
  counter: string;
  startTick: number;
  comparators: HpetComparatorState[];
}

const STATE = v.strictObject({
  config: unsigned(2),
  status: unsigned(COMPARATORS),
  oscillator: nanoseconds(),
  counter: unsigned64(),
  startTick: wholeNumber(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  comparators: listOf(
    COMPARATORS,
    v.strictObject({
      config: unsigned(16),
      comparator: unsigned64(),
      period: unsigned64(),
      fsbValue: unsigned(32),
      fsbAddress: unsigned(32),
      since: unsigned64(),
      match: v.nullable(nanoseconds()),
      held: v.nullable(wholeNumber(0, GSI_COUNT - 1)),
    }),
  ),
});

/** Without local APICs its comparators offer no FSB delivery (message-signalled interrupts). */
@injectable()
export class Hpet implements Device<HpetState>, MmioDevice {
  readonly name = 'hpet';
  readonly schema = STATE;
  readonly #oscillator: Oscillator;
  readonly #lines = new Map<number, InterruptLine>();
  readonly #timers: Comparator[] = Array.from({ length: COMPARATORS }, () => this.#powerOn());
  readonly #alarms: Alarm[];
  /** The lines that level-triggered comparators hold, by number. */
  readonly #held: (number | null)[] = [null, null, null];
  #config = 0;
  #status = 0;
  #counter = 0n;
  #startTick = 0;

  constructor(
    @inject(InterruptLinesToken) private readonly lines: ReplacingLineSource,
    @inject(ClockToken) private readonly clock: Clock,
    @inject(TimerQueueToken) timers: TimerQueue,
    @inject(LocalApicsToken, { isOptional: true }) private readonly apics?: Pick<LocalApics, 'sendMessage'>,
  ) {
    this.#oscillator = new Oscillator(HPET_FREQUENCY, clock);
    this.#alarms = this.#timers.map((_, index) => new Alarm(timers, () => this.#match(index)));
  }

  readMmio(offset: number, size: 1 | 2 | 4): number {
    const value = this.#readRegister(offset & ~3) >>> (8 * (offset & 3));
    return size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
  }

  writeMmio(offset: number, size: 1 | 2 | 4, value: number): void {
    const register = offset & ~3;
    const shift = 8 * (offset & 3);
    if (size === 4) this.#writeRegister(register, value >>> 0);
    else {
      const mask = (size === 2 ? 0xffff : 0xff) << shift;
      // Status bits are cleared by ones, so a partial write must not carry the others along.
      const rest = register === STATUS ? 0 : this.#readRegister(register) & ~mask;
      this.#writeRegister(register, (rest | ((value << shift) & mask)) >>> 0);
    }
  }

  reset(): void {
    this.#configured(0);
    this.#status = 0;
    this.#counter = 0n;
    this.#timers.forEach((_, index) => {
      this.#timers[index] = this.#powerOn();
      this.#alarms[index].clear();
      this.#release(index);
    });
  }

  save(): HpetState {
    return {
      config: this.#config,
      status: this.#status,
      oscillator: this.#oscillator.save(),
      counter: String(this.#counter),
      startTick: this.#startTick,
      comparators: this.#timers.map(({ config, comparator, period, fsbValue, fsbAddress, since }, index) => ({
        config,
        comparator: String(comparator),
        period: String(period),
        fsbValue,
        fsbAddress,
        since: String(since),
        match: this.#alarms[index].save(),
        held: this.#held[index],
      })),
    };
  }

  restore(state: HpetState): void {
    this.#configured(state.config);
    this.#status = state.status;
    this.#oscillator.restore(state.oscillator);
    this.#counter = BigInt(state.counter);
    this.#startTick = state.startTick;
    state.comparators.forEach(({ config, comparator, period, fsbValue, fsbAddress, since, match, held }, index) => {
      this.#timers[index] = {
        config,
        comparator: BigInt(comparator),
        period: BigInt(period),
        fsbValue,
        fsbAddress,
        since: BigInt(since),
      };
      this.#alarms[index].restore(match);
      this.#release(index);
      if (held !== null) this.#hold(index, held);
    });
  }

  #powerOn(): Comparator {
    return { config: 0, comparator: MASK_64, period: 0n, fsbValue: 0, fsbAddress: 0, since: 0n };
  }

  #now(): bigint {
    if (!(this.#config & CONFIG_ENABLE)) return this.#counter;
    return (this.#counter + BigInt(this.#oscillator.ticks() - this.#startTick)) & MASK_64;
  }

  #readRegister(register: number): number {
    switch (register) {
      case CAPABILITIES:
        return CAPABILITY_BITS | 0;
      case PERIOD:
        return PERIOD_FEMTOSECONDS;
      case CONFIGURATION:
        return this.#config;
      case STATUS:
        return this.#status;
      case COUNTER:
        return Number(this.#now() & (WORD - 1n)) | 0;
      case COUNTER + 4:
        return Number(this.#now() >> 32n) | 0;
    }
    const index = (register - COMPARATOR_FIRST) / COMPARATOR_STRIDE;
    const timer = this.#timers[Math.floor(index)];
    if (index < 0 || timer === undefined) return 0;
    switch ((register - COMPARATOR_FIRST) % COMPARATOR_STRIDE) {
      case 0x00:
        return timer.config | TIMER_PERIODIC_CAPABLE | TIMER_64_BIT | (this.apics ? TIMER_FSB_CAPABLE : 0);
      case 0x04:
        return ROUTES;
      case 0x08:
        this.#catchUp(Math.floor(index));
        return Number(timer.comparator & (WORD - 1n)) | 0;
      case 0x0c:
        this.#catchUp(Math.floor(index));
        return Number(timer.comparator >> 32n) | 0;
      case 0x10:
        return timer.fsbValue | 0;
      case 0x14:
        return timer.fsbAddress | 0;
    }
    return 0;
  }

  #writeRegister(register: number, value: number): void {
    switch (register) {
      case CONFIGURATION:
        return this.#configure(value & (CONFIG_ENABLE | CONFIG_LEGACY));
      case STATUS:
        this.#status &= ~value;
        for (let index = 0; index < COMPARATORS; index++) {
          if (!(value & (1 << index))) continue;
          this.#release(index);
          if (this.#alarms[index].deadline === Infinity) this.#arm(index);
        }
        return;
      case COUNTER:
      case COUNTER + 4:
        return this.#writeCounter(register === COUNTER, value);
    }
    const index = Math.floor((register - COMPARATOR_FIRST) / COMPARATOR_STRIDE);
    const timer = this.#timers[index];
    if (index < 0 || timer === undefined) return;
    this.#catchUp(index);
    switch ((register - COMPARATOR_FIRST) % COMPARATOR_STRIDE) {
      case 0x00:
        timer.config = value & (TIMER_WRITABLE | TIMER_SET_VALUE) & (this.apics ? -1 : ~TIMER_FSB);
        if (!(value & TIMER_LEVEL) || !(value & TIMER_INTERRUPT)) this.#release(index);
        break;
      case 0x08:
        this.#writeComparator(timer, 0n, value);
        break;
      case 0x0c:
        this.#writeComparator(timer, 32n, value);
        break;
      case 0x10:
        timer.fsbValue = value;
        break;
      case 0x14:
        timer.fsbAddress = value;
        break;
    }
    this.#arm(index);
  }

  #configure(config: number): void {
    for (let index = 0; index < COMPARATORS; index++) this.#catchUp(index);
    const now = this.#now();
    this.#counter = now;
    this.#startTick = this.#oscillator.ticks();
    this.#configured(config);
    for (let index = 0; index < COMPARATORS; index++) this.#arm(index);
  }

  /** With legacy replacement, the 8254 and the real-time clock interrupt no longer (2.3.5). */
  #configured(config: number): void {
    this.#config = config;
    this.lines.replaceLegacyTimers((config & CONFIG_LEGACY) !== 0);
  }

  /** The counter may only be written while stopped (specification 2.3.7). */
  #writeCounter(low: boolean, value: number): void {
    if (this.#config & CONFIG_ENABLE) return;
    const word = BigInt(value >>> 0);
    this.#counter = low ? (this.#counter & ~(WORD - 1n)) | word : (this.#counter & (WORD - 1n)) | (word << 32n);
  }

  /**
   * A periodic comparator takes each write as its period; with the set-value bit, as the next match as well
   * (specification 2.3.9.2.2). The bit covers the write of one half and is cleared by it.
   */
  #writeComparator(timer: Comparator, shift: bigint, value: number): void {
    const put = (old: bigint): bigint => (old & ~((WORD - 1n) << shift) & MASK_64) | (BigInt(value >>> 0) << shift);
    if (timer.config & TIMER_PERIODIC) {
      timer.period = put(timer.period);
      if (timer.config & TIMER_32_BIT) timer.period &= WORD - 1n;
    }
    if (!(timer.config & TIMER_PERIODIC) || timer.config & TIMER_SET_VALUE) {
      timer.comparator = put(timer.comparator);
      if (timer.config & TIMER_32_BIT) timer.comparator &= WORD - 1n;
    }
    if (shift === 32n || timer.config & TIMER_32_BIT) timer.config &= ~TIMER_SET_VALUE;
    else if (timer.config & TIMER_SET_VALUE) {
      timer.comparator &= WORD - 1n;
      timer.config &= ~TIMER_SET_VALUE;
    }
  }

  /**
   * Whether a match would have a visible effect: an interrupt, or a status bit that is not set yet. Linux leaves
   * comparators running that it no longer uses.
   */
  #observed(index: number): boolean {
    const { config } = this.#timers[index];
    return (config & TIMER_INTERRUPT) !== 0 || ((config & TIMER_LEVEL) !== 0 && (this.#status & (1 << index)) === 0);
  }

  /**
   * Handles matches that are due: one whose alarm has not fired yet, or, without an alarm, those of a periodic
   * comparator since it was last looked at.
   */
  #catchUp(index: number): void {
    const timer = this.#timers[index],
      alarm = this.#alarms[index];
    if (alarm.deadline !== Infinity) {
      if (alarm.deadline > this.clock.now()) return;
      alarm.clear();
      return this.#match(index);
    }
    if (!(this.#config & CONFIG_ENABLE) || !(timer.config & TIMER_PERIODIC) || timer.period === 0n) return;
    const now = this.#now(),
      elapsed = (now - timer.since) & MASK_64;
    const width = timer.config & TIMER_32_BIT ? WORD : WORD * WORD;
    const ahead = (((timer.comparator - timer.since) % width) + width) % width;
    if (elapsed >= ahead)
      timer.comparator = (timer.comparator + ((elapsed - ahead) / timer.period + 1n) * timer.period) % width;
    timer.since = now;
  }

  #arm(index: number): void {
    const timer = this.#timers[index];
    timer.since = this.#now();
    if (!(this.#config & CONFIG_ENABLE) || !this.#observed(index)) return this.#alarms[index].clear();
    const width = timer.config & TIMER_32_BIT ? WORD : WORD * WORD;
    let wait = (timer.comparator - this.#now()) % width;
    if (wait < 0n) wait += width;
    // A one-shot comparator in the past matches again only after the counter wraps: never, with 64 bits.
    if (wait > 1n << 50n) return this.#alarms[index].clear();
    const tick = this.#oscillator.ticks();
    const at = this.#oscillator.timeOf(tick + Number(wait));
    this.#alarms[index].set(timer.config & TIMER_PERIODIC ? Math.max(at, this.clock.now() + SHORTEST_WAIT) : at);
  }

  /** The counter reached a comparator. */
  #match(index: number): void {
    const timer = this.#timers[index];
    if (timer.config & TIMER_LEVEL) this.#status |= 1 << index;
    if (timer.config & TIMER_PERIODIC && timer.period > 0n) {
      const width = timer.config & TIMER_32_BIT ? WORD : WORD * WORD;
      let behind = (this.#now() - timer.comparator) % width;
      if (behind < 0n) behind += width;
      timer.comparator = (timer.comparator + (behind / timer.period + 1n) * timer.period) % width;
      this.#arm(index);
    } else if (timer.config & TIMER_32_BIT && this.#observed(index)) {
      // Matches again when the low half of the counter comes round.
      const tick = this.#oscillator.ticks();
      this.#alarms[index].set(this.#oscillator.timeOf(tick + Number(WORD)));
    }
    this.#raise(index);
  }

  #raise(index: number): void {
    const timer = this.#timers[index];
    if (!(timer.config & TIMER_INTERRUPT)) return;
    if (timer.config & TIMER_FSB && this.apics) return this.apics.sendMessage(timer.fsbAddress, timer.fsbValue);
    const legacy = (this.#config & CONFIG_LEGACY) !== 0 && index < 2;
    // Legacy replacement: ISA interrupts 0 and 8, always edges.
    const gsi = legacy ? (index === 0 ? 0 : 8) : (timer.config >> TIMER_ROUTE_SHIFT) & 31;
    if (timer.config & TIMER_LEVEL && !legacy) return this.#hold(index, gsi);
    const line = this.#line(gsi);
    line?.set(true);
    line?.set(this.#held.includes(gsi));
  }

  #hold(index: number, gsi: number): void {
    // Software may have routed it elsewhere since its last match
    if (this.#held[index] !== gsi) this.#release(index);
    const line = this.#line(gsi);
    if (line === undefined) return;
    line.set(true);
    this.#held[index] = gsi;
  }

  #release(index: number): void {
    const gsi = this.#held[index];
    if (gsi === null) return;
    this.#held[index] = null;
    this.#line(gsi)?.set(this.#held.includes(gsi));
  }

  #line(gsi: number): InterruptLine | undefined {
    if (!(ROUTES & (1 << gsi)) && gsi !== 0) return undefined;
    let line = this.#lines.get(gsi);
    if (line === undefined) this.#lines.set(gsi, (line = this.lines.line(gsi)));
    return line;
  }
}
