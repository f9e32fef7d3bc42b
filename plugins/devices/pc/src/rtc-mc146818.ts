/**
 * The MC146818 real-time clock (Motorola data sheet MC146818A) with the CMOS RAM of a PC/AT behind ports 0x70 and 0x71.
 *
 * Time is a base second and the clock time at which it began; the registers are worked out when read. An alarm on the
 * timer queue is set only while it could cause an interrupt; other flags are calculated when register C is read.
 */
import { inject, injectable, token } from '@visorkit/core';
import type { Token } from '@visorkit/core';
import {
  Alarm,
  ClockToken,
  InterruptLinesToken,
  Oscillator,
  TimerQueueToken,
  listOf,
  nanoseconds,
  unsigned,
  wholeNumber,
} from '@visorkit/machine';
import type { Clock, Device, InterruptLine, LineSource, RealTimeClock, TimerQueue } from '@visorkit/machine';
import * as v from 'valibot';
import { BytePortDevice } from './byte-port-device.js';
import { fromCalendar, toCalendar } from './calendar.js';

/** Indices of the clock's registers. */
export const RtcRegister = {
  seconds: 0x00,
  secondsAlarm: 0x01,
  minutes: 0x02,
  minutesAlarm: 0x03,
  hours: 0x04,
  hoursAlarm: 0x05,
  dayOfWeek: 0x06,
  dayOfMonth: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
} as const;

/** Register A. */
const A_UPDATE_IN_PROGRESS = 0x80;
const A_DIVIDER = 0x70;
const A_DIVIDER_32KHZ = 0x20;
const A_RATE = 0x0f;
/** Register B. */
const B_SET = 0x80;
const B_PERIODIC = 0x40;
const B_ALARM = 0x20;
const B_UPDATE = 0x10;
const B_BINARY = 0x04;
const B_24_HOURS = 0x02;
/** Register C; the flags stand at the bits of their enables in B. */
const C_REQUEST = 0x80;
const C_FLAGS = B_PERIODIC | B_ALARM | B_UPDATE;
/** Register D: the battery has always had power. */
const D_VALID = 0x80;

const HOUR_PM = 0x80;
/** An alarm byte with both high bits set matches everything. */
const ALARM_ANY = 0xc0;
const SECOND = 1_000_000_000;
/** UIP rises 244 µs before the update begins (data sheet, table 6). */
const UPDATE_WARNING = 244_000;
/** After the divider leaves reset the first update comes half a second later. */
const HALF_SECOND = 500_000_000;
const DAY = 86_400;
const OSCILLATOR_FREQUENCY = 32_768;

export interface RtcState {
  cells: number[];
  index: number;
  /** A second of the calendar, and how many ns ago it began. */
  baseSecond: number;
  baseTime: number;
  flags: number;
  /** How many ns ago periodic and update flags were last looked for. */
  periodicSeen: number;
  updateSeen: number;
  halted: boolean;
  /** ns since the oscillator began. */
  oscillator: number;
  /** ns until the next periodic interrupt and the next update that somebody waits for. */
  periodicAlarm: number | null;
  updateAlarm: number | null;
}

const STATE = v.strictObject({
  cells: listOf(128, unsigned(8)),
  index: unsigned(8),
  baseSecond: wholeNumber(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  baseTime: nanoseconds(),
  flags: unsigned(8),
  periodicSeen: nanoseconds(),
  updateSeen: nanoseconds(),
  halted: v.boolean(),
  oscillator: nanoseconds(),
  periodicAlarm: v.nullable(nanoseconds()),
  updateAlarm: v.nullable(nanoseconds()),
});

/** What the clock shows at first. */
export interface RtcSettings {
  /** Calendar time at the VM's start, in whole seconds since 1970-01-01 UTC. */
  readonly startTime: number;
  /** First contents of CMOS cells, by index 0x0e-0x7f. */
  readonly cells?: Iterable<readonly [number, number]>;
}

export const RtcSettingsToken: Token<RtcSettings> = token('rtc-settings');

/** The clock and 128 bytes of CMOS RAM. Port 0x70 selects (bit 7, the NMI mask, is kept apart), 0x71 is the data. */
@injectable()
export class RtcMc146818 extends BytePortDevice implements Device<RtcState>, RealTimeClock {
  readonly name = 'rtc-mc146818';
  readonly schema = STATE;
  readonly #oscillator: Oscillator;
  readonly #cells = new Uint8Array(128);
  #index = 0;
  #baseSecond: number;
  #baseTime: number;
  #flags = 0;
  #periodicSeen = 0;
  #updateSeen = 0;
  /** The calendar stands still: SET is on, or the divider is in reset. */
  #halted = false;
  /** Told when the alarm flag rises; the ACPI block wakes the machine with it. */
  onAlarm: (() => void) | undefined;
  readonly #periodicAlarm: Alarm;
  readonly #updateAlarm: Alarm;

  readonly #irq: InterruptLine;

  constructor(
    @inject(RtcSettingsToken) settings: RtcSettings,
    @inject(InterruptLinesToken) lines: LineSource,
    @inject(ClockToken) private readonly clock: Clock,
    @inject(TimerQueueToken) timers: TimerQueue,
  ) {
    super();
    this.#oscillator = new Oscillator(OSCILLATOR_FREQUENCY, clock);
    this.#irq = lines.line(8, 'legacy-timer');
    this.#baseSecond = Math.floor(settings.startTime);
    this.#baseTime = clock.now();
    this.#cells[RtcRegister.a] = A_DIVIDER_32KHZ | 6;
    this.#cells[RtcRegister.b] = B_24_HOURS;
    this.#cells[RtcRegister.d] = D_VALID;
    for (const [index, value] of settings.cells ?? []) this.#cells[index & 0x7f] = value;
    this.#periodicAlarm = new Alarm(timers, () => this.#poll());
    this.#updateAlarm = new Alarm(timers, () => this.#poll());
    this.#periodicSeen = this.#updateSeen = this.#baseTime;
  }

  /** Whether port 0x70 bit 7 keeps NMIs from the processor. */
  get nmiMasked(): boolean {
    return (this.#index & 0x80) !== 0;
  }

  /** The calendar's time now, in seconds since 1970-01-01. */
  get time(): number {
    return this.#halted
      ? this.#baseSecond
      : this.#baseSecond + Math.floor((this.clock.now() - this.#baseTime) / SECOND);
  }

  /** Sets a CMOS cell as a firmware would, 0x0e to 0x7f. */
  setCell(index: number, value: number): void {
    this.#cells[index & 0x7f] = value;
  }

  cell(index: number): number {
    return this.#cells[index & 0x7f] as number;
  }

  /** The RESET pin: interrupts off and flags clear; time and memory stay (data sheet, "RESET"). */
  reset(): void {
    this.#cells[RtcRegister.b]! &= ~(B_PERIODIC | B_ALARM | B_UPDATE);
    this.#flags = 0;
    this.#index = 0;
    this.#schedule();
  }

  save(): RtcState {
    const now = this.clock.now();
    return {
      cells: [...this.#cells],
      index: this.#index,
      baseSecond: this.#baseSecond,
      baseTime: now - this.#baseTime,
      flags: this.#flags,
      periodicSeen: now - this.#periodicSeen,
      updateSeen: now - this.#updateSeen,
      halted: this.#halted,
      oscillator: this.#oscillator.save(),
      periodicAlarm: this.#periodicAlarm.save(),
      updateAlarm: this.#updateAlarm.save(),
    };
  }

  restore(state: RtcState): void {
    const now = this.clock.now();
    this.#cells.set(state.cells);
    this.#index = state.index;
    this.#baseSecond = state.baseSecond;
    this.#baseTime = now - state.baseTime;
    this.#flags = state.flags;
    this.#periodicSeen = now - state.periodicSeen;
    this.#updateSeen = now - state.updateSeen;
    this.#halted = state.halted;
    this.#oscillator.restore(state.oscillator);
    this.#periodicAlarm.restore(state.periodicAlarm);
    this.#updateAlarm.restore(state.updateAlarm);
    this.#driveLine();
  }

  protected readByte(port: number): number {
    if ((port & 1) === 0) return 0xff; // the index register is write-only
    const index = this.#index & 0x7f;
    switch (index) {
      case RtcRegister.a:
        return (this.#cells[index] as number) | (this.#updateInProgress() ? A_UPDATE_IN_PROGRESS : 0);
      case RtcRegister.c:
        return this.#readFlags();
      default:
        if (isCalendar(index) && !this.#halted) this.#showTime();
        return this.#cells[index] as number;
    }
  }

  protected writeByte(port: number, value: number): void {
    if ((port & 1) === 0) {
      this.#index = value;
      return;
    }
    const index = this.#index & 0x7f;
    switch (index) {
      case RtcRegister.a:
        this.#collect();
        this.#writeA(value & ~A_UPDATE_IN_PROGRESS);
        break;
      case RtcRegister.b:
        this.#collect();
        this.#writeB(value);
        break;
      case RtcRegister.c:
      case RtcRegister.d:
        break; // read-only
      default:
        this.#collect();
        if (!isCalendar(index)) this.#cells[index] = value;
        else this.#writeCalendar(index, value);
    }
    this.#schedule();
  }

  #writeCalendar(index: number, value: number): void {
    if (this.#halted) {
      this.#cells[index] = value;
      return;
    }
    // Written while it runs: the new value counts from the next second on, the phase stays.
    const now = this.clock.now();
    this.#showTime();
    this.#cells[index] = value;
    const phase = (now - this.#baseTime) % SECOND;
    this.#baseSecond = this.#secondFromCells();
    this.#baseTime = now - phase;
  }

  #writeA(value: number): void {
    const now = this.clock.now();
    const leavesReset = dividerReset(this.#cells[RtcRegister.a] as number) && !dividerReset(value);
    this.#cells[RtcRegister.a] = value;
    this.#periodicSeen = now;
    if (leavesReset) this.#baseTime = now - HALF_SECOND;
    this.#haltOrStart();
  }

  #writeB(value: number): void {
    if (!this.#halted) this.#showTime();
    // SET clears the update interrupt enable (data sheet, "UIE").
    this.#cells[RtcRegister.b] = value & B_SET ? value & ~B_UPDATE : value;
    this.#haltOrStart();
  }

  #haltOrStart(): void {
    const halt =
      dividerReset(this.#cells[RtcRegister.a] as number) || ((this.#cells[RtcRegister.b] as number) & B_SET) !== 0;
    if (halt === this.#halted) return;
    const now = this.clock.now();
    if (halt) {
      this.#showTime();
      this.#baseSecond = this.time;
      // While SET is on, the divider goes on; the phase of the second is kept for the restart.
      this.#baseTime = now - ((now - this.#baseTime) % SECOND);
    } else {
      this.#baseSecond = this.#secondFromCells();
      const phase = (now - this.#baseTime) % SECOND;
      this.#baseTime = now - phase;
      this.#updateSeen = now;
    }
    this.#halted = halt;
  }

  #updateInProgress(): boolean {
    if (this.#halted) return false;
    return (this.clock.now() - this.#baseTime) % SECOND >= SECOND - UPDATE_WARNING;
  }

  #readFlags(): number {
    this.#collect();
    const enabled = (this.#cells[RtcRegister.b] as number) & C_FLAGS;
    const value = this.#flags | (this.#flags & enabled ? C_REQUEST : 0);
    this.#flags = 0;
    this.#schedule();
    return value;
  }

  #poll(): void {
    this.#collect();
    this.#schedule();
  }

  /** Ticks of the 32.768 kHz oscillator in one periodic interrupt, 0 for none (data sheet, table 3). */
  #period(): number {
    const rate = (this.#cells[RtcRegister.a] as number) & A_RATE;
    if (rate === 0) return 0;
    return 1 << (rate <= 2 ? rate + 6 : rate - 1);
  }

  /** Raises the flags of everything that happened since the last look. */
  #collect(): void {
    const now = this.clock.now();
    const period = this.#period();
    if (period !== 0) {
      const before = Math.floor(this.#oscillator.ticksAt(this.#periodicSeen) / period);
      if (Math.floor(this.#oscillator.ticksAt(now) / period) > before) this.#flags |= B_PERIODIC;
    }
    this.#periodicSeen = now;
    if (!this.#halted) {
      const first = Math.floor((this.#updateSeen - this.#baseTime) / SECOND) + 1;
      const last = Math.floor((now - this.#baseTime) / SECOND);
      if (last >= first) {
        this.#flags |= B_UPDATE;
        if (!(this.#flags & B_ALARM) && this.#alarmWithin(this.#baseSecond + first, this.#baseSecond + last)) {
          this.#flags |= B_ALARM;
          this.onAlarm?.();
        }
      }
    }
    this.#updateSeen = now;
  }

  #alarmWithin(first: number, last: number): boolean {
    // Alarms repeat every day, so a longer absence cannot hide more than a day's look finds.
    for (let second = Math.max(first, last - DAY + 1); second <= last; second++)
      if (this.#alarmMatches(second)) return true;
    return false;
  }

  #alarmMatches(second: number): boolean {
    const ofDay = ((second % DAY) + DAY) % DAY;
    return (
      this.#alarmByteMatches(RtcRegister.secondsAlarm, this.#encode(ofDay % 60)) &&
      this.#alarmByteMatches(RtcRegister.minutesAlarm, this.#encode(Math.floor(ofDay / 60) % 60)) &&
      this.#alarmByteMatches(RtcRegister.hoursAlarm, this.#encodeHour(Math.floor(ofDay / 3600)))
    );
  }

  #alarmByteMatches(register: number, value: number): boolean {
    const alarm = this.#cells[register] as number;
    return (alarm & ALARM_ANY) === ALARM_ANY || alarm === value;
  }

  #driveLine(): void {
    this.#irq.set((this.#flags & (this.#cells[RtcRegister.b] as number) & C_FLAGS) !== 0);
  }

  /** Brings the interrupt line and both alarms in step with the registers. */
  #schedule(): void {
    const enabled = (this.#cells[RtcRegister.b] as number) & C_FLAGS;
    this.#driveLine();
    const period = this.#period();
    if (enabled & B_PERIODIC && period !== 0) {
      const ticks = this.#oscillator.ticks();
      this.#periodicAlarm.set(this.#oscillator.timeOf((Math.floor(ticks / period) + 1) * period));
    } else this.#periodicAlarm.clear();
    if (enabled & (B_ALARM | B_UPDATE) && !this.#halted) {
      const passed = Math.floor((this.clock.now() - this.#baseTime) / SECOND);
      this.#updateAlarm.set(this.#baseTime + (passed + 1) * SECOND);
    } else this.#updateAlarm.clear();
  }

  /** Writes the time into the cells, in the format register B selects. */
  #showTime(): void {
    const calendar = toCalendar(this.time);
    const cells = this.#cells;
    cells[RtcRegister.seconds] = this.#encode(calendar.second);
    cells[RtcRegister.minutes] = this.#encode(calendar.minute);
    cells[RtcRegister.hours] = this.#encodeHour(calendar.hour);
    cells[RtcRegister.dayOfWeek] = this.#encode(calendar.dayOfWeek);
    cells[RtcRegister.dayOfMonth] = this.#encode(calendar.day);
    cells[RtcRegister.month] = this.#encode(calendar.month);
    cells[RtcRegister.year] = this.#encode(calendar.year % 100);
    cells[RtcRegister.century] = this.#encode(Math.floor(calendar.year / 100));
  }

  #secondFromCells(): number {
    const cell = (index: number): number => this.#decode(this.#cells[index] as number);
    const hours = this.#cells[RtcRegister.hours] as number;
    let hour = this.#decode(hours);
    if (!((this.#cells[RtcRegister.b] as number) & B_24_HOURS))
      hour = (this.#decode(hours & ~HOUR_PM) % 12) + (hours & HOUR_PM ? 12 : 0);
    return fromCalendar({
      second: cell(RtcRegister.seconds),
      minute: cell(RtcRegister.minutes),
      hour,
      day: cell(RtcRegister.dayOfMonth),
      month: cell(RtcRegister.month),
      year: cell(RtcRegister.century) * 100 + cell(RtcRegister.year),
    });
  }

  #encode(value: number): number {
    return (this.#cells[RtcRegister.b] as number) & B_BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    return (this.#cells[RtcRegister.b] as number) & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
  }

  #encodeHour(hour: number): number {
    if ((this.#cells[RtcRegister.b] as number) & B_24_HOURS) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
  }
}

/** Divider settings 110 and 111 hold the divider chain in reset (data sheet, table 4). */
const dividerReset = (registerA: number): boolean => (registerA & A_DIVIDER) >= 0x60;

/** Whether a cell shows the time: the first ten but the alarms, and the century. */
const isCalendar = (index: number): boolean =>
  (index < RtcRegister.a && (index & 1) === 0) ||
  index === RtcRegister.dayOfMonth ||
  index === RtcRegister.year ||
  index === RtcRegister.century;
