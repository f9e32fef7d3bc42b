/** Typing on a keyboard. */
import { describe, expect, it } from 'vitest';
import { keyboard } from './plugins/keyboard.js';
import { translateScancode } from './scancodes.js';
import { typing } from './typing.js';

/** Scan codes of set 1, which are the better known: what is pressed and released for a text. */
function pressed(text: string): number[] {
  const codes: number[] = [];
  const type = typing((scancodes) => {
    let released = 0;
    for (const code of scancodes) {
      if (code === 0xf0) released = 0x80;
      else {
        codes.push(code === 0xe0 ? code : translateScancode(code) | released);
        if (code !== 0xe0) released = 0;
      }
    }
  });
  for (const letter of text) type(letter.charCodeAt(0));
  return codes;
}

describe('typing', () => {
  it('presses and releases the keys of characters, with shift and control where they need it', () => {
    expect(pressed('a')).toEqual([0x1e, 0x9e]);
    expect(pressed('A')).toEqual([0x2a, 0x1e, 0x9e, 0xaa]);
    expect(pressed('\n\r')).toEqual([0x1c, 0x9c, 0x1c, 0x9c]);
    expect(pressed('\x03')).toEqual([0x1d, 0x2e, 0xae, 0x9d]);
    expect(pressed('\x7f')).toEqual([0x0e, 0x8e]);
    expect(pressed('|')).toEqual([0x2a, 0x2b, 0xab, 0xaa]);
  });

  it('has a key for every character of ASCII', () => {
    for (let code = 0x20; code < 0x7f; code++) expect(pressed(String.fromCharCode(code)).length).toBeGreaterThan(0);
    expect(pressed('\xe4')).toEqual([]);
  });

  it('knows the cursor keys of a terminal', () => {
    expect(pressed('\x1b[A')).toEqual([0x01, 0x81, 0xe0, 0x48, 0xe0, 0xc8]);
  });
});

describe('keyboard()', () => {
  it('refuses options that it does not have', () => {
    for (const options of [{ typed: 'nobody' }, { input: 'console' }])
      expect(() => keyboard(options as never)).toThrow(expect.objectContaining({ code: 'PLUGIN_OPTIONS' }));
  });
});
