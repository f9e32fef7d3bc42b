/**
 * A two-dimensional PS/2 mouse as it answers on its cable (IBM PS/2 Hardware Interface Technical Reference, "Mouse").
 */
import type { Ps2Device } from './i8042.js';

const ACKNOWLEDGE = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;
const IDENTITY = 0x00;
const Command = {
  scaling1: 0xe6,
  scaling2: 0xe7,
  resolution: 0xe8,
  status: 0xe9,
  streamMode: 0xea,
  readData: 0xeb,
  endWrap: 0xec,
  wrap: 0xee,
  remoteMode: 0xf0,
  identify: 0xf2,
  sampleRate: 0xf3,
  enable: 0xf4,
  disable: 0xf5,
  defaults: 0xf6,
  resend: 0xfe,
  reset: 0xff,
} as const;
const STATUS_REMOTE = 0x40;
const STATUS_ENABLED = 0x20;
const STATUS_SCALING = 0x10;

export interface Ps2MouseState {
  reporting: boolean;
  remote: boolean;
  wrap: boolean;
  scaling2: boolean;
  resolution: number;
  sampleRate: number;
  buttons: number;
  dx: number;
  dy: number;
  parameterOf: number;
  lastSent: number;
}

const defaults = (): Ps2MouseState => ({
  reporting: false,
  remote: false,
  wrap: false,
  scaling2: false,
  resolution: 2,
  sampleRate: 100,
  buttons: 0,
  dx: 0,
  dy: 0,
  parameterOf: 0,
  lastSent: 0,
});

export class Ps2Mouse implements Ps2Device {
  #state = defaults();

  /** Movement since the last packet and the buttons (left 1, right 2, middle 4). Gives the packet to send, if any. */
  move(dx: number, dy: number, buttons: number): number[] {
    const state = this.#state;
    state.dx += Math.trunc(dx);
    state.dy += Math.trunc(dy);
    state.buttons = buttons & 7;
    return state.reporting && !state.remote ? this.#packet() : [];
  }

  receive(byte: number): number[] {
    const state = this.#state;
    if (state.wrap && byte !== Command.reset && byte !== Command.endWrap) return [byte];
    const answer = state.parameterOf !== 0 ? this.#parameter(byte) : this.#command(byte);
    this.#state.lastSent = answer.at(-1) ?? 0;
    return answer;
  }

  reset(): void {
    this.#state = defaults();
  }

  save(): Ps2MouseState {
    return { ...this.#state };
  }

  restore(state: Ps2MouseState): void {
    this.#state = { ...state };
  }

  #command(byte: number): number[] {
    const state = this.#state;
    switch (byte) {
      case Command.scaling1:
      case Command.scaling2:
        state.scaling2 = byte === Command.scaling2;
        return [ACKNOWLEDGE];
      case Command.resolution:
      case Command.sampleRate:
        state.parameterOf = byte;
        return [ACKNOWLEDGE];
      case Command.status: {
        const buttons = (state.buttons & 1 ? 4 : 0) | (state.buttons & 4 ? 2 : 0) | (state.buttons & 2 ? 1 : 0);
        const modes =
          (state.remote ? STATUS_REMOTE : 0) |
          (state.reporting ? STATUS_ENABLED : 0) |
          (state.scaling2 ? STATUS_SCALING : 0);
        return [ACKNOWLEDGE, modes | buttons, state.resolution, state.sampleRate];
      }
      case Command.streamMode:
      case Command.remoteMode:
        state.remote = byte === Command.remoteMode;
        return [ACKNOWLEDGE];
      case Command.readData:
        return [ACKNOWLEDGE, ...this.#packet()];
      case Command.wrap:
      case Command.endWrap:
        state.wrap = byte === Command.wrap;
        return [ACKNOWLEDGE];
      case Command.identify:
        return [ACKNOWLEDGE, IDENTITY];
      case Command.enable:
      case Command.disable:
        state.reporting = byte === Command.enable;
        return [ACKNOWLEDGE];
      case Command.defaults:
        this.#state = defaults();
        return [ACKNOWLEDGE];
      case Command.resend:
        return [state.lastSent];
      case Command.reset:
        this.#state = defaults();
        return [ACKNOWLEDGE, SELF_TEST_PASSED, IDENTITY];
      default:
        return [RESEND];
    }
  }

  #parameter(byte: number): number[] {
    const state = this.#state;
    if (state.parameterOf === Command.resolution) state.resolution = byte & 3;
    else state.sampleRate = byte;
    state.parameterOf = 0;
    return [ACKNOWLEDGE];
  }

  /** Three bytes: buttons with sign and overflow bits, then nine-bit movements; what does not fit waits. */
  #packet(): number[] {
    const state = this.#state;
    const dx = Math.max(-256, Math.min(255, state.dx));
    const dy = Math.max(-256, Math.min(255, state.dy));
    state.dx -= dx;
    state.dy -= dy;
    return [0x08 | state.buttons | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0), dx & 0xff, dy & 0xff];
  }
}
