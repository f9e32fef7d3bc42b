/** A screen as lines. */
import { beforeEach, describe, expect, it } from 'vitest';
import { paintScreen } from './paint.js';
import { Transcript } from './transcript.js';

let lines: string[];
let transcript: Transcript;
beforeEach(() => {
  lines = [];
  transcript = new Transcript((line) => lines.push(line));
});
/** 25 rows that begin with these. */
const screen = (...rows: string[]): string[] => Array.from({ length: 25 }, (_, row) => (rows[row] ?? '').padEnd(80));

describe('Transcript', () => {
  it('writes nothing while rows are added and edited, and all of them at the end', () => {
    transcript.look(screen());
    transcript.look(screen('$ l'));
    transcript.look(screen('$ lz'));
    transcript.look(screen('$ ls', 'README'));
    expect(lines).toEqual([]);
    transcript.end();
    expect(lines).toEqual(['$ ls', 'README']);
    transcript.end();
    expect(lines.length).toBe(2);
  });

  it('writes what scrolls away, one row or several, once', () => {
    const all = Array.from({ length: 60 }, (_, number) => `line ${number}`);
    for (const first of [0, 1, 5, 30]) transcript.look(screen(...all.slice(first, first + 25)));
    expect(lines).toEqual(all.slice(0, 30));
    transcript.end();
    expect(lines).toEqual(all.slice(0, 55));
  });

  it('writes empty rows between others', () => {
    transcript.look(screen('a', '', 'b'));
    transcript.end();
    expect(lines).toEqual(['a', '', 'b']);
  });

  it('writes a screen before it is cleared', () => {
    transcript.look(screen('boot', 'loader'));
    transcript.look(screen());
    transcript.look(screen('kernel'));
    transcript.end();
    expect(lines).toEqual(['boot', 'loader', 'kernel']);
  });
});

describe('paintScreen', () => {
  it('writes rows that changed, their colours, and the cursor', () => {
    const cells = new Uint16Array(2000).fill(0x0720);
    const of = (row: number, visible = true) => ({ cells: () => cells.slice(), cursor: { row, column: 3, visible } });
    const before = cells.slice();
    expect(paintScreen(of(1), before)).toBe('\x1b[?25l\x1b[0m\x1b[2;4H\x1b[?25h');
    cells[80] = 0x4f41; // A, bright white on red
    const painted = paintScreen(of(2, false), before);
    expect(painted).toBe(`\x1b[?25l\x1b[2;1H\x1b[0;97;41mA\x1b[0;37;40m${' '.repeat(79)}\x1b[0m`);
    expect(paintScreen(of(0)).startsWith('\x1b[?25l\x1b[0m\x1b[2J\x1b[1;1H')).toBe(true);
  });
});
