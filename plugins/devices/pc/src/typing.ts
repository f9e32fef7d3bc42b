/** Characters as the keys that a user presses for them on an American keyboard, in scan code set 2. */
import { BREAK_PREFIX } from './scancodes.js';

/** Codes of the keys, row by row, with their characters alone and with shift. */
const ROWS: readonly (readonly [codes: readonly number[], plain: string, shifted: string])[] = [
  [[0x0e, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55], '`1234567890-=', '~!@#$%^&*()_+'],
  [[0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5d], 'qwertyuiop[]\\', 'QWERTYUIOP{}|'],
  [[0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52], "asdfghjkl;'", 'ASDFGHJKL:"'],
  [[0x1a, 0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x29], 'zxcvbnm,./ ', 'ZXCVBNM<>? '],
];
const ENTER = 0x5a;
const TAB = 0x0d;
const ESCAPE_KEY = 0x76;
const BACKSPACE = 0x66;
const SHIFT = 0x12;
const CONTROL = 0x14;
const EXTENDED = 0xe0;

interface Key {
  readonly code: number;
  /** Held meanwhile. */
  readonly modifier?: number;
}

const KEYS: ReadonlyMap<number, Key> = new Map([
  ...ROWS.flatMap(([codes, plain, shifted]) =>
    codes.flatMap((code, index): [number, Key][] => [
      [shifted.charCodeAt(index), { code, modifier: SHIFT }],
      [plain.charCodeAt(index), { code }],
    ]),
  ),
  // Control characters by their letters: 1 is Ctrl-A
  ...ROWS.flatMap(([codes, plain]) =>
    codes.flatMap((code, index): [number, Key][] =>
      /[a-z]/.test(plain[index]) ? [[plain.charCodeAt(index) - 0x60, { code, modifier: CONTROL }]] : [],
    ),
  ),
  [0x08, { code: BACKSPACE }],
  [0x09, { code: TAB }],
  [0x0a, { code: ENTER }],
  [0x0d, { code: ENTER }],
  [0x1b, { code: ESCAPE_KEY }],
  [0x7f, { code: BACKSPACE }],
]);

/** The last byte of what a terminal sends for a cursor key, ESC [ A to D, and the key's code behind {@link EXTENDED}. */
const CURSOR_KEYS: ReadonlyMap<number, number> = new Map([
  [0x41, 0x75],
  [0x42, 0x72],
  [0x43, 0x74],
  [0x44, 0x6b],
]);

/**
 * Makes what takes the bytes of a terminal one by one and presses the keys: each is pressed and released. Bytes for which there is no key are dropped.
 */
export function typing(press: (scancodes: readonly number[]) => void): (byte: number) => void {
  let sequence = 0; // how much of ESC [ has come
  return (byte) => {
    if (sequence === 2) {
      sequence = 0;
      const code = CURSOR_KEYS.get(byte);
      if (code !== undefined) return press([EXTENDED, code, EXTENDED, BREAK_PREFIX, code]);
    }
    if (sequence === 1 && byte === 0x5b) {
      sequence = 2;
      return;
    }
    sequence = byte === 0x1b ? 1 : 0;
    const key = KEYS.get(byte);
    if (key === undefined) return;
    const { code, modifier } = key;
    if (modifier === undefined) press([code, BREAK_PREFIX, code]);
    else press([modifier, code, BREAK_PREFIX, code, BREAK_PREFIX, modifier]);
  };
}
