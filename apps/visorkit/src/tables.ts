/** Rows of a tool as people and programs read them: columns that fit the terminal, or a line of JSON each. */
import type { Cell, Column } from '@visorkit/vmi';

/** Between two columns. */
const GAP = 2;
/** A column is not made narrower than this. */
const LEAST = 8;

/** A cell as text. Addresses have 16 digits, so that they stand one below the other. */
export function cellText(cell: Cell, { kind = 'text' }: Column): string {
  if (cell === undefined) return '';
  if (kind === 'address' && typeof cell !== 'string') return BigInt(cell).toString(16).padStart(16, '0');
  if (kind === 'hex' && typeof cell !== 'string') return `0x${BigInt(cell).toString(16)}`;
  // What a guest calls something must not move the cursor
  return String(cell).replace(/\p{Cc}/gu, '?');
}

/** A table, its titles first. `width`: columns of the terminal; longer lines lose the end of their widest text. */
export function tableOf(columns: readonly Column[], rows: readonly (readonly Cell[])[], width = Infinity): string[] {
  const texts = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map((column, at) => cellText(row[at], column))),
  ];
  const widths = columns.map((_column, at) => texts.reduce((most, row) => Math.max(most, row[at].length), 0));
  for (let over = sum(widths) + GAP * (widths.length - 1) - width; over > 0; ) {
    const widest = widths.indexOf(Math.max(...widths));
    const less = Math.min(over, widths[widest] - LEAST);
    if (less <= 0) break;
    widths[widest] -= less;
    over -= less;
  }
  return texts.map((row) =>
    row
      .map((text, at) => {
        const cut = text.length > widths[at] ? `${text.slice(0, widths[at] - 1)}…` : text;
        return columns[at].kind === 'number' ? cut.padStart(widths[at]) : cut.padEnd(widths[at]);
      })
      .join(' '.repeat(GAP))
      .trimEnd(),
  );
}

/** A row on its own, as `TITLE value` one behind the other; what is not there is left out. */
export function lineOf(columns: readonly Column[], row: readonly Cell[]): string {
  return columns
    .map((column, at) => ({ title: column.title.toLowerCase(), text: cellText(row[at], column) }))
    .filter(({ text }) => text !== '')
    .map(({ title, text }) => `${title} ${text}`)
    .join('  ');
}

/** An object with a key for each column, its title in small letters: addresses as text in hexadecimal, with 0x before them. */
export function jsonOf(columns: readonly Column[], row: readonly Cell[]): string {
  return JSON.stringify(
    Object.fromEntries(
      columns.map((column, at) => [column.title.toLowerCase().replaceAll(' ', '_'), jsonCell(row[at], column)]),
    ),
  );
}

function jsonCell(cell: Cell, { kind }: Column): string | number | boolean | null {
  if (cell === undefined) return null;
  if (typeof cell === 'bigint' || ((kind === 'address' || kind === 'hex') && typeof cell === 'number')) {
    if (kind === 'address' || kind === 'hex') return `0x${cell.toString(16)}`;
    return cell <= Number.MAX_SAFE_INTEGER ? Number(cell) : String(cell);
  }
  return cell;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, value) => total + value, 0);
