/**
 * The 16550A universal asynchronous receiver/transmitter (National Semiconductor PC16550D data sheet), the serial port
 * of a PC.
 *
 * The line is infinitely fast: a byte written to the transmitter is out at once, so THR and the shift register are
 * always empty. What software can see of timing is kept where it matters: the receiver's FIFO timeout is four character
 * times at the programmed rate.
 */
import { Alarm } from '@visorkit/machine';
import type { CharOutput, Clock, Device, InterruptLine, TimerQueue } from '@visorkit/machine';
import { BytePortDevice } from './byte-port-device.js';

/** Register offsets from the base port (data sheet, table I). */
const Register = {
  data: 0,
  interruptEnable: 1,
  interruptIdentification: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const;

/** Interrupt enable register. */
const IER_RECEIVED = 0x01;
const IER_TRANSMITTER_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MODEM_STATUS = 0x08;
const IER_MASK = 0x0f;

/** Interrupt identification register, in order of priority. */
const IIR_NONE = 0x01;
const IIR_MODEM_STATUS = 0x00;
const IIR_TRANSMITTER_EMPTY = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFOS_ENABLED = 0xc0;

/** FIFO control register. */
const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVER = 0x02;
const FCR_TRIGGER_SHIFT = 6;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

/** Line control register. */
/** 8 data bits, no parity, 1 stop bit: how firmware leaves the port. The chip's own reset value, 5 bits, is met by no program. */
const LCR_8N1 = 0x03;
const LCR_STOP_BITS = 0x04;
const LCR_PARITY = 0x08;
const LCR_BREAK = 0x40;
const LCR_DIVISOR_LATCH = 0x80;

/** Modem control register. */
const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOPBACK = 0x10;
const MCR_MASK = 0x1f;

/** Line status register. */
const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_PARITY = 0x04;
const LSR_FRAMING = 0x08;
const LSR_BREAK = 0x10;
const LSR_THR_EMPTY = 0x20;
const LSR_TRANSMITTER_EMPTY = 0x40;
const LSR_FIFO_ERROR = 0x80;
const LSR_CHARACTER_ERRORS = LSR_PARITY | LSR_FRAMING | LSR_BREAK;
const LSR_INTERRUPT = LSR_OVERRUN | LSR_CHARACTER_ERRORS;

/** Modem status register: the low half tells what changed in the high half. */
const MSR_DELTA_CTS = 0x01;
const MSR_DELTA_DSR = 0x02;
const MSR_TRAILING_RI = 0x04;
const MSR_DELTA_DCD = 0x08;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;
const MSR_DELTAS = 0x0f;

const FIFO_SIZE = 16;
/** 1.8432 MHz crystal over 16 samples a bit. */
const BASE_BAUD = 115_200;

/** The state of the modem's wires into the UART. */
export interface ModemInputs {
  clearToSend: boolean;
  dataSetReady: boolean;
  ringIndicator: boolean;
  carrierDetect: boolean;
}

export interface Uart16550State {
  interruptEnable: number;
  fifoControl: number;
  lineControl: number;
  modemControl: number;
  modemInputs: number;
  modemDeltas: number;
  scratch: number;
  divisor: number;
  transmitterEmptyPending: boolean;
  timeoutPending: boolean;
  timeoutDeadline: number | null;
  overrun: boolean;
  /** Received characters that software has not read: byte and error bits of the line status. */
  received: { byte: number; errors: number }[];
  /** Characters on the line that wait for a free place in the FIFO. */
  waiting: number[];
}

/** What the UART needs from outside. */
export interface Uart16550Ports {
  irq: InterruptLine;
  output: CharOutput;
  clock: Clock;
  timers: TimerQueue;
}

/**
 * A 16550A at eight consecutive ports. Bytes the guest sends go to `output`; bytes from outside come through
 * `receive`, which keeps what does not fit in the FIFO until the guest has read, so nothing is lost.
 */
export class Uart16550 extends BytePortDevice implements Device<Uart16550State> {
  readonly name: string;
  #interruptEnable = 0;
  #fifoControl = 0;
  #lineControl = LCR_8N1;
  #modemControl = 0;
  #modemInputs = MSR_CTS | MSR_DSR | MSR_DCD;
  #modemDeltas = 0;
  #scratch = 0;
  #divisor = 12;
  #transmitterEmptyPending = false;
  #timeoutPending = false;
  #overrun = false;
  #received: { byte: number; errors: number }[] = [];
  #waiting: number[] = [];
  #line = false;
  readonly #timeout: Alarm;

  constructor(
    private readonly ports: Uart16550Ports,
    readonly base = 0x3f8,
    name = `uart16550@${base.toString(16)}`,
  ) {
    super();
    this.name = name;
    this.#timeout = new Alarm(ports.timers, () => {
      this.#timeoutPending = this.#received.length > 0;
      this.#update();
    });
  }

  /** A character arrives from the other end of the line. */
  receive(byte: number): void {
    if (this.#modemControl & MCR_LOOPBACK) return; // the receiver is cut from the wire
    if (this.#waiting.length === 0 && this.#received.length < this.#capacity()) this.#accept(byte & 0xff, 0);
    else this.#waiting.push(byte & 0xff);
  }

  /** The other end holds the line low for longer than a character. */
  receiveBreak(): void {
    if (this.#modemControl & MCR_LOOPBACK) return;
    this.#accept(0, LSR_BREAK);
  }

  /** Sets the modem's wires; the changes show in the modem status register. */
  setModemInputs(inputs: Partial<ModemInputs>): void {
    let next = this.#modemInputs;
    const wire = (bit: number, value: boolean | undefined): void => {
      if (value !== undefined) next = value ? next | bit : next & ~bit;
    };
    wire(MSR_CTS, inputs.clearToSend);
    wire(MSR_DSR, inputs.dataSetReady);
    wire(MSR_RI, inputs.ringIndicator);
    wire(MSR_DCD, inputs.carrierDetect);
    const before = this.#modemStatus();
    this.#modemInputs = next;
    this.#noteModemChange(before);
    this.#update();
  }

  /** Baud rate the divisor latch selects; a divisor of zero counts as 1. */
  get baud(): number {
    return BASE_BAUD / Math.max(1, this.#divisor);
  }

  reset(): void {
    this.#interruptEnable = 0;
    this.#fifoControl = 0;
    this.#lineControl = LCR_8N1;
    this.#modemControl = 0;
    this.#modemDeltas = 0;
    this.#divisor = 12;
    this.#transmitterEmptyPending = false;
    this.#timeoutPending = false;
    this.#overrun = false;
    this.#received = [];
    this.#timeout.clear();
    this.#update();
  }

  save(): Uart16550State {
    return {
      interruptEnable: this.#interruptEnable,
      fifoControl: this.#fifoControl,
      lineControl: this.#lineControl,
      modemControl: this.#modemControl,
      modemInputs: this.#modemInputs,
      modemDeltas: this.#modemDeltas,
      scratch: this.#scratch,
      divisor: this.#divisor,
      transmitterEmptyPending: this.#transmitterEmptyPending,
      timeoutPending: this.#timeoutPending,
      timeoutDeadline: this.#timeout.deadline === Infinity ? null : this.#timeout.deadline,
      overrun: this.#overrun,
      received: this.#received.map((entry) => ({ ...entry })),
      waiting: [...this.#waiting],
    };
  }

  restore(state: Uart16550State): void {
    this.#interruptEnable = state.interruptEnable;
    this.#fifoControl = state.fifoControl;
    this.#lineControl = state.lineControl;
    this.#modemControl = state.modemControl;
    this.#modemInputs = state.modemInputs;
    this.#modemDeltas = state.modemDeltas;
    this.#scratch = state.scratch;
    this.#divisor = state.divisor;
    this.#transmitterEmptyPending = state.transmitterEmptyPending;
    this.#timeoutPending = state.timeoutPending;
    this.#timeout.set(state.timeoutDeadline ?? Infinity);
    this.#overrun = state.overrun;
    this.#received = state.received.map((entry) => ({ ...entry }));
    this.#waiting = [...state.waiting];
    this.#update();
  }

  protected readByte(port: number): number {
    const latch = (this.#lineControl & LCR_DIVISOR_LATCH) !== 0;
    switch ((port - this.base) & 7) {
      case Register.data:
        return latch ? this.#divisor & 0xff : this.#readReceived();
      case Register.interruptEnable:
        return latch ? this.#divisor >> 8 : this.#interruptEnable;
      case Register.interruptIdentification:
        return this.#readIdentification();
      case Register.lineControl:
        return this.#lineControl;
      case Register.modemControl:
        return this.#modemControl;
      case Register.lineStatus:
        return this.#readLineStatus();
      case Register.modemStatus:
        return this.#readModemStatus();
      default:
        return this.#scratch;
    }
  }

  protected writeByte(port: number, value: number): void {
    const latch = (this.#lineControl & LCR_DIVISOR_LATCH) !== 0;
    switch ((port - this.base) & 7) {
      case Register.data:
        if (latch) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case Register.interruptEnable:
        if (latch) this.#divisor = (this.#divisor & 0xff) | (value << 8);
        else this.#writeInterruptEnable(value & IER_MASK);
        break;
      case Register.interruptIdentification:
        this.#writeFifoControl(value);
        break;
      case Register.lineControl:
        this.#writeLineControl(value);
        break;
      case Register.modemControl:
        this.#writeModemControl(value & MCR_MASK);
        break;
      case Register.lineStatus:
      case Register.modemStatus:
        break; // read-only for software; factory-test writes have no effect
      default:
        this.#scratch = value;
    }
    this.#update();
  }

  #fifosEnabled(): boolean {
    return (this.#fifoControl & FCR_ENABLE) !== 0;
  }

  #capacity(): number {
    return this.#fifosEnabled() ? FIFO_SIZE : 1;
  }

  #triggerLevel(): number {
    return this.#fifosEnabled() ? TRIGGER_LEVELS[(this.#fifoControl >> FCR_TRIGGER_SHIFT) as 0 | 1 | 2 | 3] : 1;
  }

  #transmit(byte: number): void {
    if (this.#modemControl & MCR_LOOPBACK) this.#accept(byte & this.#characterMask(), 0);
    else this.ports.output.write(byte & this.#characterMask());
    // The write cleared the old request and the empty transmitter makes a new one at once.
    this.#transmitterEmptyPending = true;
  }

  /** Characters of 5 to 8 bits: the high bits of the byte are not sent. */
  #characterMask(): number {
    return 0xff >> (3 - (this.#lineControl & 3));
  }

  #accept(byte: number, errors: number): void {
    if (this.#received.length < this.#capacity()) this.#received.push({ byte, errors });
    else {
      this.#overrun = true;
      // Without FIFOs the new character overwrites the old one; with them it is lost in the shift register.
      if (!this.#fifosEnabled()) this.#received[0] = { byte, errors };
    }
    this.#timeoutPending = false;
    this.#armTimeout();
    this.#update();
  }

  #readReceived(): number {
    const entry = this.#received.shift();
    this.#timeoutPending = false;
    // The next character takes its time on a real line: meanwhile the interrupt goes away, and comes as a new edge
    if (this.#waiting.length > 0) this.#update();
    while (this.#waiting.length > 0 && this.#received.length < this.#capacity()) {
      this.#received.push({ byte: this.#waiting.shift() as number, errors: 0 });
    }
    this.#armTimeout();
    this.#update();
    return entry?.byte ?? 0;
  }

  /** FIFO timeout: four character times after the last arrival or read with characters left (data sheet 8.4.5). */
  #armTimeout(): void {
    if (!this.#fifosEnabled() || this.#received.length === 0) return this.#timeout.clear();
    const bits =
      1 +
      5 +
      (this.#lineControl & 3) +
      (this.#lineControl & LCR_PARITY ? 1 : 0) +
      (this.#lineControl & LCR_STOP_BITS ? 2 : 1);
    this.#timeout.set(this.ports.clock.now() + Math.round((4 * bits * 1e9) / this.baud));
  }

  #writeInterruptEnable(value: number): void {
    // Enabling the transmitter interrupt while the holding register is empty requests it at once.
    if (value & IER_TRANSMITTER_EMPTY && !(this.#interruptEnable & IER_TRANSMITTER_EMPTY))
      this.#transmitterEmptyPending = true;
    if (!(value & IER_TRANSMITTER_EMPTY)) this.#transmitterEmptyPending = false;
    this.#interruptEnable = value;
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fifoControl) & FCR_ENABLE) !== 0;
    if (toggled || (value & FCR_CLEAR_RECEIVER && value & FCR_ENABLE)) {
      this.#received = [];
      this.#timeoutPending = false;
      this.#timeout.clear();
    }
    // The other bits are only programmed when FIFOs are on in the same write (data sheet 8.5).
    this.#fifoControl = value & FCR_ENABLE ? value & 0xc9 : 0;
    while (this.#waiting.length > 0 && this.#received.length < this.#capacity())
      this.#accept(this.#waiting.shift() as number, 0);
  }

  #writeLineControl(value: number): void {
    const breakStarts = (value & LCR_BREAK) !== 0 && (this.#lineControl & LCR_BREAK) === 0;
    this.#lineControl = value;
    if (breakStarts && this.#modemControl & MCR_LOOPBACK) this.#accept(0, LSR_BREAK);
  }

  #writeModemControl(value: number): void {
    const before = this.#modemStatus();
    this.#modemControl = value;
    this.#noteModemChange(before);
  }

  #readLineStatus(): number {
    let status = LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY | this.#lineErrors();
    if (this.#received.length > 0) status |= LSR_DATA_READY;
    if (this.#fifosEnabled() && this.#received.some((entry) => entry.errors !== 0)) status |= LSR_FIFO_ERROR;
    // Reading clears the error indications of the character at the top of the FIFO.
    this.#overrun = false;
    const top = this.#received[0];
    if (top) top.errors = 0;
    this.#update();
    return status;
  }

  #lineErrors(): number {
    return (this.#overrun ? LSR_OVERRUN : 0) | ((this.#received[0]?.errors ?? 0) & LSR_CHARACTER_ERRORS);
  }

  /** The high half of the modem status: in loopback the outputs come back as inputs (data sheet 8.6). */
  #modemStatus(): number {
    if (!(this.#modemControl & MCR_LOOPBACK)) return this.#modemInputs;
    const control = this.#modemControl;
    return (
      (control & MCR_RTS ? MSR_CTS : 0) |
      (control & MCR_DTR ? MSR_DSR : 0) |
      (control & MCR_OUT1 ? MSR_RI : 0) |
      (control & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  #noteModemChange(before: number): void {
    const after = this.#modemStatus();
    const changed = before ^ after;
    if (changed & MSR_CTS) this.#modemDeltas |= MSR_DELTA_CTS;
    if (changed & MSR_DSR) this.#modemDeltas |= MSR_DELTA_DSR;
    if (before & MSR_RI && !(after & MSR_RI)) this.#modemDeltas |= MSR_TRAILING_RI;
    if (changed & MSR_DCD) this.#modemDeltas |= MSR_DELTA_DCD;
  }

  #readModemStatus(): number {
    const status = this.#modemStatus() | this.#modemDeltas;
    this.#modemDeltas = 0;
    this.#update();
    return status;
  }

  /** The highest pending and enabled interrupt (data sheet, table IV). */
  #identification(): number {
    const enabled = this.#interruptEnable;
    if (enabled & IER_LINE_STATUS && this.#lineErrors() & LSR_INTERRUPT) return IIR_LINE_STATUS;
    if (enabled & IER_RECEIVED && this.#received.length >= this.#triggerLevel()) return IIR_RECEIVED;
    if (enabled & IER_RECEIVED && this.#timeoutPending) return IIR_TIMEOUT;
    if (enabled & IER_TRANSMITTER_EMPTY && this.#transmitterEmptyPending) return IIR_TRANSMITTER_EMPTY;
    if (enabled & IER_MODEM_STATUS && this.#modemDeltas & MSR_DELTAS) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }

  #readIdentification(): number {
    const identification = this.#identification();
    if (identification === IIR_TRANSMITTER_EMPTY) this.#transmitterEmptyPending = false;
    this.#update();
    return identification | (this.#fifosEnabled() ? IIR_FIFOS_ENABLED : 0);
  }

  /** On a PC the OUT2 pin gates the interrupt onto the bus. */
  #update(): void {
    const level = this.#identification() !== IIR_NONE && (this.#modemControl & MCR_OUT2) !== 0;
    if (level === this.#line) return;
    this.#line = level;
    this.ports.irq.set(level);
  }
}
