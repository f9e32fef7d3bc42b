/**
 * The local APIC's timer (SDM 3A, 11.5.4): a counter of the bus clock in one-shot and periodic mode, or an alarm on the
 * time stamp counter.
 *
 * The current count is worked out from the time the count was loaded; an alarm stands only while an interrupt would come
 * of it.
 */
import { Alarm, nanoseconds, unsigned, unsigned64, wholeNumber } from '@visorkit/machine';
import type { Clock, TimeStampCounter, TimerQueue } from '@visorkit/machine';
import * as v from 'valibot';
import { TimerMode } from './registers.js';

/** Bus clock of the timer in hertz. One tick is a nanosecond, as guests of KVM know it. */
export const APIC_BUS_FREQUENCY = 1_000_000_000;

/** A periodic timer does not wake the host more often than this, in nanoseconds; the count still runs at its own rate. */
const SHORTEST_WAIT = 5_000;

export interface ApicTimerState {
  mode: number;
  initialCount: number;
  divide: number;
  /** How many ns ago the present count began. */
  anchor: number;
  running: boolean;
  /** IA32_TSC_DEADLINE in decimal. */
  deadline: string;
  /** ns until an interrupt comes of it. */
  alarm: number | null;
}

export const APIC_TIMER_STATE = v.pipe(
  v.strictObject({
    mode: wholeNumber(TimerMode.oneShot, TimerMode.tscDeadline),
    initialCount: unsigned(32),
    divide: unsigned(4),
    anchor: nanoseconds(),
    running: v.boolean(),
    deadline: unsigned64(),
    alarm: v.nullable(nanoseconds()),
  }),
  v.check(({ running, initialCount }) => !running || initialCount > 0, 'a timer whose count is not 0 while it runs'),
);

export interface ApicTimerPorts {
  clock: Clock;
  timers: TimerQueue;
  tsc: TimeStampCounter;
  vcpu: number;
}

export class ApicTimer {
  #mode: number = TimerMode.oneShot;
  #initialCount = 0;
  /** Divide configuration register: bits 0, 1 and 3. */
  #divide = 0;
  /** When the present count began. */
  #anchor = 0;
  #running = false;
  #masked = true;
  /** IA32_TSC_DEADLINE; 0 when not armed. */
  #deadline = 0n;
  readonly #alarm: Alarm;

  /** @param expired the count reached zero, or the deadline came, with the entry not masked */
  constructor(
    private readonly ports: ApicTimerPorts,
    private readonly expired: () => void,
  ) {
    this.#alarm = new Alarm(ports.timers, () => this.#ring());
  }

  get initialCount(): number {
    return this.#initialCount;
  }

  get divideConfiguration(): number {
    return this.#divide;
  }

  get tscDeadline(): bigint {
    return this.#deadline;
  }

  /** The LVT entry's mode and mask bit changed. */
  configure(mode: number, masked: boolean): void {
    const deadlineBefore = this.#mode === TimerMode.tscDeadline;
    const deadlineAfter = mode === TimerMode.tscDeadline;
    this.#settle();
    this.#mode = mode;
    this.#masked = masked;
    // Switching to or from TSC-deadline mode disarms the timer (SDM 3A, 11.5.4.1).
    if (deadlineBefore !== deadlineAfter) {
      this.#running = false;
      this.#initialCount = 0;
      this.#deadline = 0n;
    }
    this.#arm();
  }

  writeInitialCount(count: number): void {
    if (this.#mode === TimerMode.tscDeadline) return; // ignored in this mode
    this.#initialCount = count;
    this.#anchor = this.ports.clock.now();
    this.#running = count !== 0;
    this.#arm();
  }

  currentCount(): number {
    if (this.#mode === TimerMode.tscDeadline) return 0;
    this.#settle();
    if (!this.#running) return 0;
    const left = this.#anchor + this.#period() - this.ports.clock.now();
    return Math.min(this.#initialCount, Math.max(0, Math.ceil(left / this.#tick())));
  }

  writeDivideConfiguration(value: number): void {
    const left = this.currentCount();
    this.#divide = value & 0b1011;
    // The count goes on from where it is, at the new rate.
    if (this.#running) this.#anchor = this.ports.clock.now() - (this.#initialCount - left) * this.#tick();
    this.#arm();
  }

  /** WRMSR to IA32_TSC_DEADLINE (SDM 3A, 11.5.4.1): ignored outside its mode, 0 disarms. */
  writeTscDeadline(value: bigint): void {
    if (this.#mode !== TimerMode.tscDeadline) return;
    this.#deadline = value;
    this.#arm();
  }

  /** The time stamp counter was written: the deadline falls at another time. */
  timeStampCounterChanged(): void {
    if (this.#mode === TimerMode.tscDeadline) this.#arm();
  }

  reset(): void {
    this.#mode = TimerMode.oneShot;
    this.#initialCount = 0;
    this.#divide = 0;
    this.#running = false;
    this.#masked = true;
    this.#deadline = 0n;
    this.#alarm.clear();
  }

  save(): ApicTimerState {
    return {
      mode: this.#mode,
      initialCount: this.#initialCount,
      divide: this.#divide,
      anchor: this.ports.clock.now() - this.#anchor,
      running: this.#running,
      deadline: String(this.#deadline),
      alarm: this.#alarm.save(),
    };
  }

  restore(state: ApicTimerState, masked: boolean): void {
    this.#mode = state.mode;
    this.#initialCount = state.initialCount;
    this.#divide = state.divide;
    this.#anchor = this.ports.clock.now() - state.anchor;
    this.#running = state.running;
    this.#deadline = BigInt(state.deadline);
    this.#masked = masked;
    this.#alarm.restore(state.alarm);
  }

  /** Nanoseconds of one count: the divisor is 2, 4, … 128, 1 by bits 3, 1 and 0 of the register. */
  #tick(): number {
    const code = (this.#divide & 3) | ((this.#divide >> 1) & 4);
    return (1 << ((code + 1) & 7)) * (1_000_000_000 / APIC_BUS_FREQUENCY);
  }

  #period(): number {
    return this.#initialCount * this.#tick();
  }

  /** Moves to the present cycle of a periodic count; stops a one-shot count that ended. */
  #settle(): void {
    if (!this.#running || this.#mode === TimerMode.tscDeadline) return;
    const passed = this.ports.clock.now() - this.#anchor;
    const period = this.#period();
    if (passed < period) return;
    if (this.#mode === TimerMode.periodic) this.#anchor += Math.floor(passed / period) * period;
    else if (this.#alarm.deadline === Infinity) this.#running = false;
  }

  #arm(): void {
    const now = this.ports.clock.now();
    if (this.#mode === TimerMode.tscDeadline) {
      // One that has passed rings now
      this.#alarm.set(
        this.#deadline === 0n ? Infinity : Math.max(now, this.ports.tsc.timeAt(this.#deadline, this.ports.vcpu)),
      );
      return;
    }
    if (this.#masked || !this.#running) {
      this.#alarm.clear();
      this.#settle();
      return;
    }
    const end = this.#anchor + this.#period();
    if (this.#mode === TimerMode.oneShot) this.#alarm.set(end);
    else this.#alarm.set(Math.max(end, now + Math.min(SHORTEST_WAIT, this.#period())));
  }

  #ring(): void {
    if (this.#mode === TimerMode.tscDeadline) {
      this.#deadline = 0n;
      if (!this.#masked) this.expired();
      return;
    }
    this.#settle();
    if (this.#mode === TimerMode.oneShot) this.#running = false;
    else {
      const now = this.ports.clock.now();
      const next = this.#anchor + this.#period();
      this.#alarm.set(Math.max(next, now + SHORTEST_WAIT));
    }
    this.expired();
  }
}
