/**
 * The fixed hardware registers of ACPI (specification 6.4, chapter 4.8): power management event and control block, and the
 * power management timer. ACPI mode is always on: there is no SMI command port, and SCI_EN reads as 1.
 */
import { Alarm, TickRate } from '@visorkit/machine';
import type { Clock, Device, InterruptLine, PortDevice, TimerQueue } from '@visorkit/machine';

/** Where the ports begin unless firmware puts them elsewhere: where SeaBIOS has them. */
export const PM_BASE = 0x600;
export const PM_PORTS = 12;
/** Offsets of the blocks. */
export const PM1_EVENT = 0;
export const PM1_CONTROL = 4;
export const PM_TIMER = 8;
/** 3.579545 MHz, in hertz (4.8.2.1). */
export const PM_TIMER_FREQUENCY = 3_579_545;

const STATUS = PM1_EVENT;
const ENABLE = PM1_EVENT + 2;
const CONTROL = PM1_CONTROL;
const TIMER = PM_TIMER;

/** PM1 status and enable (4.8.3.1). */
const TIMER_EVENT = 1 << 0;
const POWER_BUTTON = 1 << 8;
const RTC_EVENT = 1 << 10;
const WAKE = 1 << 15;
const EVENTS = TIMER_EVENT | (1 << 5) | POWER_BUTTON | (1 << 9) | RTC_EVENT;
const STATUS_CLEARABLE = EVENTS | (1 << 4) | WAKE;

/** PM1 control (4.8.3.2). */
const SCI_ENABLE = 1;
const CONTROL_WRITABLE = (1 << 1) | (7 << 10);
const SLEEP_ENABLE = 1 << 13;
const SLEEP_TYPE_SHIFT = 10;

/** Values of SLP_TYP, as the DSDT gives them to the operating system. */
export const SleepType = { s5: 0, s3: 1 } as const;

/** The timer has 32 bits (FADT flag TMR_VAL_EXT); its status bit is set when the highest changes. */
const TIMER_HALF = 2 ** 31;

export interface PmState {
  status: number;
  enable: number;
  control: number;
  halvesSeen: number;
}

export interface PmPorts {
  /** System control interrupt, level triggered. */
  sci: InterruptLine;
  clock: Clock;
  timers: TimerQueue;
  /** The guest entered the sleeping state of this SLP_TYP. */
  sleep: (type: number) => void;
}

export class PmRegisters implements Device<PmState>, PortDevice {
  readonly name = 'acpi-pm';
  /** The first port. */
  base = PM_BASE;
  readonly #rate = new TickRate(PM_TIMER_FREQUENCY);
  readonly #overflow: Alarm;
  #status = 0;
  #enable = 0;
  #control = SCI_ENABLE;
  /** Half periods of the timer whose change is already in the status. */
  #halvesSeen = 0;

  constructor(private readonly ports: PmPorts) {
    this.#overflow = new Alarm(ports.timers, () => this.#update());
  }

  /** The user presses the power button. */
  pressPowerButton(): void {
    this.#status |= POWER_BUTTON;
    this.#update();
  }

  /** The clock's alarm rang. */
  rtcAlarm(): void {
    this.#status |= RTC_EVENT;
    this.#update();
  }

  /** The machine leaves a sleeping state. */
  wake(): void {
    this.#status |= WAKE;
    this.#update();
  }

  /** Whether the clock's alarm may wake the machine. */
  get rtcWakes(): boolean {
    return (this.#enable & RTC_EVENT) !== 0;
  }

  readPort(port: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let index = 0; index < size; index += 2) {
      const at = port - this.base + index;
      // A register read in one access shows one moment of the timer, so the whole is taken before the byte is cut out.
      const word = this.#word(at & ~1) >>> (at & 1 ? 8 : 0);
      value += (size === 1 ? word & 0xff : word) * 2 ** (8 * index);
    }
    return value >>> 0;
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    for (let index = 0; index < size; index++)
      this.#writeByte(port - this.base + index, (value >>> (8 * index)) & 0xff);
    this.#update();
  }

  reset(): void {
    this.#status = 0;
    this.#enable = 0;
    this.#control = SCI_ENABLE;
    this.#update();
  }

  save(): PmState {
    return { status: this.#status, enable: this.#enable, control: this.#control, halvesSeen: this.#halvesSeen };
  }

  restore(state: PmState): void {
    this.#status = state.status;
    this.#enable = state.enable;
    this.#control = state.control;
    this.#halvesSeen = state.halvesSeen;
    this.#update();
  }

  #ticks(): number {
    return this.#rate.ticksAt(this.ports.clock.now());
  }

  #word(register: number): number {
    switch (register) {
      case STATUS:
        this.#collect();
        return this.#status;
      case ENABLE:
        return this.#enable;
      case CONTROL:
        return this.#control;
      case TIMER:
        return this.#ticks() % 0x10000;
      case TIMER + 2:
        return Math.floor(this.#ticks() / 0x10000) % 0x10000;
      default:
        return 0;
    }
  }

  #writeByte(register: number, value: number): void {
    const shift = register & 1 ? 8 : 0;
    const bits = value << shift;
    const others = shift === 0 ? 0xff00 : 0x00ff;
    switch (register & ~1) {
      case STATUS:
        this.#collect();
        this.#status &= ~(bits & STATUS_CLEARABLE); // ones clear
        break;
      case ENABLE:
        this.#enable = ((this.#enable & others) | bits) & EVENTS;
        break;
      case CONTROL:
        this.#control = (((this.#control & others) | bits) & CONTROL_WRITABLE) | SCI_ENABLE;
        if (bits & SLEEP_ENABLE) this.ports.sleep((this.#control >> SLEEP_TYPE_SHIFT) & 7);
        break;
    }
  }

  #collect(): void {
    const halves = Math.floor(this.#ticks() / TIMER_HALF);
    if (halves === this.#halvesSeen) return;
    this.#halvesSeen = halves;
    this.#status |= TIMER_EVENT;
  }

  /** The system control interrupt is high while an enabled event stands. */
  #update(): void {
    this.#collect();
    this.ports.sci.set((this.#status & this.#enable & EVENTS) !== 0);
    if (this.#enable & TIMER_EVENT) this.#overflow.set(this.#rate.timeOf((this.#halvesSeen + 1) * TIMER_HALF));
    else this.#overflow.clear();
  }
}
