/** Counts and histograms as text. */
import type { CountRow, Counter, Histogram, HistogramSet } from './counts.js';
import { shownValue, traceField } from './record.js';
import type { TraceFieldName } from './record.js';

const COUNT_WIDTH = 12;
const BAR = 40;

/** A row for each combination of values, the most frequent first, with `most` rows at most. A stack follows its row, a line for each caller. */
export function countTable(counter: Counter, most = Infinity): string[] {
  const { fields } = counter;
  const rows = counter.rows().slice(0, most);
  const columns = fields.filter((name) => name !== 'stack');
  const cells = rows.map(({ values }) => columns.map((name) => cellText(name, values[fields.indexOf(name)])));
  const widths = columns.map((name, at) => Math.max(name.length, ...cells.map((row) => row[at].length)));
  const line = (count: string, texts: readonly string[]): string =>
    `${count.padStart(COUNT_WIDTH)}  ${texts.map((text, at) => text.padEnd(widths[at])).join('  ')}`.trimEnd();
  const left = counter.rows().length - rows.length;
  return [
    line('count', columns),
    ...rows.flatMap((row, at) => [line(String(row.count), cells[at]), ...stackLines(row, fields)]),
    ...(left > 0 ? [line('', [`… ${left} more`])] : []),
    line(String(counter.total), ['in all']),
  ];
}

function cellText(name: TraceFieldName, value: unknown): string {
  return value === undefined ? '-' : shownValue(traceField(name)!, value);
}

function stackLines({ values }: CountRow, fields: readonly TraceFieldName[]): string[] {
  const stack = values[fields.indexOf('stack')] as readonly string[] | undefined;
  return (stack ?? []).map((name) => `${' '.repeat(COUNT_WIDTH + 4)}${name}`);
}

/** Each histogram with bars, after the manner of bpftrace. `what`: what was measured, in ns. */
export function histogramText(what: string, set: HistogramSet): string[] {
  return set
    .rows()
    .flatMap(([name, histogram]) => [
      `${what}, ${name}: ${histogram.count} times, ${short(histogram.sum)} ns in all, ${short(histogram.least)} to ${short(histogram.most)} ns, mean ${short(histogram.sum / histogram.count)} ns`,
      ...bars(histogram),
      '',
    ]);
}

function bars({ buckets }: Histogram): string[] {
  const highest = Math.max(...buckets);
  const first = buckets.findIndex((count) => count > 0);
  return buckets.slice(first).map((count, at) => {
    const bucket = first + at;
    const [low, high] = bucket === 0 ? [0, 1] : [2 ** (bucket - 1), 2 ** bucket];
    const range = `[${scaled(low)}, ${scaled(high)})`;
    return `${range.padEnd(16)} ${String(count).padStart(10)} |${'@'.repeat(Math.round((count / highest) * BAR)).padEnd(BAR)}|`;
  });
}

const short = (value: number): string => String(Math.round(value));

/** Powers of two as bpftrace has them: 512, 1K, 2M. */
function scaled(value: number): string {
  const units = ['', 'K', 'M', 'G', 'T'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value}${units[unit]}`;
}

/** One picture of a live table: what was counted, how much of it is new, and its share. `before` are the rows of the last picture. */
export function topFrame(
  counter: Counter,
  before: ReadonlyMap<string, number>,
  seconds: number,
  lines: number,
): string[] {
  const columns = counter.fields.filter((name) => name !== 'stack');
  const rows = counter.rows().map(({ values, count }) => {
    const text = columns.map((name) => cellText(name, values[counter.fields.indexOf(name)])).join('  ');
    return { text, count, rate: (count - (before.get(topKey(values)) ?? 0)) / seconds };
  });
  rows.sort((a, b) => b.rate - a.rate || b.count - a.count);
  const total = Math.max(counter.total, 1);
  return [
    `${'per second'.padStart(12)}${'count'.padStart(12)}${'share'.padStart(8)}  ${columns.join('  ')}`,
    ...rows
      .slice(0, Math.max(lines - 1, 1))
      .map(
        ({ text, count, rate }) =>
          `${String(Math.round(rate)).padStart(12)}${String(count).padStart(12)}${`${((count / total) * 100).toFixed(1)}%`.padStart(8)}  ${text}`,
      ),
  ];
}

/** The counts that `topFrame` compares the next picture with. */
export function topRows(counter: Counter): ReadonlyMap<string, number> {
  return new Map(counter.rows().map(({ values, count }) => [topKey(values), count]));
}

const topKey = (values: readonly unknown[]): string => values.map(String).join('\n');
