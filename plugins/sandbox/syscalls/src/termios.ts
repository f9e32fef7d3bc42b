/** Settings of terminals: `struct termios` of the kernel, termios(3). */

/** Four flag words, line discipline, 19 control characters. */
export const TERMIOS_SIZE = 36;
/** `struct termios2` has two speeds behind them. */
export const TERMIOS2_SIZE = 44;

/** c_iflag. */
export const I = {
  ISTRIP: 0o40,
  INLCR: 0o100,
  IGNCR: 0o200,
  ICRNL: 0o400,
  IXON: 0o2000,
  IXANY: 0o4000,
  IUTF8: 0o40000,
} as const;
/** c_oflag. */
export const O = { OPOST: 1, ONLCR: 4, OCRNL: 8, ONOCR: 0o20, ONLRET: 0o40, XTABS: 0o14000 } as const;
/** c_lflag. */
export const L = {
  ISIG: 1,
  ICANON: 2,
  ECHO: 0o10,
  ECHOE: 0o20,
  ECHOK: 0o40,
  ECHONL: 0o100,
  NOFLSH: 0o200,
  TOSTOP: 0o400,
  ECHOCTL: 0o1000,
  ECHOKE: 0o4000,
  IEXTEN: 0o100000,
} as const;
/** Control characters by their place in c_cc. */
export const V = {
  INTR: 0,
  QUIT: 1,
  ERASE: 2,
  KILL: 3,
  EOF: 4,
  TIME: 5,
  MIN: 6,
  START: 8,
  STOP: 9,
  SUSP: 10,
  EOL: 11,
  REPRINT: 12,
  WERASE: 14,
  LNEXT: 15,
  EOL2: 16,
} as const;

const CONTROLS = 17;

/** A terminal as the kernel makes it (tty_std_termios): ICRNL IXON, OPOST ONLCR, B38400 CS8 CREAD, ISIG ICANON ECHO ECHOE ECHOK ECHOCTL ECHOKE IEXTEN. */
export function cooked(): Uint8Array {
  const bytes = new Uint8Array(TERMIOS_SIZE),
    view = new DataView(bytes.buffer);
  [0x500, 0x5, 0xbf, 0x8a3b].forEach((word, i) => view.setUint32(4 * i, word, true));
  bytes.set([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22], CONTROLS);
  return bytes;
}

/** The structure, with its fields by name. */
export class Termios {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array = cooked()) {
    this.bytes = bytes.slice(0, TERMIOS_SIZE);
    this.#view = new DataView(this.bytes.buffer);
  }

  input(flag: number): boolean {
    return (this.#view.getUint32(0, true) & flag) === flag;
  }
  output(flag: number): boolean {
    return (this.#view.getUint32(4, true) & flag) === flag;
  }
  local(flag: number): boolean {
    return (this.#view.getUint32(12, true) & flag) === flag;
  }
  /** A control character, or a number in the place of one (VMIN, VTIME). */
  control(place: number): number {
    return this.bytes[CONTROLS + place];
  }
  /** Whether a byte is this control character; 0 means that there is none. */
  is(byte: number, place: number): boolean {
    return byte !== 0 && byte === this.control(place);
  }

  /** `struct termios2`: the speed stands in numbers too. */
  pack2(): Uint8Array {
    const bytes = new Uint8Array(TERMIOS2_SIZE),
      view = new DataView(bytes.buffer);
    bytes.set(this.bytes);
    view.setUint32(36, SPEED, true);
    view.setUint32(40, SPEED, true);
    return bytes;
  }
}

/** What a terminal without wires says of its speed. */
const SPEED = 38_400;
