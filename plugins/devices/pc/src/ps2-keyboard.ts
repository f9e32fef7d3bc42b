/** A PS/2 keyboard as it answers on its cable (IBM PS/2 Hardware Interface Technical Reference, "Keyboards"). */
import type { Ps2Device } from './i8042.js';

const ACKNOWLEDGE = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;
const IDENTITY = [0xab, 0x83] as const;
const Command = {
  setLeds: 0xed,
  echo: 0xee,
  scancodeSet: 0xf0,
  identify: 0xf2,
  typematic: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  defaults: 0xf6,
  resend: 0xfe,
  reset: 0xff,
} as const;

export interface Ps2KeyboardState {
  scanning: boolean;
  leds: number;
  typematic: number;
  scancodeSet: number;
  /** The command whose parameter comes next, 0 for none. */
  parameterOf: number;
  lastSent: number;
}

const defaults = (): Ps2KeyboardState => ({
  scanning: true,
  leds: 0,
  typematic: 0x2b,
  scancodeSet: 2,
  parameterOf: 0,
  lastSent: 0,
});

export class Ps2Keyboard implements Ps2Device {
  #state = defaults();

  /** Caps lock is bit 2, num lock bit 1, scroll lock bit 0. */
  get leds(): number {
    return this.#state.leds;
  }

  get scanning(): boolean {
    return this.#state.scanning;
  }

  receive(byte: number): number[] {
    const answer = this.#state.parameterOf !== 0 ? this.#parameter(byte) : this.#command(byte);
    const last = answer.at(-1);
    if (last !== undefined) this.#state.lastSent = last;
    return answer;
  }

  reset(): void {
    this.#state = defaults();
  }

  save(): Ps2KeyboardState {
    return { ...this.#state };
  }

  restore(state: Ps2KeyboardState): void {
    this.#state = { ...state };
  }

  #command(byte: number): number[] {
    const state = this.#state;
    switch (byte) {
      case Command.setLeds:
      case Command.typematic:
      case Command.scancodeSet:
        state.parameterOf = byte;
        return [ACKNOWLEDGE];
      case Command.echo:
        return [Command.echo];
      case Command.identify:
        return [ACKNOWLEDGE, ...IDENTITY];
      case Command.enable:
        state.scanning = true;
        return [ACKNOWLEDGE];
      case Command.disable:
        this.#state = { ...defaults(), scanning: false };
        return [ACKNOWLEDGE];
      case Command.defaults:
        this.#state = { ...defaults(), scanning: state.scanning };
        return [ACKNOWLEDGE];
      case Command.resend:
        return [state.lastSent];
      case Command.reset:
        this.#state = defaults();
        return [ACKNOWLEDGE, SELF_TEST_PASSED];
      default:
        return [RESEND];
    }
  }

  #parameter(byte: number): number[] {
    const state = this.#state;
    const command = state.parameterOf;
    state.parameterOf = 0;
    if (command === Command.setLeds) state.leds = byte & 7;
    else if (command === Command.typematic) state.typematic = byte & 0x7f;
    else if (byte === 0) return [ACKNOWLEDGE, state.scancodeSet];
    else if (byte <= 3) state.scancodeSet = byte;
    else return [RESEND];
    return [ACKNOWLEDGE];
  }
}
