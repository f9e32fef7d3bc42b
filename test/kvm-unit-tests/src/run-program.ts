/** Runs one program of the suite in a process of its own and reads what it printed. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { SuiteEntry } from './config.js';

/**
 * PASS and SKIP are the program's own words (isa-debug-exit values 0 and 77), FAIL any other value of its own, ABORT an exception it
 * did not expect (127), TIMEOUT its time limit, STOPPED an end that was not the program's: a reset, a triple fault, an error of ours.
 */
export type Verdict = 'PASS' | 'FAIL' | 'SKIP' | 'ABORT' | 'TIMEOUT' | 'STOPPED';

export interface ProgramResult {
  readonly name: string;
  readonly verdict: Verdict;
  readonly pass: number;
  readonly fail: number;
  readonly skip: number;
  readonly seconds: number;
  /** CPUs it asked for and CPUs it had. */
  readonly cpus: number;
  readonly cpusGiven: number;
  /** Why it stopped, when not by itself. */
  readonly why?: string;
  /** The lines that failed, the first hundred of them. */
  readonly failures: readonly string[];
  /** The lines that were skipped. */
  readonly skips: readonly string[];
}

export interface RunOptions {
  readonly suite: string;
  /** The most CPUs the machine can have. */
  readonly maxCpus: number;
  /** Seconds for each program in place of its own time limit. */
  readonly timeout?: number;
  readonly backend: string;
  /** `real` or `virtual`. */
  readonly time?: string;
  /** As `--translate` of `visorkit run` has it. */
  readonly translate?: string;
  /** Takes everything the program printed. */
  readonly onOutput?: (name: string, text: string) => void;
}

const COMMAND = resolve(import.meta.dirname, '../../../apps/visorkit/bin/visorkit.js');
/** Seconds a process may take beyond the guest's time limit, to start and to stop. */
const GRACE = 15;
const LINES_KEPT = 100;
/** Process statuses by isa-debug-exit: (value << 1) | 1, in eight bits. */
const VERDICTS: Readonly<Record<number, Verdict>> = { 1: 'PASS', 77: 'SKIP', 127: 'ABORT' };

/** The command line's arguments for an entry. */
export function commandOf(entry: SuiteEntry, options: RunOptions, report: string): string[] {
  return [
    'run',
    '--kernel',
    join(options.suite, 'x86', entry.file),
    '--debug-exit',
    '--testdev',
    '--memory',
    `${entry.memory}M`,
    '--cpus',
    String(Math.min(entry.cpus, options.maxCpus)),
    '--timeout',
    String(options.timeout ?? entry.timeout),
    '--backend',
    options.backend,
    ...(options.time === undefined ? [] : ['--time', options.time]),
    ...(options.translate === undefined ? [] : ['--translate', options.translate]),
    '--report',
    report,
    ...(entry.args === '' ? [] : ['--append', entry.args]),
    ...(entry.cpu.length === 0 ? [] : ['--cpu', ['max', ...entry.cpu].join(',')]),
  ];
}

export async function runProgram(entry: SuiteEntry, options: RunOptions): Promise<ProgramResult> {
  const folder = mkdtempSync(join(tmpdir(), 'visorkit-suite-'));
  const report = join(folder, 'report.json');
  const started = performance.now();
  let status: number | null;
  let output = '';
  let errors = '';
  try {
    const child = spawn(process.execPath, [COMMAND, ...commandOf(entry, options, report)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.setEncoding('latin1').on('data', (text: string) => void (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => void (errors += text));
    const watchdog = setTimeout(() => child.kill('SIGKILL'), ((options.timeout ?? entry.timeout) + GRACE) * 1000);
    status = await new Promise((done, fail) => void child.on('error', fail).on('close', done));
    clearTimeout(watchdog);
    options.onOutput?.(entry.name, output + errors);
    return {
      ...judge(output, status, readReport(report), errors),
      name: entry.name,
      cpus: entry.cpus,
      cpusGiven: Math.min(entry.cpus, options.maxCpus),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Report {
  readonly reason: string;
  readonly why: string;
}

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return undefined; // the run did not get as far as a report
  }
}

/** Counts lines and reads the verdict off the status. */
export function judge(
  output: string,
  status: number | null,
  report: Report | undefined,
  errors: string,
): Pick<ProgramResult, 'verdict' | 'pass' | 'fail' | 'skip' | 'why' | 'failures' | 'skips'> {
  const lines = output.split(/\r?\n/);
  const of = (word: RegExp): string[] => lines.filter((line) => word.test(line));
  const failures = of(/^(FAIL|XPASS): /);
  const skips = of(/^SKIP: /);
  const counts = {
    pass: of(/^(PASS|XFAIL): /).length,
    fail: failures.length,
    skip: skips.length,
    failures: failures.slice(0, LINES_KEPT),
    skips,
  };
  if (report?.reason === 'exit')
    return {
      ...counts,
      verdict: VERDICTS[status ?? -1] ?? 'FAIL',
      ...(status === 127 ? { why: abortLine(lines) } : {}),
    };
  const why = report?.why ?? errors.trim().split('\n')[0] ?? `status ${status}`;
  return {
    ...counts,
    verdict: report?.reason === 'timeout' || (report === undefined && status === null) ? 'TIMEOUT' : 'STOPPED',
    why,
  };
}

/** What a program says when it gives up. */
function abortLine(lines: readonly string[]): string {
  return lines.find((line) => /unhandled|assert|abort/i.test(line)) ?? 'aborted';
}
