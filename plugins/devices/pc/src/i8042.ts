/**
 * The 8042 keyboard controller of a PS/2 (IBM PS/2 Hardware Interface Technical Reference, "Keyboard Controller"), with a
 * keyboard and a mouse on its two ports. It also pulses the reset line of the processor and gates A20.
 */
import { inject, injectable } from '@visorkit/core';
import { InterruptLinesToken, SystemControlToken, unsigned } from '@visorkit/machine';
import type { Device, InterruptLine, LineSource, SystemControl } from '@visorkit/machine';
import * as v from 'valibot';
import { BytePortDevice } from './byte-port-device.js';
import { PS2_KEYBOARD_STATE, Ps2Keyboard } from './ps2-keyboard.js';
import type { Ps2KeyboardState } from './ps2-keyboard.js';
import { PS2_MOUSE_STATE, Ps2Mouse } from './ps2-mouse.js';
import type { Ps2MouseState } from './ps2-mouse.js';
import { BREAK_PREFIX, translateScancode } from './scancodes.js';

/** A device at one of the controller's ports. */
export interface Ps2Device {
  /** A byte from the host; returns what the device answers. */
  receive(byte: number): number[];
}

export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;

/** Status register. */
const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX_OUTPUT = 0x20;

/** Command byte (the controller's RAM byte 0). */
const CONFIG_KEYBOARD_INTERRUPT = 0x01;
const CONFIG_AUX_INTERRUPT = 0x02;
const CONFIG_SYSTEM = 0x04;
const CONFIG_KEYBOARD_DISABLED = 0x10;
const CONFIG_AUX_DISABLED = 0x20;
const CONFIG_TRANSLATE = 0x40;

/** Output port. */
const OUTPUT_NOT_RESET = 0x01;
const OUTPUT_A20 = 0x02;
const OUTPUT_KEYBOARD_FULL = 0x10;
const OUTPUT_AUX_FULL = 0x20;

const Command = {
  readConfig: 0x20,
  writeConfig: 0x60,
  disableAux: 0xa7,
  enableAux: 0xa8,
  testAux: 0xa9,
  selfTest: 0xaa,
  testKeyboard: 0xab,
  disableKeyboard: 0xad,
  enableKeyboard: 0xae,
  readInput: 0xc0,
  readOutput: 0xd0,
  writeOutput: 0xd1,
  writeKeyboardOutput: 0xd2,
  writeAuxOutput: 0xd3,
  writeAux: 0xd4,
  a20Off: 0xdd,
  a20On: 0xdf,
  readTest: 0xe0,
  pulse: 0xf0,
} as const;
const SELF_TEST_PASSED = 0x55;
const INPUT_PORT = 0x80; // keyboard not inhibited

const QUEUE_LIMIT = 256;

export interface I8042State {
  config: number;
  outputPort: number;
  output: number | null;
  /** The byte read last, which an empty buffer gives again. */
  lastOutput: number;
  outputFromAux: boolean;
  command: number;
  lastWasCommand: boolean;
  keyboardQueue: number[];
  auxQueue: number[];
  breakPending: boolean;
  keyboard: Ps2KeyboardState;
  mouse: Ps2MouseState;
}

const QUEUE = v.pipe(v.array(unsigned(8)), v.maxLength(QUEUE_LIMIT, `a list of at most ${QUEUE_LIMIT}`));
const STATE = v.strictObject({
  config: unsigned(8),
  outputPort: unsigned(8),
  output: v.nullable(unsigned(8)),
  lastOutput: unsigned(8),
  outputFromAux: v.boolean(),
  command: unsigned(8),
  lastWasCommand: v.boolean(),
  keyboardQueue: QUEUE,
  auxQueue: QUEUE,
  breakPending: v.boolean(),
  keyboard: PS2_KEYBOARD_STATE,
  mouse: PS2_MOUSE_STATE,
});

const KEYBOARD_IRQ = 1;
const AUX_IRQ = 12;

@injectable()
export class I8042 extends BytePortDevice implements Device<I8042State> {
  readonly name = 'i8042';
  readonly schema = STATE;
  readonly #keyboard = new Ps2Keyboard();
  readonly #mouse = new Ps2Mouse();
  #config = CONFIG_KEYBOARD_INTERRUPT | CONFIG_SYSTEM | CONFIG_TRANSLATE;
  #outputPort = OUTPUT_NOT_RESET | OUTPUT_A20;
  /** The output buffer, null when empty. */
  #output: number | null = null;
  /** Reading an empty buffer gives its last byte again, as the latch does. */
  #lastOutput = 0;
  #outputFromAux = false;
  /** The command whose parameter comes next through the data port, 0 for none. */
  #command = 0;
  #lastWasCommand = false;
  #keyboardQueue: number[] = [];
  #auxQueue: number[] = [];
  /** A break prefix of set 2 went by: the next code gets bit 7 in set 1. */
  #breakPending = false;

  readonly #keyboardIrq: InterruptLine;
  readonly #auxIrq: InterruptLine;
  /** Told the level of the A20 gate whenever the guest, or a reset, sets it. */
  onA20: ((enabled: boolean) => void) | undefined;

  constructor(
    @inject(InterruptLinesToken) lines: LineSource,
    @inject(SystemControlToken) private readonly system: Pick<SystemControl, 'reset'>,
  ) {
    super();
    this.#keyboardIrq = lines.line(KEYBOARD_IRQ);
    this.#auxIrq = lines.line(AUX_IRQ);
  }

  /** The user presses or releases keys: bytes of scan code set 2, as the keyboard sends them. */
  pressKeys(scancodes: readonly number[]): void {
    if (!this.#keyboard.scanning) return;
    this.#queueKeyboard(scancodes);
    this.#fill();
  }

  /** The user moves the mouse; dy is positive upwards, buttons are left 1, right 2, middle 4. */
  moveMouse(dx: number, dy: number, buttons: number): void {
    this.#queueAux(this.#mouse.move(dx, dy, buttons));
    this.#fill();
  }

  /** Whether the address line 20 is let through. */
  get a20(): boolean {
    return (this.#outputPort & OUTPUT_A20) !== 0;
  }

  reset(): void {
    this.#config = CONFIG_KEYBOARD_INTERRUPT | CONFIG_SYSTEM | CONFIG_TRANSLATE;
    this.#outputPort = OUTPUT_NOT_RESET | OUTPUT_A20;
    this.#output = null;
    this.#lastOutput = 0;
    this.#command = 0;
    this.#lastWasCommand = false;
    this.#keyboardQueue = [];
    this.#auxQueue = [];
    this.#breakPending = false;
    this.#keyboard.reset();
    this.#mouse.reset();
    this.#updateLines();
    this.onA20?.(true);
  }

  save(): I8042State {
    return {
      config: this.#config,
      outputPort: this.#outputPort,
      output: this.#output,
      lastOutput: this.#lastOutput,
      outputFromAux: this.#outputFromAux,
      command: this.#command,
      lastWasCommand: this.#lastWasCommand,
      keyboardQueue: [...this.#keyboardQueue],
      auxQueue: [...this.#auxQueue],
      breakPending: this.#breakPending,
      keyboard: this.#keyboard.save(),
      mouse: this.#mouse.save(),
    };
  }

  restore(state: I8042State): void {
    this.#config = state.config;
    this.#outputPort = state.outputPort;
    this.#output = state.output;
    this.#lastOutput = state.lastOutput;
    this.#outputFromAux = state.outputFromAux;
    this.#command = state.command;
    this.#lastWasCommand = state.lastWasCommand;
    this.#keyboardQueue = [...state.keyboardQueue];
    this.#auxQueue = [...state.auxQueue];
    this.#breakPending = state.breakPending;
    this.#keyboard.restore(state.keyboard);
    this.#mouse.restore(state.mouse);
    this.#updateLines();
  }

  protected readByte(port: number): number {
    return port === I8042_COMMAND_PORT ? this.#status() : this.#readData();
  }

  protected writeByte(port: number, value: number): void {
    this.#lastWasCommand = port === I8042_COMMAND_PORT;
    if (this.#lastWasCommand) this.#execute(value);
    else this.#writeData(value);
    this.#fill();
    this.#updateLines();
  }

  #status(): number {
    return (
      STATUS_UNLOCKED |
      (this.#output !== null ? STATUS_OUTPUT_FULL : 0) |
      (this.#output !== null && this.#outputFromAux ? STATUS_AUX_OUTPUT : 0) |
      (this.#config & CONFIG_SYSTEM ? STATUS_SYSTEM : 0) |
      (this.#lastWasCommand ? STATUS_COMMAND : 0)
    );
  }

  #readData(): number {
    if (this.#output === null) return this.#lastOutput;
    this.#lastOutput = this.#output;
    this.#output = null;
    this.#updateLines(); // the line drops before the next byte raises it: each byte is an edge
    this.#fill();
    return this.#lastOutput;
  }

  #execute(command: number): void {
    switch (command) {
      case Command.writeConfig:
      case Command.writeOutput:
      case Command.writeKeyboardOutput:
      case Command.writeAuxOutput:
      case Command.writeAux:
        this.#command = command;
        return;
      case Command.readConfig:
        return this.#answer(this.#config);
      case Command.disableAux:
        this.#config |= CONFIG_AUX_DISABLED;
        return;
      case Command.enableAux:
        this.#config &= ~CONFIG_AUX_DISABLED;
        return;
      case Command.testAux:
      case Command.testKeyboard:
        return this.#answer(0);
      case Command.selfTest:
        this.#config |= CONFIG_SYSTEM;
        return this.#answer(SELF_TEST_PASSED);
      case Command.disableKeyboard:
        this.#config |= CONFIG_KEYBOARD_DISABLED;
        return;
      case Command.enableKeyboard:
        this.#config &= ~CONFIG_KEYBOARD_DISABLED;
        return;
      case Command.readInput:
        return this.#answer(INPUT_PORT);
      case Command.readOutput:
        return this.#answer(this.#readOutputPort());
      case Command.a20Off:
        return this.#writeOutputPort(this.#outputPort & ~OUTPUT_A20);
      case Command.a20On:
        return this.#writeOutputPort(this.#outputPort | OUTPUT_A20);
      case Command.readTest:
        return this.#answer(0);
      default:
        // 0xf0-0xff pulse the output port bits whose command bit is 0; bit 0 is the processor's reset.
        if ((command & Command.pulse) === Command.pulse && (command & 1) === 0) this.#pulseReset();
        // 0x21-0x3f and 0x61-0x7f are the rest of the controller's RAM, which holds nothing here.
        if (command > Command.readConfig && command < 0x40) this.#answer(0);
        if (command > Command.writeConfig && command < 0x80) this.#command = command;
    }
  }

  #writeData(value: number): void {
    const command = this.#command;
    this.#command = 0;
    switch (command) {
      case 0:
        // A byte for the keyboard enables its port (IBM, "Input Buffer").
        this.#config &= ~CONFIG_KEYBOARD_DISABLED;
        this.#queueKeyboard(this.#keyboard.receive(value));
        break;
      case Command.writeConfig:
        this.#config = value;
        break;
      case Command.writeOutput:
        this.#writeOutputPort(value);
        break;
      case Command.writeKeyboardOutput:
        this.#put(value, false);
        break;
      case Command.writeAuxOutput:
        this.#put(value, true);
        break;
      case Command.writeAux:
        this.#config &= ~CONFIG_AUX_DISABLED;
        this.#queueAux(this.#mouse.receive(value));
        break;
    }
  }

  #readOutputPort(): number {
    const full = this.#output === null ? 0 : this.#outputFromAux ? OUTPUT_AUX_FULL : OUTPUT_KEYBOARD_FULL;
    return this.#outputPort | full;
  }

  #writeOutputPort(value: number): void {
    this.#outputPort = (value & OUTPUT_A20) | OUTPUT_NOT_RESET;
    this.onA20?.(this.a20);
    if (!(value & OUTPUT_NOT_RESET)) this.#pulseReset();
  }

  #pulseReset(): void {
    this.system.reset('the guest pulsed the reset line through the keyboard controller');
  }

  /** The controller's own answers go before the bytes of the devices. */
  #answer(byte: number): void {
    this.#put(byte, false);
  }

  #put(byte: number, aux: boolean): void {
    if (this.#output !== null) {
      this.#output = null;
      this.#updateLines();
    }
    this.#output = byte & 0xff;
    this.#outputFromAux = aux;
    this.#updateLines();
  }

  #queueKeyboard(bytes: readonly number[]): void {
    if (this.#keyboardQueue.length + bytes.length <= QUEUE_LIMIT) this.#keyboardQueue.push(...bytes);
  }

  #queueAux(bytes: readonly number[]): void {
    if (this.#auxQueue.length + bytes.length <= QUEUE_LIMIT) this.#auxQueue.push(...bytes);
  }

  /** Moves the next byte of a device whose port is open into the output buffer. */
  #fill(): void {
    while (this.#output === null) {
      if (this.#keyboardQueue.length > 0 && !(this.#config & CONFIG_KEYBOARD_DISABLED)) {
        const byte = this.#translate(this.#keyboardQueue.shift() as number);
        if (byte >= 0) this.#put(byte, false);
      } else if (this.#auxQueue.length > 0 && !(this.#config & CONFIG_AUX_DISABLED)) {
        this.#put(this.#auxQueue.shift() as number, true);
      } else return;
    }
  }

  /** The byte as software sees it, or -1 for a break prefix, which becomes bit 7 of the next. */
  #translate(byte: number): number {
    if (!(this.#config & CONFIG_TRANSLATE)) return byte;
    if (byte === BREAK_PREFIX) {
      this.#breakPending = true;
      return -1;
    }
    const code = translateScancode(byte) | (this.#breakPending ? 0x80 : 0);
    this.#breakPending = false;
    return code;
  }

  #updateLines(): void {
    const full = this.#output !== null;
    this.#keyboardIrq.set(full && !this.#outputFromAux && (this.#config & CONFIG_KEYBOARD_INTERRUPT) !== 0);
    this.#auxIrq.set(full && this.#outputFromAux && (this.#config & CONFIG_AUX_INTERRUPT) !== 0);
  }
}
