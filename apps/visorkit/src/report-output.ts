/** What is printed and written about a run that has ended. */
import { closeSync, openSync } from 'node:fs';
import { describeError, fail, isVisorkitError, whereThrown } from '@visorkit/core';
import type { ReportedError, StopReport } from '@visorkit/core';
import type { VerifyDetails } from '@visorkit/engine';
import { writeAll, writeOrFail } from './serial.js';

/** A run that never began, in the shape of a report. */
export interface NotStarted {
  readonly reason: 'not-started';
  readonly why: string;
  readonly exitStatus: number;
  readonly error: Readonly<ReportedError>;
}

/** Where the report goes. */
export interface ReportFile {
  write(report: StopReport | NotStarted): void;
  close(): void;
}

/** Opens `--report` before the run, so that a path that cannot be written is found before and not after it. */
export function openReport(target: string | undefined): ReportFile {
  if (target === undefined) return { write() {}, close() {} };
  const where = target === '-' ? 'standard output' : `"${target}"`;
  const refuse = (error: unknown): never =>
    fail(
      'REPORT_FILE',
      `The report cannot be written to ${where}: ${(error as Error).message}. Give --report a path that can be written, or -.`,
      { path: target },
    );
  const write =
    (descriptor: number) =>
    (report: StopReport | NotStarted): void => {
      try {
        writeOrFail(descriptor, textOf(report));
      } catch (error) {
        if (target !== '-' || (error as NodeJS.ErrnoException).code !== 'EPIPE') refuse(error);
      }
    };
  if (target === '-') return { write: write(1), close() {} };
  let descriptor: number;
  try {
    descriptor = openSync(target, 'w');
  } catch (error) {
    return refuse(error);
  }
  return { write: write(descriptor), close: () => closeSync(descriptor) };
}

function textOf(report: StopReport | NotStarted): Uint8Array {
  return Buffer.from(
    `${JSON.stringify(report, (_key, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value), 2)}\n`,
  );
}

/** What a run took: instructions only where the backend counts them. */
export function workOf({ guestInstructions, wallSeconds, mips }: StopReport): string {
  return guestInstructions > 0
    ? `${guestInstructions} instructions in ${wallSeconds} s, ${mips} MIPS`
    : `${wallSeconds} s`;
}

/** Where something was thrown, for the author of a plugin; with `verbose` also the calls that led there. */
function thrownLines({ at, stack = [] }: Pick<ReportedError, 'at' | 'stack'>, verbose: boolean): string[] {
  return [...(at === undefined ? [] : [`  thrown at ${at}`]), ...(verbose ? stack.map((line) => `    ${line}`) : [])];
}

/** The text about an error that kept a command from running. It says where the error was thrown only if a plugin's own code threw it. */
export function errorText(error: unknown, verbose = false): string {
  if (!isVisorkitError(error))
    return `visorkit: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  const { cause } = error as { cause?: { errno?: unknown } };
  const foreign = error.code.startsWith('PLUGIN_') && cause !== undefined && cause.errno === undefined;
  return [`visorkit: ${describeError(error)}`, ...(foreign ? thrownLines(whereThrown(error) ?? {}, verbose) : [])].join(
    '\n',
  );
}

/** In what translated code was different from the interpreter, and the code itself: the guest's is told as that of any failure. */
function differenceLines({ differences, wasm }: VerifyDetails): string[] {
  const rows = [
    ['', 'before', 'interpreted', 'translated'],
    ...differences.map(({ what, before, interpreted, translated }) => [what, before, interpreted, translated]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return [
    ...rows.map((row) => `  ${row.map((text, column) => text.padEnd(widths[column]!)).join('  ')}`.trimEnd()),
    ...wasm.map((line) => `  ${line}`),
  ];
}

/** Prints on standard error why a run did not end normally; with `verbose` also what it did. */
export function tell(report: StopReport, verbose: boolean): void {
  if (report.exitStatus === 0 ? !verbose : report.reason === 'exit' && !verbose) return;
  const { error } = report,
    said = error !== undefined && report.why.includes(error.message);
  const lines = [`visorkit: ${report.why}${said ? ` [${error.code}]` : ''}`];
  if (error !== undefined)
    lines.push(
      ...(said ? [] : [`  ${error.code}: ${error.message}`]),
      ...(error.causes ?? []).map((cause) => `  ${cause}`),
      ...(report.reason === 'plugin-error' ? thrownLines(error, verbose) : []),
    );
  if (report.failure !== undefined) {
    const { failure } = report;
    lines.push(`  exit ${failure.exit.name} (${failure.exit.reason}), qualification ${failure.exit.qualification}`);
    if (failure.plugin !== undefined) lines.push(`  plugin ${failure.plugin}`);
    lines.push(...failure.code.map((line) => `  ${line}`));
    if (error?.code === 'VERIFY_DIFFERENCE') lines.push(...differenceLines(error.details as VerifyDetails));
    if (failure.suggestion !== undefined && !report.why.includes(failure.suggestion))
      lines.push(`  ${failure.suggestion}`);
  }
  if (verbose) {
    lines.push(`  ${workOf(report)}`);
    for (const [name, count] of Object.entries(report.exits)) lines.push(`  ${String(count).padStart(10)} ${name}`);
    for (const [name, count] of Object.entries(report.statistics ?? {}))
      lines.push(`  ${String(count).padStart(10)} ${name}`);
  }
  writeAll(2, Buffer.from(`${lines.join('\n')}\n`));
}
