/** The results as a table. */
import type { ProgramResult, Verdict } from './run-program.js';

export function formatTable(results: readonly ProgramResult[]): string {
  const rows = results.map((result) => [
    result.name,
    result.verdict,
    String(result.pass),
    String(result.fail),
    String(result.skip),
    result.seconds.toFixed(1),
    [result.cpusGiven < result.cpus ? `${result.cpusGiven} of ${result.cpus} CPUs` : '', result.why ?? '']
      .filter((note) => note !== '')
      .join('; '),
  ]);
  const head = ['program', 'verdict', 'PASS', 'FAIL', 'SKIP', 'seconds', 'note'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column >= 2 && column <= 5 ? cell.padStart(widths[column]) : cell.padEnd(column === 6 ? 0 : widths[column]),
      )
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line)].join('\n');
}

export interface Totals {
  readonly programs: number;
  readonly verdicts: Readonly<Partial<Record<Verdict, number>>>;
  readonly pass: number;
  readonly fail: number;
  readonly skip: number;
  readonly seconds: number;
}

export function totalsOf(results: readonly ProgramResult[]): Totals {
  const verdicts: Partial<Record<Verdict, number>> = {};
  for (const { verdict } of results) verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
  const sum = (key: 'pass' | 'fail' | 'skip' | 'seconds'): number =>
    results.reduce((total, result) => total + result[key], 0);
  return {
    programs: results.length,
    verdicts,
    pass: sum('pass'),
    fail: sum('fail'),
    skip: sum('skip'),
    seconds: sum('seconds'),
  };
}

export function formatTotals(totals: Totals): string {
  const verdicts = Object.entries(totals.verdicts)
    .map(([verdict, count]) => `${count} ${verdict}`)
    .join(', ');
  return `${totals.programs} programs: ${verdicts}; lines: ${totals.pass} PASS, ${totals.fail} FAIL, ${totals.skip} SKIP; ${totals.seconds.toFixed(0)} s`;
}
