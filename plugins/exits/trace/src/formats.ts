/** How events and counts are written: lines of text, lines of JSON, or the trace-event format that Perfetto and Chrome open. */
import type { Histogram } from './counts.js';
import { TRACE_FIELDS, shownValue } from './record.js';
import type { TraceField, TraceRecord } from './record.js';
import { countTable, histogramText } from './tables.js';
import type { Trace } from './tracer.js';

export const TRACE_FORMATS = ['text', 'json', 'trace-event'] as const;
export type TraceFormatName = (typeof TRACE_FORMATS)[number];

/** What is written at the end. */
export type TraceSummary = Trace;

/** Text for the beginning, each event and the end; each with its newlines. */
export interface TraceFormat {
  begin(): string;
  event(record: TraceRecord): string;
  end(summary: TraceSummary): string;
}

/** Makes a format; it serves one output. */
export function traceFormat(name: TraceFormatName): TraceFormat {
  return name === 'text' ? textFormat : name === 'json' ? jsonFormat : new TraceEventFormat();
}

const lines = (texts: readonly string[]): string => (texts.length === 0 ? '' : `${texts.join('\n')}\n`);

/** Fields that a line of text does not name: they have their places, or are for programs. */
const BARE = new Set(['kind', 'time', 'cpu', 'instructions', 'reason', 'instruction', 'duration', 'stack']);
const NAMED = TRACE_FIELDS.filter(({ name }) => !BARE.has(name));

const textFormat: TraceFormat = {
  begin: () => '',
  event(record) {
    const { time = 0, cpu, kind, reason, instruction, stack = [] } = record;
    const place = `${(time / 1e9).toFixed(9).padStart(14)} ${cpu} ${kind}`;
    const words = [place, reason, instruction].filter((word) => word !== undefined);
    for (const field of NAMED) {
      const value = record[field.name];
      if (value !== undefined) words.push(`${field.name}=${shownValue(field, value)}`);
    }
    return lines([words.join(' '), ...stack.map((caller) => `${' '.repeat(18)}${caller}`)]);
  },
  end: ({ counter, handling, guest }) =>
    lines([
      ...(counter === undefined ? [] : countTable(counter)),
      ...histogramText('handling', handling),
      ...histogramText('guest', guest),
    ]),
};

/** Addresses, registers and other 64-bit values are text in hexadecimal, which JSON's numbers cannot all hold. */
function jsonValue({ shown }: TraceField, value: unknown): unknown {
  if (Array.isArray(value))
    return value.map((part: unknown) => (typeof part === 'bigint' ? `0x${part.toString(16)}` : part));
  return shown === 'hex' && typeof value !== 'string' ? `0x${(value as number | bigint).toString(16)}` : value;
}

/** The fields that the event has; `except` some. */
function jsonOf(record: TraceRecord, except: ReadonlySet<string>): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (const field of TRACE_FIELDS) {
    const value = record[field.name];
    if (value !== undefined && !except.has(field.name)) object[field.name] = jsonValue(field, value);
  }
  return object;
}

const NOTHING: ReadonlySet<string> = new Set();

const jsonFormat: TraceFormat = {
  begin: () => '',
  event: (record) => `${JSON.stringify(jsonOf(record, NOTHING))}\n`,
  end: (summary) => lines(summaryRows(summary).map((row) => JSON.stringify(row))),
};

/** A row for each count and each histogram. */
function summaryRows({ counter, handling, guest }: TraceSummary): Record<string, unknown>[] {
  const fields = (counter?.fields ?? []).map((name) => TRACE_FIELDS.find((field) => field.name === name)!);
  const counts = (counter?.rows() ?? []).map(({ values, count }) => ({
    count,
    ...Object.fromEntries(
      fields.map((field, at) => [field.name, values[at] === undefined ? null : jsonValue(field, values[at])]),
    ),
  }));
  const histograms = (name: string, rows: readonly (readonly [string, Histogram])[]): Record<string, unknown>[] =>
    rows.map(([reason, { count, sum, least, most, buckets }]) => ({
      histogram: name,
      reason,
      count,
      sum,
      least,
      most,
      buckets,
    }));
  return [...counts, ...histograms('handling', handling.rows()), ...histograms('guest', guest.rows())];
}

/** The VM is the process, a vCPU a thread; times are guest time in microseconds, as the format has them. */
class TraceEventFormat implements TraceFormat {
  readonly #threads = new Set<number>();
  #first = true;

  begin(): string {
    return '{"displayTimeUnit":"ns","traceEvents":[\n';
  }

  event(record: TraceRecord): string {
    const { kind, reason, field, instruction, cpu, time = 0, duration } = record;
    const args = jsonOf(record, ELSEWHERE);
    const event = {
      name: reason ?? field ?? instruction ?? kind,
      cat: kind,
      ...(duration === undefined ? { ph: 'i', s: 't' } : { ph: 'X', dur: duration / 1000 }),
      ts: time / 1000,
      pid: 1,
      tid: cpu,
      args,
    };
    const thread = this.#threads.has(cpu)
      ? ''
      : this.#line({ name: 'thread_name', ph: 'M', pid: 1, tid: cpu, args: { name: `vCPU ${cpu}` } });
    this.#threads.add(cpu);
    return thread + this.#line(event);
  }

  end(summary: TraceSummary): string {
    const rows = summaryRows(summary);
    const other = rows.length === 0 ? '' : `,"otherData":${JSON.stringify({ summary: rows })}`;
    return `${this.#first ? '' : '\n'}]${other}}\n`;
  }

  #line(event: object): string {
    const comma = this.#first ? '' : ',\n';
    this.#first = false;
    return comma + JSON.stringify(event);
  }
}

const ELSEWHERE: ReadonlySet<string> = new Set(['kind', 'time', 'cpu', 'duration']);
