/** What goes over a text screen, as lines: those that scroll away or are cleared, and at the end what stands there. */
import { ROWS } from './text-screen.js';

/** So many rows may be edited in place, as by backspace or a clock, before it counts as another screen. */
const EDITED = 2;

/**
 * Follows a screen by looking at it now and then. Rows that leave it are written; a screen that is cleared or drawn anew is written as it was. Rows that come and go
 * between two looks are missed.
 */
export class Transcript {
  #last: readonly string[] = [];

  /** @param line gets each line, without blanks at its end */
  constructor(private readonly line: (text: string) => void) {}

  /** A look at the screen. */
  look(rows: readonly string[]): void {
    const now = rows.map((row) => row.trimEnd());
    const gone = scrolledBy(this.#last, now);
    for (const row of withoutEnd(this.#last.slice(0, gone), gone < ROWS)) this.line(row);
    this.#last = now;
  }

  /** Writes what stands on the screen, without empty rows at its end. */
  end(): void {
    for (const row of withoutEnd(this.#last, false)) this.line(row);
    this.#last = [];
  }
}

/** How far the screen scrolled between two looks; all rows when it shows something else. */
function scrolledBy(before: readonly string[], now: readonly string[]): number {
  if (before.every((row) => row === '')) return 0;
  const changed = (by: number): number => {
    let count = 0;
    for (let row = by; row < before.length; row++)
      if (before[row] !== '' && !now[row - by].startsWith(before[row])) count++;
    return count;
  };
  if (changed(0) <= EDITED && !now.every((row) => row === '')) return 0;
  for (let by = 1; by < ROWS; by++) {
    // Something must have stayed, or any distance would do
    if (before.slice(by).some((row) => row !== '') && changed(by) === 0) return by;
  }
  return ROWS;
}

/** Without empty rows at the end, unless rows follow. */
function withoutEnd(rows: readonly string[], follows: boolean): readonly string[] {
  if (follows) return rows;
  const last = rows.findLastIndex((row) => row !== '');
  return rows.slice(0, last + 1);
}
