/** A text screen in a terminal: what to write so that it shows what has changed. */
import { CODE_PAGE_437 } from './code-page.js';
import { COLUMNS, ROWS } from './text-screen.js';
import type { TextScreen } from './text-screen.js';

/** The adapter's colours have red and blue the other way round than ECMA-48's. */
const COLOURS = [0, 4, 2, 6, 1, 5, 3, 7] as const;
const ESCAPE = '\x1b[';
const BRIGHT = 8;

/**
 * @param before the cells that the terminal shows; undefined: it shows something else
 * @returns control sequences and text of ECMA-48
 */
export function paintScreen(screen: Pick<TextScreen, 'cells' | 'cursor'>, before?: Uint16Array): string {
  const cells = screen.cells();
  let out = `${ESCAPE}?25l${before === undefined ? `${ESCAPE}0m${ESCAPE}2J` : ''}`;
  for (let row = 0; row < ROWS; row++) {
    const first = row * COLUMNS;
    const line = cells.subarray(first, first + COLUMNS);
    if (before !== undefined && line.every((cell, column) => cell === before[first + column])) continue;
    out += `${ESCAPE}${row + 1};1H`;
    let attribute = -1;
    for (const cell of line) {
      if (cell >> 8 !== attribute) out += sgr((attribute = cell >> 8));
      out += CODE_PAGE_437[cell & 0xff];
    }
  }
  const { row, column, visible } = screen.cursor;
  return visible ? `${out}${ESCAPE}0m${ESCAPE}${row + 1};${column + 1}H${ESCAPE}?25h` : `${out}${ESCAPE}0m`;
}

/** Foreground in bits 0 to 3, background in 4 to 6, and bit 7 blinks. */
function sgr(attribute: number): string {
  const foreground = (attribute & BRIGHT ? 90 : 30) + COLOURS[attribute & 7];
  const background = 40 + COLOURS[(attribute >> 4) & 7];
  return `${ESCAPE}0;${attribute & 0x80 ? '5;' : ''}${foreground};${background}m`;
}
